//! The text that is posted. No text is read as markup: `<`, `>` and `&` are escaped, and everything else that formats is switched off or
//! without effect in a code block, so that no text can ping, link elsewhere than it says or break out of a quotation.

use serde::Serialize;

/// `chat.postMessage`'s, `chat.update`'s and an incoming webhook's request.
#[derive(Serialize)]
pub struct Message<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<&'a str>,
    /// The post that is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ts: Option<&'a str>,
    /// The first post of the thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_ts: Option<&'a str>,
    text: String,
    mrkdwn: bool,
    link_names: bool,
    unfurl_links: bool,
    unfurl_media: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
}

/// Lines beside a bar, which may have a colour.
#[derive(Serialize)]
pub struct Attachment {
    #[serde(skip_serializing_if = "Option::is_none")]
    color: Option<&'static str>,
    text: String,
    /// `text` for a table in a code block: fixed width is had only by markup.
    mrkdwn_in: &'static [&'static str],
}

impl<'a> Message<'a> {
    /// A text as it is.
    pub fn plain(text: &str) -> Message<'a> {
        Message::of(escape(text), false)
    }

    /// Lines whose columns line up.
    pub fn table(rows: &[String]) -> Message<'a> {
        Message::of(block(rows), true)
    }

    fn of(text: String, mrkdwn: bool) -> Message<'a> {
        Message {
            channel: None,
            ts: None,
            thread_ts: None,
            text,
            mrkdwn,
            link_names: false,
            unfurl_links: false,
            unfurl_media: false,
            attachments: Vec::new(),
        }
    }

    /// The text as it is sent.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The request's body.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Attachment {
    /// Lines as they are.
    pub fn plain(color: Option<&'static str>, lines: &[String]) -> Attachment {
        Attachment { color, text: escape(&lines.join("\n")), mrkdwn_in: &[] }
    }

    /// Lines whose columns line up.
    pub fn table(color: Option<&'static str>, rows: &[String]) -> Attachment {
        Attachment { color, text: block(rows), mrkdwn_in: &["text"] }
    }
}

/// Escapes the three characters that Slack unescapes; it would show others in their escaped form.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Lines in a code block, without the only markup that could end it.
pub fn block(rows: &[String]) -> String {
    format!("```\n{}\n```", escape(&rows.join("\n")).replace("```", "'''"))
}

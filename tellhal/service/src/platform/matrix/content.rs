//! The contents of events: texts, files, and their relation to other events. No text of a message pings anybody
//! (`m.mentions` is always there, and empty) or is read as markup (all of it is escaped).

use std::fmt;

use serde_json::{Map, Value, json};

use crate::text::{clean, one_line};

/// The largest content, in bytes of JSON: a server takes events of 65,536 with what it adds to them.
pub const LARGEST: usize = 60_000;

/// The content of an `m.room.message`. It is shown as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Content(Map<String, Value>);

/// A file to upload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct File {
    pub name: String,
    /// Such as `image/png`.
    pub media_type: String,
    pub bytes: Vec<u8>,
    /// Width and height of an image, if they are known.
    pub size: Option<(u32, u32)>,
}

impl File {
    /// A file with its contents. The width and height of a picture are read from them: clients keep its place free by them.
    pub fn new(name: &str, media_type: &str, bytes: Vec<u8>) -> File {
        let size = imagesize::blob_size(&bytes).ok().filter(|_| media_type.starts_with("image/"));
        let size =
            size.and_then(|size| Some((u32::try_from(size.width).ok()?, u32::try_from(size.height).ok()?)));
        File { name: name.to_owned(), media_type: media_type.to_owned(), bytes, size }
    }
}

impl Content {
    /// A text. `html` is the same with markup, if that adds something; texts in it must be escaped by [`escape`].
    pub fn text(plain: &str, html: Option<&str>) -> Self {
        Content::of("m.text", plain, html)
    }

    /// A text that other robots must not answer, and that rings no bell.
    pub fn notice(plain: &str, html: Option<&str>) -> Self {
        Content::of("m.notice", plain, html)
    }

    /// An uploaded file; images are shown.
    pub fn file(file: &File, content_uri: &str) -> Self {
        let kind = if file.media_type.starts_with("image/") { "m.image" } else { "m.file" };
        let mut content = Content::of(kind, &one_line(&file.name), None);
        let mut info = json!({ "mimetype": file.media_type, "size": file.bytes.len() });
        if let Some((width, height)) = file.size {
            (info["w"], info["h"]) = (width.into(), height.into());
        }
        content.0.insert("info".into(), info);
        content.0.insert("url".into(), content_uri.into());
        content
    }

    fn of(kind: &str, plain: &str, html: Option<&str>) -> Self {
        let mut content = Map::new();
        content.insert("msgtype".into(), kind.into());
        content.insert("body".into(), clean(plain).into());
        if let Some(html) = html {
            content.insert("format".into(), "org.matrix.custom.html".into());
            content.insert("formatted_body".into(), html.into());
        }
        content.insert("m.mentions".into(), json!({}));
        Content(content)
    }

    /// The same as an answer to the event `event`.
    pub fn replying_to(mut self, event: &str) -> Self {
        self.0.insert("m.relates_to".into(), json!({ "m.in_reply_to": { "event_id": event } }));
        self
    }

    /// The same in the thread below the event `root`, as an answer to the event `last` of it. No event of a thread can be the
    /// root of another.
    pub fn in_thread(mut self, root: &str, last: &str) -> Self {
        let relation = json!({
            "rel_type": "m.thread",
            "event_id": root,
            "is_falling_back": true,
            "m.in_reply_to": { "event_id": last },
        });
        self.0.insert("m.relates_to".into(), relation);
        self
    }

    /// The same as the new content of our event `original`, which is never itself an edit. It stays in its thread.
    pub fn replacing(mut self, original: &str) -> Self {
        self.0.remove("m.relates_to");
        let new = Value::Object(self.0.clone());
        // Clients that know no edits show these.
        for key in ["body", "formatted_body"] {
            if let Some(Value::String(text)) = self.0.get_mut(key) {
                text.insert_str(0, "* ");
            }
        }
        self.0.insert("m.new_content".into(), new);
        let relation = json!({ "rel_type": "m.replace", "event_id": original });
        self.0.insert("m.relates_to".into(), relation);
        self
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&serde_json::to_string(&self.0).map_err(|_| fmt::Error)?)
    }
}

/// A text as HTML that shows it as it is, without control characters.
pub fn escape(text: &str) -> String {
    clean(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Lines in a code block, whose columns line up.
pub fn block(lines: &[String]) -> String {
    format!("<pre><code>{}</code></pre>", escape(&lines.join("\n")))
}

/// A word that stands out, in a colour such as `#c00000`.
pub fn coloured(word: &str, colour: &str) -> String {
    format!("<strong><span data-mx-color=\"{colour}\">{}</span></strong>", escape(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(content: &Content) -> Value {
        serde_json::from_str(&content.to_string()).unwrap()
    }

    #[test]
    fn every_text_says_that_it_mentions_nobody() {
        let file = File { name: "a\nb".into(), media_type: "image/png".into(), ..File::default() };
        let contents = [
            Content::text("@room @hal:example.com", None),
            Content::notice("x", Some("x")),
            Content::file(&file, "mxc://a/b"),
            Content::text("x", None).in_thread("$root", "$last"),
            Content::text("x", None).replying_to("$event"),
            Content::text("@room", Some("@room")).replacing("$original"),
        ];
        for content in contents {
            assert_eq!(value(&content)["m.mentions"], json!({}), "{content}");
        }
    }

    #[test]
    fn markup_is_escaped_and_control_characters_are_gone() {
        let text = "</pre><script>\"&amp;\x1b[31m\x01\n<a href='https://matrix.to/#/@a:b'>";
        let html = "&lt;/pre&gt;&lt;script&gt;&quot;&amp;amp;\n&lt;a href='https://matrix.to/#/@a:b'&gt;";
        assert_eq!(escape(text), html);
        assert_eq!(block(&["</code>".into()]), "<pre><code>&lt;/code&gt;</code></pre>");
        assert_eq!(value(&Content::text("a\0\x1b[1mb\n\tc", None))["body"], "ab\n\tc");
    }

    #[test]
    fn an_edit_has_both_texts() {
        let edit = Content::notice("done", Some("<b>done</b>")).in_thread("$r", "$l").replacing("$original");
        let edit = value(&edit);
        assert_eq!((&edit["body"], &edit["formatted_body"]), (&json!("* done"), &json!("* <b>done</b>")));
        assert_eq!(edit["m.relates_to"], json!({ "rel_type": "m.replace", "event_id": "$original" }));
        let new = &edit["m.new_content"];
        assert_eq!((&new["body"], &new["m.mentions"]), (&json!("done"), &json!({})));
        assert_eq!(new["m.relates_to"], Value::Null);
    }

    #[test]
    fn a_file_is_described() {
        let png = ::tests::graphite::png(8, 9);
        let file = File::new("graph.png", "image/png", png.clone());
        let image = value(&Content::file(&file, "mxc://a/b"));
        assert_eq!((&image["msgtype"], &image["url"]), (&json!("m.image"), &json!("mxc://a/b")));
        let info = json!({ "mimetype": "image/png", "size": png.len(), "w": 8, "h": 9 });
        assert_eq!(image["info"], info);
        let text = value(&Content::file(&File::new("a", "text/plain", png.clone()), "mxc://a/b"));
        assert_eq!((&text["msgtype"], &text["info"]["w"]), (&json!("m.file"), &Value::Null));
        let gif = b"GIF89a\x05\0\x06\0\0\0\0";
        assert_eq!(File::new("a.gif", "image/gif", gif.to_vec()).size, Some((5, 6)));
        for cut in 0..24 {
            assert_eq!(File::new("a.png", "image/png", png[..cut].to_vec()).size, None, "{cut}");
        }
    }
}

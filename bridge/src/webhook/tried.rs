//! `hal-bridge webhooks test`: shows the messages that a payload becomes. Nothing is published, and no signature is asked for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use service::process::{print, print_json};
use tellhal::text::visible;
use tellhal::{Message, Tag, Timestamp, nearest};

use super::intake::{Config, Intake};
use super::request::{Refusal, Request};

/// A request as it is given on the command line.
#[derive(clap::Args)]
pub(crate) struct Payload {
    /// The name of the webhook in the configuration
    name: String,
    /// A file with the request's body
    file: PathBuf,
    /// A header of the request: 'X-GitHub-Event: push', or X-GitHub-Event=push
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The tag in the address, for a webhook of the kind text
    #[arg(long, value_name = "TAG")]
    tag: Option<Tag>,
}

pub(crate) fn test(webhooks: &BTreeMap<String, Config>, payload: &Payload, json: bool) -> anyhow::Result<()> {
    let config = webhooks.get(&payload.name).with_context(|| {
        let hint = nearest::hint(&payload.name, webhooks.keys().map(String::as_str));
        format!("there is no webhook {}: {hint}", payload.name)
    })?;
    let body = std::fs::read(&payload.file).with_context(|| payload.file.display().to_string())?;
    let headers = headers(&payload.headers)?;
    let now = u64::try_from(Timestamp::now().0 / 1000).unwrap_or_default();
    let request = Request { headers: &headers, body: &body, token: None, path: "", query: "", now };
    let told = Intake::closed(&payload.name, config).told(&request, payload.tag.as_ref());
    let messages = told.map_err(|refusal| anyhow::anyhow!("the request is refused: {}", words(&refusal)))?;
    let messages: Vec<Message> = messages.into_iter().map(|(_, message)| message).collect();
    if json {
        return print_json(&messages);
    }
    let shown = messages.iter().map(shown).collect::<Vec<_>>().join("\n");
    Ok(print(if messages.is_empty() { "no message: this event is not told\n" } else { &shown })?)
}

fn headers(given: &[String]) -> anyhow::Result<HeaderMap> {
    let header = |header: &String| {
        let (name, value) =
            header.split_once([':', '=']).with_context(|| format!("{header:?} is not NAME: VALUE"))?;
        let name: HeaderName =
            name.trim().parse().with_context(|| format!("{name:?} is no header's name"))?;
        Ok((
            name,
            HeaderValue::from_str(value.trim()).with_context(|| format!("{value:?} is no header's value"))?,
        ))
    };
    given.iter().map(header).collect()
}

fn words(refusal: &Refusal) -> &str {
    match refusal {
        Refusal::Unproven(why) | Refusal::Unknown(why) | Refusal::Later(why) => why,
        Refusal::Type => "its body is not of a type that this webhook takes",
        Refusal::Malformed(why) => why,
    }
}

/// A message in lines.
pub(crate) fn shown(message: &Message) -> String {
    let mut lines = format!("{} {}", message.severity, message.tag);
    let status = message.status.map(|status| status.to_string());
    let mut add = |name: &str, value: &str| {
        let _ = write!(lines, "\n  {name}: {}", visible(value).replace('\n', "\n    "));
    };
    for (name, value) in [("title", &message.title), ("status", &status), ("key", &message.key)] {
        value.iter().for_each(|value| add(name, value));
    }
    if !message.text.is_empty() {
        add("text", &message.text);
    }
    message.links.iter().for_each(|link| add("link", &link.url));
    message.fields.iter().for_each(|(name, value)| add(name, value));
    lines + "\n"
}

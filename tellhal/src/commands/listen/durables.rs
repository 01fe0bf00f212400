//! The durable listeners of one user: listed, and removed when they are no longer needed.

use std::io::Write;

use serde::Serialize;
use serde_json::{Value, json};
use tellhal::Publisher;

use super::api::{Api, Trouble};
use super::consumer::filters;
use crate::config::Settings;
use crate::exit::{Exit, Failure, Outcome, count};

#[derive(Serialize)]
struct Durable {
    name: String,
    pattern: String,
    /// Messages that it has not got yet.
    unread: u64,
    /// Messages that it has got and not handled yet.
    unhandled: u64,
    /// The time of its last message; absent if it never got one.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
}

/// The beginning of the names of this user's consumers: a listener's credentials allow only those.
pub(super) fn prefix(settings: &Settings) -> String {
    let user = settings.nats.user.clone().or_else(crate::commands::user).unwrap_or_default();
    format!("listen-{}-", tellhal::tag::legal_token(&user))
}

/// Prints the durable listeners.
pub(super) async fn list(json: bool, settings: &Settings, publisher: &Publisher) -> Outcome {
    let found = find(settings, publisher).await.map_err(|trouble| trouble.into_failure(publisher))?;
    let text = match json {
        true => serde_json::to_string_pretty(&found).map_err(|error| Failure::new(Exit::TEMPORARY, error))?,
        false => found.iter().map(line).collect::<Vec<_>>().join("\n"),
    };
    if !text.is_empty() {
        let _ = writeln!(std::io::stdout(), "{text}");
    }
    Ok(Exit::OK)
}

fn line(durable: &Durable) -> String {
    let Durable { name, pattern, unread, unhandled, last } = durable;
    let last = last.as_ref().map_or("no message yet".into(), |last| format!("last message {last}"));
    format!("{name} '{pattern}': {unread} unread, {}, {last}", count(*unhandled, "unhandled message"))
}

async fn find(settings: &Settings, publisher: &Publisher) -> Result<Vec<Durable>, Trouble> {
    let api = Api::new(publisher, settings.timeout);
    let (prefix, names) = (prefix(settings), publisher.names());
    let every = format!("{}.ops.*.", names.prefix());
    let question = format!("CONSUMER.LIST.{}", names.ops_stream());
    let (mut found, mut offset) = (Vec::new(), 0);
    loop {
        let answer = api.ask(&question, json!({ "offset": offset })).await?;
        let page = answer["consumers"].as_array().map_or(&[][..], Vec::as_slice);
        found.extend(page.iter().filter_map(|info| durable(info, &prefix, &every)));
        offset += page.len();
        if page.is_empty() || offset as u64 >= answer["total"].as_u64().unwrap_or(0) {
            return Ok(found);
        }
    }
}

fn durable(info: &Value, prefix: &str, every: &str) -> Option<Durable> {
    let config = &info["config"];
    let reads = filters(config);
    let patterns = reads.iter().map(|filter| filter.strip_prefix(every).unwrap_or(filter));
    Some(Durable {
        name: config["durable_name"].as_str()?.strip_prefix(prefix)?.to_owned(),
        pattern: patterns.collect::<Vec<_>>().join(" "),
        unread: info["num_pending"].as_u64().unwrap_or(0),
        unhandled: info["num_ack_pending"].as_u64().unwrap_or(0),
        last: info["delivered"]["last_active"].as_str().map(str::to_owned),
    })
}

/// Removes the durable listener `name` with its position.
pub(super) async fn remove(name: &str, settings: &Settings, publisher: &Publisher) -> Outcome {
    let api = Api::new(publisher, settings.timeout);
    let consumer = format!("{}{name}", prefix(settings));
    let question = format!("CONSUMER.DELETE.{}.{consumer}", publisher.names().ops_stream());
    match api.ask(&question, json!({})).await {
        Ok(_) => Ok(Exit::OK),
        Err(Trouble::Gone) => Err(Failure::usage(format!("there is no durable listener {name}"))),
        Err(trouble) => Err(trouble.into_failure(publisher)),
    }
}

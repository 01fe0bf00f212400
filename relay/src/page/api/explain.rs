//! `GET /api/explain`: the rooms that a message would go to, and its text in each.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use tellhal::message::Message;
use tellhal::tag::Tag;
use tellhal::timestamp::Timestamp;

use super::exchange::{Given, ok};
use crate::admin::explain::{Explanation, Shown, explain, shown};
use crate::page::Site;
use crate::page::params::{HYPOTHETICAL, Params};
use service::http::problem::Problem;

/// The routing of a hypothetical message.
#[derive(Serialize, JsonSchema)]
pub(super) struct Explained {
    #[serde(flatten)]
    explanation: Explanation,
    rooms: Vec<Shown>,
}

pub(super) async fn explained(State(site): State<Arc<Site>>, query: Given) -> Result<Response, Problem> {
    let params = Params::new(query?.0, &[HYPOTHETICAL])?;
    let message = message(&params)?;
    let at = message.time;
    let rules = site.shared.rules.borrow().clone();
    let rooms = site.shared.rooms.borrow().clone();
    let zone = rooms.zone.clone();
    let explanation = explain(&rules, message, at);
    let rooms = explanation.deliveries.iter().filter_map(|delivery| {
        let open = rooms.open.get(&delivery.room)?;
        Some(shown(delivery, &zone, open.kind, Ok(open.room.as_ref())))
    });
    let rooms = rooms.collect();
    Ok(ok(&Explained { explanation, rooms }))
}

fn message(params: &Params) -> Result<Message, Problem> {
    let tag: Option<Tag> = params.parse("tag")?;
    let tag = tag.ok_or_else(|| Problem::bad("tag is missing, such as tag=backup.mysql"))?;
    let source = params.word("source")?.unwrap_or("host");
    let mut message = Message::new(source, tag, params.text("text").unwrap_or_default());
    message.time = params.parse::<Timestamp>("at")?.unwrap_or(message.time);
    message.severity = params.severity()?.unwrap_or_default();
    message.status = params.parse("status")?;
    message.title = params.text("title").map(str::to_owned);
    message.key = params.text("key").map(str::to_owned);
    let mut fields = BTreeMap::new();
    for field in params.all("field") {
        match field.split_once('=') {
            Some((name, value)) if !name.is_empty() => fields.insert(name.to_owned(), value.to_owned()),
            _ => return Err(Problem::bad(format!("field: {field:?} is not name=value"))),
        };
    }
    message.fields = fields;
    Ok(message)
}

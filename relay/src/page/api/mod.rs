//! The API under the page: a table of every address with its parameters and answer. The router and the OpenAPI
//! document are both made from this table, so that they cannot differ.

mod commands;
mod dead;
mod exchange;
mod explain;
mod export;
mod fate;
mod files;
mod message;
mod messages;
mod names;
mod newest;
mod openapi;
mod problems;
mod rooms;
mod status;
mod stories;
mod stream;
mod timeline;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post};
use schemars::{JsonSchema, Schema, SchemaGenerator};

pub(super) use dead::operator;
pub(super) use messages::search;
pub(super) use openapi::document;
pub(super) use rooms::leaders_rooms;
pub(super) use status::now;

use super::Site;
use super::answers::within_budget;
use super::guard::guard;
use super::params::{AFTER, FILTER, FORMAT, HYPOTHETICAL, LIMIT, NAMED, PAGED, Param, ROOM, SPANS};
use crate::config::page::Role;

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One address and method of the API.
struct Endpoint {
    method: Method,
    path: &'static str,
    /// Its purpose in a few words.
    summary: &'static str,
    about: &'static str,
    params: &'static [&'static [Param]],
    /// The name and schema of `{…}` in the address.
    named: Option<(&'static str, SchemaOf)>,
    body: Option<SchemaOf>,
    answer: Answer,
    /// The statuses of its own problems, besides those of every address.
    problems: &'static [StatusCode],
    role: Role,
    handler: MethodRouter<Arc<Site>>,
}

/// The answer to a successful request.
enum Answer {
    Json(StatusCode, SchemaOf),
    Events,
    /// A file in one of several formats, by their media types.
    File(&'static [&'static str]),
    Nothing,
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn endpoints() -> Vec<Endpoint> {
    // Most endpoints are like this one.
    let read = |path, summary, about, answer: SchemaOf, handler| Endpoint {
        method: Method::GET,
        path,
        summary,
        about,
        params: &[],
        named: None,
        body: None,
        answer: Answer::Json(StatusCode::OK, answer),
        problems: &[],
        role: Role::Viewer,
        handler,
    };
    vec![
        Endpoint {
            params: &[FILTER, PAGED],
            ..read(
                "/api/messages",
                "Search the log",
                "The matching messages, newest first, a page at a time. A page ends at its limit or after 4 MiB of messages.",
                schema::<messages::Messages>,
                get(messages::list),
            )
        },
        Endpoint {
            method: Method::POST,
            body: Some(schema::<messages::Tell>),
            answer: Answer::Json(StatusCode::CREATED, schema::<messages::Told>),
            problems: &[StatusCode::UNPROCESSABLE_ENTITY, StatusCode::GATEWAY_TIMEOUT],
            role: Role::Operator,
            ..read(
                "/api/messages",
                "Send a message",
                "Appends a message of the source `relay` to the log. It is routed like any other message.",
                schema::<messages::Told>,
                post(messages::tell),
            )
        },
        Endpoint {
            named: Some(("id", schema::<message::Id>)),
            problems: &[StatusCode::NOT_FOUND],
            ..read(
                "/api/messages/{id}",
                "One message and its deliveries",
                "The whole message, each route's verdict and its reasons, and each room with all attempts.",
                schema::<message::OneMessage>,
                get(message::one),
            )
        },
        Endpoint {
            params: &[FILTER, SPANS],
            ..read(
                "/api/timeline",
                "Count messages over time",
                "The number of matching messages in each of several equal spans of time, by severity.",
                schema::<timeline::Timeline>,
                get(timeline::timeline),
            )
        },
        Endpoint {
            params: &[FILTER, AFTER],
            answer: Answer::Events,
            ..read(
                "/api/stream",
                "Follow the log",
                "Server-sent events. Each message is an event without a name; its id is its sequence in the log, and \
                 `Last-Event-ID` resumes after it. `live` means that all earlier messages have been sent, `alive` is sent \
                 when there are no messages for a while, `state` has the relay's `problem` (null if there is none), and \
                 `anew` means that the given sequence belongs to another log, which this one has replaced.",
                schema::<super::event::Entry>,
                get(stream::stream),
            )
        },
        Endpoint {
            params: &[FILTER, FORMAT],
            answer: Answer::File(&["text/csv", "application/jsonl"]),
            ..read(
                "/api/export",
                "Export a search",
                "All matching messages, newest first, as one file. A line of `jsonl` is an entry as in `/api/messages`. In \
                 `csv` a text that a spreadsheet would run as a formula begins with an apostrophe. An answer that is cut \
                 off is not complete.",
                schema::<super::event::Entry>,
                get(export::export),
            )
        },
        Endpoint {
            params: &[LIMIT],
            ..read(
                "/api/problems",
                "Open problems",
                "The things, each of one source and key, that failed or started and are not over, the worst first.",
                schema::<problems::Problems>,
                get(problems::list),
            )
        },
        read(
            "/api/status",
            "The state of everything",
            "What is wrong with the relay, its rooms and its log, in a few words.",
            schema::<status::Now>,
            get(status::status),
        ),
        read(
            "/api/rooms",
            "The rooms",
            "Each room's state as this relay knows it. Only the leading relay knows the current states.",
            schema::<rooms::Rooms>,
            get(rooms::rooms),
        ),
        Endpoint {
            params: &[NAMED],
            ..read(
                "/api/sources",
                "The sources",
                "Every host and service that has sent a message, ordered by name, a page at a time.",
                schema::<names::Names>,
                get(names::sources),
            )
        },
        Endpoint {
            params: &[NAMED],
            ..read(
                "/api/tags",
                "The tags",
                "Every tag that has been used, ordered by name, a page at a time.",
                schema::<names::Names>,
                get(names::tags),
            )
        },
        Endpoint {
            params: &[HYPOTHETICAL],
            ..read(
                "/api/explain",
                "Explain the routing of a message",
                "The routes that would take a message, their reasons, and the text in each room. Does not send it.",
                schema::<explain::Explained>,
                get(explain::explained),
            )
        },
        Endpoint {
            method: Method::POST,
            body: Some(schema::<commands::Typed>),
            answer: Answer::File(&["application/jsonl"]),
            problems: &[StatusCode::UNPROCESSABLE_ENTITY],
            ..read(
                "/api/commands",
                "Give a command",
                "Passes a line to a bridge, as the person whose token it is. Each line of the answer is an object: `progress` any \
                 number of times while the command runs, then `answer`, which has `failed` if it failed.",
                schema::<commands::Said>,
                post(commands::give),
            )
        },
        Endpoint {
            params: &[PAGED],
            ..read(
                "/api/audit",
                "What was asked in chats",
                "The entries of the audit, newest first, a page at a time: what was asked, denied, approved and answered. Those \
                 with the same `id` are about one command.",
                schema::<commands::Audit>,
                get(commands::audit),
            )
        },
        Endpoint {
            named: Some(("object", schema::<files::Object>)),
            answer: Answer::File(&[
                "image/png",
                "image/jpeg",
                "image/gif",
                "image/webp",
                "application/octet-stream",
            ]),
            problems: &[StatusCode::NOT_FOUND],
            ..read(
                "/api/files/{object}",
                "A file of an answer",
                "A picture or another file of a command's answer, by the name that the audit has for it. It is kept for 30 days.",
                schema::<()>,
                get(files::file),
            )
        },
        Endpoint {
            params: &[ROOM, PAGED],
            ..read(
                "/api/dead",
                "Dead letters",
                "Deliveries that rooms could not take, newest first, a page at a time, of at most 4 MiB.",
                schema::<dead::DeadLetters>,
                get(dead::list),
            )
        },
        Endpoint {
            method: Method::POST,
            named: Some(("sequence", schema::<dead::Sequence>)),
            answer: Answer::Nothing,
            problems: &[StatusCode::NOT_FOUND, StatusCode::CONFLICT, StatusCode::GATEWAY_TIMEOUT],
            role: Role::Operator,
            ..read(
                "/api/dead/{sequence}/retry",
                "Retry a dead letter",
                "Asks the relay, by an entry of the log, to deliver it again, and removes it from the list.",
                schema::<()>,
                post(dead::retry),
            )
        },
        Endpoint {
            method: Method::DELETE,
            named: Some(("sequence", schema::<dead::Sequence>)),
            answer: Answer::Nothing,
            problems: &[StatusCode::NOT_FOUND, StatusCode::GATEWAY_TIMEOUT],
            role: Role::Operator,
            ..read(
                "/api/dead/{sequence}",
                "Give up a dead letter",
                "Removes it from the list and leaves a receipt that says so.",
                schema::<()>,
                delete(dead::give_up),
            )
        },
    ]
}

/// Every address behind its guard.
pub(super) fn router(site: &Arc<Site>) -> Router<Arc<Site>> {
    endpoints().into_iter().fold(Router::new(), |router, endpoint| {
        let budget = from_fn_with_state(site.answers.clone(), within_budget);
        let guard = from_fn_with_state((site.clone(), endpoint.role), guard);
        router.route(endpoint.path, endpoint.handler.layer(budget).layer(guard))
    })
}

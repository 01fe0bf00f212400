//! The API under the page: every address with what it takes and gives. The router and the OpenAPI document are
//! both made from this table, so that neither knows one the other does not.

mod dead;
mod explain;
mod fate;
mod message;
mod messages;
mod names;
mod openapi;
mod rooms;
mod stream;
mod timeline;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, Path, Query, Request};
use axum::http::{Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) use openapi::document;

use super::params::{AFTER, FILTER, NAMED, PAGED, Param, ROOM, SPANS, THOUGHT};
use super::{Site, access};
use crate::config::page::Role;
use service::http::problem::Problem;
use service::http::serve::Body;

/// A request's parameters, not looked at yet.
type Given = Result<Query<Vec<(String, String)>>, QueryRejection>;
/// What stands for `{…}` in an address.
type Named<T> = Result<Path<T>, PathRejection>;

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One address and method of the API.
struct Endpoint {
    method: Method,
    path: &'static str,
    /// What it does, in a few words.
    summary: &'static str,
    about: &'static str,
    params: &'static [&'static [Param]],
    /// The name and schema of what stands for `{…}` in the address.
    named: Option<(&'static str, SchemaOf)>,
    body: Option<SchemaOf>,
    answer: Answer,
    /// The statuses of problems of its own, beside those every address may have.
    problems: &'static [StatusCode],
    role: Role,
    handler: MethodRouter<Arc<Site>>,
}

/// What is answered when all is well.
enum Answer {
    Json(StatusCode, SchemaOf),
    Events,
    Nothing,
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn endpoints() -> Vec<Endpoint> {
    // What most of them are.
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
                "The messages that are meant, newest first, a page at a time.",
                schema::<messages::Messages>,
                get(messages::list),
            )
        },
        Endpoint {
            method: Method::POST,
            body: Some(schema::<messages::Tell>),
            answer: Answer::Json(StatusCode::CREATED, schema::<messages::Told>),
            problems: &[StatusCode::UNPROCESSABLE_ENTITY],
            role: Role::Operator,
            ..read(
                "/api/messages",
                "Tell a message",
                "Puts a message on the log, from the source `relay`, where it is routed like every other.",
                schema::<messages::Told>,
                post(messages::tell),
            )
        },
        Endpoint {
            named: Some(("id", schema::<message::Id>)),
            problems: &[StatusCode::NOT_FOUND],
            ..read(
                "/api/messages/{id}",
                "One message and its fate",
                "Everything in the message, the routes that took it and why, and each room with every attempt.",
                schema::<message::OneMessage>,
                get(message::one),
            )
        },
        Endpoint {
            params: &[FILTER, SPANS],
            ..read(
                "/api/timeline",
                "Count the log over time",
                "How many messages are meant in each of equal spans of time, by severity.",
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
                 `Last-Event-ID` resumes after it. `live` says that what came before has been sent, `alive` comes when \
                 it is quiet, `state` tells what is wrong with the relay (`problem`, null when nothing is), `anew` that \
                 the log is another one than that of the sequence given.",
                schema::<super::event::Entry>,
                get(stream::stream),
            )
        },
        read(
            "/api/rooms",
            "The rooms",
            "Every room's state as this relay knows it; the leader's is the one that counts.",
            schema::<rooms::Rooms>,
            get(rooms::rooms),
        ),
        Endpoint {
            params: &[NAMED],
            ..read(
                "/api/sources",
                "Who told",
                "Every host and service that told something, in the order of their names, a page at a time.",
                schema::<names::Names>,
                get(names::sources),
            )
        },
        Endpoint {
            params: &[NAMED],
            ..read(
                "/api/tags",
                "What was told about",
                "Every tag, in the order of their names, a page at a time.",
                schema::<names::Names>,
                get(names::tags),
            )
        },
        Endpoint {
            params: &[THOUGHT],
            ..read(
                "/api/explain",
                "Where a message would go",
                "Which routes would take a message, why, and what each room would show. Nothing is sent.",
                schema::<explain::Explained>,
                get(explain::explained),
            )
        },
        Endpoint {
            params: &[ROOM, PAGED],
            ..read(
                "/api/dead",
                "Dead letters",
                "What rooms could never take, newest first, a page at a time.",
                schema::<dead::DeadLetters>,
                get(dead::list),
            )
        },
        Endpoint {
            method: Method::POST,
            named: Some(("sequence", schema::<dead::Sequence>)),
            answer: Answer::Nothing,
            problems: &[StatusCode::NOT_FOUND, StatusCode::CONFLICT],
            role: Role::Operator,
            ..read(
                "/api/dead/{sequence}/retry",
                "Try a dead letter again",
                "Puts it back on the log for its room and takes it off the list.",
                schema::<()>,
                post(dead::retry),
            )
        },
        Endpoint {
            method: Method::DELETE,
            named: Some(("sequence", schema::<dead::Sequence>)),
            answer: Answer::Nothing,
            problems: &[StatusCode::NOT_FOUND],
            role: Role::Operator,
            ..read(
                "/api/dead/{sequence}",
                "Give a dead letter up",
                "Takes it off the list and leaves a receipt that says so.",
                schema::<()>,
                delete(dead::give_up),
            )
        },
    ]
}

/// Every address, each behind its guard.
pub(super) fn router(site: &Arc<Site>) -> Router<Arc<Site>> {
    endpoints().into_iter().fold(Router::new(), |router, endpoint| {
        let guard = from_fn_with_state((site.clone(), endpoint.role), access::guard);
        router.route(endpoint.path, endpoint.handler.layer(guard))
    })
}

/// A body that must be JSON.
struct Json<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
        if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
            let what = "the body must be JSON: Content-Type: application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, what));
        }
        let Body(body) = Body::from_request(request, state).await?;
        let read = serde_json::from_slice(&body);
        read.map(Json).map_err(|error| Problem::bad(format!("the body: {error}")))
    }
}

/// An answer in JSON, which nobody may keep.
fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    match serde_json::to_vec(body) {
        Ok(body) => (status, headers, body).into_response(),
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn found(body: &impl Serialize) -> Response {
    answer(StatusCode::OK, body)
}

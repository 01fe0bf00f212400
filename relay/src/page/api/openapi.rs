//! The OpenAPI document, made from the endpoints' own table and types. It is served, and committed beside the
//! code; a test holds the two together.

use axum::http::StatusCode;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use service::http::problem;

use super::{Answer, Endpoint, endpoints};
use crate::config::page::Role;
use crate::page::params::{MOST_VALUES, Param};

/// The problems that every address may answer with: a wrong request, a missing login, a missing permission, a relay that
/// cannot answer now.
const ALWAYS: [StatusCode; 4] = [
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// The document.
pub(in crate::page) fn document() -> Value {
    // OpenAPI 3.1 contains plain JSON Schema; only the place of definitions differs.
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.for_serialize().into_generator();
    let problem: Value = generator.subschema_for::<problem::Body<'static>>().into();
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in endpoints() {
        let operation = operation(&endpoint, &problem, &mut generator);
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.as_str().to_lowercase()] = operation;
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "hal-relay",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The log of ops messages, their deliveries, and the rooms. Reading needs no token on the relay's \
                            own machine; reading from other machines, and every change, needs one.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn operation(endpoint: &Endpoint, problem: &Value, generator: &mut schemars::SchemaGenerator) -> Value {
    let mut parameters: Vec<Value> = endpoint.params.iter().copied().flatten().map(parameter).collect();
    if let Some((name, schema)) = endpoint.named {
        let schema = schema(generator);
        parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
    }
    if matches!(endpoint.answer, Answer::Events) {
        let schema = json!({"type": "string", "pattern": "^[0-9]{1,18}$"});
        let about = "The last sequence that was received; browsers send it by themselves.";
        parameters
            .push(json!({"name": "Last-Event-ID", "in": "header", "description": about, "schema": schema}));
    }
    let mut responses = Map::new();
    let (status, answer) = match endpoint.answer {
        Answer::Json(status, schema) => (
            status,
            json!({"description": reason(status), "content": {"application/json": {"schema": schema(generator)}}}),
        ),
        Answer::Events => {
            let stream = json!({"text/event-stream": {"schema": {"type": "string"}}});
            (StatusCode::OK, json!({"description": "The events, as they arrive", "content": stream}))
        }
        Answer::File(kinds) => {
            let each = kinds.iter().map(|kind| ((*kind).to_owned(), json!({"schema": {"type": "string"}})));
            let content: Map<String, Value> = each.collect();
            let is_lines = kinds == ["application/jsonl"];
            let about = if is_lines { "Lines of JSON, as they come" } else { "The file, as it is read" };
            (StatusCode::OK, json!({"description": about, "content": content}))
        }
        Answer::Nothing => (StatusCode::NO_CONTENT, json!({"description": "Done"})),
    };
    responses.insert(status.as_str().to_owned(), answer);
    let body: &[StatusCode] = match endpoint.body {
        Some(_) => &[StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNSUPPORTED_MEDIA_TYPE],
        None => &[],
    };
    for status in ALWAYS.iter().chain(endpoint.problems).chain(body) {
        let content = json!({ problem::KIND: { "schema": problem } });
        responses
            .insert(status.as_str().to_owned(), json!({"description": reason(*status), "content": content}));
    }
    // This answer comes from the HTTP library and has no body.
    responses.insert("414".into(), json!({"description": reason(StatusCode::URI_TOO_LONG)}));
    // Reading may need no token, on the relay's own machine.
    let security = match endpoint.role {
        Role::Viewer => json!([{}, {"token": []}]),
        Role::Operator => json!([{"token": []}]),
    };
    let mut operation = json!({
        "summary": endpoint.summary,
        "description": endpoint.about,
        "operationId": id(endpoint),
        "parameters": parameters,
        "responses": responses,
        "security": security,
        "x-role": endpoint.role.as_str(),
    });
    if let Some(schema) = endpoint.body {
        // The schema of a request differs from that of an answer: absent members have defaults.
        let mut settings = SchemaSettings::draft2020_12().for_deserialize();
        (settings.meta_schema, settings.inline_subschemas) = (None, true);
        let content = json!({"application/json": {"schema": schema(&mut settings.into_generator())}});
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    operation
}

fn parameter(param: &Param) -> Value {
    let schema = (param.schema)();
    let schema =
        if param.many { json!({"type": "array", "items": schema, "maxItems": MOST_VALUES}) } else { schema };
    let mut parameter = json!({
        "name": param.name,
        "in": "query",
        "required": param.required,
        "description": param.about,
        "schema": schema,
    });
    if param.many {
        parameter["explode"] = true.into();
    }
    parameter
}

/// `get_messages_id` for `GET /api/messages/{id}`.
fn id(endpoint: &Endpoint) -> String {
    let path = endpoint.path.trim_start_matches("/api/").replace(['/', '{', '}'], "_").replace("__", "_");
    format!("{}_{}", endpoint.method.as_str().to_lowercase(), path.trim_end_matches('_'))
}

fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or_default()
}

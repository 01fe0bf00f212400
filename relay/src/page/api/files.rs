//! `GET /api/files/{object}`: a picture or another file of a command's answer, or of a message. Only those: their bucket has files of the relay too.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use service::http::problem::Problem;
use tellhal::attached::{File, is_kept_name};

use super::exchange::Named;
use crate::bus::files::load_answer;
use crate::page::Site;

/// The name under which the bridge has kept a file.
const OBJECT: &str = "^answer-[0-9a-z-]{1,80}$";

/// The name of a kept file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Object(#[schemars(regex(pattern = OBJECT))] String);

pub(super) async fn file(State(site): State<Arc<Site>>, object: Named<Object>) -> Result<Response, Problem> {
    let object = object?.0;
    if !is_kept_name(&object.0) {
        return Err(Problem::bad(format!("the name of a file matches {OBJECT}")));
    }
    let _turn = site.answers.turn().await;
    let bus = &site.shared.bus;
    let gone = || Problem::new(StatusCode::NOT_FOUND, "there is no such file: they are kept for 30 days");
    let Ok(files) = bus.js.get_object_store(&bus.names.files_bucket()).await else { return Err(gone()) };
    let file = load_answer(&files, &object.0).await?.ok_or_else(gone)?;
    Ok(as_it_is(file))
}

/// A picture is shown, anything else is saved: no file of a program runs as a part of the page.
fn as_it_is(file: File) -> Response {
    let kind = file.media_type();
    let how = if kind.starts_with("image/") { "inline" } else { "attachment" };
    // RFC 6266 and RFC 8187.
    let name: String = file.name.bytes().map(percent).collect();
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, format!("{how}; filename*=UTF-8''{name}")),
        (header::CACHE_CONTROL, "private, max-age=86400, immutable".to_owned()),
    ];
    (headers, file.data).into_response()
}

fn percent(byte: u8) -> String {
    match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'.' | b'-' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pictures_are_shown() {
        let headers = |name: &str, data: &[u8]| {
            let response = as_it_is(File { name: name.into(), data: data.into(), object: String::new() });
            let text = |name| response.headers()[name].to_str().unwrap().to_owned();
            (text(header::CONTENT_TYPE), text(header::CONTENT_DISPOSITION))
        };
        let (kind, how) = headers("lo ad\".png", b"\x89PNG\r\n\x1a\n");
        assert_eq!((kind.as_str(), how.as_str()), ("image/png", "inline; filename*=UTF-8''lo%20ad%22.png"));
        let (kind, how) = headers("x.html", b"<script>");
        assert_eq!(
            (kind.as_str(), how.as_str()),
            ("application/octet-stream", "attachment; filename*=UTF-8''x.html")
        );
    }
}

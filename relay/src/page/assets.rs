//! The page's built-in files. Their address contains a hash of their contents, so that browsers may cache them for
//! ever and never mix two versions.

use std::sync::{Arc, LazyLock};

use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use tellhal::fingerprint::fingerprint;

use super::Site;
use service::http::problem::Problem;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("assets/", $name)))),*]
    };
}

const FILES: &[(&str, &str)] = files![
    "api.js",
    "commands.js",
    "copy.js",
    "dom.js",
    "explain.js",
    "feed.js",
    "filter.js",
    "icon-critical.svg",
    "icon.svg",
    "live.js",
    "message.js",
    "messages.js",
    "names.js",
    "page.css",
    "problems.js",
    "rooms.js",
    "routes.js",
    "story.js",
    "strip.js",
    "tell.js",
    "time.js",
    "timeline.js",
];

/// The address of the files' folder.
pub(super) static FOLDER: LazyLock<String> = LazyLock::new(|| {
    let texts: Vec<&[u8]> = FILES.iter().map(|(_, text)| text.as_bytes()).collect();
    format!("/assets/{}", &fingerprint(&texts)[..12])
});

/// The scripts that a script imports, directly or indirectly, so that a browser can load them all at once.
pub(super) fn imports(name: &str) -> Vec<&'static str> {
    let mut all = Vec::new();
    let mut next = vec![name];
    while let Some(name) = next.pop() {
        let Some((_, text)) = FILES.iter().find(|(file, _)| *file == name) else { continue };
        let from = text
            .lines()
            .filter(|line| line.starts_with("import "))
            .filter_map(|line| line.split_once("\"./").and_then(|(_, rest)| rest.split('"').next()));
        for name in from.filter_map(|name| FILES.iter().map(|(file, _)| *file).find(|file| *file == name)) {
            if !all.contains(&name) {
                all.push(name);
                next.push(name);
            }
        }
    }
    all.sort_unstable();
    all
}

pub(super) fn router() -> axum::Router<Arc<Site>> {
    axum::Router::new().route("/assets/{version}/{name}", axum::routing::get(file))
}

async fn file(Path((version, name)): Path<(String, String)>) -> Result<Response, Problem> {
    let file = FILES.iter().find(|(file, _)| *file == name);
    let (name, text) = file.ok_or_else(|| Problem::not_found("there is no such file"))?;
    let kind = match name.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        _ => "image/svg+xml",
    };
    // A page of another version gets the current file, but must not cache it.
    let ours = FOLDER.ends_with(&format!("/{version}"));
    let keep = if ours { "public, max-age=31536000, immutable" } else { "no-store" };
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, keep)];
    let text = if name.ends_with(".js") { without_comments(text) } else { (*text).to_owned() };
    let mut response = (headers, text).into_response();
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    Ok(response)
}

/// A script without the lines that are comments, a fifth of what browsers would load. The lines stay, so that the place of an
/// error is the same.
fn without_comments(text: &str) -> String {
    let is_comment = |line: &str| line.trim_start().starts_with("//");
    text.lines().flat_map(|line| [if is_comment(line) { "" } else { line }, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_left_out_and_lines_stay() {
        let script = "// a\nx = \"// b\";\n  // c\ny = 1; // d\n";
        assert_eq!(without_comments(script), "\nx = \"// b\";\n\ny = 1; // d\n");
    }

    #[test]
    fn every_script_in_the_folder_is_served_and_every_import_is_there() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/page/assets");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort();
        let served: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        assert_eq!(there, served);
        for (name, text) in FILES {
            let imports = text.lines().filter(|line| line.starts_with("import ")).count();
            assert!(imports <= super::imports(name).len(), "{name}");
        }
        assert!(super::imports("messages.js").contains(&"dom.js"));
    }
}

//! The HTML pages. Each is sent with its forms and headings, and its address alone determines what it shows; its script
//! fills it from the API.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use super::Site;
use super::access::{self, Caller, Credential};
use super::assets::{FOLDER, imports};
use super::guard::guard;
use super::params::{FILTER, HYPOTHETICAL, Param, Params, ROOM};
use crate::config::page::Role;
use service::http::problem::Problem;
use service::http::serve::Body;
use service::secret::Secret;

/// The parameters of an address, unchecked.
type Given = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// A page.
struct View {
    path: &'static str,
    title: &'static str,
    /// True for an entry of the navigation.
    listed: bool,
    script: &'static str,
    main: &'static str,
    /// The parameters of its address; others are refused, as by the API.
    params: &'static [&'static [Param]],
}

const VIEWS: &[View] = &[
    View {
        path: "/",
        title: "Messages",
        listed: true,
        script: "messages.js",
        main: include_str!("views/messages.html"),
        params: &[FILTER],
    },
    View {
        path: "/messages/{id}",
        title: "Message",
        listed: false,
        script: "message.js",
        main: include_str!("views/message.html"),
        params: &[],
    },
    View {
        path: "/problems",
        title: "Problems",
        listed: true,
        script: "problems.js",
        main: include_str!("views/problems.html"),
        params: &[],
    },
    View {
        path: "/rooms",
        title: "Rooms",
        listed: true,
        script: "rooms.js",
        main: include_str!("views/rooms.html"),
        params: &[ROOM],
    },
    View {
        path: "/sources",
        title: "Sources",
        listed: true,
        script: "names.js",
        main: include_str!("views/sources.html"),
        params: &[],
    },
    View {
        path: "/tags",
        title: "Tags",
        listed: true,
        script: "names.js",
        main: include_str!("views/tags.html"),
        params: &[],
    },
    View {
        path: "/commands",
        title: "Commands",
        listed: true,
        script: "commands.js",
        main: include_str!("views/commands.html"),
        params: &[],
    },
    View {
        path: "/explain",
        title: "Explain",
        listed: true,
        script: "explain.js",
        main: include_str!("views/explain.html"),
        params: &[HYPOTHETICAL],
    },
    View {
        path: "/tell",
        title: "Tell",
        listed: true,
        script: "tell.js",
        main: include_str!("views/tell.html"),
        params: &[],
    },
];

pub(super) fn router(site: &Arc<Site>) -> Router<Arc<Site>> {
    let guard = from_fn_with_state((site.clone(), Role::Viewer), guard);
    let views = VIEWS.iter().fold(Router::new(), |router, view| {
        let show = async |State(site): State<Arc<Site>>,
                          Extension(caller): Extension<Caller>,
                          query: Given,
                          address: Uri| {
            let query = query.map_err(Problem::from).and_then(|Query(query)| Params::new(query, view.params));
            let wrong = query.err().map(|problem| problem.detail().to_owned());
            let status = if wrong.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
            let query = address.query().unwrap_or_default();
            shown(status, &page(view, &site, &caller, query, wrong.as_deref()))
        };
        router.route(view.path, get(show))
    });
    views.route_layer(guard).route("/login", get(ask).post(login)).route("/logout", post(logout))
}

/// A response with a page. It must not be cached: it contains the name of the user.
fn shown(status: StatusCode, page: &str) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Html(page.to_owned())).into_response()
}

/// The page; without the view's script and contents if its address is wrong.
fn page(view: &View, site: &Site, caller: &Caller, query: &str, wrong: Option<&str>) -> String {
    let links = VIEWS.iter().filter(|view| view.listed).map(|listed| {
        let current = if listed.path == view.path { " aria-current=\"page\"" } else { "" };
        format!("<a href=\"{}\"{current}>{}</a>", listed.path, listed.title)
    });
    let links: Vec<String> = links.collect();
    let name = caller.name.as_deref().map(escape).unwrap_or_default();
    let session = match (&caller.name, caller.credential) {
        (Some(_), Credential::Cookie) => format!(
            "<form method=\"post\" action=\"/logout\">{name} <button class=\"quiet\">Log out</button></form>"
        ),
        (Some(_), _) => format!("<span>{name}</span>"),
        (None, _) if site.access.has_tokens() => "<a href=\"/login\">Log in</a>".to_owned(),
        (None, _) => String::new(),
    };
    let header = format!(
        "<nav aria-label=\"Views\">{}</nav>\n<p id=\"connection\" role=\"status\"></p>\n<div id=\"session\">{session}</div>\n{STRIP}",
        links.join("\n")
    );
    let needs = if let Credential::Local = caller.credential { "" } else { " data-needs=\"token\"" };
    let zone = site.shared.rooms.borrow().zone.clone();
    let data = format!("data-role=\"{}\" data-zone=\"{zone}\"{needs}", caller.role.as_str());
    match wrong {
        None => {
            frame(view.title, &scripts(&[view.script, STATE]), &data, &header, &unfolded(view.main, query))
        }
        Some(wrong) => {
            let wrong = format!(
                "<h1>{}</h1>\n<p role=\"alert\" class=\"wrong\">{}</p>\n<p><a href=\"{}\">Without parameters</a></p>\n",
                view.title,
                escape(wrong),
                view.path
            );
            frame(view.title, &scripts(&[STATE]), &data, &header, &wrong)
        }
    }
}

/// The state of everything, which its script fills in.
const STATE: &str = "strip.js";
const STRIP: &str = "<div id=\"strip\"><span id=\"health\" role=\"status\">…</span> <span id=\"last\"></span> \
                     <small id=\"zone\"></small></div>";

/// The elements that load these scripts and all that they import.
fn scripts(names: &[&str]) -> String {
    let imported: BTreeSet<&str> = names.iter().flat_map(|name| imports(name)).collect();
    let imported =
        imported.iter().map(|name| format!("<link rel=\"modulepreload\" href=\"{}/{name}\">", *FOLDER));
    let all =
        names.iter().map(|name| format!("<script type=\"module\" src=\"{}/{name}\"></script>", *FOLDER));
    imported.chain(all).collect::<Vec<String>>().join("\n")
}

/// Opens the fold of the filter's fields if the address uses one of them, so that the page does not jump later.
fn unfolded(main: &str, query: &str) -> String {
    let folded = ["tag=", "severity=", "status=", "source=", "host=", "key=", "since=", "until="];
    let used =
        |part: &str| folded.iter().any(|name| part.strip_prefix(name).is_some_and(|value| !value.is_empty()));
    match query.split('&').any(used) {
        true => main.replace("<details id=\"more\">", "<details id=\"more\" open>"),
        false => main.to_owned(),
    }
}

fn frame(title: &str, scripts: &str, data: &str, header: &str, main: &str) -> String {
    format!(
        r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title} · hal</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="{folder}/icon.svg">
<link rel="stylesheet" href="{folder}/page.css">
{scripts}
</head>
<body {data}>
<a class="skip" href="#main">Skip to the content</a>
<header>
<a class="brand" href="/">hal</a>
{header}
</header>
<main id="main" tabindex="-1">
<noscript><p class="note">This page needs JavaScript to show messages. <code>GET /api/messages</code> works without.</p></noscript>
{main}</main>
</body>
</html>
"##,
        folder = *FOLDER
    )
}

/// `GET /login`.
#[derive(Deserialize)]
struct Next {
    #[serde(default)]
    next: String,
}

async fn ask(State(site): State<Arc<Site>>, query: Result<Query<Next>, QueryRejection>) -> Response {
    let next = query.map(|Query(next)| next.next).unwrap_or_default();
    shown(StatusCode::OK, &login_page(&site, &next, None))
}

fn login_page(site: &Site, next: &str, wrong: Option<&str>) -> String {
    let wrong = wrong.map(|wrong| format!("<p role=\"alert\" class=\"wrong\">{}</p>\n", escape(wrong)));
    let form = match site.access.has_tokens() {
        true => include_str!("views/login.html").replace("{next}", &escape(local(next))),
        false => include_str!("views/no_tokens.html").to_owned(),
    };
    frame("Log in", "", "", "", &(wrong.unwrap_or_default() + &form))
}

/// The address to redirect to, if it is on this site. Browsers read `\` as `/` and skip tabs and line ends.
fn local(next: &str) -> &str {
    let odd = |c: char| c == '\\' || c.is_control();
    let ours = next.starts_with('/') && !next.starts_with("//") && !next.contains(odd);
    if ours { next } else { "/" }
}

#[derive(Deserialize)]
struct Login {
    #[serde(default)]
    token: String,
    #[serde(default)]
    next: String,
}

/// Handles the login form, which works without a script.
async fn login(
    State(site): State<Arc<Site>>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Problem> {
    access::same_origin(&headers)?;
    let login: Login =
        serde_urlencoded::from_bytes(&body).map_err(|error| Problem::bad(format!("the form: {error}")))?;
    let token = Secret::new(login.token.trim());
    let Some(caller) = site.access.holder(token.reveal(), Credential::Cookie) else {
        let page = login_page(&site, &login.next, Some("Unknown token."));
        return Ok(shown(StatusCode::UNAUTHORIZED, &page));
    };
    tracing::info!(name = caller.name, "logged in");
    let cookie = [(header::SET_COOKIE, access::keep(&token, &headers))];
    Ok((cookie, Redirect::to(local(&login.next))).into_response())
}

async fn logout(headers: HeaderMap) -> Result<Response, Problem> {
    access::same_origin(&headers)?;
    let cookie = [(header::SET_COOKIE, access::forget(&headers))];
    Ok((cookie, Redirect::to("/login")).into_response())
}

/// The answer for an unknown address, for a person or for a program.
pub(super) async fn not_found(headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accepts.is_some_and(|accept| accept.contains("text/html")) {
        let main = "<h1>Page not found</h1>\n<p>Go to the <a href=\"/\">messages</a>.</p>\n";
        return shown(StatusCode::NOT_FOUND, &frame("Page not found", "", "", "", main));
    }
    Problem::not_found("unknown address; the page is at /").into_response()
}

/// Text escaped for HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_site_are_redirected_to() {
        for ours in ["/", "/rooms?x=1", "/messages/seq-1"] {
            assert_eq!(local(ours), ours);
        }
        for other in [
            "",
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/a\nb",
            "/\t/evil.example",
            "javascript:x",
        ] {
            assert_eq!(local(other), "/");
        }
        assert_eq!(escape("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
    }
}

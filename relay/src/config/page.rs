//! `[page]`: the address of the page, and the access to it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderName;
use service::config::{KeyProblem, OneOrMany, Problem, listen_address};
use service::secret::{Pair, Secret};
use tellhal::tag::{is_token, legal_token};

use super::raw::{self, Checks, DEFAULT_LISTEN, Document};

/// The shortest token, in bytes: a shorter one could be guessed over a network.
pub const SHORTEST: usize = 16;

/// The address of the page, and the access to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub listen: SocketAddr,
    /// The role of requests from this machine that have no token; without one they are refused.
    pub loopback: Option<Role>,
    pub tokens: Vec<Token>,
    pub proxy: Option<Proxy>,
}

/// The rights of a user of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// May read.
    Viewer,
    /// May also send messages, and retry and drop dead letters.
    Operator,
}

/// A token that gives access to the page.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub name: String,
    pub role: Role,
    inline: Option<Secret>,
    file: Option<std::path::PathBuf>,
}

/// A reverse proxy that names the user of each request.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// The proxy's own addresses; the header is ignored in requests from others.
    pub addresses: Vec<IpAddr>,
    pub user_header: HeaderName,
    /// The users who are operators; all others are viewers.
    pub operators: BTreeSet<String>,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
        }
    }
}

impl Token {
    fn pair(&self) -> Pair<'_> {
        Pair::new("token", "token_file", &self.inline, &self.file)
    }

    /// The token itself, or the mistake in its settings.
    pub fn read(&self) -> Result<Secret, KeyProblem> {
        let pair = self.pair();
        if let Some(problem) = pair.required() {
            return Err(problem);
        }
        match pair.read()? {
            Some(secret) if secret.reveal().len() >= SHORTEST => Ok(secret),
            _ => {
                let what = format!("the token is shorter than {SHORTEST} characters");
                let key = if self.file.is_some() { "token_file" } else { "token" };
                Err(KeyProblem::new(key, what, "make one with: openssl rand -hex 24"))
            }
        }
    }
}

pub(super) fn check(checks: &mut Checks<'_>) -> Page {
    let documents = checks.documents;
    let settings = checks.only("page", |raw| raw.page.clone()).unwrap_or_default();
    let nowhere: SocketAddr = ([127, 0, 0, 1], 0).into();
    let Some(document) = documents.iter().find(|document| document.has("page") && !document.unreadable)
    else {
        let listen = DEFAULT_LISTEN.parse().unwrap_or(nowhere);
        return Page { listen, loopback: Some(Role::Viewer), tokens: Vec::new(), proxy: None };
    };
    let mut problems = Vec::new();
    let tokens = tokens(document, &settings.tokens, &mut problems);
    let proxy = settings.proxy.as_ref().and_then(|settings| proxy(document, settings, &mut problems));
    let listen = listen(document, &settings, &mut problems).unwrap_or(nowhere);
    checks.problems.extend(problems);
    let loopback = match settings.loopback.unwrap_or_default() {
        raw::Loopback::Viewer => Some(Role::Viewer),
        raw::Loopback::Operator => Some(Role::Operator),
        raw::Loopback::None => None,
    };
    Page { listen, loopback, tokens, proxy }
}

fn listen(document: &Document, settings: &raw::Page, problems: &mut Vec<Problem>) -> Option<SocketAddr> {
    let text = settings.listen.as_deref().unwrap_or(DEFAULT_LISTEN);
    let address = listen_address(text, DEFAULT_LISTEN)
        .map_err(|(what, hint)| problems.push(document.error("page.listen", what, hint)))
        .ok()?;
    if !address.ip().is_loopback() && settings.tokens.is_empty() && settings.proxy.is_none() {
        let what = format!(
            "{} is not on the loopback interface, and there are neither tokens nor a proxy",
            address.ip()
        );
        let hint = format!(
            "add [[page.tokens]] with name, role and token_file, or listen on 127.0.0.1:{} and use ssh -L",
            address.port()
        );
        problems.push(document.error("page.listen", what, hint));
    }
    Some(address)
}

fn tokens(document: &Document, entries: &[raw::PageToken], problems: &mut Vec<Problem>) -> Vec<Token> {
    let mut names = BTreeSet::new();
    let mut tokens = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        let key = |name: &str| format!("page.tokens[{i}].{name}");
        let name = entry.name.clone().unwrap_or_default();
        if entry.name.is_none() && document.has(&key("name")) {
            // The value is not a string, which is already in `problems`.
        } else if name.is_empty() {
            let hint = "add name = \"…\"; the log names the token's owner by it";
            problems.push(document.error(&format!("page.tokens[{i}]"), "name is missing", hint));
        } else if !is_token(&name) {
            let hint = format!("one word of A-Z a-z 0-9 _ -, such as {}", legal_token(&name));
            problems.push(document.error(
                &key("name"),
                format!("{name:?} is not a legal name for a token"),
                hint,
            ));
        } else if !names.insert(name.clone()) {
            let what = format!("another token has the name {name}");
            problems.push(document.error(&key("name"), what, "give one of them another name"));
        }
        let role = match entry.role {
            Some(raw::PageRole::Viewer) => Role::Viewer,
            Some(raw::PageRole::Operator) => Role::Operator,
            None if document.has(&key("role")) => Role::Viewer,
            None => {
                let hint = "role = \"viewer\" may read, role = \"operator\" may also send, retry and drop";
                problems.push(document.error(&format!("page.tokens[{i}]"), "role is missing", hint));
                Role::Viewer
            }
        };
        let token = Token { name, role, inline: entry.token.clone(), file: entry.token_file.clone() };
        if let Some(problem) = token.pair().required() {
            let place = if token.pair().is_set() { key(problem.key) } else { format!("page.tokens[{i}]") };
            problems.push(document.error(&place, problem.what, problem.hint));
        } else if let Err(problem) = token.read() {
            let warning = document.warning(&key(problem.key), problem.what, problem.hint);
            problems.push(Problem { at_start: true, ..warning });
        }
        tokens.push(token);
    }
    tokens
}

fn proxy(document: &Document, settings: &raw::Proxy, problems: &mut Vec<Problem>) -> Option<Proxy> {
    let mut addresses = Vec::new();
    for (end, text) in settings.addresses.iter().flat_map(OneOrMany::items) {
        match text.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => {
                let what = format!("{text:?} is not an IP address");
                let key = format!("page.proxy.addresses{end}");
                problems.push(document.error(&key, what, "write it without a port, such as 127.0.0.1"));
            }
        }
    }
    if settings.addresses.as_ref().is_none_or(OneOrMany::is_empty) {
        let hint = "addresses = \"127.0.0.1\": the addresses of the proxy's connections";
        problems.push(document.error("page.proxy", "addresses are missing", hint));
    }
    let Some(header) = &settings.user_header else {
        let hint = "user_header = \"X-Forwarded-User\": the header in which the proxy names the user";
        problems.push(document.error("page.proxy", "user_header is missing", hint));
        return None;
    };
    let Ok(user_header) = header.parse() else {
        let what = format!("{header:?} is not a header name");
        problems.push(document.error("page.proxy.user_header", what, "use letters, digits and -"));
        return None;
    };
    let operators = settings.operators.iter().flat_map(OneOrMany::items).map(|(_, user)| user.to_owned());
    Some(Proxy { addresses, user_header, operators: operators.collect() })
}

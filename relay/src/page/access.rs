//! Authentication and roles: a caller has a token (in `Authorization`, or in the cookie of the login page), a user name
//! from a reverse proxy, or a connection from this machine. Tokens are compared in constant time, and never appear in
//! an address or a log. A header that decides about access counts only if it is there once: of two, one may be the
//! caller's own, past a proxy that sets the other.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use cookie::{Cookie, SameSite};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::config::page::{Page, Proxy, Role};
use service::http::problem::Problem;
use service::secret::Secret;

const COOKIE: &str = "hal_token";
const COOKIE_DAYS: i64 = 30;
/// The longest user name a proxy may give, in characters.
const USER: usize = 100;

/// The authenticated sender of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// The token's name or the proxy's user; absent for a caller on this machine without a token.
    pub(super) name: Option<String>,
    pub(super) role: Role,
    pub(super) credential: Credential,
}

/// The kind of proof that a caller gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    /// A token in `Authorization`, which no browser sends by itself.
    Bearer,
    /// A token that the browser keeps until the user logs out.
    Cookie,
    /// A user name from the proxy.
    Proxy,
    /// A connection from this machine.
    Local,
}

/// The configured rules.
pub(super) struct Access {
    loopback: Option<Role>,
    tokens: Vec<Token>,
    proxy: Option<Proxy>,
}

struct Token {
    name: String,
    role: Role,
    /// Hash of the token: comparing hashes does not reveal the token's length either.
    hash: [u8; 32],
}

impl Access {
    /// Reads the tokens.
    pub(super) fn open(config: &Page) -> anyhow::Result<Self> {
        let tokens = config.tokens.iter().map(|token| {
            let secret = token.read()?;
            Ok(Token { name: token.name.clone(), role: token.role, hash: hash(secret.reveal()) })
        });
        Ok(Access {
            loopback: config.loopback,
            tokens: tokens.collect::<anyhow::Result<_>>()?,
            proxy: config.proxy.clone(),
        })
    }

    /// True if there is a token to log in with.
    pub(super) fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// The caller, or the reason why there is none.
    pub(super) fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> Result<Caller, Problem> {
        let peer = peer.to_canonical();
        let proxy = self.proxy.as_ref().filter(|proxy| proxy.addresses.contains(&peer));
        if let Some(value) = once(headers, &header::AUTHORIZATION)? {
            let token = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
            if let Some(caller) = token.and_then(|token| self.holder(token.trim(), Credential::Bearer)) {
                return Ok(caller);
            }
            // A proxy passes on the Authorization header that was meant for itself.
            if proxy.is_none() {
                return Err(Problem::new(StatusCode::UNAUTHORIZED, "unknown token"));
            }
        }
        if let Some(caller) = cookie(headers)?.and_then(|token| self.holder(&token, Credential::Cookie)) {
            return Ok(caller);
        }
        match proxy {
            Some(proxy) => proxied(proxy, headers),
            None => self.local(peer, headers),
        }
    }

    /// The holder of this token. Compares with all tokens, so that the time does not depend on the token.
    pub(super) fn holder(&self, token: &str, credential: Credential) -> Option<Caller> {
        let hash = hash(token);
        let mut holder = None;
        for token in &self.tokens {
            if bool::from(token.hash.ct_eq(&hash)) {
                holder = Some(Caller { name: Some(token.name.clone()), role: token.role, credential });
            }
        }
        holder
    }

    /// A caller on this machine. Only addresses and `localhost` are accepted in `Host`: any other name may belong to a
    /// foreign web page that makes it point here (DNS rebinding). A request that a proxy has passed on may come from any
    /// machine, wherever the proxy runs.
    fn local(&self, peer: IpAddr, headers: &HeaderMap) -> Result<Caller, Problem> {
        let denied = |what: &str| Err(Problem::new(StatusCode::UNAUTHORIZED, what));
        if !peer.is_loopback() {
            return denied("log in, or send a token: Authorization: Bearer …");
        }
        let Some(role) = self.loopback else {
            return denied(
                "log in, or send a token: without one, access is not allowed even from this machine",
            );
        };
        if let Some(name) = headers.keys().find(|name| is_of_proxy(name)) {
            return denied(&format!(
                "log in, or name the proxy's address in [page.proxy]: the header {name} says that a proxy has passed \
                 the request on"
            ));
        }
        if !once(headers, &header::HOST)?.is_none_or(is_address) {
            return denied("log in, or open the page by its IP address or as localhost");
        }
        Ok(Caller { name: None, role, credential: Credential::Local })
    }
}

fn proxied(proxy: &Proxy, headers: &HeaderMap) -> Result<Caller, Problem> {
    let user = once(headers, &proxy.user_header)?.and_then(|user| user.to_str().ok()).map(str::trim);
    let Some(user) = user.filter(|user| !user.is_empty() && user.chars().count() <= USER) else {
        let what = format!("the proxy gives no user name in the header {}", proxy.user_header);
        return Err(Problem::new(StatusCode::UNAUTHORIZED, what));
    };
    let role = if proxy.operators.contains(user) { Role::Operator } else { Role::Viewer };
    Ok(Caller { name: Some(user.to_owned()), role, credential: Credential::Proxy })
}

/// A header that decides about access, which is refused if it is there twice.
fn once<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Problem::bad(format!("the header {name} is given more than once"))),
    }
}

/// True for a header that proxies add to requests they pass on.
fn is_of_proxy(name: &HeaderName) -> bool {
    const NAMES: [&str; 6] =
        ["forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip"];
    name.as_str().starts_with("x-forwarded-") || NAMES.contains(&name.as_str())
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The token in the cookie of the login page. A page on another host of the same domain can add a cookie of this name.
fn cookie(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut ours = all.flat_map(Cookie::split_parse).flatten().filter(|cookie| cookie.name() == COOKIE);
    let Some(first) = ours.next() else { return Ok(None) };
    if ours.any(|other| other.value() != first.value()) {
        return Err(Problem::bad(format!(
            "there are several cookies {COOKIE}; remove them and log in again"
        )));
    }
    Ok(BASE64.decode(first.value()).ok().and_then(|token| String::from_utf8(token).ok()))
}

/// The cookie that keeps a token: for this site only, and not readable by scripts.
pub(super) fn keep(token: &Secret, headers: &HeaderMap) -> HeaderValue {
    set(BASE64.encode(token.reveal()), COOKIE_DAYS, headers)
}

/// The cookie that removes the token.
pub(super) fn forget(headers: &HeaderMap) -> HeaderValue {
    set(String::new(), 0, headers)
}

fn set(value: String, days: i64, headers: &HeaderMap) -> HeaderValue {
    // With Lax, a link from a chat room to this page brings the cookie along, a form on another site does not.
    let secure = headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https:"));
    let cookie = Cookie::build((COOKIE, value))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(secure)
        .max_age(time::Duration::days(days));
    HeaderValue::try_from(cookie.build().to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Checks that a request that changes something comes from our own page or not from a browser: browsers name the
/// origin of such requests.
pub(super) fn same_origin(headers: &HeaderMap) -> Result<(), Problem> {
    const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    let text = |name| once(headers, name).map(|value| value.map(|value| value.to_str().unwrap_or("?")));
    let host = text(&header::HOST)?;
    let ours = match (text(&SITE)?, text(&header::ORIGIN)?) {
        (Some(site), _) => site == "same-origin" || site == "none",
        (None, Some(origin)) => {
            let named = origin.split_once("://").map(|(_, host)| host);
            named.is_some() && named == host
        }
        (None, None) => true,
    };
    let what = "the request comes from a page of another site";
    if ours { Ok(()) } else { Err(Problem::new(StatusCode::FORBIDDEN, what)) }
}

fn is_address(host: &HeaderValue) -> bool {
    let Ok(host) = host.to_str() else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use service::config::Configuration as _;

    use crate::config::Config;

    const TOKENS: &str = r#"
        default_room = "page"
        [[page.tokens]]
        name = "wall"
        role = "viewer"
        token = "wall-0123456789abcdef"
        [[page.tokens]]
        name = "oncall"
        role = "operator"
        token = "oncall-0123456789abcdef"
    "#;
    const PROXY: &str = r#"
        [page.proxy]
        addresses = ["127.0.0.1", "10.0.0.2"]
        user_header = "X-Forwarded-User"
        operators = "alice"
    "#;

    fn access(text: &str) -> Access {
        let config = Config::from_texts(&[("relay.toml".into(), text.to_owned())]).unwrap();
        Access::open(&config.page).unwrap()
    }

    fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn caller(
        access: &Access,
        peer: &str,
        headers: &[(&'static str, &str)],
    ) -> Option<(Option<String>, Role)> {
        let caller = access.caller(peer.parse().unwrap(), &map(headers)).ok()?;
        Some((caller.name, caller.role))
    }

    fn named(name: &str, role: Role) -> Option<(Option<String>, Role)> {
        Some((Some(name.into()), role))
    }

    #[test]
    fn a_caller_on_another_machine_needs_a_token() {
        let access = access(TOKENS);
        let bearer = |token: &str| [("authorization", format!("Bearer {token}"))];
        let by = |token: &str| {
            let [(name, value)] = bearer(token);
            caller(&access, "10.0.0.9", &[(name, &value)])
        };
        assert_eq!(by("wall-0123456789abcdef"), named("wall", Role::Viewer));
        assert_eq!(by("oncall-0123456789abcdef"), named("oncall", Role::Operator));
        for wrong in ["", "wall", "wall-0123456789abcdeF", "wall-0123456789abcdef0"] {
            assert_eq!(by(wrong), None, "{wrong:?}");
        }
        assert_eq!(caller(&access, "10.0.0.9", &[]), None);
        assert_eq!(caller(&access, "127.0.0.1", &[]), Some((None, Role::Viewer)));
        assert_eq!(caller(&access, "::ffff:127.0.0.1", &[]), Some((None, Role::Viewer)));
        // A wrong token is refused even where no token is needed.
        assert_eq!(caller(&access, "127.0.0.1", &[("authorization", "Bearer x")]), None);
        assert_eq!(caller(&access, "127.0.0.1", &[("authorization", "Basic eDp4")]), None);
    }

    #[test]
    fn a_cookie_keeps_a_token_out_of_scripts_reach() {
        let access = access(TOKENS);
        let none = HeaderMap::new();
        let cookie = keep(&Secret::new("oncall-0123456789abcdef"), &none);
        let cookie = cookie.to_str().unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && !cookie.contains("Secure"));
        assert!(!cookie.contains("0123456789abcdef"));
        let pair = cookie.split(';').next().unwrap();
        let all = format!("theme=dark; {pair}");
        assert_eq!(caller(&access, "10.0.0.9", &[("cookie", &all)]), named("oncall", Role::Operator));
        assert_eq!(caller(&access, "10.0.0.9", &[("cookie", "hal_token=!!!; x")]), None);
        let https = HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_static("https://hal.example"))]);
        assert!(forget(&https).to_str().unwrap().contains("Secure"));
        assert!(forget(&https).to_str().unwrap().contains("Max-Age=0"));
    }

    #[test]
    fn a_proxy_is_believed_from_its_own_address_only() {
        let access = access(&(TOKENS.to_owned() + PROXY));
        let user = |peer: &str, user: &str| caller(&access, peer, &[("x-forwarded-user", user)]);
        assert_eq!(user("10.0.0.2", "alice"), named("alice", Role::Operator));
        assert_eq!(user("127.0.0.1", "bob"), named("bob", Role::Viewer));
        assert_eq!(user("10.0.0.3", "alice"), None);
        assert_eq!(user("10.0.0.2", " "), None);
        // Credentials for the proxy are ignored, but a token of the relay counts.
        let caller_with = |scheme: &str| {
            let headers = [("authorization", scheme), ("x-forwarded-user", "bob")];
            access.caller("10.0.0.2".parse().unwrap(), &map(&headers)).unwrap()
        };
        for (scheme, name, credential) in [
            ("Basic eDp4", "bob", Credential::Proxy),
            ("Bearer of-the-proxy", "bob", Credential::Proxy),
            ("Bearer wall-0123456789abcdef", "wall", Credential::Bearer),
        ] {
            let caller = caller_with(scheme);
            assert_eq!((caller.name.as_deref(), caller.credential), (Some(name), credential), "{scheme}");
        }
        // A caller through the proxy does not count as being on this machine.
        assert_eq!(caller(&access, "127.0.0.1", &[]), None);
        assert_eq!(caller(&access, "::1", &[]), Some((None, Role::Viewer)));
    }

    #[test]
    fn a_header_that_decides_about_access_is_refused_when_it_is_there_twice() {
        let access = access(&(TOKENS.to_owned() + PROXY));
        let refused = |headers: &[(&'static str, &str)]| {
            let problem = access.caller("10.0.0.2".parse().unwrap(), &map(headers)).unwrap_err();
            (problem.status(), problem.detail().to_owned())
        };
        for twice in [
            [("x-forwarded-user", "alice"), ("x-forwarded-user", "bob")],
            [("authorization", "Bearer wall-0123456789abcdef"), ("authorization", "Bearer x")],
            [("cookie", "hal_token=eA"), ("cookie", "hal_token=eQ")],
        ] {
            let (status, detail) = refused(&twice);
            assert_eq!(status, StatusCode::BAD_REQUEST, "{detail}");
        }
        let host = [("host", "127.0.0.1"), ("host", "evil.example")];
        assert_eq!(caller(&access, "::1", &host), None);
        let origin = [("host", "a"), ("origin", "http://a"), ("origin", "http://evil.example")];
        assert!(same_origin(&map(&origin)).is_err());
        let site = [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")];
        assert!(same_origin(&map(&site)).is_err());
    }

    #[test]
    fn what_a_proxy_passes_on_does_not_come_from_this_machine() {
        let access = access(&(TOKENS.to_owned() + PROXY));
        for header in ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"] {
            assert_eq!(caller(&access, "::1", &[(header, "10.0.0.9")]), None, "{header}");
        }
        let headers = [("x-forwarded-for", "10.0.0.9"), ("authorization", "Bearer wall-0123456789abcdef")];
        assert_eq!(caller(&access, "::1", &headers), named("wall", Role::Viewer));
        let headers = [("x-forwarded-for", "10.0.0.9"), ("x-forwarded-user", "alice")];
        assert_eq!(caller(&access, "127.0.0.1", &headers), named("alice", Role::Operator));
    }

    #[test]
    fn names_that_others_control_are_refused() {
        let hosts = [
            ("127.0.0.1:8480", true),
            ("127.0.0.1", true),
            ("[::1]:8480", true),
            ("LocalHost:80", true),
            ("10.0.0.5:8480", true),
            ("evil.example:8480", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example:8480", false),
            ("", false),
        ];
        let access = access("default_room = \"page\"");
        for (host, fine) in hosts {
            assert_eq!(caller(&access, "127.0.0.1", &[("host", host)]).is_some(), fine, "{host}");
        }
    }

    #[test]
    fn a_request_of_another_sites_page_is_refused() {
        let asked = |headers: &[(&'static str, &str)]| same_origin(&map(headers)).is_ok();
        let host = ("host", "127.0.0.1:8480");
        assert!(asked(&[host]));
        assert!(asked(&[host, ("origin", "http://127.0.0.1:8480")]));
        assert!(!asked(&[host, ("origin", "http://127.0.0.1:9999")]));
        assert!(!asked(&[host, ("origin", "null")]));
        assert!(!asked(&[host, ("origin", "https://evil.example")]));
        assert!(asked(&[host, ("origin", "https://hal.example"), ("sec-fetch-site", "same-origin")]));
        assert!(!asked(&[host, ("origin", "http://127.0.0.1:8480"), ("sec-fetch-site", "cross-site")]));
        assert!(!asked(&[host, ("sec-fetch-site", "same-site")]));
    }
}

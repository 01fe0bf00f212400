//! Contexts of the NATS CLI: `$XDG_CONFIG_HOME/nats/context/<name>.json`.

use std::path::PathBuf;

use serde::Deserialize;
use tellhal::address;
use tellhal::nats::{Login, NatsConfig, Urls};

use super::{FileConfig, Problem, place};

/// The keys of a context that concern the connection; the CLI has more.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Context {
    url: String,
    user: String,
    password: String,
    token: String,
    creds: String,
    nkey: String,
    cert: String,
    key: String,
    ca: String,
    inbox_prefix: String,
    jetstream_domain: String,
    jetstream_api_prefix: String,
    tls_first: bool,
    nsc: String,
    user_jwt: String,
    socks_proxy: String,
}

pub(super) fn read(name: &str) -> Result<(PathBuf, FileConfig), Problem> {
    let place = format!("context {name}");
    let hint = "nats context ls lists the contexts";
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(Problem::new(place, "is not the name of a context", hint));
    }
    let home = place::config_home();
    let home = home
        .ok_or_else(|| Problem::new(place.as_str(), "there is no home directory", "set XDG_CONFIG_HOME"))?;
    let path = home.join("nats/context").join(format!("{name}.json"));
    let text = tellhal::file::read_text(&path)
        .map_err(|error| Problem::new(format!("{place}: {}", path.display()), error.to_string(), hint))?;
    let context: Context = serde_json::from_str(&text).map_err(|error| {
        let place = format!("{}:{}", path.display(), error.line());
        Problem::new(place, "is not a NATS CLI context", "nats context edit writes one")
    })?;
    let shown = format!("{place}: {}", path.display());
    match context.problem() {
        Some((key, what, hint)) => Err(Problem::new(format!("{shown}: {key}"), what, hint)),
        None => Ok((path, context.into_config())),
    }
}

impl Context {
    /// A key that tellhal cannot do as the CLI does: without it the connection would be another one.
    fn problem(&self) -> Option<(&'static str, String, &'static str)> {
        let unknown = |key, value: &str, hint| {
            (!value.is_empty()).then(|| (key, "is not supported by tellhal".to_owned(), hint))
        };
        let mut urls = self.url.split(',').map(str::trim).filter(|url| !url.is_empty());
        urls.find_map(|url| Some(("url", address::problem(url)?, "nats context edit corrects it")))
            .or_else(|| unknown("nsc", &self.nsc, "name a file in creds"))
            .or_else(|| unknown("user_jwt", &self.user_jwt, "name a file in creds"))
            .or_else(|| unknown("socks_proxy", &self.socks_proxy, "use a server that is reached directly"))
    }

    fn into_config(self) -> FileConfig {
        let non_empty = |text: String| Some(text).filter(|text| !text.is_empty());
        let file = |text: String| non_empty(text).map(|text| expand(&text));
        let login = match (non_empty(self.user), non_empty(self.password), non_empty(self.token)) {
            (user @ Some(_), Some(secret), _) => Some(Login { user, secret }),
            // Like the CLI: a user without a password is a token.
            (Some(secret), None, _) | (None, _, Some(secret)) => Some(Login { user: None, secret }),
            (None, _, None) => None,
        };
        let nats = NatsConfig {
            url: non_empty(self.url).map(Urls::One),
            creds_file: file(self.creds),
            nkey_file: file(self.nkey),
            tls_ca: file(self.ca),
            tls_cert: file(self.cert),
            tls_key: file(self.key),
            tls_first: self.tls_first.then_some(true),
            inbox_prefix: non_empty(self.inbox_prefix),
            api_prefix: non_empty(self.jetstream_api_prefix)
                .or_else(|| non_empty(self.jetstream_domain).map(|domain| format!("$JS.{domain}.API"))),
            login,
            ..NatsConfig::default()
        };
        FileConfig { nats, ..FileConfig::default() }
    }
}

fn expand(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contexts_keys_become_ours() {
        let text = r#"{"description":"x","url":"nats://a:1,nats://b:2","user":"u","password":"p","creds":"","ca":"/ca","tls_first":true}"#;
        let context: Context = serde_json::from_str(text).unwrap();
        let nats = context.into_config().nats;
        assert_eq!(nats.servers(), ["nats://a:1", "nats://b:2"]);
        assert_eq!(nats.login, Some(Login { user: Some("u".into()), secret: "p".into() }));
        assert_eq!(nats.api(), "$JS.API");
        assert_eq!((nats.creds_file, nats.tls_ca), (None, Some("/ca".into())));
        assert_eq!(nats.tls_first, Some(true));
    }

    #[test]
    fn a_key_that_would_make_another_connection_is_refused() {
        let problem = |text: &str| serde_json::from_str::<Context>(text).unwrap().problem();
        assert_eq!(problem(r#"{"url":"nats://a:1, nats://b","nsc":"","color_scheme":"x"}"#), None);
        assert_eq!(problem(r#"{"nsc":"nsc://o/a/u"}"#).unwrap().0, "nsc");
        assert_eq!(problem(r#"{"socks_proxy":"h:1"}"#).unwrap().0, "socks_proxy");
        assert!(problem(r#"{"url":"nats://u:a/b@h"}"#).unwrap().1.contains("%2F"));
    }

    #[test]
    fn jetstream_is_asked_in_the_contexts_domain_or_under_its_prefix() {
        for (text, api) in [
            (r#"{"jetstream_domain":"hub"}"#, "$JS.hub.API"),
            (r#"{"jetstream_api_prefix":"from.other","jetstream_domain":""}"#, "from.other"),
        ] {
            let context: Context = serde_json::from_str(text).unwrap();
            assert_eq!(context.into_config().nats.api(), api);
        }
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        assert!(read("../../etc/passwd").is_err());
        assert!(read("").is_err());
    }
}

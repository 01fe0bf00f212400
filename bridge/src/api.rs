//! A server's HTTP API, asked once within bounds: its address, its credentials, and the errors of its answers in one line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use service::config::{KeyProblem, PATH};
use service::http::{Answer, Bounds, Call, Endpoint, Reach, address_problem};
use service::secret::{Pair, Secret};
use service::text::one_line;
use tokio::time::Instant;

/// The longest time for one answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// The largest answer, in bytes.
const LARGEST: usize = 4 << 20;

/// The address of an API and its credentials, as they are written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
pub(crate) struct Api {
    /// The server's address, such as `https://graphite.example.com`. A password may stand in it.
    #[serde(default)]
    url: Option<Secret>,
    /// A bearer token.
    #[serde(default)]
    token: Option<Secret>,
    /// A file with a bearer token.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    token_file: Option<PathBuf>,
    /// The user of a password.
    #[serde(default)]
    user: Option<String>,
    /// A password.
    #[serde(default)]
    password: Option<Secret>,
    /// A file with a password.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    password_file: Option<PathBuf>,
    /// A CA certificate to trust instead of the system's.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    tls_ca: Option<PathBuf>,
}

impl Api {
    pub(crate) fn problems(&self) -> Vec<KeyProblem> {
        let mut problems: Vec<KeyProblem> = match &self.url {
            None => vec![KeyProblem::new("url", "the address is missing", "url = \"https://…\"")],
            Some(url) => address_problem("url", url.reveal(), true).into_iter().collect(),
        };
        problems.extend(self.secrets().iter().filter_map(Pair::problem));
        let [token, password] = [self.token(), self.password()].map(|secret| secret.is_set());
        if token && password {
            let hint = "write either a token or a user and a password";
            problems.push(KeyProblem::new("user", "there is a token too", hint));
        }
        if password != self.user.is_some() {
            problems.push(KeyProblem::new("user", "a user and a password belong together", "write both"));
        }
        problems
    }

    pub(crate) fn secrets(&self) -> Vec<Pair<'_>> {
        vec![self.token(), self.password()]
    }

    fn token(&self) -> Pair<'_> {
        Pair::new("token", "token_file", &self.token, &self.token_file)
    }

    fn password(&self) -> Pair<'_> {
        Pair::new("password", "password_file", &self.password, &self.password_file)
    }

    pub(crate) fn tls_ca(&self) -> Option<&Path> {
        self.tls_ca.as_deref()
    }

    /// True if the address ends with a slash, which belongs to its path.
    pub(crate) fn is_folder(&self) -> bool {
        let url = self.url.as_ref().and_then(|url| reqwest::Url::parse(url.reveal()).ok());
        url.is_some_and(|url| url.path().ends_with('/'))
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.url.as_ref().is_some_and(|url| url.reveal().to_ascii_lowercase().starts_with("https:"))
    }

    /// The API, credentials read.
    pub(crate) fn endpoint(&self) -> anyhow::Result<Endpoint> {
        self.reached(false)
    }

    /// The same, with a new connection for each request.
    pub(crate) fn endpoint_anew(&self) -> anyhow::Result<Endpoint> {
        self.reached(true)
    }

    fn reached(&self, connects_anew: bool) -> anyhow::Result<Endpoint> {
        let url = self.url.as_ref().map(Secret::reveal).unwrap_or_default();
        let reach = Reach { tls_ca: self.tls_ca(), connects_anew, ..Reach::default() };
        let mut endpoint = Endpoint::new(url, &reach)?;
        if let Some(token) = self.token().read()? {
            endpoint.header("Authorization", &Secret::new(format!("Bearer {}", token.reveal())))?;
        }
        if let (Some(user), Some(password)) = (&self.user, self.password().read()?) {
            let pair = BASE64.encode(format!("{user}:{}", password.reveal()));
            endpoint.header("Authorization", &Secret::new(format!("Basic {pair}")))?;
        }
        Ok(endpoint)
    }
}

/// A question to an API.
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    pub(crate) path: Vec<&'a str>,
    pub(crate) query: Vec<(&'a str, &'a str)>,
    pub(crate) body: Vec<u8>,
}

impl Question<'_> {
    /// The whole answer, of any status.
    pub(crate) async fn ask(self, endpoint: &Endpoint) -> Result<Answer, String> {
        let Question { method, path, query, body } = self;
        let bounds = Bounds { deadline: Instant::now() + PATIENCE, rest: PATIENCE, limit: LARGEST };
        let call = Call { method, path, query, body, media_type: None, bounds };
        let answer = endpoint.call(call).await.map_err(|failure| failure.to_string())?;
        match answer.complete {
            true => Ok(answer),
            false => Err(endpoint.reason("the answer is larger than 4 MiB, or did not end in time")),
        }
    }
}

/// The reason in an answer that is an error, in one line, though it may be a page for people.
pub(crate) fn refusal(endpoint: &Endpoint, answer: &Answer) -> String {
    let text = without_tags(&answer.body);
    let what = format!("answered {}: {text}", answer.status);
    endpoint.reason(what.trim_end_matches([' ', ':']))
}

/// The text of a page in one line.
pub(crate) fn without_tags(html: &str) -> String {
    let is_page = html.trim_start().starts_with('<');
    if !is_page {
        return one_line(html);
    }
    let mut text = String::new();
    for piece in html.split('<') {
        let (tag, rest) = piece.split_once('>').unwrap_or(("", piece));
        let is_hidden = ["style", "script", "title"].iter().any(|name| tag.starts_with(name));
        if !is_hidden {
            text.push_str(rest);
            text.push(' ');
        }
    }
    one_line(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_of_one_kind_and_whole() {
        let keys = |toml: &str| {
            let problems = toml::from_str::<Api>(toml).unwrap().problems();
            problems.iter().map(|problem| problem.key).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(keys("url = 'http://graphite:8080'"), none);
        assert_eq!(keys("url = 'https://a.b'\ntoken = 'x'"), none);
        assert_eq!(keys("url = 'https://a.b'\nuser = 'u'\npassword_file = 'x'"), none);
        assert_eq!(keys(""), ["url"]);
        assert_eq!(keys("url = 'a.b'\nuser = 'u'"), ["url", "user"]);
        assert_eq!(keys("url = 'https://a.b'\ntoken = 'x'\nuser = 'u'\npassword = 'y'"), ["user"]);
    }

    #[test]
    fn a_page_is_one_line() {
        let page = "<!DOCTYPE html>\n<title>Oops</title><style>a { b }</style><h1>Server\nError</h1><p>disk &amp; full";
        assert_eq!(without_tags(page), "Server Error disk &amp; full");
        assert_eq!(without_tags("Invalid parameters (a < b)\n"), "Invalid parameters (a < b)");
    }
}

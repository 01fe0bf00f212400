//! One number of a PostgreSQL database, held against a threshold. Each look has a connection of its own and a transaction that cannot
//! write, is bounded in time, and reads two rows at most.

mod tls;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustls::ClientConfig;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use service::config::{KeyProblem, PATH};
use service::hidden::Hidden;
use service::secret::{Pair, Secret};
use service::text::{cut, one_line};
use tellhal::Timestamp;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::Error;

use self::tls::Tls;
use super::{Opening, Settings, Source};
use crate::api::PATIENCE;
use crate::monitor::observation::{Observation, Observed};
use crate::monitor::threshold::{Limits, Threshold};

/// The time that the server may take for the query: the connection has a part of the whole.
const STATEMENT: Duration = PATIENCE.checked_div(2).expect("two is not zero");
/// The most that an error shows of the server's words, in bytes.
const EXCERPT: usize = 200;

/// `[monitors.sql]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Config {
    /// The database, such as `postgres://monitor@db1.example.com/shop`. A password may stand in it. The connection is over TLS, unless the
    /// server is on this machine or the address ends with `?sslmode=disable`.
    #[serde(default)]
    url: Option<Secret>,
    /// The password.
    #[serde(default)]
    password: Option<Secret>,
    /// A file with the password.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    password_file: Option<PathBuf>,
    /// A CA certificate to trust instead of the system's.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    tls_ca: Option<PathBuf>,
    /// A `SELECT` that gives one row, whose first column is a number. No row, or null, is no data.
    #[serde(default)]
    query: Option<String>,
    #[serde(flatten)]
    limits: Limits,
}

impl Config {
    fn password(&self) -> Pair<'_> {
        Pair::new("password", "password_file", &self.password, &self.password_file)
    }

    /// The server without the password. The parser's error may show a part of the address, and is not shown.
    fn server(&self) -> Result<tokio_postgres::Config, KeyProblem> {
        let hint = "such as postgres://monitor@db1.example.com/shop";
        let Some(url) = &self.url else { return Err(KeyProblem::new("url", "the address is missing", hint)) };
        let is_url = ["postgres://", "postgresql://"].iter().any(|scheme| url.reveal().starts_with(scheme));
        let server = url.reveal().parse::<tokio_postgres::Config>().ok().filter(|_| is_url);
        let mut server =
            server.ok_or_else(|| KeyProblem::new("url", "it is not the address of a database", hint))?;
        let is_here = |host: &Host| match host {
            Host::Tcp(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
            Host::Unix(_) => true,
        };
        if server.get_ssl_mode() == SslMode::Prefer {
            let all_here = !server.get_hosts().is_empty() && server.get_hosts().iter().all(is_here);
            server.ssl_mode(if all_here { SslMode::Disable } else { SslMode::Require });
        }
        Ok(server)
    }
}

impl Settings for Config {
    fn problems(&self, clear: Option<f64>) -> Vec<KeyProblem> {
        let mut problems: Vec<KeyProblem> = self.password().problem().into_iter().collect();
        problems.extend(self.server().err());
        if self.query.as_deref().is_none_or(|query| query.trim().is_empty()) {
            let hint = "query = \"SELECT count(*) FROM jobs WHERE state = 'failed'\"";
            problems.push(KeyProblem::new("query", "the query is missing", hint));
        }
        problems.extend(self.limits.problems(clear));
        problems
    }

    fn secrets(&self) -> Vec<Pair<'_>> {
        vec![self.password()]
    }

    fn tls_ca(&self) -> Option<&Path> {
        self.tls_ca.as_deref()
    }

    fn open(&self, opening: &Opening) -> anyhow::Result<Box<dyn Source>> {
        let threshold = self.limits.threshold(opening.clear);
        let (mut server, mut hidden) = (self.server()?, Hidden::default());
        if let Some(password) = self.password().read()? {
            server.password(password.reveal());
        }
        if let Some(password) = server.get_password() {
            hidden.secret(&String::from_utf8_lossy(password));
        }
        server.connect_timeout(PATIENCE).application_name("hal-bridge");
        Ok(Box::new(Sql {
            tls: Arc::new(service::tls::client(self.tls_ca.as_deref())?),
            question: question(self.query.as_deref().unwrap_or_default()),
            threshold: threshold.ok_or_else(|| anyhow::anyhow!("there is no threshold"))?,
            server,
            hidden,
        }))
    }
}

/// The query as a part of one that gives two numbers at most: nothing else comes over the wire, whatever it selects.
fn question(query: &str) -> String {
    let query = query.trim().trim_end_matches(';');
    format!("SELECT monitored.value::float8 FROM (\n{query}\n) AS monitored(value) LIMIT 2")
}

struct Sql {
    server: tokio_postgres::Config,
    tls: Arc<ClientConfig>,
    question: String,
    threshold: Threshold,
    hidden: Hidden,
}

#[async_trait]
impl Source for Sql {
    async fn observe(&self, _memory: &Value, _now: Timestamp) -> Observation {
        let value = timeout(PATIENCE, self.value()).await;
        let value = value.unwrap_or_else(|_| Err("no answer in time".into()));
        match value {
            Ok(value) => {
                let readings = vec![self.threshold.reading(value.filter(|value| !value.is_nan()))];
                Ok(Observed { readings, ..Observed::default() })
            }
            Err(why) => Err(cut(&one_line(&self.hidden.hide(&why)), EXCERPT)),
        }
    }
}

impl Sql {
    async fn value(&self) -> Result<Option<f64>, String> {
        let connected = self.server.connect(Tls(self.tls.clone())).await;
        let (mut client, connection) = connected.map_err(|error| reason(&error))?;
        let asked = async {
            let transaction = client.build_transaction().read_only(true).start().await?;
            let bound = format!("SET LOCAL statement_timeout = {}", STATEMENT.as_millis());
            transaction.batch_execute(&bound).await?;
            transaction.query(&self.question, &[]).await
        };
        // The connection ends with this function.
        let rows = tokio::select! {
            rows = asked => rows.map_err(|error| reason(&error))?,
            _ = connection => return Err("the server has closed the connection".into()),
        };
        match rows.as_slice() {
            [] => Ok(None),
            [row] => row.try_get(0).map_err(|error| reason(&error)),
            _ => Err("the query gives more than one row".into()),
        }
    }
}

/// The server's own words, or the last cause of a failure.
fn reason(error: &Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("the server says: {}", error.message());
    }
    service::tls::refusal(error).unwrap_or_else(|| {
        let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
        causes.last().map(ToString::to_string).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(toml: &str) -> Config {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let keys = |toml: &str| -> Vec<&str> {
            config(toml).problems(None).iter().map(|problem| problem.key).collect()
        };
        let none: [&str; 0] = [];
        assert_eq!(keys("url = 'postgres://m@db1/shop'\nquery = 'SELECT 1'\nabove = 1"), none);
        assert_eq!(keys(""), ["url", "query", "above"]);
        assert_eq!(keys("url = 'mysql://db1/shop'\nquery = ' '\nabove = 1"), ["url", "query"]);
        let secret = config("url = 'postgres://m:s3cret@db1:port/shop'\nquery = 'SELECT 1'\nabove = 1");
        assert!(!format!("{:?}", secret.problems(None)).contains("s3cret"));
    }

    #[test]
    fn elsewhere_the_connection_is_over_tls() {
        for (url, mode) in [
            ("postgres://m@db1.example.com/shop", SslMode::Require),
            ("postgres://m@127.0.0.1,db1/shop", SslMode::Require),
            ("postgres://m@localhost/shop", SslMode::Disable),
            ("postgres:///shop?host=/run/postgresql", SslMode::Disable),
            ("postgres://m@db1/shop?sslmode=disable", SslMode::Disable),
        ] {
            assert_eq!(config(&format!("url = '{url}'")).server().unwrap().get_ssl_mode(), mode, "{url}");
        }
    }
}

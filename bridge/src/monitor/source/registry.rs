//! The kinds of monitors: settings by the name of the kind.

use service::config::KeyProblem;
use service::secret::unresolved;
use service::zone::Zone;

use super::{Settings, command, expect, graphite, http, logstash, prometheus, sql};

/// The settings of one monitor's source: `[monitors.KIND]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Config {
    Command(command::Config),
    Expect(expect::Config),
    Graphite(graphite::Config),
    Http(http::Config),
    Logstash(logstash::Config),
    Prometheus(prometheus::Config),
    Sql(sql::Config),
}

impl Config {
    /// The key of the table.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Config::Command(_) => "command",
            Config::Expect(_) => "expect",
            Config::Graphite(_) => "graphite",
            Config::Http(_) => "http",
            Config::Logstash(_) => "logstash",
            Config::Prometheus(_) => "prometheus",
            Config::Sql(_) => "sql",
        }
    }

    pub(crate) fn settings(&self) -> &dyn Settings {
        match self {
            Config::Command(config) => config,
            Config::Expect(config) => config,
            Config::Graphite(config) => config,
            Config::Http(config) => config,
            Config::Logstash(config) => config,
            Config::Prometheus(config) => config,
            Config::Sql(config) => config,
        }
    }

    /// Gives times of day that name no zone the one of all.
    pub(crate) fn in_zone(mut self, zone: &Zone) -> Config {
        if let Config::Expect(config) = &mut self {
            config.in_zone(zone);
        }
        self
    }

    /// The secrets and certificates that cannot be read now: a warning in `check`, an error in `run`.
    pub(crate) fn unresolved(&self) -> Vec<KeyProblem> {
        unresolved("hal-bridge", &self.settings().secrets(), self.settings().tls_ca())
    }
}

/// The tables of all kinds, of which a monitor has one.
#[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub(crate) struct Kinds {
    /// A check that a host runs, such as a plugin of Nagios, served by `tellhal serve`.
    command: Option<command::Config>,
    /// A message that should have come and has not.
    expect: Option<expect::Config>,
    /// Values of Graphite, held against a threshold.
    graphite: Option<graphite::Config>,
    /// A page or an API that must answer.
    http: Option<http::Config>,
    /// Documents of Elasticsearch or OpenSearch: their number held against a threshold, or each new one as a message.
    logstash: Option<logstash::Config>,
    /// Values of Prometheus, held against a threshold.
    prometheus: Option<prometheus::Config>,
    /// A number of a PostgreSQL database, held against a threshold.
    sql: Option<sql::Config>,
}

impl Kinds {
    /// The kinds that are written.
    pub(crate) fn written(&self) -> Vec<Config> {
        let Kinds { command, expect, graphite, http, logstash, prometheus, sql } = self;
        let all = [
            command.clone().map(Config::Command),
            expect.clone().map(Config::Expect),
            graphite.clone().map(Config::Graphite),
            http.clone().map(Config::Http),
            logstash.clone().map(Config::Logstash),
            prometheus.clone().map(Config::Prometheus),
            sql.clone().map(Config::Sql),
        ];
        all.into_iter().flatten().collect()
    }

    /// The names of all kinds.
    pub(crate) const NAMES: &[&str] =
        &["command", "expect", "graphite", "http", "logstash", "prometheus", "sql"];
}

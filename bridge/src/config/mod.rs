//! The bridge's configuration. Files, secrets, paths and reloads behave as in every service: see
//! [`service::config`].

mod chats;
mod commands;
mod devices;
mod graphs;
mod monitors;
mod mqtt;
mod named;
mod ntfy;
mod raw;
mod schedules;
mod webhooks;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use nkeys::KeyPair;
use service::config::{Configuration, Problem, listen_address};
use service::zone::Zone;
use tellhal::nats::NatsConfig;
use tellhal::nkey;
use tellhal::subject::DEFAULT_PREFIX;

use crate::bus::Settings;
use crate::chat::registry as chat;
use crate::command::policy::Policy;
use crate::graph::Graph;
use crate::monitor::Monitor;
use crate::schedule::job::Job;
use crate::webhook::intake;
use raw::{Checks, DEFAULT_HTTP, DEFAULT_TCP, File};

/// A configuration that can run.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The folder for messages while the bus cannot be reached.
    pub(crate) spool: PathBuf,
    pub(crate) nats: NatsConfig,
    /// Health and metrics.
    pub(crate) http: SocketAddr,
    /// The TCP port for old scripts, if it is wanted.
    pub(crate) tcp: Option<SocketAddr>,
    /// The people, and the rules of commands.
    pub(crate) policy: Policy,
    /// The chats whose commands are heard, by name.
    pub(crate) chats: BTreeMap<String, chat::Config>,
    /// The intakes of other systems' requests, by name.
    pub(crate) webhooks: BTreeMap<String, intake::Config>,
    /// The listener for what publishes to ntfy, if it is wanted.
    pub(crate) ntfy: Option<crate::webhook::ntfy::Config>,
    /// The syslog listeners, by name.
    pub(crate) syslog: BTreeMap<String, crate::device::syslog::config::Config>,
    /// The mail listeners, by name.
    pub(crate) mail: BTreeMap<String, crate::device::mail::config::Config>,
    /// The intakes of MQTT brokers' messages, by name.
    pub(crate) mqtt: BTreeMap<String, crate::mqtt::intake::Config>,
    pub(crate) monitors: Vec<Monitor>,
    /// The graphs, by name.
    pub(crate) graphs: BTreeMap<String, Graph>,
    /// In the environment `dev`, the only rooms that are heard and answered.
    pub(crate) dev_rooms: Option<Vec<String>>,
    /// The connection on which commands are asked, if it is another than `nats`.
    pub(crate) handlers: Option<NatsConfig>,
    pub(crate) signing_key: SigningKey,
    pub(crate) schedules: Vec<Job>,
    /// The zone of reminders.
    pub(crate) zone: Zone,
    /// The replicas and sizes of the streams.
    pub(crate) streams: Settings,
    /// Problems despite which it can be used.
    pub(crate) warnings: Vec<Problem>,
}

/// The file with the nkey seed that signs requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SigningKey {
    /// Named by the configuration; it must be there.
    Given(PathBuf),
    /// In the state folder; created when it is missing.
    Own(PathBuf),
}

impl SigningKey {
    /// Reads the key for the service, which creates its own.
    pub(crate) fn read_or_create(&self) -> anyhow::Result<KeyPair> {
        match self {
            SigningKey::Own(path) => nkey::read_or_create(path).with_context(|| path.display().to_string()),
            SigningKey::Given(_) => self.read(),
        }
    }

    /// Reads the key. A command of another user or with another state folder must not create one: it would be another key.
    pub(crate) fn read(&self) -> anyhow::Result<KeyPair> {
        let (SigningKey::Given(path) | SigningKey::Own(path)) = self;
        let hint = "hal-bridge run creates it, in its own $STATE_DIRECTORY, and logs the public key";
        anyhow::ensure!(path.exists(), "{} is not there: {hint}", path.display());
        nkey::read(path).with_context(|| path.display().to_string())
    }
}

impl Configuration for Config {
    type File = File;
    const SERVICE: &'static str = "hal-bridge";
    const LEAST: &'static str = "[tcp]";

    fn check(checks: &mut Checks<'_>) -> Self {
        let state_dir = checks.only("state_dir", |raw| raw.state_dir.clone());
        let spool = checks.only("spool", |raw| raw.spool.clone());
        let state_dir = service::config::state_dir::<Self>(state_dir.as_deref());
        let http = checks.only("http", |raw| raw.http.clone()).unwrap_or_default();
        let tcp = checks.only("tcp", |raw| raw.tcp.clone());
        let signing_key =
            checks.only("handlers.signing_key_file", |raw| raw.handlers.clone()?.signing_key_file);
        let own_key = || state_dir.clone().unwrap_or_else(|| "/var/lib/hal-bridge".into()).join("signing.nk");
        let handlers = checks.has("handlers.nats");
        let handlers = handlers.then(|| checks.nats_at("handlers.nats", |raw| raw.handlers.clone()?.nats));
        let mut nats = checks.nats(|raw| raw.nats.clone());
        let dev_rooms = chats::dev_rooms(checks, &mut nats);
        // Before the people, who may act for a schedule.
        let (schedules, zone) = schedules::check(checks);
        let policy = commands::check(checks);
        schedules::check_people(checks, &policy.people);
        // Before the monitors, which may show them.
        let graphs = graphs::check(checks, |raw| &raw.graphs);
        let prefix = nats.prefix.as_deref().unwrap_or(DEFAULT_PREFIX);
        let config = Config {
            signing_key: signing_key.map_or_else(|| SigningKey::Own(own_key()), SigningKey::Given),
            handlers,
            dev_rooms,
            schedules,
            zone: zone.clone(),
            streams: streams(checks),
            chats: chats::check(checks),
            mqtt: mqtt::check(checks, |raw| &raw.mqtt, prefix),
            webhooks: webhooks::check(checks, |raw| &raw.webhooks),
            ntfy: ntfy(checks),
            syslog: devices::syslog(checks, |raw| &raw.syslog),
            mail: devices::mail(checks, |raw| &raw.mail),
            monitors: monitors::check(checks, &graphs, &zone),
            graphs,
            spool: spool.unwrap_or_else(|| default_spool(state_dir.clone())),
            nats,
            http: listen(checks, "http.listen", http.listen, DEFAULT_HTTP, false),
            policy,
            tcp: tcp.map(|tcp| listen(checks, "tcp.listen", tcp.listen, DEFAULT_TCP, tcp.allow_remote)),
            warnings: Vec::new(),
        };
        one_port_each(checks, &config);
        config
    }

    fn warnings(&mut self) -> &mut Vec<Problem> {
        &mut self.warnings
    }

    fn state_dir_of(file: &File) -> Option<&PathBuf> {
        file.state_dir.as_ref()
    }
}

/// Refuses two listeners of this configuration on one address. Port 0 is any free one.
fn one_port_each(checks: &mut Checks<'_>, config: &Config) {
    let ntfy = config.ntfy.as_ref().map(|ntfy| ntfy.listen);
    let others = [("tcp.listen", config.tcp), ("ntfy.listen", ntfy)];
    let others = others.into_iter().filter_map(|(key, address)| Some((key, address?)));
    let mut taken = vec![("http.listen", config.http)];
    for (key, address) in others {
        let by = taken.iter().find(|(_, other)| *other == address && address.port() != 0);
        if let Some((by, _)) = by
            && let Some(document) = checks.owner(key).or_else(|| checks.owner(key.split('.').next()?))
        {
            let what = format!("{address} is also the address of {by}");
            checks.problems.push(document.error(key, what, "another port"));
        }
        taken.push((key, address));
    }
}

fn streams(checks: &mut Checks<'_>) -> Settings {
    Settings {
        replicas: checks.only("replicas", |raw| raw.replicas),
        audit: checks.size("streams.audit", |raw| raw.streams.audit.clone()),
        claims: checks.size("streams.claims", |raw| raw.streams.claims.clone()),
        memory: checks.size("streams.memory", |raw| raw.streams.memory.clone()),
    }
}

/// The listener for what publishes to ntfy.
fn ntfy(checks: &mut Checks<'_>) -> Option<crate::webhook::ntfy::Config> {
    let ntfy = checks.only("ntfy", |raw| raw.ntfy.clone())?;
    let (config, problems, at_start) = ntfy.checked();
    if let Some(document) = checks.owner("ntfy") {
        checks.take(document, "ntfy", problems, at_start);
    }
    Some(config)
}

/// The address of a listener, on the loopback interface unless `remote`.
fn listen(
    checks: &mut Checks<'_>,
    key: &str,
    text: Option<String>,
    default: &str,
    remote: bool,
) -> SocketAddr {
    let text = text.unwrap_or_else(|| default.into());
    let (what, hint) = match listen_address(&text, default) {
        Ok(address) if address.ip().is_loopback() || remote => return address,
        Ok(_) if key == "tcp.listen" => (
            format!("every machine that reaches {text} could send messages"),
            format!("write {default}, or allow_remote = true beside it"),
        ),
        Ok(_) => (
            format!("{text} is not on the loopback interface"),
            format!("write {default}, and put a proxy that asks for credentials in front of it"),
        ),
        Err(bad) => bad,
    };
    if let Some(document) = checks.owner(key) {
        checks.problems.push(document.error(key, what, hint));
    }
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// The folder that `TELLHAL_SPOOL` names, as for tellhal itself, else one in the state folder.
fn default_spool(state_dir: Option<PathBuf>) -> PathBuf {
    let named = std::env::var_os("TELLHAL_SPOOL").filter(|value| !value.is_empty()).map(PathBuf::from);
    named
        .or_else(|| state_dir.map(|folder| folder.join("spool")))
        .unwrap_or_else(|| "/var/lib/hal-bridge/spool".into())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn load(files: &[(&str, &str)]) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let folder = format!("{}/", dir.path().display());
        Config::load(dir.path()).map_err(|problems| problems.to_string().replace(&folder, ""))
    }

    #[test]
    fn an_empty_configuration_serves_only_health() {
        let config = load(&[("bridge.toml", "\u{feff}# nothing\r\n")]).unwrap();
        assert_eq!((config.http.to_string().as_str(), config.tcp), (DEFAULT_HTTP, None));
    }

    #[test]
    fn files_are_merged() {
        let config = load(&[
            ("a.toml", "spool = \"/s\"\n[nats]\nurl = \"nats://n:1\"\n"),
            ("b.toml", "[tcp]\n[http]\nlisten = \"127.0.0.1:1\"\n"),
            ("c.txt", "not ours"),
            (".d.toml", "neither = \"is this\""),
        ])
        .unwrap();
        assert_eq!(config.tcp.unwrap().to_string(), DEFAULT_TCP);
        assert_eq!(config.http.port(), 1);
        assert_eq!(config.nats.servers(), ["nats://n:1"]);
        assert_eq!(config.spool, Path::new("/s"));
    }

    #[test]
    fn remote_listeners_need_allow_remote() {
        let refused = load(&[("a.toml", "[tcp]\nlisten = \"0.0.0.0:1\"\n")]).unwrap_err();
        assert!(refused.starts_with("a.toml:2:10: error: tcp.listen: every machine"), "{refused}");
        assert!(load(&[("a.toml", "[tcp]\nlisten = \"0.0.0.0:1\"\nallow_remote = true\n")]).is_ok());
        assert!(load(&[("a.toml", "[http]\nlisten = \"0.0.0.0:1\"\n")]).is_err());
    }
}

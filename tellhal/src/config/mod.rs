//! The configuration: flags, then the environment, then `~/.config/tellhal/tellhal.toml`, then
//! `/etc/tellhal/tellhal.toml`, then a NATS CLI context. Each key comes from the first that has it.
//!
//! Loading always gives settings: even with a broken configuration the spool must be found, because a
//! message that cannot be sent must be kept. Each file is read once.

mod context;
mod file;
mod place;
mod problem;
mod serve;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tellhal::address;
use tellhal::nats::{NatsConfig, Urls};
use tellhal::tag::{is_token, legal_token};

pub(crate) use file::FileConfig;
pub(crate) use file::duration;
#[cfg(test)]
pub(crate) use file::parse as parse_file;
pub(crate) use file::read as read_file;
pub(crate) use place::{ALL_SPOOLS, prepare};
pub(crate) use problem::Problem;
pub(crate) use serve::{Arg, Serve, placeholder};

/// The time until a message is kept, counted from when it has been read.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// Sources that only the services may use.
const RESERVED: [&str; 2] = ["bridge", "relay"];
const MAX_SOURCE: usize = 63;

/// The options about the connection; each can also be set in the environment.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Flags {
    /// NATS server, or several with commas between [env: TELLHAL_URL]
    #[arg(long, global = true, value_name = "URL", help_heading = "Connection")]
    pub(crate) url: Option<String>,
    /// NATS CLI context for values that are not set elsewhere [env: TELLHAL_CONTEXT]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Connection")]
    pub(crate) context: Option<String>,
    /// Configuration file to read instead of ~/.config and /etc [env: TELLHAL_CONFIG]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    pub(crate) config: Option<PathBuf>,
    /// Folder that keeps messages while the server is away [env: TELLHAL_SPOOL]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Connection")]
    pub(crate) spool: Option<PathBuf>,
    /// One word that names this machine; the short host name if absent [env: TELLHAL_SOURCE]
    #[arg(long, global = true, value_name = "WORD", help_heading = "Connection", value_parser = legal_source)]
    pub(crate) source: Option<String>,
    /// Time limit for sending a message, such as 500ms or 5s; 2s if absent [env: TELLHAL_TIMEOUT]
    #[arg(long, global = true, value_name = "TIME", help_heading = "Connection", value_parser = file::duration)]
    pub(crate) timeout: Option<Duration>,
}

/// The configuration in force.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) nats: NatsConfig,
    /// `Err` gives the reason why there is no folder for a spool.
    pub(crate) spool: Result<PathBuf, String>,
    /// The user's own folder, for messages that the default spool cannot take.
    pub(crate) second_spool: Option<PathBuf>,
    pub(crate) source: String,
    pub(crate) host: String,
    pub(crate) timeout: Duration,
    /// The public keys of the bridges whose requests are taken.
    pub(crate) bridge_keys: Vec<String>,
    /// The chat commands that this machine answers.
    pub(crate) serve: Vec<Serve>,
    /// Files and contexts that were read.
    pub(crate) read: Vec<String>,
    /// Problems of the configuration. While there is one, messages are not sent.
    pub(crate) problems: Vec<Problem>,
}

impl Settings {
    /// The folders in which messages may wait.
    pub(crate) fn spools(&self) -> impl Iterator<Item = &Path> {
        self.spool.iter().chain(&self.second_spool).map(PathBuf::as_path)
    }

    /// The servers' addresses, without secrets.
    pub(crate) fn servers(&self) -> String {
        let servers = self.nats.servers();
        servers.iter().map(|url| tellhal::refusal::redact(url)).collect::<Vec<_>>().join(", ")
    }

    /// Every problem in one line, the first in full.
    pub(crate) fn broken(&self) -> Option<String> {
        let first = self.problems.first()?;
        Some(match self.problems.len() {
            1 => first.to_string(),
            n => format!("{first} (and {} more: tellhal check)", n - 1),
        })
    }
}

impl FileConfig {
    /// Checks the files that the configuration names.
    pub(crate) fn check_files(&self, place: &str) -> FileCheck {
        let mut check = check_files(&self.nats, place);
        if let Some(Err(what)) = self.source.as_deref().map(legal_source) {
            check.problems.push(Problem::new(format!("{place}: source"), what, "such as source = \"db1\""));
        }
        check
    }
}

impl Settings {
    /// Checks the files that the configuration names.
    pub(crate) fn check_files(&self) -> FileCheck {
        check_files(&self.nats, "nats")
    }
}

/// Problems of the files that a configuration names.
#[derive(Debug, Default)]
pub(crate) struct FileCheck {
    pub(crate) problems: Vec<Problem>,
    /// Problems that may not exist where the configuration is used, such as a file that is not there yet.
    pub(crate) warnings: Vec<Problem>,
}

fn check_files(nats: &NatsConfig, place: &str) -> FileCheck {
    let files = [
        ("creds_file", &nats.creds_file, true),
        ("nkey_file", &nats.nkey_file, true),
        ("token_file", &nats.token_file, true),
        ("password_file", &nats.password_file, true),
        ("tls_key", &nats.tls_key, true),
        ("tls_cert", &nats.tls_cert, false),
        ("tls_ca", &nats.tls_ca, false),
    ];
    let mut check = FileCheck::default();
    for (key, path, secret) in files {
        let Some(path) = path else { continue };
        let place = format!("{place}: {key} {}", path.display());
        match std::fs::metadata(path) {
            Err(error) => check.warnings.push(Problem::new(
                place,
                error.to_string(),
                "messages are spooled until it is there",
            )),
            Ok(meta) if secret && meta.mode() & 0o004 != 0 => {
                check.warnings.push(Problem::new(
                    place,
                    "can be read by everybody",
                    "chmod o-r keeps it secret",
                ));
            }
            Ok(_) => {}
        }
    }
    if let Some(path) = &nats.nkey_file
        && let Err(error) = tellhal::nkey::read(path)
        && error.kind() == std::io::ErrorKind::InvalidData
    {
        let place = format!("{place}: nkey_file {}", path.display());
        check.problems.push(Problem::new(place, error.to_string(), "tellhal nkey FILE makes a new one"));
    } else if check.warnings.is_empty()
        && let Err(error) = nats.options()
    {
        check.problems.push(Problem::new(place, error.to_string(), "tellhal --help shows a configuration"));
    }
    let doubtful = nats.servers().into_iter().filter_map(|url| address::warning(&url));
    let hint = "other NATS clients may read it differently";
    check.warnings.extend(doubtful.map(|what| Problem::new(format!("{place}: url"), what, hint)));
    check
}

/// Reads all layers.
pub(crate) fn load(flags: &Flags) -> Settings {
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut problems = Vec::new();
    let mut read = Vec::new();
    let explicit = flags.config.clone().or_else(|| env("TELLHAL_CONFIG").map(PathBuf::from));
    let mut config = from_flags(flags, env, &mut problems);

    for path in files(explicit.as_deref()) {
        match file::read(&path) {
            // An unreadable home, such as a HOME left over from another user, counts as having no file.
            Err(_) if explicit.is_none() && is_closed(&path) => {}
            Ok(Some(layer)) => {
                read.push(path.display().to_string());
                config.fill(layer);
            }
            Ok(None) if explicit.is_some() => {
                let what = "there is no such file";
                problems.push(Problem::new(
                    path.display().to_string(),
                    what,
                    "--config or TELLHAL_CONFIG names it",
                ));
            }
            Ok(None) => {}
            Err(in_file) => {
                read.push(path.display().to_string());
                problems.extend(in_file);
            }
        }
    }
    if let Some(name) = config.context.clone() {
        match context::read(&name) {
            Ok((path, layer)) => {
                read.push(path.display().to_string());
                config.fill(layer);
            }
            Err(problem) => problems.push(problem),
        }
    }
    settle(config, read, problems)
}

/// The values of flags and environment.
fn from_flags(
    flags: &Flags,
    env: impl Fn(&str) -> Option<String>,
    problems: &mut Vec<Problem>,
) -> FileConfig {
    let timeout = flags.timeout.map(|timeout| humantime::format_duration(timeout).to_string());
    let timeout = timeout.or_else(|| {
        let value = env("TELLHAL_TIMEOUT")?;
        match file::duration(&value) {
            Ok(_) => Some(value),
            Err(what) => {
                problems.push(Problem::new("TELLHAL_TIMEOUT", what, "such as 500ms or 5s"));
                None
            }
        }
    });
    let url = flags.url.clone().or_else(|| env("TELLHAL_URL"));
    let nats = NatsConfig { url: url.map(Urls::One), ..NatsConfig::default() };
    if nats.url.is_some() {
        let place = if flags.url.is_some() { "--url" } else { "TELLHAL_URL" };
        let bad = nats.servers().iter().find_map(|url| address::problem(url));
        problems.extend(bad.map(|what| Problem::new(place, what, "such as nats://127.0.0.1:4222")));
    }
    FileConfig {
        source: flags.source.clone().or_else(|| env("TELLHAL_SOURCE")),
        spool: flags.spool.clone().or_else(|| env("TELLHAL_SPOOL").map(PathBuf::from)),
        timeout,
        context: flags.context.clone().or_else(|| env("TELLHAL_CONTEXT")),
        nats,
        ..FileConfig::default()
    }
}

fn is_closed(path: &Path) -> bool {
    let folder = path.parent().map(std::fs::metadata);
    matches!(folder, Some(Err(error)) if error.kind() == std::io::ErrorKind::PermissionDenied)
}

fn files(explicit: Option<&Path>) -> Vec<PathBuf> {
    match explicit {
        Some(path) => vec![path.into()],
        None => {
            let own = place::config_home().map(|home| home.join("tellhal/tellhal.toml"));
            own.into_iter().chain([PathBuf::from("/etc/tellhal/tellhal.toml")]).collect()
        }
    }
}

fn settle(config: FileConfig, read: Vec<String>, mut problems: Vec<Problem>) -> Settings {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut source = source_of(&host);
    match config.source.as_deref().map(legal_source) {
        Some(Ok(configured)) => source = configured,
        // The machine's own name is used, so that messages kept meanwhile can be sent once this is corrected.
        Some(Err(what)) => {
            problems.push(Problem::new("source", what, "leave it out for the short host name"))
        }
        None => {}
    }
    if let Err(error) = config.nats.names() {
        problems.push(Problem::new("nats", error.to_string(), "leave it out for hal"));
    }
    let timeout = config.timeout.and_then(|timeout| file::duration(&timeout).ok());
    let (spool, second_spool) = config.spool.map_or_else(place::spools, |spool| (Ok(spool), None));
    Settings {
        nats: config.nats,
        spool,
        second_spool,
        source,
        host,
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
        bridge_keys: config.bridge_keys,
        serve: config.serve,
        read,
        problems,
    }
}

fn legal_source(text: &str) -> Result<String, String> {
    if is_token(text) && text.len() <= MAX_SOURCE && !RESERVED.contains(&text) {
        return Ok(text.into());
    }
    let right =
        format!("one word of A-Z a-z 0-9 _ -, at most {MAX_SOURCE} long, other than bridge and relay");
    Err(format!("{text:?} is not a source, which is {right}"))
}

/// The short host name as one token.
fn source_of(host: &str) -> String {
    let short = host.split('.').next().unwrap_or_default();
    let mut token = legal_token(short);
    token.truncate(MAX_SOURCE);
    match token.as_str() {
        "" => "unknown".into(),
        token if RESERVED.contains(&token) => format!("host-{token}"),
        _ => token,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_host_name_gives_a_legal_source() {
        let long = "x".repeat(200);
        for (host, want) in [
            ("db1", "db1"),
            ("db1.example.com", "db1"),
            ("", "unknown"),
            ("relay", "host-relay"),
            ("dé b", "d__b"),
        ] {
            assert_eq!(source_of(host), want);
        }
        assert_eq!(source_of(&long).len(), MAX_SOURCE);
    }

    #[test]
    fn flags_outrank_the_environment_and_a_bad_variable_is_named() {
        let env = |name: &str| match name {
            "TELLHAL_URL" => Some("nats://env".to_owned()),
            "TELLHAL_SOURCE" => Some("env".into()),
            "TELLHAL_TIMEOUT" => Some("soon".into()),
            _ => None,
        };
        let mut problems = Vec::new();
        let flags = Flags { source: Some("flag".into()), ..Flags::default() };
        let config = from_flags(&flags, env, &mut problems);
        assert_eq!(config.source.as_deref(), Some("flag"));
        assert_eq!(config.nats.servers(), ["nats://env"]);
        assert_eq!(problems[0].place, "TELLHAL_TIMEOUT");
    }
}

//! What tellhal runs under: flags, then the environment, then `~/.config/tellhal/tellhal.toml`, then
//! `/etc/tellhal/tellhal.toml`, then a NATS CLI context. Each key comes from the first that has it.
//!
//! Loading never gives up: a broken configuration still says where the spool is, because a message that
//! cannot be sent must be kept. Each file is read once.

mod context;
mod file;
mod place;

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tellhal::nats::{NatsConfig, Urls};
use tellhal::tag::{is_token, legal_token};

use file::FileConfig;
#[cfg(test)]
pub(crate) use file::parse as parse_file;
pub(crate) use file::read as read_file;
pub(crate) use place::{ALL_SPOOLS, prepare};

/// The time a message may take from the end of its reading until it is kept.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// Sources that only the services may use.
const RESERVED: [&str; 2] = ["bridge", "relay"];
const MAX_SOURCE: usize = 63;

/// What the command line says about the connection; the environment has the rest.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Flags {
    /// NATS server, or several with commas between [env: TELLHAL_URL]
    #[arg(long, global = true, value_name = "URL", help_heading = "Connection")]
    pub(crate) url: Option<String>,
    /// NATS CLI context that fills in what nothing else says [env: TELLHAL_CONTEXT]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Connection")]
    pub(crate) context: Option<String>,
    /// Configuration file to read instead of ~/.config and /etc [env: TELLHAL_CONFIG]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    pub(crate) config: Option<PathBuf>,
    /// Folder that keeps messages while the server is away [env: TELLHAL_SPOOL]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Connection")]
    pub(crate) spool: Option<PathBuf>,
    /// One word for this machine; the short host name if absent [env: TELLHAL_SOURCE]
    #[arg(long, global = true, value_name = "WORD", help_heading = "Connection", value_parser = legal_source)]
    pub(crate) source: Option<String>,
    /// Time for everything, such as 500ms or 5s; 2s if absent [env: TELLHAL_TIMEOUT]
    #[arg(long, global = true, value_name = "TIME", help_heading = "Connection", value_parser = file::duration)]
    pub(crate) timeout: Option<Duration>,
}

/// The configuration in force.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) nats: NatsConfig,
    /// `Err` says why there is no place for a spool.
    pub(crate) spool: Result<PathBuf, String>,
    pub(crate) source: String,
    pub(crate) host: String,
    pub(crate) timeout: Duration,
    /// Files and contexts that were read.
    pub(crate) read: Vec<String>,
    /// What is wrong with the configuration. Nothing may be sent while there is anything.
    pub(crate) problems: Vec<Problem>,
}

/// One thing that is wrong, with its place and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) place: String,
    pub(crate) what: String,
    pub(crate) hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.what, self.hint)
    }
}

impl Problem {
    pub(crate) fn new(place: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Problem { place: place.into(), what: what.into(), hint: hint.into() }
    }
}

impl Settings {
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
    /// What the files it names are like.
    pub(crate) fn look(&self, place: &str) -> Look {
        look(&self.nats, place)
    }
}

impl Settings {
    /// What the files it names are like.
    pub(crate) fn look(&self) -> Look {
        look(&self.nats, "nats")
    }
}

/// What is wrong with the files a configuration names.
#[derive(Debug, Default)]
pub(crate) struct Look {
    pub(crate) problems: Vec<Problem>,
    /// What may be right where the configuration will be used, such as a file that is not there yet.
    pub(crate) warnings: Vec<Problem>,
}

fn look(nats: &NatsConfig, place: &str) -> Look {
    let files = [
        ("creds_file", &nats.creds_file, true),
        ("nkey_file", &nats.nkey_file, true),
        ("token_file", &nats.token_file, true),
        ("password_file", &nats.password_file, true),
        ("tls_key", &nats.tls_key, true),
        ("tls_cert", &nats.tls_cert, false),
        ("tls_ca", &nats.tls_ca, false),
    ];
    let mut found = Look::default();
    for (key, path, secret) in files {
        let Some(path) = path else { continue };
        let place = format!("{place}: {key} {}", path.display());
        match std::fs::metadata(path) {
            Err(error) => found.warnings.push(Problem::new(
                place,
                error.to_string(),
                "messages are spooled until it is there",
            )),
            Ok(meta) if secret && meta.mode() & 0o004 != 0 => {
                found.warnings.push(Problem::new(
                    place,
                    "can be read by everybody",
                    "chmod o-r keeps it secret",
                ));
            }
            Ok(_) => {}
        }
    }
    if found.warnings.is_empty()
        && let Err(error) = nats.options()
    {
        found.problems.push(Problem::new(place, error.to_string(), "tellhal --help shows a configuration"));
    }
    found
}

/// Reads every layer.
pub(crate) fn load(flags: &Flags) -> Settings {
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut problems = Vec::new();
    let mut read = Vec::new();
    let explicit = flags.config.clone().or_else(|| env("TELLHAL_CONFIG").map(PathBuf::from));
    let mut config = said(flags, env, &mut problems);

    for path in files(explicit.as_deref()) {
        match file::read(&path) {
            // A home that is closed to us, such as a HOME left over from another user, says nothing to us.
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
                    "--config and TELLHAL_CONFIG name one",
                ));
            }
            Ok(None) => {}
            Err(found) => {
                read.push(path.display().to_string());
                problems.extend(found);
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

/// What flags and environment say.
fn said(flags: &Flags, env: impl Fn(&str) -> Option<String>, problems: &mut Vec<Problem>) -> FileConfig {
    let timeout = flags.timeout.map(|timeout| humantime::format_duration(timeout).to_string());
    let timeout = timeout.or_else(|| {
        let said = env("TELLHAL_TIMEOUT")?;
        match file::duration(&said) {
            Ok(_) => Some(said),
            Err(what) => {
                problems.push(Problem::new("TELLHAL_TIMEOUT", what, "such as 500ms or 5s"));
                None
            }
        }
    });
    let url = flags.url.clone().or_else(|| env("TELLHAL_URL"));
    FileConfig {
        source: flags.source.clone().or_else(|| env("TELLHAL_SOURCE")),
        spool: flags.spool.clone().or_else(|| env("TELLHAL_SPOOL").map(PathBuf::from)),
        timeout,
        context: flags.context.clone().or_else(|| env("TELLHAL_CONTEXT")),
        nats: NatsConfig { url: url.map(Urls::One), ..NatsConfig::default() },
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
        Some(Ok(said)) => source = said,
        // The machine's own name stands in, so that what is kept meanwhile can be sent once this is right.
        Some(Err(what)) => {
            problems.push(Problem::new("source", what, "leave it out for the short host name"))
        }
        None => {}
    }
    if let Err(error) = config.nats.names() {
        problems.push(Problem::new("nats", error.to_string(), "leave it out for hal"));
    }
    let timeout = config.timeout.and_then(|timeout| file::duration(&timeout).ok());
    Settings {
        nats: config.nats,
        spool: config.spool.map_or_else(place::spool, Ok),
        source,
        host,
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
        read,
        problems,
    }
}

fn legal_source(text: &str) -> Result<String, String> {
    if is_token(text) && text.len() <= MAX_SOURCE && !RESERVED.contains(&text) {
        return Ok(text.into());
    }
    let right = format!("one word of A-Z a-z 0-9 _ -, at most {MAX_SOURCE}, other than bridge and relay");
    Err(format!("{text:?} is no source, which is {right}"))
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
        let said = said(&flags, env, &mut problems);
        assert_eq!(said.source.as_deref(), Some("flag"));
        assert_eq!(said.nats.servers(), ["nats://env"]);
        assert_eq!(problems[0].place, "TELLHAL_TIMEOUT");
    }
}

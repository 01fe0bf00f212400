//! The bridge's configuration: read from a file or a folder of files, checked, every error at once.

mod walk;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tellhal::nats::NatsConfig;

const DEFAULT_HTTP: &str = "127.0.0.1:8481";
/// The original's port.
const DEFAULT_TCP: &str = "127.0.0.1:7890";

/// What the files say, before it is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    spool: Option<PathBuf>,
    nats: Option<NatsConfig>,
    http: Option<Http>,
    tcp: Option<Tcp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Http {
    listen: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Tcp {
    listen: Option<String>,
    allow_remote: bool,
}

/// A configuration that can run.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where messages wait while the bus cannot be reached.
    pub(crate) spool: PathBuf,
    pub(crate) nats: NatsConfig,
    /// Health and metrics.
    pub(crate) http: SocketAddr,
    /// The original's port, if it is wanted.
    pub(crate) tcp: Option<SocketAddr>,
    places: Places,
}

/// Where each key stands, by its dotted path.
type Places = BTreeMap<String, Place>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    file: PathBuf,
    /// Counted from 1; 0 for the file as a whole.
    line: usize,
}

/// One thing that is wrong, where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    place: Place,
    what: String,
    hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.place.file.display())?;
        if self.place.line > 0 {
            write!(f, ":{}", self.place.line)?;
        }
        write!(f, ": {} ({})", self.what, self.hint)
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the configuration is refused")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

impl Config {
    /// Reads `path`: a file, or a folder whose `*.toml` are merged.
    pub(crate) fn load(path: &Path) -> Result<Config, Problems> {
        let files = files(path).map_err(|problem| Problems(vec![problem]))?;
        let mut problems = Vec::new();
        let mut places = Places::new();
        let mut raw = Raw::default();
        for (file, text) in &files {
            let (part, found) = walk::read(file, text, &mut places);
            raw.take(part);
            problems.extend(found);
        }
        let config = raw.check(path, places, &mut problems);
        if problems.is_empty() {
            return Ok(config);
        }
        problems.sort();
        Err(Problems(problems))
    }

    /// Credentials that cannot be read. They may be there only for the service, so this is no error for `check`.
    pub(crate) fn secrets_missing(&self) -> Vec<Problem> {
        let Err(bad) = self.nats.options() else { return Vec::new() };
        let hint = "the file must be there and readable for the user that runs the bridge".into();
        let place = place_of(&self.places, &format!("nats.{}", bad.key), Path::new(""));
        vec![Problem { place, what: format!("nats.{bad}"), hint }]
    }
}

impl Raw {
    /// Adds another file's part. What stands in two files is refused anyway; here the first one counts.
    fn take(&mut self, part: Raw) {
        self.spool = self.spool.take().or(part.spool);
        self.nats = self.nats.take().or(part.nats);
        self.http = self.http.take().or(part.http);
        self.tcp = self.tcp.take().or(part.tcp);
    }

    fn check(self, path: &Path, places: Places, problems: &mut Vec<Problem>) -> Config {
        let mut listen = |key: &str, text: Option<String>, default: &str, remote: bool| {
            let text = text.unwrap_or_else(|| default.into());
            let what = match text.parse::<SocketAddr>() {
                Ok(addr) if addr.ip().is_loopback() || remote => return addr,
                Ok(_) if key == "tcp.listen" => (
                    format!("{key}: anybody who reaches {text} could send messages"),
                    format!("{default}, or allow_remote = true beside it"),
                ),
                Ok(_) => (
                    format!("{key}: {text} is not on the loopback interface"),
                    format!("{default}, with a proxy in front of it that asks for credentials"),
                ),
                Err(_) => {
                    (format!("{key}: {text:?} is not an address and a port"), format!("such as {default}"))
                }
            };
            problems.push(Problem { place: place_of(&places, key, path), what: what.0, hint: what.1 });
            SocketAddr::from(([127, 0, 0, 1], 0))
        };
        let http = listen("http.listen", self.http.and_then(|http| http.listen), DEFAULT_HTTP, false);
        let tcp = self.tcp.map(|tcp| listen("tcp.listen", tcp.listen, DEFAULT_TCP, tcp.allow_remote));
        let nats = self.nats.unwrap_or_default();
        if let Err(bad) = nats.names() {
            let place = place_of(&places, &format!("nats.{}", bad.key), path);
            problems.push(Problem { place, what: format!("nats.{bad}"), hint: "prefix = \"hal\"".into() });
        }
        Config { spool: self.spool.unwrap_or_else(default_spool), nats, http, tcp, places }
    }
}

fn place_of(places: &Places, key: &str, otherwise: &Path) -> Place {
    let table = key.split('.').next().unwrap_or(key);
    let place = places.get(key).or_else(|| places.get(table));
    place.cloned().unwrap_or_else(|| Place { file: otherwise.into(), line: 0 })
}

/// The variable that tellhal obeys, then systemd's state folder, then the user's.
fn default_spool() -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = || folder("HOME").map(|home| home.join(".local/state"));
    folder("TELLHAL_SPOOL")
        .or_else(|| folder("STATE_DIRECTORY").map(|dir| dir.join("spool")))
        .or_else(|| folder("XDG_STATE_HOME").or_else(state).map(|dir| dir.join("hal-bridge/spool")))
        .unwrap_or_else(|| "/var/lib/hal-bridge/spool".into())
}

fn files(path: &Path) -> Result<Vec<(PathBuf, String)>, Problem> {
    let whole = |path: &Path, what: String, hint: &str| Problem {
        place: Place { file: path.into(), line: 0 },
        what,
        hint: hint.into(),
    };
    let unreadable = |path: &Path, error: std::io::Error| {
        whole(path, error.to_string(), "--config names a file or a folder of *.toml")
    };
    let mut paths = vec![path.to_owned()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| unreadable(path, error))?;
        paths = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "toml"));
        paths.sort();
        if paths.is_empty() {
            return Err(whole(path, "the folder has no *.toml".into(), "an empty bridge.toml would do"));
        }
    }
    let read = |path: PathBuf| match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(error) => Err(unreadable(&path, error)),
    };
    paths.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(files: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let shown =
            |problem: &Problem| problem.to_string().replace(&format!("{}/", dir.path().display()), "");
        Config::load(dir.path()).map_err(|problems| problems.0.iter().map(shown).collect())
    }

    #[test]
    fn an_empty_file_is_a_bridge_that_listens_nowhere_but_for_health() {
        let config = load(&[("bridge.toml", "\u{feff}# nothing\r\n")]).unwrap();
        assert_eq!((config.http.to_string().as_str(), config.tcp), (DEFAULT_HTTP, None));
    }

    #[test]
    fn files_are_merged() {
        let config = load(&[
            ("a.toml", "spool = \"/s\"\n[nats]\nurl = \"nats://n:1\"\n"),
            ("b.toml", "[tcp]\n[http]\nlisten = \"127.0.0.1:1\"\n"),
            ("c.txt", "not ours"),
        ])
        .unwrap();
        assert_eq!(config.tcp.unwrap().to_string(), DEFAULT_TCP);
        assert_eq!(config.http.port(), 1);
        assert_eq!(config.nats.servers(), ["nats://n:1"]);
        assert_eq!(config.spool, Path::new("/s"));
    }

    #[test]
    fn every_error_is_told_with_file_line_and_hint() {
        let problems = load(&[
            (
                "a.toml",
                "sppol = 1\n\n[nats]\nurl = 7\nprefix = \"a.b\"\n\n[tcp]\nlisten = \"0.0.0.0:7890\"\n",
            ),
            ("b.toml", "[nats]\ncreds = \"x\"\n[http]\nlisten = \"8481\"\n"),
            ("c.toml", "[http\n"),
        ])
        .unwrap_err();
        let text = problems.join("\n");
        for want in [
            "a.toml:1: sppol is an unknown key (did you mean spool?)",
            "a.toml:4: nats.url",
            "a.toml:5: nats.prefix",
            "b.toml:1: nats stands in two files",
            "b.toml:2: nats.creds is an unknown key (did you mean creds_file?)",
            "b.toml:4: http.listen: \"8481\" is not an address and a port (such as 127.0.0.1:8481)",
            "c.toml:1: ",
        ] {
            assert!(text.contains(want), "{want} in\n{text}");
        }
    }

    #[test]
    fn only_the_loopback_interface_unless_it_is_meant() {
        let refused = load(&[("a.toml", "[tcp]\nlisten = \"0.0.0.0:1\"\n")]).unwrap_err();
        assert!(refused[0].starts_with("a.toml:2: tcp.listen: anybody"), "{refused:?}");
        assert!(load(&[("a.toml", "[tcp]\nlisten = \"0.0.0.0:1\"\nallow_remote = true\n")]).is_ok());
        assert!(load(&[("a.toml", "[http]\nlisten = \"0.0.0.0:1\"\n")]).is_err());
    }

    #[test]
    fn missing_credentials_are_named() {
        let config = load(&[("a.toml", "[nats]\ncreds_file = \"/nowhere/x.creds\"\n")]).unwrap();
        let missing = config.secrets_missing();
        assert!(
            missing[0].to_string().contains("a.toml:2: nats.creds_file: /nowhere/x.creds"),
            "{missing:?}"
        );
    }
}

//! `tellhal.toml`: read in one go when it is right. When it is wrong, each key is checked, so that all
//! problems are reported at once, each with its line and a hint.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tellhal::nats::NatsConfig;
use tellhal::{address, nearest};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Problem, Serve};

/// tellhal's configuration. Every key may be absent; options and environment variables outrank it.
// Also what the command line says, and a NATS CLI context.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "tellhal.toml")]
pub(crate) struct FileConfig {
    /// One word that names this machine in its messages; the short host name when absent. Credentials may allow no other.
    pub(super) source: Option<String>,
    /// A folder that keeps messages while the server is away; a folder of the user's own when absent, in the package's
    /// `/var/spool/tellhal` if that is there.
    #[schemars(extend("format" = "path"))]
    pub(super) spool: Option<PathBuf>,
    /// The time until a message that cannot be sent is kept, at most a day; `2s` when absent.
    pub(super) timeout: Option<String>,
    /// A context of the NATS CLI for values that are not set elsewhere.
    pub(super) context: Option<String>,
    /// The connection to the NATS server.
    pub(super) nats: NatsConfig,
    /// The public keys of the bridges whose chat commands are answered, as `hal-bridge key` prints them.
    // Not shown in errors: it may be a seed by mistake.
    #[schemars(extend("writeOnly" = true))]
    pub(super) bridge_keys: Vec<String>,
    /// The chat commands that `tellhal serve` answers on this machine.
    pub(super) serve: Vec<Serve>,
}

impl FileConfig {
    /// Makes relative paths relative to `folder`, that of the file they stand in.
    fn resolve(&mut self, folder: &Path) {
        let FileConfig { spool, nats, .. } = self;
        let secrets =
            [&mut nats.creds_file, &mut nats.nkey_file, &mut nats.token_file, &mut nats.password_file];
        let certificates = [&mut nats.tls_ca, &mut nats.tls_cert, &mut nats.tls_key];
        for path in secrets.into_iter().chain(certificates).chain([spool]).flatten() {
            *path = folder.join(&path);
        }
    }

    /// Takes missing values from `below`. Credentials are one value: those of two layers are not mixed.
    pub(super) fn fill(&mut self, below: FileConfig) {
        let FileConfig { source, spool, timeout, context, nats, bridge_keys, serve } = below;
        self.source = self.source.take().or(source);
        self.spool = self.spool.take().or(spool);
        self.timeout = self.timeout.take().or(timeout);
        self.context = self.context.take().or(context);
        if self.bridge_keys.is_empty() {
            self.bridge_keys = bridge_keys;
        }
        if self.serve.is_empty() {
            self.serve = serve;
        }
        let ours = &mut self.nats;
        if !ours.has_credentials() && ours.login.is_none() {
            ours.creds_file = nats.creds_file;
            ours.nkey_file = nats.nkey_file;
            ours.token_file = nats.token_file;
            ours.user = nats.user;
            ours.password_file = nats.password_file;
            ours.login = nats.login;
        }
        if ours.tls_cert.is_none() && ours.tls_key.is_none() {
            (ours.tls_cert, ours.tls_key) = (nats.tls_cert, nats.tls_key);
        }
        ours.url = ours.url.take().or(nats.url);
        ours.prefix = ours.prefix.take().or(nats.prefix);
        ours.tls_ca = ours.tls_ca.take().or(nats.tls_ca);
        ours.tls_first = ours.tls_first.or(nats.tls_first);
        ours.inbox_prefix = ours.inbox_prefix.take().or(nats.inbox_prefix);
        ours.api_prefix = ours.api_prefix.take().or(nats.api_prefix);
    }
}

/// The file at `path`; `None` when there is none.
pub(crate) fn read(path: &Path) -> Result<Option<FileConfig>, Vec<Problem>> {
    let shown = path.display().to_string();
    let failed = |error: std::io::Error| {
        vec![Problem::new(shown.as_str(), error.to_string(), "it must be a readable file in UTF-8")]
    };
    match path.metadata() {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        // A parent that is a file cannot hold a configuration.
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    if let Some((what, hint)) = tellhal::file::open_to_all(path) {
        return Err(vec![Problem::new(shown, what, hint)]);
    }
    let text = tellhal::file::read_text(path).map_err(failed)?;
    let mut config = parse(&shown, &text)?;
    config.resolve(path.parent().unwrap_or(Path::new("")));
    Ok(Some(config))
}

/// The configuration in `text`, or all its problems.
pub(crate) fn parse(path: &str, text: &str) -> Result<FileConfig, Vec<Problem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Ok(config) = toml::from_str::<FileConfig>(text)
        && config.timeout.as_deref().is_none_or(|timeout| duration(timeout).is_ok())
        && config.nats.servers().iter().all(|url| address::problem(url).is_none())
        && config.serve.is_empty()
        && config.bridge_keys.is_empty()
    {
        return Ok(config);
    }
    let problems = walk(path, text);
    match toml::from_str::<FileConfig>(text) {
        Ok(config) if problems.is_empty() => Ok(config),
        Err(error) if problems.is_empty() => {
            Err(vec![Problem::new(path, error.message().to_owned(), "tellhal --help shows a configuration")])
        }
        _ => Err(problems),
    }
}

/// A time such as `500ms` or `1h`, longer than zero and at most a day.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => Err(format!("{text:?} is not longer than zero")),
        Ok(time) if time > Duration::from_secs(86_400) => Err(format!("{text:?} is longer than a day")),
        Ok(time) => Ok(time),
        Err(error) => Err(format!("{text:?} is not a time: {error}")),
    }
}

/// The commands of a file that may have mistakes elsewhere.
#[derive(Clone, Debug, Default, Deserialize)]
struct Served {
    #[serde(default)]
    serve: Vec<toml::Value>,
}

type Check = fn(&DeValue) -> Result<(), String>;

/// Every key with the check of its value and an example for the hint.
const TOP: [(&str, Check, &str); 7] = [
    ("source", text, "source = \"db1\""),
    ("spool", text, "spool = \"/var/spool/tellhal/0\""),
    ("timeout", time, "timeout = \"2s\""),
    ("context", text, "context = \"prod\""),
    ("nats", table, "[nats]"),
    ("bridge_keys", keys, "bridge_keys = [\"UA…\"], which hal-bridge key prints"),
    ("serve", tables, "[[serve]]"),
];
const SERVE: [(&str, Check, &str); 5] = [
    ("name", text, "name = \"deploy\""),
    ("exec", words, "exec = [\"/usr/local/bin/deploy\", \"{target}\"]"),
    ("help", any_text, "help = \"deploys the web servers\""),
    ("describe", flag, "describe = true"),
    ("args", tables, "args = [{ name = \"target\" }]"),
];
const ARG: [(&str, Check, &str); 4] = [
    ("name", text, "name = \"target\""),
    ("one_of", words, "one_of = [\"staging\", \"production\"]"),
    ("default", any_text, "default = \"staging\""),
    ("dashes", flag, "dashes = true"),
];
const NATS: [(&str, Check, &str); 12] = [
    ("url", urls, "url = \"nats://127.0.0.1:4222\", or a list of them"),
    ("prefix", token, "prefix = \"hal\""),
    ("creds_file", text, "creds_file = \"/etc/tellhal/host.creds\""),
    ("nkey_file", text, "nkey_file = \"/etc/tellhal/host.nk\""),
    ("token_file", text, "token_file = \"/etc/tellhal/token\""),
    ("user", text, "user = \"db1\", with password_file"),
    ("password_file", text, "password_file = \"/etc/tellhal/password\""),
    ("tls_ca", text, "tls_ca = \"/etc/tellhal/ca.pem\""),
    ("tls_cert", text, "tls_cert = \"/etc/tellhal/cert.pem\""),
    ("tls_key", text, "tls_key = \"/etc/tellhal/key.pem\""),
    ("tls_first", flag, "tls_first = true"),
    ("inbox_prefix", text, "inbox_prefix = \"_INBOX_db1\""),
];

fn walk(path: &str, text: &str) -> Vec<Problem> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut wrong: Vec<(usize, Problem)> = Vec::new();
    let place = |at: usize| format!("{path}:{}", 1 + text[..at.min(text.len())].matches('\n').count());
    let mut problems: Vec<(usize, Problem)> = Vec::new();
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        problems.push((
            at,
            Problem::new(
                place(at),
                format!("not TOML: {}", error.message()),
                "see https://toml.io for the syntax",
            ),
        ));
    }
    let mut check_table = |table: &DeTable, keys: &[(&str, Check, &str)], prefix: &str| {
        for (key, value) in table {
            let at = key.span().start;
            let name = key.get_ref();
            let checked = match keys.iter().find(|(key, ..)| key == name) {
                Some((_, check, example)) => {
                    check(value.get_ref()).map_err(|what| (what, format!("such as {example}")))
                }
                None => Err(("unknown key".into(), nearest::hint(name, keys.iter().map(|(key, ..)| *key)))),
            };
            if let Err((what, hint)) = checked {
                problems.push((at, Problem::new(format!("{}: {prefix}{name}", place(at)), what, hint)));
            }
        }
    };
    check_table(table.get_ref(), &TOP, "");
    if let Some(DeValue::Table(nats)) = table.get_ref().get("nats").map(Spanned::get_ref) {
        check_table(nats, &NATS, "nats.");
    }
    // An entry of another shape is reported above.
    let values = toml::from_str::<Served>(text).unwrap_or_default().serve.into_iter();
    let mut names: Vec<String> = Vec::new();
    for (i, (at, entry)) in entries(table.get_ref(), "serve").into_iter().enumerate() {
        check_table(entry, &SERVE, &format!("serve[{i}]."));
        for (j, (_, arg)) in entries(entry, "args").into_iter().enumerate() {
            check_table(arg, &ARG, &format!("serve[{i}].args[{j}]."));
        }
        let Some(Ok(serve)) = values.clone().nth(i).map(toml::Value::try_into::<Serve>) else { continue };
        let twice = names
            .contains(&serve.name)
            .then(|| ("name".to_owned(), format!("{} is served twice", serve.name)));
        for (key, what) in serve.problems().into_iter().chain(twice) {
            let place = format!("{}: serve[{i}].{key}", place(at));
            wrong.push((at, Problem::new(place, what, "tellhal serve --help shows an example")));
        }
        names.push(serve.name);
    }
    problems.extend(wrong);
    problems.sort_by_key(|(at, _)| *at);
    problems.into_iter().map(|(_, problem)| problem).collect()
}

fn text(value: &DeValue) -> Result<(), String> {
    match value.as_str() {
        Some("") => Err("is empty".into()),
        Some(_) => Ok(()),
        None => Err("is not text in quotes".into()),
    }
}

fn token(value: &DeValue) -> Result<(), String> {
    text(value)?;
    tellhal::Names::new(value.as_str().unwrap_or_default()).map(|_| ())
}

fn time(value: &DeValue) -> Result<(), String> {
    text(value)?;
    duration(value.as_str().unwrap_or_default()).map(|_| ())
}

fn flag(value: &DeValue) -> Result<(), String> {
    value.is_bool().then_some(()).ok_or_else(|| "is neither true nor false".into())
}

fn any_text(value: &DeValue) -> Result<(), String> {
    value.as_str().map(|_| ()).ok_or_else(|| "is not text in quotes".into())
}

fn words(value: &DeValue) -> Result<(), String> {
    let is_text = |word: &Spanned<DeValue>| word.get_ref().as_str().is_some();
    let list = value.as_array().filter(|list| list.iter().all(is_text));
    list.map(|_| ()).ok_or_else(|| "is not a list of texts in quotes".into())
}

fn keys(value: &DeValue) -> Result<(), String> {
    words(value)?;
    let keys = value.as_array().into_iter().flat_map(|keys| keys.iter());
    match keys.filter_map(|key| key.get_ref().as_str()).find(|key| !tellhal::command::is_public_key(key)) {
        // Not shown: it may be a seed.
        Some(_) => Err("has an entry that is not a public nkey".into()),
        None => Ok(()),
    }
}

fn tables(value: &DeValue) -> Result<(), String> {
    let list = value.as_array().filter(|list| list.iter().all(|entry| entry.get_ref().is_table()));
    list.map(|_| ()).ok_or_else(|| "is not a list of tables".into())
}

/// The tables of a list of tables, each with its place.
fn entries<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Vec<(usize, &'t DeTable<'i>)> {
    let list = table.get(key).and_then(|list| list.get_ref().as_array());
    let entry = |entry: &'t Spanned<DeValue<'i>>| Some((entry.span().start, entry.get_ref().as_table()?));
    list.into_iter().flat_map(|list| list.iter()).filter_map(entry).collect()
}

fn table(value: &DeValue) -> Result<(), String> {
    value.is_table().then_some(()).ok_or_else(|| "is not a table".into())
}

fn urls(value: &DeValue) -> Result<(), String> {
    let list: Vec<&str> = match value {
        DeValue::Array(list) => list.iter().map(|url| url.get_ref().as_str().unwrap_or("")).collect(),
        _ => value.as_str().ok_or("is neither text nor a list of texts")?.split(',').map(str::trim).collect(),
    };
    if list.is_empty() {
        return Err("is an empty list".into());
    }
    list.iter().find_map(|url| address::problem(url)).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_told_with_its_line_and_what_would_be_right() {
        let text = "sorce = \"db1\"\ntimeout = \"soon\"\nspool = 3\n\n[nats]\nurl = \"http://x\"\ncreds = \"/c\"\nprefix = \"a.b\"\n";
        let problems = parse("t.toml", text).unwrap_err();
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let want = [
            ("t.toml:1: sorce", "did you mean source?"),
            ("t.toml:2: timeout", "timeout = \"2s\""),
            ("t.toml:3: spool", "not text in quotes"),
            ("t.toml:6: nats.url", "is not an address"),
            ("t.toml:7: nats.creds", "did you mean creds_file?"),
            ("t.toml:8: nats.prefix", "prefix = \"hal\""),
        ];
        assert_eq!(shown.len(), want.len(), "{shown:#?}");
        for (got, (place, words)) in shown.iter().zip(want) {
            assert!(got.starts_with(place) && got.contains(words), "{got}");
        }
    }

    #[test]
    fn each_mistake_of_a_served_command_is_told() {
        let text = "bridge_keys = [\"SUAB\"]\n[[serve]]\nname = \"a b\"\nexec = \"uptime\"\n[[serve]]\nname = \"x\"\nexec = [\"{x}\"]\n\
                    [[serve]]\nname = \"x\"\nexec = [\"x\"]\nhlep = \"\"\nargs = [{ name = \"a\", one_of = 1 }]\n";
        let problems = parse("t.toml", text).unwrap_err();
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let want = [
            ("t.toml:1: bridge_keys", "has an entry that is not a public nkey"),
            ("t.toml:4: serve[0].exec", "is not a list of texts"),
            ("t.toml:5: serve[1].exec", "choose the program"),
            ("t.toml:11: serve[2].hlep", "did you mean help?"),
            ("t.toml:12: serve[2].args[0].one_of", "is not a list of texts"),
        ];
        assert_eq!(shown.len(), want.len(), "{shown:#?}");
        for (got, (place, words)) in shown.iter().zip(want) {
            assert!(got.starts_with(place) && got.contains(words) && !got.contains("SUAB"), "{got}");
        }
        let good = "[[serve]]\nname = \"x\"\nexec = [\"x\"]\n[[serve]]\nname = \"x\"\nexec = [\"x\"]\n";
        assert_eq!(parse("t", good).unwrap_err()[0].what, "x is served twice");
        assert_eq!(parse("t", &good[..good.len() / 2]).unwrap().serve.len(), 1);
    }

    #[test]
    fn broken_toml_names_each_line() {
        let problems = parse("t.toml", "source = \nspool = \"x\"\n[nats\n").unwrap_err();
        assert!(problems[0].place.starts_with("t.toml:1"), "{problems:?}");
        assert!(problems.len() >= 2, "{problems:?}");
    }

    #[test]
    fn relative_paths_are_relative_to_the_file_they_stand_in() {
        let mut config = parse("t", "spool = \"s\"\n[nats]\ncreds_file = \"a\"\ntls_ca = \"/b\"\n").unwrap();
        config.resolve(Path::new("/etc/tellhal"));
        assert_eq!(config.spool, Some("/etc/tellhal/s".into()));
        assert_eq!(config.nats.creds_file, Some("/etc/tellhal/a".into()));
        assert_eq!(config.nats.tls_ca, Some("/b".into()));
    }

    #[test]
    fn byte_order_mark_and_windows_lines_are_fine() {
        let config =
            parse("t", "\u{feff}source = \"a\"\r\n[nats]\r\nurl = [\"nats://a\", \"b:1\"]\r\n").unwrap();
        assert_eq!(config.source.as_deref(), Some("a"));
        assert_eq!(config.nats.servers(), ["nats://a", "b:1"]);
    }

    #[test]
    fn credentials_of_two_layers_are_not_mixed() {
        let mut own = parse("t", "[nats]\ntoken_file = \"/t\"\n").unwrap();
        own.fill(
            parse("t", "source = \"below\"\n[nats]\ncreds_file = \"/c\"\nurl = \"nats://a\"\n").unwrap(),
        );
        assert_eq!((own.nats.creds_file, own.nats.token_file), (None, Some("/t".into())));
        assert_eq!(own.source.as_deref(), Some("below"));
        assert!(own.nats.url.is_some());
    }
}

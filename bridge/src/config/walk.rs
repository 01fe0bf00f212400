//! Reads one file so that every error is found: serde stops at the first, so the document is walked key by key.

use std::path::Path;

use serde::Deserialize;
use tellhal::nats::Urls;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Place, Places, Problem, Raw};

/// A key, what may stand there, and an example.
struct Key {
    name: &'static str,
    shape: Shape,
    example: &'static str,
}

enum Shape {
    Text,
    Flag,
    /// An address or a list of them.
    Urls,
    Table(&'static [Key]),
}

const fn text(name: &'static str, example: &'static str) -> Key {
    Key { name, shape: Shape::Text, example }
}

const TOP: &[Key] = &[
    text("spool", "\"/var/lib/hal-bridge/spool\""),
    Key { name: "nats", shape: Shape::Table(NATS), example: "[nats]" },
    Key { name: "http", shape: Shape::Table(HTTP), example: "[http]" },
    Key { name: "tcp", shape: Shape::Table(TCP), example: "[tcp]" },
];

const HTTP: &[Key] = &[text("listen", "\"127.0.0.1:8481\"")];

const TCP: &[Key] = &[
    text("listen", "\"127.0.0.1:7890\""),
    Key { name: "allow_remote", shape: Shape::Flag, example: "true" },
];

const NATS: &[Key] = &[
    Key { name: "url", shape: Shape::Urls, example: "\"nats://127.0.0.1:4222\", or a list of such" },
    text("prefix", "\"hal\""),
    text("creds_file", "\"/etc/hal-bridge/nats.creds\""),
    text("nkey_file", "\"/etc/hal-bridge/nats.nk\""),
    text("token_file", "\"/etc/hal-bridge/token\""),
    text("user", "\"bridge\""),
    text("password_file", "\"/etc/hal-bridge/password\""),
    text("tls_ca", "\"/etc/hal-bridge/ca.pem\""),
    text("tls_cert", "\"/etc/hal-bridge/cert.pem\""),
    text("tls_key", "\"/etc/hal-bridge/key.pem\""),
    text("inbox_prefix", "\"_INBOX_bridge\""),
];

/// What `text` says, without what is wrong in it, and everything that is. `places` learns where each key stands,
/// and already knows the keys of the files before.
pub(super) fn read(file: &Path, text: &str, places: &mut Places) -> (Raw, Vec<Problem>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut walk = Walk { file, text, places, problems: Vec::new() };
    let (mut table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        walk.wrong(
            at,
            error.message().to_owned(),
            "values are \"text\", true, 7 or [\"a\", \"list\"]".into(),
        );
    }
    walk.table(table.get_mut(), TOP, "");
    let raw = Raw::deserialize(toml::de::Deserializer::from(table)).unwrap_or_else(|error| {
        let at = error.span().map_or(0, |span| span.start);
        walk.wrong(at, error.message().to_owned(), "the README has an example".into());
        Raw::default()
    });
    (raw, walk.problems)
}

struct Walk<'a> {
    file: &'a Path,
    text: &'a str,
    places: &'a mut Places,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn place(&self, at: usize) -> Place {
        let line = 1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        Place { file: self.file.into(), line }
    }

    fn wrong(&mut self, at: usize, what: String, hint: String) {
        self.problems.push(Problem { place: self.place(at), what, hint });
    }

    /// Takes out of `table` what is wrong, so that the rest can still be read.
    fn table(&mut self, table: &mut DeTable, known: &'static [Key], prefix: &str) {
        let mut wrong = Vec::new();
        for (name, value) in table.iter_mut() {
            let before = self.problems.len();
            let at = name.span().start;
            let path = format!("{prefix}{}", name.get_ref());
            let Some(key) = known.iter().find(|key| key.name == name.get_ref()) else {
                self.wrong(at, format!("{path} is an unknown key"), nearest(name.get_ref(), known));
                wrong.push(name.get_ref().to_string());
                continue;
            };
            let place = self.place(at);
            let other = self.places.insert(path.clone(), place).filter(|other| other.file != self.file);
            if let Some(other) = other {
                let hint = format!("the other is {}:{}", other.file.display(), other.line);
                self.wrong(at, format!("{path} stands in two files"), hint);
            }
            self.value(at, &path, key, value);
            let is_table = value.get_ref().is_table() && matches!(key.shape, Shape::Table(_));
            if self.problems.len() > before && !is_table {
                wrong.push(name.get_ref().to_string());
            }
        }
        for name in wrong {
            table.remove(name.as_str());
        }
    }

    fn value(&mut self, at: usize, path: &str, key: &Key, value: &mut Spanned<DeValue>) {
        let what = match (&key.shape, value.get_mut()) {
            (Shape::Table(known), DeValue::Table(table)) => {
                return self.table(table, known, &format!("{path}."));
            }
            (Shape::Text, DeValue::String(text)) if text.is_empty() => "is empty",
            (Shape::Text, DeValue::String(_)) | (Shape::Flag, DeValue::Boolean(_)) => return,
            (Shape::Urls, value) => match urls(value) {
                Ok(()) => return,
                Err(what) => what,
            },
            (Shape::Text, _) => "is not text in quotes",
            (Shape::Flag, _) => "is neither true nor false",
            (Shape::Table(_), _) => "is not a table",
        };
        self.wrong(at, format!("{path} {what}"), format!("such as {}", key.example));
    }
}

/// Never quotes an address: it may hold a password.
fn urls(value: &DeValue) -> Result<(), &'static str> {
    let urls = match value {
        DeValue::String(text) => Urls::One(text.to_string()),
        DeValue::Array(list) => {
            let texts = list.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
            Urls::Many(texts.collect::<Option<_>>().ok_or("has an item that is not text in quotes")?)
        }
        _ => return Err("is neither text nor a list of it"),
    };
    let servers = tellhal::nats::NatsConfig { url: Some(urls), ..Default::default() }.servers();
    if servers.is_empty() {
        return Err("is an empty list");
    }
    let good = |url: &String| !url.is_empty() && url.parse::<async_nats::ServerAddr>().is_ok();
    if servers.iter().all(good) { Ok(()) } else { Err("is no NATS address") }
}

fn nearest(name: &str, known: &[Key]) -> String {
    // The beginning of a name is nearer than any misspelling.
    let far = |key: &Key| match key.name.starts_with(name) {
        true => 0,
        false => strsim::damerau_levenshtein(name, key.name),
    };
    match known.iter().map(|key| (far(key), key.name)).min() {
        Some((0..=3, near)) => format!("did you mean {near}?"),
        _ => format!("known are {}", known.iter().map(|key| key.name).collect::<Vec<_>>().join(", ")),
    }
}

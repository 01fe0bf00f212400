//! Checks the monitors of all files.

use std::collections::BTreeMap;
use std::time::Duration;

use service::config::{duration, duration_in};
use service::zone::Zone;
use tellhal::message::MAX_URL;
use tellhal::{Severity, Tag, nearest};

use super::raw::{Checks, Document};
use crate::graph::Graph;
use crate::monitor::raw::{Clear, Monitor};
use crate::monitor::source::registry::{Config, Kinds};
use crate::monitor::{Monitor as Checked, Rules};

const EVERY: Duration = Duration::from_secs(60);
/// The readings in a row without data that count, when there is no other number.
const MISSES: u32 = 3;
const MOST_MISSES: u32 = 1000;
/// The window of changes that are flapping: so many intervals, and so much time at least.
const CALM: (u32, Duration) = (20, Duration::from_secs(600));
/// The longest name, in bytes.
const NAME: usize = 64;

pub(super) fn check(checks: &mut Checks<'_>, graphs: &BTreeMap<String, Graph>, zone: &Zone) -> Vec<Checked> {
    let (mut monitors, mut names) = (Vec::new(), BTreeMap::<String, String>::new());
    for document in checks.documents {
        for (i, raw) in document.raw.monitors.iter().enumerate() {
            let key = format!("monitors[{i}]");
            let mut check = Check { checks, document, key: &key, graphs, zone };
            let Some(monitor) = check.monitor(raw) else { continue };
            let at = document.at(&format!("{key}.name"));
            if let Some(first) = names.insert(monitor.name.clone(), at) {
                let what = format!("monitor {} is defined twice, here and at {first}", monitor.name);
                check.wrong("name", what, "give one of them another name");
            }
            monitors.push(monitor);
        }
    }
    monitors.sort_by(|a: &Checked, b| a.name.cmp(&b.name));
    monitors
}

/// One monitor of one file.
struct Check<'c, 'd> {
    checks: &'c mut Checks<'d>,
    document: &'d Document,
    key: &'c str,
    graphs: &'c BTreeMap<String, Graph>,
    zone: &'c Zone,
}

impl Check<'_, '_> {
    fn wrong(&mut self, key: &str, what: impl Into<String>, hint: impl Into<String>) {
        let path = match key {
            "" => self.key.to_owned(),
            key => format!("{}.{key}", self.key),
        };
        self.checks.problems.push(self.document.error(&path, what.into(), hint.into()));
    }

    /// The value of a key, read by `read`; a mistake is a problem.
    fn read<T, E: Into<Wrong>>(
        &mut self,
        key: &str,
        text: Option<&String>,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        match read(text?) {
            Ok(value) => Some(value),
            Err(wrong) => {
                let Wrong(what, hint) = wrong.into();
                self.wrong(key, what, hint);
                None
            }
        }
    }

    /// The same for a key that must be there.
    fn needed<T, E: Into<Wrong>>(
        &mut self,
        key: &str,
        hint: &str,
        text: Option<&String>,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        // A value of the wrong shape is a problem already.
        if text.is_none() && !self.document.has(&format!("{}.{key}", self.key)) {
            self.wrong("", format!("{key} is missing"), hint);
        }
        self.read(key, text, read)
    }

    fn monitor(&mut self, raw: &Monitor) -> Option<Checked> {
        let name = self.needed("name", "name = \"…\"", raw.name.as_ref(), name);
        let tag =
            self.needed("tag", "such as tag = \"monitor.signups\"", raw.tag.as_ref(), str::parse::<Tag>);
        let severity = self.read("severity", raw.severity.as_ref(), str::parse::<Severity>);
        let every = self.read("every", raw.every.as_ref(), duration).unwrap_or(EVERY);
        let hold = self.read("for", raw.r#for.as_ref(), no_time_or_more).unwrap_or_default();
        let (clear, settle) = match &raw.clear {
            None => (None, Duration::ZERO),
            Some(Clear::At(value)) => (Some(*value), Duration::ZERO),
            Some(Clear::After(text)) => {
                (None, self.read("clear", Some(text), no_time_or_more).unwrap_or_default())
            }
        };
        let misses = raw.misses.unwrap_or(MISSES);
        if !(1..=MOST_MISSES).contains(&misses) {
            self.wrong("misses", format!("{misses} is out of range"), format!("1 to {MOST_MISSES}"));
        }
        let link = self.read("link", raw.link.as_ref(), address);
        let graphs = self.graphs;
        let graph = self.read("graph", raw.graph.as_ref(), |name| graph(graphs, name));
        let calm = CALM.1.max(every.saturating_mul(CALM.0));
        let source = self.source(raw, clear);
        let forced = source.as_ref().and_then(|source| source.settings().no_data());
        let no_data = forced.unwrap_or(raw.no_data);
        let name = name?;
        Some(Checked {
            tag: tag?,
            severity: severity.unwrap_or(Severity::Warning),
            label: raw.label.clone().unwrap_or_else(|| name.clone()),
            link,
            every,
            rules: Rules { hold, settle, no_data, misses, calm },
            each: raw.each.unwrap_or(true),
            clear,
            source: source?,
            graph,
            name,
        })
    }

    fn source(&mut self, raw: &Monitor, clear: Option<f64>) -> Option<Config> {
        let mut written = raw.kinds.written();
        let source = written.pop().map(|source| source.in_zone(self.zone));
        if !written.is_empty() {
            self.wrong("", "it has several kinds", "one monitor looks at one thing");
        }
        let Some(source) = source else {
            let has_one = Kinds::NAMES.iter().any(|kind| self.document.has(&format!("{}.{kind}", self.key)));
            if !has_one {
                self.wrong("", "it has no kind", format!("a table: one of {}", Kinds::NAMES.join(", ")));
            }
            return None;
        };
        let table = format!("{}.{}", self.key, source.kind());
        self.checks.take(self.document, &table, source.settings().problems(clear), source.unresolved());
        Some(source)
    }
}

/// The fault of a value, and a hint.
struct Wrong(String, String);

impl From<(String, String)> for Wrong {
    fn from((what, hint): (String, String)) -> Wrong {
        Wrong(what, hint)
    }
}

impl From<String> for Wrong {
    fn from(what: String) -> Wrong {
        Wrong(what, "such as warning".into())
    }
}

impl From<tellhal::tag::BadTag> for Wrong {
    fn from(bad: tellhal::tag::BadTag) -> Wrong {
        Wrong(bad.what, bad.hint)
    }
}

fn name(text: &str) -> Result<String, (String, String)> {
    if tellhal::tag::is_token(text) && text.len() <= NAME {
        return Ok(text.to_owned());
    }
    let hint = format!("one word of A-Z a-z 0-9 _ -, at most {NAME} long");
    Err((format!("{text:?} is not a legal name for a monitor"), hint))
}

fn graph(graphs: &BTreeMap<String, Graph>, name: &str) -> Result<Graph, (String, String)> {
    let hint = || match graphs.is_empty() {
        true => format!("a table [graphs.{name}]"),
        false => nearest::hint(name, graphs.keys().map(String::as_str)),
    };
    graphs.get(name).cloned().ok_or_else(|| (format!("there is no graph {name:?}"), hint()))
}

fn no_time_or_more(text: &str) -> Result<Duration, (String, String)> {
    if humantime::parse_duration(text).is_ok_and(|time| time.is_zero()) {
        return Ok(Duration::ZERO);
    }
    let most = Duration::from_secs(5 * 86_400);
    duration_in(text, Duration::from_secs(1), most, "from 0s to 5 days, such as 5m")
}

fn address(text: &str) -> Result<String, (String, String)> {
    let is_address = text.starts_with("https://") || text.starts_with("http://");
    if is_address && !text.contains(char::is_whitespace) && text.len() <= MAX_URL {
        return Ok(text.to_owned());
    }
    Err((format!("{text:?} is no address"), "such as \"https://graphs.example.com/signups\"".into()))
}

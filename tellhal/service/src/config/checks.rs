//! The checks that every service's configuration needs: settings that only one file may make, names that must exist,
//! the `[nats]` table.

use std::collections::{BTreeMap, BTreeSet};

use tellhal::nats::NatsConfig;
use tellhal::{address, nearest};

use super::document::Document;
use super::problem::{KeyProblem, Level, Problem};
use super::values;

/// The files of a configuration while they are checked, and their problems.
#[derive(Debug)]
pub struct Checks<'a, F> {
    /// The files in their order.
    pub documents: &'a [Document<F>],
    /// The problems so far.
    pub problems: Vec<Problem>,
    service: &'static str,
    /// True if a value of the wrong shape was left out.
    misshapen: bool,
    /// Names that other keys may use, by their kind, such as `room`.
    names: BTreeMap<&'static str, BTreeSet<String>>,
}

impl<'a, F> Checks<'a, F> {
    pub(super) fn new(documents: &'a [Document<F>], service: &'static str, misshapen: bool) -> Self {
        Checks { documents, problems: Vec::new(), service, misshapen, names: BTreeMap::new() }
    }

    /// True if there is no error so far, so that the rules may be tried.
    pub fn sound(&self) -> bool {
        !self.misshapen && self.problems.iter().all(|problem| problem.level != Level::Error)
    }

    /// True if a file could not be parsed: a missing key may be in it.
    pub fn in_the_dark(&self) -> bool {
        self.documents.iter().any(|document| document.unreadable)
    }

    /// The first file that has `key` and could be read.
    pub fn owner(&self, key: &str) -> Option<&'a Document<F>> {
        self.documents.iter().find(|document| document.has(key) && !document.unreadable)
    }

    /// True if any file has `key`, or could not be parsed and may have it.
    pub fn has(&self, key: &str) -> bool {
        self.documents.iter().any(|document| document.has(key))
    }

    /// A setting that only one file may make.
    pub fn only<T>(&mut self, key: &str, get: impl Fn(&F) -> Option<T>) -> Option<T> {
        let mut owners = self.documents.iter().filter(|document| document.has(key) && !document.unreadable);
        let first = owners.next()?;
        for second in owners {
            let what = format!("is set in two files, here and at {}", first.at(key));
            self.problems.push(second.error(key, what, "keep one of the two"));
        }
        get(&first.raw)
    }

    /// The size of a stream, which only one file may set.
    pub fn size(&mut self, key: &str, get: impl Fn(&F) -> Option<String>) -> Option<u64> {
        let text = self.only(key, get)?;
        match values::size(&text) {
            Ok(size) => Some(size),
            Err((what, hint)) => {
                if let Some(document) = self.owner(key) {
                    self.problems.push(document.error(key, what, hint));
                }
                None
            }
        }
    }

    /// Defines `name` as the name of a `kind`, such as a room.
    pub fn define(&mut self, kind: &'static str, name: &str) {
        self.names.entry(kind).or_default().insert(name.to_owned());
    }

    /// Reports an error unless `name` was defined as the name of a `kind`.
    pub fn defined(&mut self, document: &Document<F>, key: &str, kind: &'static str, name: &str) {
        let names = self.names.entry(kind).or_default();
        if !names.contains(name) && !self.documents.iter().any(|document| document.unreadable) {
            let hint = nearest::hint(name, names.iter().map(String::as_str));
            self.problems.push(document.error(key, format!("there is no {kind} {name}"), hint));
        }
    }

    /// Takes problems of the table `key`. Those in `at_start` are warnings here and errors when the service starts.
    pub fn take(
        &mut self,
        document: &Document<F>,
        key: &str,
        problems: Vec<KeyProblem>,
        at_start: Vec<KeyProblem>,
    ) {
        let path = |problem: &KeyProblem| format!("{key}.{}", problem.key);
        let errors = problems.into_iter().map(|bad| document.error(&path(&bad), bad.what, bad.hint));
        self.problems.extend(errors);
        let warnings = at_start.into_iter().map(|bad| document.warning(&path(&bad), bad.what, bad.hint));
        self.problems.extend(warnings.map(|problem| Problem { at_start: true, ..problem }));
    }

    /// The `[nats]` table. Its files may be there only for the service: an error when it starts, not here.
    pub fn nats(&mut self, get: impl Fn(&F) -> Option<NatsConfig>) -> NatsConfig {
        self.nats_at("nats", get)
    }

    /// The same for a table of another name.
    pub fn nats_at(&mut self, key: &str, get: impl Fn(&F) -> Option<NatsConfig>) -> NatsConfig {
        let nats = self.only(key, &get).unwrap_or_default();
        let Some(document) = self.documents.iter().find(|document| get(&document.raw).is_some()) else {
            return nats;
        };
        let mut problems = Vec::new();
        if let Err(bad) = nats.names() {
            problems.push(KeyProblem::new("prefix", bad.what, "such as prefix = \"hal\""));
        }
        let servers = nats.servers();
        let none = || servers.is_empty().then(|| "is an empty list".to_owned());
        if let Some(bad) = servers.iter().find_map(|url| address::problem(url)).or_else(none) {
            let hint = "such as nats://127.0.0.1:4222, or a list of such";
            problems.push(KeyProblem::new("url", bad, hint));
        }
        let hint = format!("{} run will refuse to start without it", self.service);
        let missing = nats.options().err().map(|bad| KeyProblem::new(bad.key, bad.what, hint));
        self.take(document, key, problems, missing.into_iter().collect());
        nats
    }
}

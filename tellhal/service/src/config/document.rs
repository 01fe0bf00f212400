//! One file: its text read as TOML and held against the schema, with the place of every key.
//! All values of the wrong shape are reported at once and left out.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;
use toml::de::DeTable;

use super::problem::{Level, Problem};
use super::shape::Shape;
use super::span::{Place, Spans};

/// The number of syntax errors that can be mistakes of their own.
const FEW: usize = 5;

/// A file, as far as it could be read. `F` is the type of its contents.
#[derive(Debug)]
pub struct Document<F> {
    /// The file's path, as problems name it.
    pub file: PathBuf,
    text: String,
    places: BTreeMap<String, Spans>,
    names: BTreeMap<String, Vec<String>>,
    /// The contents, without values of the wrong shape.
    pub raw: F,
    /// True if the file is not TOML, or empty: a missing key may be in the part that could not be read.
    pub unreadable: bool,
}

impl<F: Default + DeserializeOwned> Document<F> {
    /// Reads `text`, which stands in `file`, and holds it against `schema`. `least` is an example of the
    /// shortest legal file.
    pub(super) fn read(
        file: &Path,
        text: &str,
        schema: &Value,
        least: &str,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut document = Document {
            file: file.into(),
            text: text.into(),
            places: BTreeMap::new(),
            names: BTreeMap::new(),
            raw: F::default(),
            unreadable: false,
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        // After a duplicate key the rest can be read; after a syntax error a key may only seem to be a duplicate.
        let twice = |error: &&toml::de::Error| error.message().contains("duplicate key");
        document.unreadable = !errors.iter().all(|error| twice(&error));
        // A bracket that is missing makes an error of each line after it.
        let shown = if errors.len() > FEW { 1 } else { errors.len() };
        for error in errors.iter().filter(|error| !(document.unreadable && twice(error))).take(shown) {
            problems.push(document.syntax(error.message(), error.span(), twice(&error)));
        }
        if document.unreadable {
            return document;
        }
        if text.trim().is_empty() {
            problems.push(Problem::whole(file, "the file is empty", format!("the least is: {least}")));
            document.unreadable = true;
        }
        let read = Shape::of(schema, file.parent()).read(table.get_ref());
        (document.places, document.names) = (read.places, read.names);
        for (key, what, hint, span) in read.misshapen {
            let place = Some(Place::of(text, &span, document.places.values()));
            let (level, file) = (Level::Error, document.file.clone());
            problems.push(Problem { level, file, place, key, what, hint, at_start: false });
        }
        document.fill(read.value, problems);
        document
    }

    /// Reads the values of the right shape. A value that serde refuses all the same is left out, so that it hides no other's
    /// problems; it is not shown, since it may be a secret.
    fn fill(&mut self, mut value: Value, problems: &mut Vec<Problem>) {
        loop {
            let error = match serde_path_to_error::deserialize(&value) {
                Ok(raw) => {
                    self.raw = raw;
                    return;
                }
                Err(error) => error,
            };
            let key = self.known_key(&error.path().to_string());
            let hint = "the command schema prints the allowed values".to_owned();
            problems.push(self.problem(Level::Error, &key, "cannot be read".into(), hint));
            if !forget(&mut value, error.path()) {
                return;
            }
        }
    }
}

/// Removes the value at `path`, or the table around it if it was removed already. Returns false if neither is left.
fn forget(value: &mut Value, path: &serde_path_to_error::Path) -> bool {
    let steps: Vec<String> = path.iter().map(ToString::to_string).collect();
    (1..=steps.len()).rev().any(|depth| {
        let (last, before) = (&steps[depth - 1], &steps[..depth - 1]);
        let parent = before.iter().try_fold(&mut *value, |value, step| child(value, step));
        match parent {
            Some(Value::Object(table)) => table.remove(last).is_some(),
            _ => false,
        }
    })
}

fn child<'v>(value: &'v mut Value, step: &str) -> Option<&'v mut Value> {
    match value {
        Value::Object(table) => table.get_mut(step),
        Value::Array(list) => list.get_mut(step.trim_matches(['[', ']']).parse::<usize>().ok()?),
        _ => None,
    }
}

impl<F> Document<F> {
    fn syntax(&self, message: &str, span: Option<Range<usize>>, twice: bool) -> Problem {
        let place = span.as_ref().map(|span| match twice {
            true => Place::key(&self.text, span),
            false => Place::bare(&self.text, span),
        });
        let (key, what, hint) = match span.filter(|_| twice) {
            None => (String::new(), format!("not TOML: {message}"), "see https://toml.io for the syntax"),
            Some(span) => {
                let (key, what) = self.twice(span);
                (key, what, "keep one of the two")
            }
        };
        let (level, hint) = (Level::Error, hint.to_owned());
        Problem { level, file: self.file.clone(), place, key, what, hint, at_start: false }
    }

    /// The key of a duplicate, and the problem: with the line of the first header; of other keys the first line is not known.
    fn twice(&self, span: Range<usize>) -> (String, String) {
        let line = self.text[..span.start].matches('\n').count();
        let header = self.text.lines().nth(line).map(str::trim).filter(|header| header.starts_with('['));
        let first = self.text.lines().take(line).position(|before| Some(before.trim()) == header);
        match (header, first) {
            (Some(header), Some(first)) => {
                let what = format!("is defined twice in this file, first in line {}", first + 1);
                (header.trim_matches(['[', ']']).to_owned(), what)
            }
            _ => (self.text[span].to_owned(), "is defined twice in this file".to_owned()),
        }
    }

    /// The nearest key around `path` that is in the file.
    fn known_key(&self, path: &str) -> String {
        let mut key = path;
        while !self.places.contains_key(key) {
            match key.rfind(['.', '[']) {
                Some(end) => key = &key[..end],
                None => return String::new(),
            }
        }
        key.to_owned()
    }

    /// The names in the table `key`, including those with wrong values.
    pub fn names(&self, key: &str) -> Vec<String> {
        self.names.get(key).cloned().unwrap_or_default()
    }

    /// True if the file has this key, even with a wrong value.
    pub fn has(&self, key: &str) -> bool {
        self.unreadable || self.places.contains_key(key)
    }

    /// An error at `key`, a path such as `routes[2].tag`.
    pub fn error(&self, key: &str, what: impl Into<String>, hint: impl Into<String>) -> Problem {
        self.problem(Level::Error, key, what.into(), hint.into())
    }

    /// A warning at `key`.
    pub fn warning(&self, key: &str, what: impl Into<String>, hint: impl Into<String>) -> Problem {
        self.problem(Level::Warning, key, what.into(), hint.into())
    }

    /// `file:line` of a key, to name one place from another.
    pub fn at(&self, key: &str) -> String {
        match self.place(key) {
            Some(place) => format!("{}:{}", self.file.display(), place.line),
            None => self.file.display().to_string(),
        }
    }

    fn problem(&self, level: Level, key: &str, what: String, hint: String) -> Problem {
        Problem {
            level,
            file: self.file.clone(),
            place: self.place(key),
            key: key.into(),
            what,
            hint,
            at_start: false,
        }
    }

    /// The place of the value of `key`, or of the nearest table around it.
    fn place(&self, key: &str) -> Option<Place> {
        let mut key = key;
        loop {
            if let Some(spans) = self.places.get(key) {
                // The value of a table has many lines, so its name is the better place.
                let span =
                    if self.text[spans.value.clone()].contains('\n') { &spans.key } else { &spans.value };
                return Some(Place::of(&self.text, span, self.places.values()));
            }
            key = &key[..key.rfind(['.', '['])?];
        }
    }
}

//! One file: its text read as TOML and held against the schema, with the place of every key.
//! Finds everything that has the wrong shape at once; what remains is well formed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Level, Place, Problem};
use super::raw;
use super::shape::{Shape, joined};

/// A file that was read, as far as it could be.
pub(super) struct Document {
    pub file: PathBuf,
    text: String,
    places: BTreeMap<String, Spans>,
    pub raw: raw::File,
    /// Every room the file names, also one whose settings are wrong.
    pub rooms: Vec<String>,
    /// It is not TOML, or empty: what it lacks may stand in what could not be read.
    pub unreadable: bool,
}

/// Where a key and its value are, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Spans {
    pub key: Range<usize>,
    pub value: Range<usize>,
}

impl Document {
    pub(super) fn read(file: &Path, text: &str, problems: &mut Vec<Problem>) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut document = Document {
            file: file.into(),
            text: text.into(),
            places: BTreeMap::new(),
            raw: raw::File::default(),
            rooms: Vec::new(),
            unreadable: false,
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        // A key that is there twice leaves the rest readable; after a real mistake it may only seem to be.
        let twice = |error: &&toml::de::Error| error.message().contains("duplicate key");
        document.unreadable = !errors.iter().all(|error| twice(&error));
        for error in errors.iter().filter(|error| !(document.unreadable && twice(error))) {
            problems.push(document.syntax(error.message(), error.span(), twice(&error)));
        }
        if document.unreadable {
            return document;
        }
        if text.trim().is_empty() {
            let hint = "the least is: default_room = \"page\"";
            problems.push(Problem::whole(file, "the file is empty", hint));
            document.unreadable = true;
        }
        let (value, places, misshapen) = Shape::of(raw::schema_value(), file.parent()).read(table.get_ref());
        document.places = places;
        problems.extend(misshapen.into_iter().map(|(key, what, hint, span)| Problem {
            level: Level::Error,
            file: document.file.clone(),
            place: Some(Place::of(text, &span)),
            key,
            what,
            hint,
            at_start: false,
        }));
        if let Some(DeValue::Table(rooms)) = table.get_ref().get("rooms").map(Spanned::get_ref) {
            document.rooms = rooms.keys().map(|name| name.get_ref().as_ref().to_owned()).collect();
        }
        document.fill(value, problems);
        document
    }

    fn syntax(&self, message: &str, span: Option<Range<usize>>, twice: bool) -> Problem {
        let place = span.as_ref().map(|span| Place::of(&self.text, span));
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

    /// Says where the first of two headers is; of other keys it is not known.
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

    /// Rooms are taken one by one, so that one that refuses its settings hides no other's problems.
    fn fill(&mut self, mut value: Value, problems: &mut Vec<Problem>) {
        let rooms = value.as_object_mut().and_then(|file| file.remove("rooms"));
        match serde_json::from_value(value) {
            Ok(raw) => self.raw = raw,
            Err(error) => problems.push(self.error("", error.to_string(), "see hal-relay schema")),
        }
        let Some(Value::Object(rooms)) = rooms else { return };
        for (name, settings) in rooms {
            let kind = settings.as_object().and_then(|kinds| kinds.keys().next());
            let key = joined(&joined("rooms", &name), kind.map_or("", String::as_str));
            match serde_json::from_value(settings) {
                Ok(room) => {
                    self.raw.rooms.insert(name, room);
                }
                Err(error) => problems.push(self.error(&key, error.to_string(), "see hal-relay schema")),
            }
        }
    }

    /// Whether the file has this key, also with a wrong value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.unreadable || self.places.contains_key(key)
    }

    pub(super) fn error(&self, key: &str, what: impl Into<String>, hint: impl Into<String>) -> Problem {
        self.problem(Level::Error, key, what.into(), hint.into())
    }

    pub(super) fn warning(&self, key: &str, what: impl Into<String>, hint: impl Into<String>) -> Problem {
        self.problem(Level::Warning, key, what.into(), hint.into())
    }

    /// `file:line` of a key, to name one place from another.
    pub(super) fn at(&self, key: &str) -> String {
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

    /// Where the value of `key` is, or of the nearest table around it.
    fn place(&self, key: &str) -> Option<Place> {
        let mut key = key;
        loop {
            if let Some(spans) = self.places.get(key) {
                // A table's value is all its lines: its name is the better place.
                let span =
                    if self.text[spans.value.clone()].contains('\n') { &spans.key } else { &spans.value };
                return Some(Place::of(&self.text, span));
            }
            key = &key[..key.rfind(['.', '['])?];
        }
    }
}

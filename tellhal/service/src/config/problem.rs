//! The mistakes in a configuration, each with its place and a hint. Never a secret.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::span::{Place, blank};

/// One error or warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub level: Level,
    pub file: PathBuf,
    /// The place in the file; absent for the file as a whole.
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub place: Option<Place>,
    /// The key's path, such as `routes[2].tag` (counted from 0); empty for the file as a whole.
    pub key: String,
    pub what: String,
    /// A hint how to correct it.
    pub hint: String,
    /// True for a warning that is an error when the service starts: a missing secret may be there only for the service.
    #[serde(skip)]
    pub at_start: bool,
}

/// A mistake in a table, such as a room's settings, found by code that does not know the table's place in the files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {what}; {hint}")]
pub struct KeyProblem {
    /// The key in the table.
    pub key: &'static str,
    /// The mistake. Never a secret.
    pub what: String,
    /// A hint how to correct it.
    pub hint: String,
}

impl KeyProblem {
    pub fn new(key: &'static str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        KeyProblem { key, what: what.into(), hint: hint.into() }
    }
}

/// The level of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The configuration is not used.
    Error,
    /// The configuration is used.
    Warning,
}

impl Problem {
    /// An error in a file as a whole.
    pub fn whole(file: &Path, what: impl Into<String>, hint: impl Into<String>) -> Self {
        let (file, what, hint) = (file.to_owned(), what.into(), hint.into());
        let key = String::new();
        Problem { level: Level::Error, file, place: None, key, what, hint, at_start: false }
    }

    /// One line, for logs; [`Problems::report`] shows the place too.
    fn heading(&self, paint: &dyn Fn(&str) -> String) -> String {
        let mut line = self.file.display().to_string();
        if let Some(place) = &self.place {
            line += &format!(":{}:{}", place.line, place.column);
        }
        let level = match self.level {
            Level::Error => "error",
            Level::Warning => "warning",
        };
        line += &format!(": {}: ", paint(level));
        if !self.key.is_empty() {
            line += &format!("{}: ", printable(&self.key));
        }
        line + &printable(&self.what)
    }

    fn report(&self, colour: bool) -> String {
        let code = if self.level == Level::Error { "\x1b[1;31m" } else { "\x1b[1;33m" };
        let paint = |text: &str| if colour { format!("{code}{text}\x1b[0m") } else { text.to_owned() };
        let mut out = self.heading(&paint) + "\n";
        if let Some((line, excerpt)) =
            self.place.as_ref().and_then(|place| Some((place.line, place.excerpt.as_ref()?)))
        {
            let carets = paint(&"^".repeat(excerpt.underline.len()));
            out += &format!("{line:>5} | {}\n", excerpt.text);
            if excerpt.underline.start < excerpt.text.chars().count() {
                out += &format!("      | {}{carets}\n", " ".repeat(excerpt.underline.start));
            }
        }
        out + &format!("      = hint: {}\n", printable(&self.hint))
    }
}

/// The text without characters that a terminal would act on.
fn printable(text: &str) -> String {
    text.chars().map(blank).collect()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} ({})", self.heading(&str::to_owned), self.hint)
    }
}

/// All problems, in the order of the files and their lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// The problems in the order of the files and their lines, without repetitions.
    pub fn sorted(mut problems: Vec<Problem>) -> Self {
        let place = |problem: &Problem| problem.place.as_ref().map(|place| (place.line, place.column));
        problems.sort_by(|a, b| (&a.file, place(a), a.level).cmp(&(&b.file, place(b), b.level)));
        problems.dedup();
        Problems(problems)
    }

    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|problem| problem.level == Level::Error)
    }

    /// The problems for a person: each with its line and a caret.
    pub fn report(&self, colour: bool) -> String {
        self.0.iter().map(|problem| problem.report(colour)).collect()
    }

    fn count(&self, level: Level) -> usize {
        self.0.iter().filter(|problem| problem.level == level).count()
    }

    /// `2 errors, 1 warning`.
    pub fn summary(&self) -> String {
        let some = |count: usize, noun: &str| match count {
            0 => None,
            1 => Some(format!("1 {noun}")),
            n => Some(format!("{n} {noun}s")),
        };
        let parts = [some(self.count(Level::Error), "error"), some(self.count(Level::Warning), "warning")];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Problems {}

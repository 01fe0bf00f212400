//! What is wrong with a configuration: where, what, and what would be right. Never a secret.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One thing that is wrong, or that deserves a look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub level: Level,
    pub file: PathBuf,
    /// Where in the file; absent when it is about the file as a whole.
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub place: Option<Place>,
    /// The key's path, such as `routes[2].tag` (counted from 0); empty for the file as a whole.
    pub key: String,
    pub what: String,
    /// What would be right.
    pub hint: String,
    /// A warning that is an error when the relay starts: what is missing may be there only for the service.
    #[serde(skip)]
    pub at_start: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The configuration is not used.
    Error,
    /// It is used, and somebody should look.
    Warning,
}

/// A stretch of one line; lines and columns are counted from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    #[serde(skip)]
    width: usize,
    /// The line, without anything that might be a secret.
    #[serde(skip)]
    shown: String,
}

impl Place {
    /// Where the bytes `span` of `text` are.
    pub(super) fn of(text: &str, span: &std::ops::Range<usize>) -> Self {
        let start = text.floor_char_boundary(span.start.min(text.len()));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = text[line_start..].lines().next().unwrap_or("");
        let before = text[line_start..start].chars().count();
        let end = text.floor_char_boundary(span.end.min(line_start + line.len()).max(start));
        Place {
            line: text[..line_start].matches('\n').count() + 1,
            column: before + 1,
            width: text[start..end].chars().count().max(1),
            shown: without_secrets(line),
        }
    }
}

/// A line that may hold a secret (a token, a password, an address with one in it) is shown up to its `=`.
fn without_secrets(line: &str) -> String {
    let lower = line.to_lowercase();
    let words = ["token", "pass", "secret", "url", "key =", "key=", "headers", "authorization", "${"];
    let Some((key, value)) = line.split_once('=') else { return printable(line) };
    let names_a_file = key.trim_end().ends_with("_file") && !value.contains('=');
    match !names_a_file && words.iter().any(|word| lower.contains(word)) {
        true => format!("{key}= …"),
        false => printable(line),
    }
}

/// Without tabs and escape sequences, one character for each, so that carets stand where they should.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Problem {
    /// An error in a file as a whole.
    pub(super) fn whole(file: &Path, what: impl Into<String>, hint: impl Into<String>) -> Self {
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
        if let Some(place) = self.place.as_ref().filter(|place| !place.shown.trim().is_empty()) {
            let width =
                place.width.min((place.shown.chars().count() + 1).saturating_sub(place.column)).max(1);
            let carets = paint(&"^".repeat(width));
            out += &format!("{:>5} | {}\n", place.line, place.shown);
            if place.column <= place.shown.chars().count() {
                out += &format!("      | {}{carets}\n", " ".repeat(place.column - 1));
            }
        }
        out + &format!("      = hint: {}\n", printable(&self.hint))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} ({})", self.heading(&str::to_owned), self.hint)
    }
}

/// Everything that is wrong, in the order of the files and their lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// In the order of the files and their lines, each thing once.
    pub fn sorted(mut problems: Vec<Problem>) -> Self {
        let place = |problem: &Problem| problem.place.as_ref().map(|place| (place.line, place.column));
        problems.sort_by(|a, b| (&a.file, place(a), a.level).cmp(&(&b.file, place(b), b.level)));
        problems.dedup();
        Problems(problems)
    }

    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|problem| problem.level == Level::Error)
    }

    /// For a person: each with its line and a caret.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_characters_and_hides_secrets() {
        let text = "a = 1\r\n# größe\nß = \"x\" # ü\ntoken = \"xoxb-1\"\n";
        let at = text.find("\"x\"").unwrap();
        let place = Place::of(text, &(at..at + 3));
        assert_eq!((place.line, place.column, place.width), (3, 5, 3));
        let at = text.find("\"xoxb").unwrap();
        assert_eq!(Place::of(text, &(at..at + 8)).shown, "token = …");
        assert_eq!(Place::of(text, &(500..501)).line, 5);
    }
}

//! Places in a configuration file, and the one rule for showing a line of it: a value is shown only if the schema
//! knows its key and does not call it secret. Everything else of a value is `…`.

use std::ops::Range;

use serde::Serialize;

/// The places of a key and its value, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Spans {
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
    /// The part of the value that an error may show.
    pub(super) shown: Shown,
}

/// The part of a value that an error may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// A text, number or flag that the schema knows and that is no secret.
    Whole,
    /// A list or table: each item has its own rule.
    Items,
    /// A secret, or a value that the schema does not know.
    Nothing,
}

/// A stretch of one line; lines and columns are counted from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The first character's column.
    pub column: usize,
    /// The line as it may be shown, and the stretch to underline in it, in characters.
    #[serde(skip)]
    pub(super) excerpt: Option<Excerpt>,
}

/// A line that holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub(super) text: String,
    pub(super) underline: Range<usize>,
}

impl Place {
    /// The place of the bytes `span`, without an excerpt: after a syntax error values cannot be told from keys.
    pub(super) fn bare(text: &str, span: &Range<usize>) -> Self {
        let start = text.floor_char_boundary(span.start.min(text.len()));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        Place {
            line: text[..line_start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            excerpt: None,
        }
    }

    /// The place of a duplicate key: of its line only the key or the table's header is shown.
    pub(super) fn key(text: &str, span: &Range<usize>) -> Self {
        let place = Place::bare(text, span);
        let key = text.get(span.clone()).unwrap_or_default();
        let line = text.lines().nth(place.line - 1).unwrap_or_default();
        let is_header = line.starts_with('[') && line.ends_with(']') && !line.contains(['=', '#']);
        let (shown, from) = if is_header { (line, place.column - 1) } else { (key, 0) };
        let underline = from..from + key.chars().count();
        Place { excerpt: Some(Excerpt { text: shown.chars().map(blank).collect(), underline }), ..place }
    }

    /// The place of the bytes `span` of a text that was read as TOML.
    pub(super) fn of<'s>(text: &str, span: &Range<usize>, known: impl Iterator<Item = &'s Spans>) -> Self {
        let place = Place::bare(text, span);
        let start = text.floor_char_boundary(span.start.min(text.len()));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = text[line_start..].lines().next().unwrap_or("");
        let line_end = line_start + line.len();
        let touches = |range: &Range<usize>| range.start <= line_end && line_start <= range.end;
        let near: Vec<&Spans> = known.filter(|spans| touches(&spans.key) || touches(&spans.value)).collect();
        let excerpt = Excerpt::of(line, line_start, span, &near);
        Place { excerpt: Some(excerpt).filter(|excerpt| !excerpt.text.trim().is_empty()), ..place }
    }
}

impl Excerpt {
    fn of(line: &str, line_start: usize, span: &Range<usize>, known: &[&Spans]) -> Self {
        // A line that begins inside a value has no key of its own.
        let value = known.iter().any(|spans| spans.value.start < line_start && line_start < spans.value.end);
        let mut state = Line { text: String::new(), hidden: false, value };
        let (mut from, mut to) = (None, 0);
        for (at, c) in line.char_indices() {
            let at = line_start + at;
            if state.comment(c, at, known) {
                break;
            }
            let before = state.text.chars().count();
            state.push(c, at, known);
            if span.contains(&at) {
                from.get_or_insert(before.min(state.text.chars().count().saturating_sub(1)));
                to = state.text.chars().count();
            }
        }
        let text = state.text.trim_end().to_owned();
        let from = from.unwrap_or_else(|| text.chars().count());
        Excerpt { underline: from..to.min(text.chars().count()).max(from + 1), text }
    }
}

/// One line on its way to its excerpt.
struct Line {
    text: String,
    /// The last character was hidden and has been replaced by `…`.
    hidden: bool,
    /// The first `=` has been passed.
    value: bool,
}

impl Line {
    fn push(&mut self, c: char, at: usize, known: &[&Spans]) {
        let inside = |range: &Range<usize>| range.contains(&at);
        // A table's header contains its key and is not a value.
        let named = |spans: &Spans| spans.key != spans.value;
        let header = |spans: &Spans| named(spans) && spans.value.contains(&spans.key.start);
        let key = known.iter().any(|spans| named(spans) && inside(&spans.key));
        let around = || known.iter().filter(|spans| inside(&spans.value) && !header(spans));
        // A secret hides all its parts; for other values the innermost one decides.
        let innermost = around().min_by_key(|spans| spans.value.len()).map(|spans| spans.shown);
        let visible = match innermost {
            _ if around().any(|spans| spans.shown == Shown::Nothing) => false,
            Some(Shown::Whole) => true,
            _ => key || !self.value || " \t[]{},=".contains(c),
        };
        if c == '=' && !key {
            self.value = true;
        }
        if visible {
            self.text.push(blank(c));
        } else if !self.hidden {
            self.text.push('…');
        }
        self.hidden = !visible;
    }

    /// True if a comment begins here, which is never shown: it may contain an old password.
    fn comment(&self, c: char, at: usize, known: &[&Spans]) -> bool {
        let within = |spans: &Spans| {
            spans.key.contains(&at) || (spans.shown != Shown::Items && spans.value.contains(&at))
        };
        c == '#' && !known.iter().any(|spans| within(spans))
    }
}

/// A blank for each tab and escape character, so that the underline is at the right column.
pub(super) fn blank(c: char) -> char {
    if tellhal::text::is_hidden(c) { ' ' } else { c }
}

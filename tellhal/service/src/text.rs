//! Text made safe and short: the control sequences of terminals and chats are removed, and a cut never splits a
//! character as a reader sees it.

use tellhal::text::is_hidden;
use unicode_segmentation::UnicodeSegmentation;

/// The text without terminal escapes, control characters (but tab and newline) and marks that turn text around.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => skip_escape(&mut chars),
            '\u{9b}' => skip_until(&mut chars, |c| ('\x40'..='\x7e').contains(&c)),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(&mut chars),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' | '\r' | '\x0b' | '\x0c' | '\u{85}' | '\u{2028}' | '\u{2029}' => out.push('\n'),
            '\t' => out.push('\t'),
            c if is_hidden(c) => {}
            c => out.push(c),
        }
    }
    out
}

/// The rows of a table with every cell as wide as its column, in characters.
pub fn columns<const N: usize>(rows: &[[String; N]]) -> Vec<[String; N]> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let padded = |row: &[String; N]| std::array::from_fn(|i| format!("{:1$}", row[i], widths[i]));
    rows.iter().map(padded).collect()
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Skips the sequence after an ESC. A newline always ends it.
fn skip_escape(chars: &mut Chars) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            skip_until(chars, |c| ('\x40'..='\x7e').contains(&c));
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            skip_string(chars);
        }
        Some(' '..='/') => skip_until(chars, |c| !(' '..='/').contains(&c)),
        Some('0'..='~') => {
            chars.next();
        }
        _ => {}
    }
}

/// Skips to the end of an OSC, DCS or the like: BEL or ST, or the line's end when there is neither.
fn skip_string(chars: &mut Chars) {
    while let Some(c) = chars.next_if(|c| *c != '\n' && *c != '\r') {
        match c {
            '\x07' | '\u{9c}' => return,
            '\x1b' => {
                chars.next_if_eq(&'\\');
                return;
            }
            _ => {}
        }
    }
}

fn skip_until(chars: &mut Chars, end: impl Fn(char) -> bool) {
    while let Some(c) = chars.next_if(|c| !c.is_control()) {
        if end(c) {
            return;
        }
    }
}

/// The lines of a text, clean, without blank ones at either end or two in a row.
pub fn clean_lines(text: &str) -> Vec<String> {
    let clean = clean(text);
    let mut lines: Vec<String> = Vec::new();
    for line in clean.lines().map(str::trim_end) {
        if !line.is_empty() || lines.last().is_some_and(|last| !last.is_empty()) {
            lines.push(line.to_owned());
        }
    }
    without_blank_ends(&lines).to_vec()
}

pub fn without_blank_ends(mut lines: &[String]) -> &[String] {
    while let [first, rest @ ..] = lines
        && first.trim().is_empty()
    {
        lines = rest;
    }
    while let [rest @ .., last] = lines
        && last.trim().is_empty()
    {
        lines = rest;
    }
    lines
}

/// A text as one clean line, runs of white space as one space.
pub fn one_line(text: &str) -> String {
    let clean = clean(text);
    let mut out = String::with_capacity(clean.len());
    for word in clean.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// At most `max` bytes of a text, with `…` for what was cut.
pub fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    format!("{}…", &text[..boundary(text, max.saturating_sub('…'.len_utf8()))])
}

/// A line in pieces of at most `budget` bytes, at a space where one is near.
pub fn wrap(mut line: &str, budget: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    while line.len() > budget {
        let mut end = boundary(line, budget).max(line.chars().next().map_or(0, char::len_utf8));
        if let Some(space) = line[..end].rfind(' ')
            && space > budget / 4 * 3
        {
            end = space;
        }
        pieces.push(line[..end].to_owned());
        line = line[end..].trim_start_matches(' ');
    }
    if !line.is_empty() || pieces.is_empty() {
        pieces.push(line.to_owned());
    }
    pieces
}

/// The last place at or before `max` where a text may be cut: between characters as a reader sees them,
/// or, when one of those is longer than `max`, between code points.
fn boundary(text: &str, max: usize) -> usize {
    let max = text.floor_char_boundary(max);
    // Only the last 256 bytes are examined: such a character is hardly ever longer.
    let from = text.floor_char_boundary(max.saturating_sub(256));
    let mut end = from;
    for (at, cluster) in text[from..].grapheme_indices(true) {
        if from + at + cluster.len() > max {
            break;
        }
        end = from + at + cluster.len();
    }
    if end == from { max } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn terminal_escapes_are_removed() {
        let cases = [
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("\x1b]8;;http://evil\x1b\\here\x1b]8;;\x07", "here"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]unended\nnext", "\nnext"),
            ("\x1b(Bx\x1bcy\u{9b}31mz", "xyz"),
            ("a\0b\x01c\x07d\x7fe\u{85}f", "abcde\nf"),
            ("\u{202e}evil\u{2066}", "evil"),
            ("a\r\nb\rc\td", "a\nb\nc\td"),
            ("ends in \x1b", "ends in "),
            ("\x1b\nx", "\nx"),
        ];
        for (text, clean) in cases {
            assert_eq!(super::clean(text), clean, "{text:?}");
        }
        assert_eq!(clean_lines("\n\na  \n\n\n b\n\n"), ["a", "", " b"]);
        assert_eq!(one_line(" a\n\tb  c "), "a b c");
    }

    #[test]
    fn a_cut_never_splits_a_visible_character() {
        let family = "👨‍👩‍👧‍👦";
        assert_eq!(cut(&format!("a{family}"), family.len()), "a…");
        assert_eq!(cut("abcdef", 5), "ab…");
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(wrap(&format!("{family}{family}"), family.len() + 3), [family, family]);
        assert_eq!(wrap("one two three", 11), ["one two", "three"]);
        assert_eq!(wrap("", 10), [""]);
        let marks = format!("e{}", "\u{301}".repeat(600));
        assert!(wrap(&marks, 100).iter().all(|piece| piece.len() <= 100));
    }

    proptest! {
        #[test]
        fn pieces_are_short_and_lose_nothing_but_spaces(line in "\\PC{0,200}", budget in 8usize..60) {
            let pieces = wrap(&line, budget);
            prop_assert!(pieces.iter().all(|piece| piece.len() <= budget));
            let same = |text: &str| text.replace(' ', "");
            prop_assert_eq!(same(&pieces.concat()), same(&line));
        }

        #[test]
        fn clean_text_stays_as_it_is(text in prop::collection::vec(any::<char>(), 0..200)) {
            let text: String = text.into_iter().collect();
            let once = clean(&text);
            prop_assert!(once.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'));
            prop_assert_eq!(clean(&once), once);
        }

        #[test]
        fn a_cut_is_short(text in "\\PC{0,100}", max in 3usize..80) {
            prop_assert!(cut(&text, max).len() <= max);
        }
    }
}

//! Characters that a terminal or chat acts on instead of showing them, and texts without them.

/// True for a character that is not shown but acted on: control characters, and marks that turn text around or only deceive
/// (Unicode's bidirectional embeddings, overrides and isolates, the byte order mark, interlinear annotations).
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// A text for a terminal in which hidden characters are made visible; newlines and tabs stay.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if is_hidden(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// A text for one line of a terminal: a space for each hidden character, so that columns stay where they are.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hidden_character_reaches_the_terminal() {
        assert_eq!(visible("a\tb\n\u{1b}[31m\u{202e}é"), "a\tb\n\\u{1b}[31m\\u{202e}é");
        assert_eq!(one_line("a\tb\n\u{1b}[31m\u{202e}é"), "a b  [31m é");
    }
}

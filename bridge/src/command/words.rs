//! Splits a line of chat into words. Quotes hold words together; there is no shell, so `;`, `$(…)` and `*` are characters
//! like others.
//!
//! Keyboards turn quotes and dashes into typographic ones, so those count as the plain ones. A quote begins only where a word
//! or a value after `=` does: the one in `don't` is a letter.

use std::fmt;

use tellhal::text::is_hidden;

/// The longest line, in bytes.
const LONGEST: usize = 4096;

/// The reason why a line is no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unclear {
    TooLong(usize),
    /// A quote that nothing closes, and the text after it.
    OpenQuote(char, String),
    /// A character that is not shown, and the text before it.
    Hidden(char, String),
}

impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unclear::TooLong(bytes) => {
                write!(f, "{bytes} bytes are too long for a command: at most {LONGEST}")
            }
            Unclear::OpenQuote(quote, after) => write!(f, "the quote {quote} before {after} is not closed"),
            Unclear::Hidden(c, before) => {
                write!(
                    f,
                    "there is a hidden character ({}) after {before:?}; type the command again",
                    c.escape_unicode()
                )
            }
        }
    }
}

/// The words of `line`.
pub(crate) fn words(line: &str) -> Result<Vec<String>, Unclear> {
    if line.len() > LONGEST {
        return Err(Unclear::TooLong(line.len()));
    }
    if let Some((at, hidden)) = line.char_indices().find(|(_, c)| deceives(*c)) {
        return Err(Unclear::Hidden(hidden, tail(&line[..at])));
    }
    let (mut words, mut rest) = (Vec::new(), line.trim_start());
    while !rest.is_empty() {
        let (word, after) = word(rest)?;
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

/// Reads the word at the beginning of `text`; returns the text after it.
fn word(text: &str) -> Result<(String, &str), Unclear> {
    let (mut word, mut rest) = dashes(text);
    loop {
        let begins = word.is_empty() || word.ends_with('=');
        let mut chars = rest.chars();
        match chars.next() {
            None => return Ok((word, rest)),
            Some(c) if c.is_whitespace() => return Ok((word, rest)),
            Some(c) => match plain_quote(c).filter(|_| begins) {
                Some(quote) => {
                    let (inside, after) = quoted(chars.as_str(), quote)?;
                    word.push_str(&inside);
                    rest = after;
                    // An empty value in quotes is a word too.
                    if rest.is_empty() || rest.starts_with(char::is_whitespace) {
                        return Ok((word, rest));
                    }
                    if word.is_empty() || word.ends_with('=') {
                        // Text right after an empty quote belongs to the same word; a quote in it is a character.
                        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                        word.push_str(&rest[..end]);
                        return Ok((word, &rest[end..]));
                    }
                }
                None => {
                    word.push(c);
                    rest = chars.as_str();
                }
            },
        }
    }
}

/// The text up to the closing quote, and the text after it. A backslash takes the next quote or backslash as it is.
fn quoted(text: &str, quote: char) -> Result<(String, &str), Unclear> {
    let mut inside = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if plain_quote(c) == Some(quote) {
            return Ok((inside, chars.as_str()));
        }
        let next = chars.clone().next();
        match next.filter(|next| c == '\\' && (*next == '\\' || plain_quote(*next) == Some(quote))) {
            Some(next) => {
                inside.push(next);
                chars.next();
            }
            None => inside.push(c),
        }
    }
    Err(Unclear::OpenQuote(quote, text.chars().take(20).collect()))
}

/// Plain dashes for the typographic ones at the beginning of a word: `—force` was `--force`.
fn dashes(text: &str) -> (String, &str) {
    let mut chars = text.chars();
    let plain = match chars.next() {
        Some('\u{2014}' | '\u{2015}') => "--",
        Some('\u{2010}'..='\u{2013}' | '\u{2212}') => "-",
        _ => return (String::new(), text),
    };
    (plain.into(), chars.as_str())
}

fn plain_quote(c: char) -> Option<char> {
    match c {
        '"' | '\u{201c}'..='\u{201f}' | '\u{ab}' | '\u{bb}' => Some('"'),
        '\'' | '\u{2018}'..='\u{201b}' => Some('\''),
        _ => None,
    }
}

/// True for characters with which a command looks like another: those that are acted on, and those without a width.
fn deceives(c: char) -> bool {
    let has_no_width =
        matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{e0000}'..='\u{e007f}');
    has_no_width || is_hidden(c) && !c.is_whitespace()
}

/// The last characters of `text`.
fn tail(text: &str) -> String {
    let start = text.char_indices().rev().nth(19).map_or(0, |(at, _)| at);
    text[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Result<Vec<String>, String> {
        words(line).map_err(|unclear| unclear.to_string())
    }

    #[test]
    fn quotes_hold_words_together() {
        for (line, want) in [
            ("", &[][..]),
            ("  deploy \t web\u{a0}now ", &["deploy", "web", "now"]),
            (r#"say "two words" 'and more' x"#, &["say", "two words", "and more", "x"]),
            (r#"say --title="two words" k='v w'"#, &["say", "--title=two words", "k=v w"]),
            (r#"say "a \"b\" \\ \n" 'it\'s'"#, &["say", "a \"b\" \\ \\n", "it's"]),
            (r#"say "" x='' y"#, &["say", "", "x=", "y"]),
            ("say don't stop o'clock 5\" x", &["say", "don't", "stop", "o'clock", "5\"", "x"]),
            (
                "say “smart quotes” ‘and these’ «and those»",
                &["say", "smart quotes", "and these", "and those"],
            ),
            ("say “mixed\" 'kinds’", &["say", "mixed", "kinds"]),
            ("deploy —force –v −1 a—b -- -x", &["deploy", "--force", "-v", "-1", "a—b", "--", "-x"]),
        ] {
            assert_eq!(split(line).unwrap(), want, "{line}");
        }
    }

    #[test]
    fn there_is_no_shell() {
        let line = "deploy ; rm -rf / $(reboot) `id` a|b > /etc/passwd * ~ $HOME \\";
        let want: Vec<&str> = line.split(' ').collect();
        assert_eq!(split(line).unwrap(), want);
    }

    #[test]
    fn an_open_quote_and_hidden_characters_are_no_command() {
        assert_eq!(split("say \"two words").unwrap_err(), "the quote \" before two words is not closed");
        assert_eq!(split("say 'two words\"").unwrap_err(), "the quote ' before two words\" is not closed");
        for hidden in [
            "\u{200b}",
            "\u{200d}",
            "\u{202e}",
            "\u{2066}",
            "\u{feff}",
            "\u{ad}",
            "\u{1b}",
            "\0",
            "\u{e0041}",
        ] {
            let error = split(&format!("deploy pro{hidden}duction")).unwrap_err();
            assert!(
                error.starts_with("there is a hidden character (\\u{")
                    && error.contains("after \"deploy pro\""),
                "{error}"
            );
        }
        assert!(split(&"x".repeat(5000)).unwrap_err().contains("5000 bytes are too long"));
    }

    #[test]
    fn a_homoglyph_is_another_word() {
        // The first letter is Cyrillic.
        assert_ne!(split("\u{440}roduction").unwrap(), ["production"]);
    }
}

//! Secrets that a server may repeat in its answer, whole, in parts or escaped: they are hidden before the answer is shown.
//!
//! Text and secrets are both compared in every form between as they are and fully unescaped, so it does not matter which of
//! the two is escaped, how, or how often.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Url;

/// The mark in place of a secret.
const MARK: &str = "…";
/// Parts of an address that are shorter than this are no secrets.
const SHORTEST: usize = 3;
/// Secrets that are shorter than this are hidden only where they are a whole word: others are parts of usual words.
const WORD: usize = 6;
/// The number of times that a text may be escaped.
const DEPTH: usize = 3;
/// Parts that the addresses of many receivers share.
const COMMON: [&str; 22] = [
    "access_token",
    "api",
    "bot",
    "bots",
    "channels",
    "chat",
    "event",
    "events",
    "hook",
    "hooks",
    "incoming",
    "key",
    "message",
    "messages",
    "post",
    "room",
    "rooms",
    "services",
    "sig",
    "token",
    "webhook",
    "webhooks",
];

/// Secrets in all their forms.
#[derive(Clone, Debug, Default)]
pub struct Hidden(Vec<Vec<u8>>);

impl Hidden {
    /// Hides a secret.
    pub fn secret(&mut self, text: &str) {
        if !text.is_empty() {
            let forms = forms(text).into_iter().map(|form| form.into_iter().map(|unit| unit.byte).collect());
            self.0.extend(forms);
        }
    }

    /// Hides the value of a header, such as `Bearer TOKEN`, and the user and password of `Basic`.
    pub fn header(&mut self, value: &str) {
        self.secret(value);
        let mut words = value.split_whitespace();
        // One word alone is the secret itself; else the first is the name of a scheme.
        words.next();
        for word in words {
            self.secret(word);
            let plain = BASE64.decode(word).ok().and_then(|plain| String::from_utf8(plain).ok());
            plain.iter().flat_map(|plain| plain.splitn(2, ':')).for_each(|part| self.secret(part));
        }
    }

    /// Hides everything in an address but its host.
    pub fn address(&mut self, url: &Url) {
        let password = url.password().unwrap_or_default();
        self.secret(url.username());
        self.secret(password);
        let [user, word] = [url.username(), password].map(unescaped);
        if !user.is_empty() || !word.is_empty() {
            // The request has them in this form.
            self.secret(&BASE64.encode([&user[..], &word].join(&b':')));
        }
        if url.path().len() > 1 {
            self.secret(url.path());
        }
        url.path().split('/').for_each(|segment| self.part(segment));
        for text in [url.query(), url.fragment()].into_iter().flatten() {
            self.part(text);
            text.split('&').for_each(|pair| self.part(pair));
        }
    }

    /// Hides a part of an address and the parts of it, unless many addresses have them.
    fn part(&mut self, text: &str) {
        for part in text.split([':', ';', '=', ',', '@']).chain([text]) {
            let is_common = COMMON.contains(&part.to_ascii_lowercase().as_str());
            if !is_common && unescaped(part).len() >= SHORTEST {
                self.secret(part);
            }
        }
    }

    /// The text with a mark in place of each secret.
    pub fn hide(&self, text: &str) -> String {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for form in forms(text) {
            for secret in &self.0 {
                let found = form.windows(secret.len()).enumerate().filter(|(_, window)| is(window, secret));
                let found = found.filter(|(at, _)| secret.len() >= WORD || is_word(&form, *at, secret.len()));
                ranges.extend(found.map(|(_, window)| window[0].start..window[window.len() - 1].end));
            }
        }
        ranges.sort_by_key(|range| range.start);
        let (mut shown, mut from) = (String::with_capacity(text.len()), 0);
        for range in ranges {
            let (start, end) = (text.floor_char_boundary(range.start), text.ceil_char_boundary(range.end));
            if start > from || shown.is_empty() {
                shown.push_str(&text[from.min(start)..start]);
                shown.push_str(MARK);
            }
            from = from.max(end);
        }
        shown.push_str(&text[from..]);
        shown
    }
}

/// A byte of a text, and its place in the text before anything was unescaped.
#[derive(Clone, Copy, Debug)]
struct Unit {
    byte: u8,
    start: usize,
    end: usize,
}

/// The text as it is, and unescaped once, twice and so on.
fn forms(text: &str) -> Vec<Vec<Unit>> {
    let units = text.bytes().enumerate().map(|(start, byte)| Unit { byte, start, end: start + 1 });
    let mut forms: Vec<Vec<Unit>> = vec![units.collect()];
    while forms.len() <= DEPTH
        && let Some(next) = forms.last().and_then(|form| unescape(form))
    {
        forms.push(next);
    }
    forms
}

/// The text with nothing escaped.
fn unescaped(text: &str) -> Vec<u8> {
    forms(text).pop().unwrap_or_default().iter().map(|unit| unit.byte).collect()
}

/// One layer of escapes taken off; `None` if there is none.
fn unescape(units: &[Unit]) -> Option<Vec<Unit>> {
    let bytes: Vec<u8> = units.iter().map(|unit| unit.byte).collect();
    let (mut plain, mut at) = (Vec::with_capacity(units.len()), 0);
    while at < bytes.len() {
        match escape(&bytes[at..]) {
            Some((decoded, length)) => {
                let (start, end) = (units[at].start, units[at + length - 1].end);
                plain.extend(decoded.into_iter().map(|byte| Unit { byte, start, end }));
                at += length;
            }
            None => {
                plain.push(units[at]);
                at += 1;
            }
        }
    }
    (plain.len() < units.len()).then_some(plain)
}

/// The meaning and the length of the escape at the beginning of `text`: of an address, JSON or HTML.
fn escape(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    match *text {
        [b'%', ref rest @ ..] => Some((vec![u8::try_from(hex(rest, 2)?).ok()?], 3)),
        [b'\\', b'x', ref rest @ ..] => Some((vec![u8::try_from(hex(rest, 2)?).ok()?], 4)),
        [b'\\', b'u', ref rest @ ..] => {
            let first = hex(rest, 4)?;
            let second = rest.get(4..6).filter(|next| *next == b"\\u").and_then(|_| hex(&rest[6..], 4));
            match (char::from_u32(first), second) {
                (Some(character), _) => Some((utf8(character), 6)),
                (None, Some(second)) => {
                    let pair = [u16::try_from(first).ok()?, u16::try_from(second).ok()?];
                    let character = char::decode_utf16(pair).next()?.ok()?;
                    Some((utf8(character), 12))
                }
                (None, None) => None,
            }
        }
        [b'\\', byte, ..] if byte.is_ascii_punctuation() => Some((vec![byte], 2)),
        [b'&', ..] => {
            let end = text.iter().take(12).position(|byte| *byte == b';')?;
            let name = std::str::from_utf8(&text[1..end]).ok()?;
            let character = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                _ => {
                    let number = name.strip_prefix('#')?;
                    let code = match number.strip_prefix(['x', 'X']) {
                        Some(hex) => u32::from_str_radix(hex, 16),
                        None => number.parse(),
                    };
                    char::from_u32(code.ok()?)?
                }
            };
            Some((utf8(character), end + 1))
        }
        _ => None,
    }
}

/// The number that the first `digits` characters are.
fn hex(text: &[u8], digits: usize) -> Option<u32> {
    let digits = text.get(..digits).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn utf8(character: char) -> Vec<u8> {
    character.to_string().into_bytes()
}

/// True if the text is the secret. Small and capital letters are the same, and so are the two ways to write a space.
fn is(text: &[Unit], secret: &[u8]) -> bool {
    let same = |byte: u8| if byte == b'+' { b' ' } else { byte.to_ascii_lowercase() };
    text.iter().zip(secret).all(|(unit, byte)| same(unit.byte) == same(*byte))
}

/// True if the `length` bytes are not a part of a longer word.
fn is_word(text: &[Unit], at: usize, length: usize) -> bool {
    let inside = |at: usize| {
        text.get(at).is_some_and(|unit| unit.byte.is_ascii_alphanumeric() || !unit.byte.is_ascii())
    };
    let before = at.checked_sub(1).is_some_and(&inside) && inside(at);
    let after = inside(at + length) && inside(at + length - 1);
    !before && !after
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(url: &str) -> Hidden {
        let mut hidden = Hidden::default();
        hidden.address(&Url::parse(url).unwrap());
        hidden
    }

    #[test]
    fn every_part_of_an_address_is_hidden_in_every_form() {
        let hidden =
            of("https://us%65r1:p%40ss@example.com/hooks/T000/verysecret%2Fpath?k3y=v%61lue9&flagged");
        for part in [
            "/hooks/T000/verysecret%2Fpath",
            "\\/hooks\\/T000\\/verysecret%2fpath",
            "%2Fhooks%2FT000%2Fverysecret%252Fpath",
            "&#x2F;hooks&#47;T000&#x2F;verysecret&#37;2Fpath",
            "T000",
            "t000",
            "verysecret/path",
            "verysecret\\/path",
            "\\u0076erysecret\\u002fpath",
            "k3y",
            "value9",
            "k3y=value9",
            "flagged",
            "user1",
            "p@ss",
            "p%40ss",
            "dXNlcjE6cEBzcw==",
        ] {
            let shown = hidden.hide(&format!("before {part} after"));
            let left = shown.replace("hooks", "").replace(['\\', '/'], "");
            assert_eq!(left, "before … after", "{part}: {shown}");
        }
    }

    #[test]
    fn usual_words_are_shown() {
        let hidden = of("https://example.com/api/in/v1/abc?token=xyz");
        let words = "invalid token in api v1: abcd is not about xyzzy";
        assert_eq!(hidden.hide(words), words);
        assert_eq!(hidden.hide("no abc, no (xyz)"), "no …, no (…)");
        assert_eq!(of("https://example.com").hide(words), words);
        assert_eq!(Hidden::default().hide(words), words);
    }

    #[test]
    fn a_headers_scheme_is_shown_and_its_value_is_not() {
        let mut hidden = Hidden::default();
        hidden.header("Basic dXNlcjE6cEBzcw==");
        assert_eq!(hidden.hide("Basic auth of user1 with p@ss"), "Basic auth of … with …");
        let mut hidden = Hidden::default();
        hidden.header("k3y-0f-mine");
        assert_eq!(hidden.hide("key k3y-0f-mine"), "key …");
    }

    /// A way to write a text.
    fn write(text: &str, how: u8) -> String {
        let each = |escape: &dyn Fn(char) -> String| text.chars().map(escape).collect::<String>();
        let percent = |c: char| c.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
        match how {
            0 => text.to_owned(),
            1 => each(&percent),
            2 => each(&|c| if c.is_ascii_alphanumeric() { c.into() } else { percent(c).to_uppercase() }),
            3 => each(&|c| c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect()),
            4 => serde_json::to_string(text).unwrap().trim_matches('"').replace('/', "\\/"),
            5 => each(&|c| format!("&#{};", u32::from(c))),
            _ => text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
        }
    }

    proptest! {
        #[test]
        fn no_part_is_shown_however_it_is_written(
            parts in prop::collection::vec("[a-zA-Z0-9_é日😀<>. ~-]{6,12}", 4), which in 0usize..4,
            first in 0u8..7, second in 0u8..7, around in ("[a-z .:%&\\\\\"]{0,5}[ .:\"]", "[ .:\"][a-z .:%&\\\\\"]{0,5}"),
        ) {
            let mut url = Url::parse("https://example.com").unwrap();
            url.set_path(&format!("{}/{}", write(&parts[0], 1), write(&parts[1], 2)));
            url.set_query(Some(&format!("{}={}", write(&parts[2], 1), write(&parts[3], 2))));
            let mut hidden = Hidden::default();
            hidden.address(&url);
            let written = write(&write(&parts[which], first), second);
            let shown = hidden.hide(&format!("{}{written}{}", around.0, around.1));
            let plain = String::from_utf8_lossy(&unescaped(&shown)).into_owned();
            prop_assert!(!plain.contains(&parts[which]), "{} in {}", parts[which], shown);
            prop_assert!(shown.contains(MARK));
        }

        #[test]
        fn texts_without_a_secret_are_unchanged(text in "[a-zA-Z0-9 %&;#\\\\/é]{0,40}") {
            prop_assert_eq!(of("https://example.com/~~~~~~~~?~~~~").hide(&text), text);
        }
    }
}

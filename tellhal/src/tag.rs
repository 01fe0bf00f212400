//! Tags and tag patterns: tokens of `[A-Za-z0-9_-]` joined by dots, matched as NATS matches subjects.
//! Independent of subjects; `subject` makes subjects from tags.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest tag, in bytes.
pub const MAX_TAG: usize = 128;

/// The tag of messages without a legal tag.
pub const UNTAGGED: &str = "untagged";

/// A legal tag such as `backup.mysql.done`.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", "maxLength" = 128))]
pub struct Tag(String);

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag's tokens, first to last.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// The nearest legal tag to any text: illegal characters become `_`, empty tokens are removed, and a long
    /// tag is cut. A text without tokens gives [`UNTAGGED`].
    pub fn nearest(text: &str) -> Tag {
        let tokens: Vec<String> = text.split('.').filter(|t| !t.is_empty()).map(legal_token).collect();
        let mut tag = tokens.join(".");
        tag.truncate(MAX_TAG);
        let tag = tag.trim_end_matches('.');
        Tag(if tag.is_empty() { UNTAGGED.into() } else { tag.into() })
    }
}

/// `text` as one legal token: every other character becomes `_`.
pub fn legal_token(text: &str) -> String {
    text.chars().map(|c| if is_token_char(c) { c } else { '_' }).collect()
}

/// True if `text` is one legal token, which is never empty.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_token_char)
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// The reason why a text is not a tag or not a pattern, with a hint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {hint}")]
pub struct BadTag {
    /// The problem.
    pub what: String,
    /// A hint how to correct it.
    pub hint: String,
}

impl BadTag {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        BadTag { what: what.into(), hint: hint.into() }
    }
}

impl FromStr for Tag {
    type Err = BadTag;

    fn from_str(text: &str) -> Result<Self, BadTag> {
        let shown: String = text.chars().take(40).collect::<String>().escape_debug().to_string();
        if text.is_empty() {
            return Err(BadTag::new(
                "the tag is empty",
                "a tag is words joined by dots, such as backup.mysql",
            ));
        }
        if text.len() > MAX_TAG {
            let what = format!("tag {shown:?}… is {} bytes long", text.len());
            return Err(BadTag::new(what, format!("at most {MAX_TAG} are allowed")));
        }
        if !text.split('.').all(is_token) {
            let what = format!("tag \"{shown}\" is not words of A-Z a-z 0-9 _ - joined by dots");
            return Err(BadTag::new(what, format!("the nearest legal tag is {}", Tag::nearest(text))));
        }
        Ok(Tag(text.into()))
    }
}

impl TryFrom<String> for Tag {
    type Error = BadTag;
    fn try_from(text: String) -> Result<Self, BadTag> {
        text.parse()
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> String {
        tag.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tag pattern: `*` stands for one token, a `>` at the end for one or more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Pattern(String);

impl Pattern {
    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The pattern's tokens, first to last.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// True if this pattern covers `tag`.
    pub fn matches(&self, tag: &Tag) -> bool {
        let mut tokens = tag.tokens();
        for want in self.tokens() {
            match (want, tokens.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (want, Some(token)) if want == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }
}

impl FromStr for Pattern {
    type Err = BadTag;

    fn from_str(text: &str) -> Result<Self, BadTag> {
        let tokens: Vec<&str> = text.split('.').collect();
        for (i, token) in tokens.iter().enumerate() {
            let last = i + 1 == tokens.len();
            if *token == ">" && !last {
                let right = tokens[..=i].join(".");
                return Err(BadTag::new(
                    format!("pattern \"{text}\" has a '>' before its end"),
                    format!("'>' stands for all words that follow: {right}"),
                ));
            }
            if !(is_token(token) || *token == "*" || *token == ">") {
                return Err(BadTag::new(
                    format!("\"{}\" is not a tag pattern", text.escape_debug()),
                    "in a pattern * stands for one word and a last > for all words that follow, such as backup.>",
                ));
            }
        }
        Ok(Pattern(text.into()))
    }
}

impl TryFrom<String> for Pattern {
    type Error = BadTag;
    fn try_from(text: String) -> Result<Self, BadTag> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_with_the_nearest_legal_tag_as_a_hint() {
        let long = "a".repeat(129);
        for bad in ["", ".", "a..b", "a b", "a.*", "a.>", "a\nb", "$JS.API", "é", long.as_str()] {
            let error = bad.parse::<Tag>().unwrap_err();
            assert!(!error.hint.is_empty(), "{bad:?}: {error}");
        }
        let error = "backup mysql".parse::<Tag>().unwrap_err();
        assert_eq!(error.hint, "the nearest legal tag is backup_mysql");
    }

    #[test]
    fn patterns_match_as_nats_does() {
        let cases = [
            ("backup.>", "backup.mysql", true),
            ("backup.>", "backup", false),
            ("backup.*", "backup.mysql", true),
            ("backup.*", "backup.mysql.done", false),
            (">", "a", true),
            ("*", "a.b", false),
            ("*.mysql", "backup.mysql", true),
            ("backup", "backup", true),
            ("backup", "backup.mysql", false),
        ];
        for (pattern, tag, want) in cases {
            let got = pattern.parse::<Pattern>().unwrap().matches(&tag.parse().unwrap());
            assert_eq!(got, want, "{pattern} on {tag}");
        }
        for bad in ["", ">.a", "a.>.b", "a..b", "a b", "a*"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn nearest_is_always_legal_and_leaves_legal_tags_alone(text in ".{0,200}") {
            let tag = Tag::nearest(&text);
            prop_assert!(tag.as_str().parse::<Tag>().is_ok());
            if let Ok(legal) = text.parse::<Tag>() {
                prop_assert_eq!(tag, legal);
            }
        }
    }
}

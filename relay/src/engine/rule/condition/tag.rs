//! `tag`: one of these patterns covers the message's tag. The trie finds routes by their patterns.

use serde::{Deserialize, Serialize};
use service::config::OneOrMany;
use tellhal::tag::{Pattern, legal_token};

use super::ask::{Asked, Condition};
use super::written::{Mistake, Refusal, each};

/// The patterns; every tag when empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tags(pub Vec<Pattern>);

impl Condition for Tags {
    type Written = Option<OneOrMany>;

    const IN_TRIE: bool = true;

    fn read(key: &str, written: &Self::Written, report: &mut dyn FnMut(Mistake)) -> Self {
        Tags(each(written.as_ref(), key, pattern, report))
    }

    fn holds(&self, asked: Asked) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.matches(&asked.message.tag))
    }

    fn held(&self, asked: Asked) -> Vec<String> {
        let tag = &asked.message.tag;
        match self.0.iter().find(|pattern| pattern.matches(tag)) {
            Some(pattern) => vec![format!("tag {tag} is covered by {pattern}")],
            None => vec!["every tag".into()],
        }
    }

    fn refused(&self, asked: Asked) -> String {
        let patterns: Vec<&str> = self.0.iter().map(Pattern::as_str).collect();
        format!("tag {} is not covered by {}", asked.message.tag, patterns.join(", "))
    }

    fn covers(&self, narrow: &Self) -> bool {
        let covered = |narrow: &Pattern| self.0.iter().any(|wide| covers(wide, narrow));
        self.0.is_empty() || (!narrow.0.is_empty() && narrow.0.iter().all(covered))
    }
}

fn pattern(text: &str) -> Result<Pattern, Refusal> {
    text.parse::<Pattern>().map_err(|bad| {
        let hint = match nearest_pattern(text) {
            near if near.is_empty() => bad.hint,
            near => format!("the nearest pattern is {near}: * stands for one word, a last > for the rest"),
        };
        (bad.what, hint)
    })
}

/// The nearest legal pattern; empty if `text` contains no word.
fn nearest_pattern(text: &str) -> String {
    let mut tokens: Vec<String> = Vec::new();
    for token in text.split('.').filter(|token| !token.is_empty()) {
        match token {
            ">" => return [tokens, vec![">".into()]].concat().join("."),
            token if token.contains(['*', '>']) => tokens.push("*".into()),
            token => tokens.push(legal_token(token)),
        }
    }
    tokens.join(".")
}

/// True if `wide` matches every tag that `narrow` matches.
fn covers(wide: &Pattern, narrow: &Pattern) -> bool {
    let mut narrow = narrow.tokens();
    for want in wide.tokens() {
        match (want, narrow.next()) {
            (">", Some(_)) => return true,
            (_, Some(">")) | (_, None) => return false,
            ("*", Some(_)) => {}
            (want, Some(token)) if want == token => {}
            _ => return false,
        }
    }
    narrow.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tellhal::tag::Tag;

    #[test]
    fn a_pattern_covers_what_it_matches_more_of() {
        let cases = [
            (">", "a", true),
            (">", ">", true),
            ("a.>", "a.*.c", true),
            ("a.*", "a.b", true),
            ("a.*", "a.>", false),
            ("a.b", "a.*", false),
            ("*.*", "a.>", false),
            ("a.>", "a", false),
            ("a", "a.b", false),
        ];
        for (wide, narrow, want) in cases {
            assert_eq!(covers(&wide.parse().unwrap(), &narrow.parse().unwrap()), want, "{wide} {narrow}");
        }
    }

    proptest! {
        #[test]
        fn what_a_covered_pattern_matches_its_cover_matches(
            wide in "([ab*]\\.){0,2}[ab*>]", narrow in "([ab*]\\.){0,2}[ab*>]", tag in "([ab]\\.){0,3}[ab]",
        ) {
            let (wide, narrow): (Pattern, Pattern) = (wide.parse().unwrap(), narrow.parse().unwrap());
            let tag: Tag = tag.parse().unwrap();
            if covers(&wide, &narrow) && narrow.matches(&tag) {
                prop_assert!(wide.matches(&tag));
            }
        }
    }
}

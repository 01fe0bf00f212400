//! Texts with placeholders: `github.{event}`. A value that takes a placeholder's place is never read as a template itself. Pure.

use tellhal::Tag;
use tellhal::tag::legal_token;

/// A template that was understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(String),
}

impl Template {
    /// Reads a template; `{{` and `}}` are braces themselves. The error is the problem.
    pub(crate) fn read(text: &str) -> Result<Template, String> {
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain += &rest[..at];
            let (brace, after) = rest[at..].split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                plain += brace;
                rest = after;
                continue;
            }
            let (name, after) = after
                .split_once('}')
                .filter(|(name, _)| brace == "{" && !name.is_empty() && !name.contains('{'))
                .ok_or_else(|| format!("{text:?} has a {brace} without its other half"))?;
            pieces.extend([Piece::Text(std::mem::take(&mut plain)), Piece::Place(name.to_owned())]);
            rest = after;
        }
        pieces.push(Piece::Text(plain + rest));
        Ok(Template(pieces))
    }

    /// The names of its placeholders.
    pub(crate) fn places(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Place(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The text with its values.
    pub(crate) fn fill(&self, value: impl Fn(&str) -> String) -> String {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Place(name) => value(name),
        });
        pieces.collect()
    }

    /// The tag with its values, each of which is at most one word of it, and the text that it would have been if that is another.
    /// So a value cannot lead to a tag that the template does not have.
    pub(crate) fn tag(&self, value: impl Fn(&str) -> String) -> (Tag, Option<String>) {
        let named =
            |name: &str| Some(value(name)).filter(|value| !value.is_empty()).unwrap_or_else(|| "none".into());
        let meant = self.fill(named);
        let tag = Tag::nearest(&self.fill(|name| legal_token(&named(name))));
        let original = (tag.as_str() != meant).then_some(meant);
        (tag, original)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_word_of_a_tag_and_never_a_template() {
        let template = Template::read("github.{event}.x").unwrap();
        assert_eq!(template.places().collect::<Vec<_>>(), ["event"]);
        for (value, tag, original) in [
            ("push", "github.push.x", None),
            ("a.b>*", "github.a_b__.x", Some("github.a.b>*.x")),
            ("{event}", "github._event_.x", Some("github.{event}.x")),
            ("", "github.none.x", None),
        ] {
            let (got, was) = template.tag(|_| value.to_owned());
            assert_eq!((got.as_str(), was.as_deref()), (tag, original));
        }
        assert_eq!(template.tag(|_| "y".repeat(200)).0.as_str().len(), 128);
    }

    #[test]
    fn braces_have_their_other_half() {
        assert_eq!(Template::read("{{a}} {/b/c}").unwrap().fill(|name| name.to_uppercase()), "{a} /B/C");
        for wrong in ["{", "}", "a{", "a}b", "{}", "{a{b}"] {
            assert!(Template::read(wrong).is_err(), "{wrong}");
        }
    }
}

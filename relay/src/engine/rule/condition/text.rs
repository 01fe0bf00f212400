//! `text`: a regular expression matches in title or text. It is compiled once, when the configuration is read.

use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::ask::{Asked, Condition};
use super::written::Mistake;

/// The regular expression; any text when absent.
#[derive(Clone, Debug, Default)]
pub struct Text(pub Option<Regex>);

impl Text {
    fn expression(&self) -> Option<&str> {
        self.0.as_ref().map(Regex::as_str)
    }
}

impl Condition for Text {
    type Written = Option<String>;

    fn read(key: &str, written: &Self::Written, report: &mut dyn FnMut(Mistake)) -> Self {
        let compile =
            |text: &String| Regex::new(text).map_err(|error| report(Mistake::new(key, refusal(&error)))).ok();
        Text(written.as_ref().and_then(compile))
    }

    fn holds(&self, asked: Asked) -> bool {
        let matches = |text: &Regex| {
            text.is_match(&asked.message.text)
                || asked.message.title.as_deref().is_some_and(|title| text.is_match(title))
        };
        self.0.as_ref().is_none_or(matches)
    }

    fn held(&self, _: Asked) -> Vec<String> {
        self.expression()
            .map(|expression| format!("title or text matches /{expression}/"))
            .into_iter()
            .collect()
    }

    fn refused(&self, _: Asked) -> String {
        format!("neither title nor text matches /{}/", self.expression().unwrap_or_default())
    }

    fn covers(&self, narrow: &Self) -> bool {
        self.0.is_none() || self == narrow
    }
}

fn refusal(error: &regex::Error) -> (String, String) {
    let error = error.to_string();
    let reason = error.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
    let hint = "the syntax is that of https://docs.rs/regex; in 'single quotes' TOML keeps backslashes";
    (format!("is not a regular expression: {reason}"), hint.into())
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.expression() == other.expression()
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.expression().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expression = Option::<String>::deserialize(deserializer)?;
        let compiled = expression.as_deref().map(Regex::new).transpose();
        compiled.map(Text).map_err(de::Error::custom)
    }
}

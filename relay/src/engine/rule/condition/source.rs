//! `source`: the message comes from one of these sources. Routes without a tag are found by it.

use serde::{Deserialize, Serialize};
use service::config::OneOrMany;
use tellhal::tag::{is_token, legal_token};

use super::ask::{Asked, Condition};
use super::written::{Mistake, Refusal, each};

/// The allowed sources; every source when empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sources(pub Vec<String>);

impl Condition for Sources {
    type Written = Option<OneOrMany>;

    fn read(key: &str, written: &Self::Written, report: &mut dyn FnMut(Mistake)) -> Self {
        Sources(each(written.as_ref(), key, parse, report))
    }

    fn holds(&self, asked: Asked) -> bool {
        self.0.is_empty() || self.0.contains(&asked.message.source)
    }

    fn held(&self, asked: Asked) -> Vec<String> {
        match self.0.is_empty() {
            true => Vec::new(),
            false => vec![format!("source {} is listed", asked.message.source)],
        }
    }

    fn refused(&self, asked: Asked) -> String {
        format!("source {} is none of {}", asked.message.source, self.0.join(", "))
    }

    fn covers(&self, narrow: &Self) -> bool {
        let listed = |source: &String| self.0.contains(source);
        self.0.is_empty() || (!narrow.0.is_empty() && narrow.0.iter().all(listed))
    }
}

/// Reads a source as it is written in a file.
pub fn parse(text: &str) -> Result<String, Refusal> {
    match is_token(text) {
        true => Ok(text.to_owned()),
        false => Err((
            format!("{text:?} is not a legal source"),
            format!("a source is one word, by default the short host name: {}", legal_token(text)),
        )),
    }
}

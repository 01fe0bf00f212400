//! `severity`: the message has this severity or a higher one.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tellhal::message::Severity;

use super::ask::{Asked, Condition};
use super::written::{Mistake, Refusal};
use tellhal::nearest;

/// The lowest severity; `None` for every severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Least(pub Option<Severity>);

impl Condition for Least {
    type Written = Option<String>;

    fn read(key: &str, written: &Self::Written, report: &mut dyn FnMut(Mistake)) -> Self {
        let read = |text: &String| parse(text).map_err(|refusal| report(Mistake::new(key, refusal))).ok();
        Least(written.as_ref().and_then(read))
    }

    fn holds(&self, asked: Asked) -> bool {
        self.0.is_none_or(|least| asked.message.severity >= least)
    }

    fn held(&self, asked: Asked) -> Vec<String> {
        let least = self.0.iter();
        least.map(|least| format!("severity {} is {least} or above", asked.message.severity)).collect()
    }

    fn refused(&self, asked: Asked) -> String {
        format!("severity {} is below {}", asked.message.severity, self.0.unwrap_or_default())
    }

    fn covers(&self, narrow: &Self) -> bool {
        self.0.unwrap_or(Severity::Debug) <= narrow.0.unwrap_or(Severity::Debug)
    }
}

/// Reads a severity as it is written in a file.
pub fn parse(text: &str) -> Result<Severity, Refusal> {
    Severity::from_str(text).map_err(|_| {
        let hint = nearest::hint(text, Severity::ALL.map(Severity::as_str));
        (format!("there is no severity {text:?}"), hint)
    })
}

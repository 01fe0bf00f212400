//! `fields`: the message has these fields, with these values.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service::config::joined;

use super::ask::{Asked, Condition};
use super::written::Mistake;

/// The required fields, each with its allowed values; an empty list allows any value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fields(pub BTreeMap<String, Vec<String>>);

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FieldMatch {
    /// `true`: the field exists.
    Present(bool),
    /// The field has this value.
    One(String),
    /// The field has one of these values.
    Many(Vec<String>),
}

impl Condition for Fields {
    type Written = BTreeMap<String, FieldMatch>;

    fn read(key: &str, written: &Self::Written, report: &mut dyn FnMut(Mistake)) -> Self {
        let mut read = |(name, wanted): (&String, &FieldMatch)| match values(wanted) {
            Ok(values) => Some((name.clone(), values)),
            Err((what, hint)) => {
                report(Mistake::new(joined(key, name), (what.into(), hint.into())));
                None
            }
        };
        Fields(written.iter().filter_map(&mut read).collect())
    }

    fn holds(&self, asked: Asked) -> bool {
        self.0.iter().all(|(name, wanted)| {
            asked.message.fields.get(name).is_some_and(|value| wanted.is_empty() || wanted.contains(value))
        })
    }

    fn held(&self, asked: Asked) -> Vec<String> {
        let value = |name: &String| asked.message.fields.get(name).map_or("", String::as_str);
        self.0.keys().map(|name| format!("field {name} is {:?}", value(name))).collect()
    }

    fn refused(&self, asked: Asked) -> String {
        self.0.iter().find_map(|(name, wanted)| refused(name, wanted, asked)).unwrap_or_default()
    }

    fn covers(&self, narrow: &Self) -> bool {
        self.0.iter().all(|(name, values)| {
            narrow.0.get(name).is_some_and(|narrow| {
                values.is_empty() || (!narrow.is_empty() && narrow.iter().all(|value| values.contains(value)))
            })
        })
    }
}

fn values(wanted: &FieldMatch) -> Result<Vec<String>, (&'static str, &'static str)> {
    match wanted {
        FieldMatch::Present(true) => Ok(Vec::new()),
        FieldMatch::Present(false) => {
            let hint = "write true for any value, or the value, or a list of values";
            Err(("cannot be false", hint))
        }
        FieldMatch::One(value) => Ok(vec![value.clone()]),
        FieldMatch::Many(values) if values.is_empty() => {
            Err(("is an empty list", "write true for any value"))
        }
        FieldMatch::Many(values) => Ok(values.clone()),
    }
}

/// The reason why a field does not match; `None` if it does.
fn refused(name: &str, wanted: &[String], asked: Asked) -> Option<String> {
    match asked.message.fields.get(name) {
        None => Some(format!("there is no field {name}")),
        Some(value) if !wanted.is_empty() && !wanted.contains(value) => {
            let wanted: Vec<String> = wanted.iter().map(|wanted| format!("{wanted:?}")).collect();
            Some(format!("field {name} is {value:?}, not {}", wanted.join(" or ")))
        }
        Some(_) => None,
    }
}

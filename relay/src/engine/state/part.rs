//! A state's part of a snapshot, read on its own, so that a mistake in it costs no other part.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The part, or the reason why it could not be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Part<T>(Result<T, String>);

impl<T: Default> Part<T> {
    pub fn of(kept: T) -> Self {
        Part(Ok(kept))
    }

    pub fn or_default(self) -> T {
        self.0.unwrap_or_default()
    }

    pub fn error(&self) -> Option<&str> {
        self.0.as_ref().err().map(String::as_str)
    }
}

impl<T: Default> Default for Part<T> {
    fn default() -> Self {
        Part(Ok(T::default()))
    }
}

impl<T: Serialize> Serialize for Part<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().ok().serialize(serializer)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Part<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(Part(serde_json::from_value(value).map_err(|error| error.to_string())))
    }
}

//! Reads what several conditions are written with, one value or a list of them, and says what can be wrong about it.

use service::config::OneOrMany;

/// What is wrong with a value, and what would be right.
pub type Refusal = (String, String);

/// A mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key's path in its route, such as `tag[1]`.
    pub key: String,
    pub what: String,
    /// What would be right.
    pub hint: String,
}

impl Mistake {
    pub fn new(key: impl Into<String>, (what, hint): Refusal) -> Self {
        Mistake { key: key.into(), what, hint }
    }
}

/// Every item that `read` takes; what it refuses is reported, an empty list too.
pub fn each<T>(
    written: Option<&OneOrMany>,
    key: &str,
    read: impl Fn(&str) -> Result<T, Refusal>,
    report: &mut dyn FnMut(Mistake),
) -> Vec<T> {
    let Some(written) = written else { return Vec::new() };
    if written.is_empty() {
        report(Mistake::new(key, ("is an empty list".into(), format!("leave {key} out, or name one"))));
    }
    let mut all = Vec::new();
    for (end, text) in written.items() {
        match read(text) {
            Ok(value) => all.push(value),
            Err(refusal) => report(Mistake::new(format!("{key}{end}"), refusal)),
        }
    }
    all
}

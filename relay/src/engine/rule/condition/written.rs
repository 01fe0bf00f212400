//! Reads a value or a list of values, as several conditions are written, and reports mistakes.

use service::config::OneOrMany;

/// The mistake in a value, and a hint.
pub type Refusal = (String, String);

/// A mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key's path in its route, such as `tag[1]`.
    pub key: String,
    pub what: String,
    pub hint: String,
}

impl Mistake {
    pub fn new(key: impl Into<String>, (what, hint): Refusal) -> Self {
        Mistake { key: key.into(), what, hint }
    }
}

/// The items that `read` takes. Items that it refuses are reported, and so is an empty list.
pub fn each<T>(
    written: Option<&OneOrMany>,
    key: &str,
    read: impl Fn(&str) -> Result<T, Refusal>,
    report: &mut dyn FnMut(Mistake),
) -> Vec<T> {
    let Some(written) = written else { return Vec::new() };
    if written.is_empty() {
        report(Mistake::new(key, ("is an empty list".into(), format!("remove {key}, or add an item"))));
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

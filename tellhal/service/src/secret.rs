//! Secrets: written inline, in a file of their own or in the environment, exactly one of them.
//! A secret is never printed and never serialized.

use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::KeyProblem;
use crate::tls;

/// A text that is not shown by accident: it has no `Display` and no `Serialize`, and `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("writeOnly" = true))]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// One secret's two keys in a configuration: `token` and `token_file`.
#[derive(Clone, Copy)]
pub struct Pair<'a> {
    pub key: &'static str,
    pub file_key: &'static str,
    pub inline: Option<&'a Secret>,
    pub file: Option<&'a Path>,
}

impl<'a> Pair<'a> {
    pub fn new(
        key: &'static str,
        file_key: &'static str,
        inline: &'a Option<Secret>,
        file: &'a Option<PathBuf>,
    ) -> Self {
        Pair { key, file_key, inline: inline.as_ref(), file: file.as_deref() }
    }

    /// True if one of the two keys is written.
    pub fn is_set(&self) -> bool {
        self.inline.is_some() || self.file.is_some()
    }

    /// The mistake in the way the keys are written, if there is one. Does not read the secret.
    pub fn problem(&self) -> Option<KeyProblem> {
        let hint = format!("write either {} or {}", self.key, self.file_key);
        match (self.inline, self.file) {
            (Some(_), Some(_)) => Some(KeyProblem::new(self.key, "the secret is given twice", hint)),
            (Some(text), None) if text.0.is_empty() => {
                Some(KeyProblem::new(self.key, "the secret is empty", hint))
            }
            (Some(text), None) if text.0.contains("${") && variable(&text.0).is_none() => {
                Some(KeyProblem::new(
                    self.key,
                    "a variable must be the whole value",
                    format!("write {} = \"${{NAME}}\"", self.key),
                ))
            }
            _ => None,
        }
    }

    /// As [`Pair::problem`], and a secret that is not written at all is a problem too.
    pub fn required(&self) -> Option<KeyProblem> {
        if self.is_set() {
            return self.problem();
        }
        let hint = format!("write either {} or {}", self.key, self.file_key);
        Some(KeyProblem::new(self.key, "the secret is missing", hint))
    }

    /// The secret itself, if one is written. Newlines at its end are removed.
    pub fn read(&self) -> Result<Option<Secret>, KeyProblem> {
        if let Some(problem) = self.problem() {
            return Err(problem);
        }
        let (key, text) = match (self.inline, self.file) {
            (Some(text), _) => match variable(&text.0) {
                None => (self.key, text.0.clone()),
                Some(name) => {
                    (self.key, std::env::var(name).map_err(|error| self.no_variable(name, &error))?)
                }
            },
            (None, Some(path)) => {
                (self.file_key, tellhal::file::read_text(path).map_err(|error| self.no_file(path, &error))?)
            }
            (None, None) => return Ok(None),
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(KeyProblem::new(key, "the secret is empty", "write the secret there"));
        }
        Ok(Some(Secret::new(text)))
    }

    fn no_variable(&self, name: &str, error: &std::env::VarError) -> KeyProblem {
        let why = match error {
            std::env::VarError::NotPresent => "is not set",
            std::env::VarError::NotUnicode(_) => "is not UTF-8",
        };
        KeyProblem::new(
            self.key,
            format!("the environment variable {name} {why}"),
            "set it where the service starts",
        )
    }

    fn no_file(&self, path: &Path, error: &std::io::Error) -> KeyProblem {
        let what = format!("{}: {error}", path.display());
        KeyProblem::new(
            self.file_key,
            what,
            "the file must contain only the secret, and the service must be able to read it",
        )
    }
}

/// The secrets and the CA certificate that cannot be read now: a warning in `check`, an error when `service` starts. A secret that is
/// written wrongly is told elsewhere.
pub fn unresolved(service: &str, secrets: &[Pair<'_>], tls_ca: Option<&Path>) -> Vec<KeyProblem> {
    let written = secrets.iter().filter(|secret| secret.problem().is_none());
    let unread = written.filter_map(|secret| secret.read().err());
    let bad_ca = tls_ca.and_then(|ca| tls::client(Some(ca)).err()).map(|bad| {
        let hint = format!("{service} run will refuse to start without it");
        KeyProblem::new("tls_ca", format!("{bad:#}"), hint)
    });
    unread.chain(bad_ca).collect()
}

/// `NAME` of a text that is `${NAME}`.
fn variable(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${")?.strip_suffix('}')?;
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(legal)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(inline: Option<&str>, file: Option<PathBuf>) -> Result<Option<Secret>, KeyProblem> {
        Pair::new("token", "token_file", &inline.map(Secret::new), &file).read()
    }

    #[test]
    fn what_cannot_be_read_at_start_is_told_and_no_wrong_secret_twice() {
        let (nowhere, wrong) = (Some(PathBuf::from("/nowhere")), Some(Secret::new("a-${B}")));
        let secrets = [
            Pair::new("token", "token_file", &None, &nowhere),
            Pair::new("password", "password_file", &wrong, &None),
        ];
        let told = unresolved("hal-bridge", &secrets, Some(Path::new("/nowhere")));
        assert_eq!(told.iter().map(|problem| problem.key).collect::<Vec<_>>(), ["token_file", "tls_ca"]);
    }

    #[test]
    fn comes_from_exactly_one_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "hidden\n").unwrap();
        assert_eq!(read(None, Some(path.clone())).unwrap().unwrap().reveal(), "hidden");
        assert_eq!(read(Some("inline"), None).unwrap().unwrap().reveal(), "inline");
        assert_eq!(read(Some("${PATH}"), None).unwrap().unwrap().reveal(), std::env::var("PATH").unwrap());
        assert_eq!(read(None, None).unwrap(), None);
        assert_eq!(read(Some("x"), Some(path)).unwrap_err().what, "the secret is given twice");
    }

    #[test]
    fn an_unreadable_secret_is_named_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let gone = read(None, Some(dir.path().join("gone"))).unwrap_err();
        assert_eq!(gone.key, "token_file");
        assert!(gone.what.contains("gone"), "{gone:?}");
        let unset = read(Some("${HAL_NO_SUCH_VARIABLE}"), None).unwrap_err();
        assert_eq!(unset.what, "the environment variable HAL_NO_SUCH_VARIABLE is not set");
        let partial = read(Some("hidden-${X}"), None).unwrap_err();
        assert!(!format!("{partial:?}").contains("hidden"), "{partial:?}");
        assert_eq!(read(Some(""), None).unwrap_err().what, "the secret is empty");
        assert_eq!(format!("{:?}", Secret::new("hidden")), "Secret(…)");
        let missing = Pair::new("token", "token_file", &None, &None).required().unwrap();
        assert_eq!(missing.hint, "write either token or token_file");
    }
}

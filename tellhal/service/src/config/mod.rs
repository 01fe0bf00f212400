//! A service's configuration: read from a file or a folder, checked, every error at once. Its behaviour is the same for every
//! service:
//!
//! - **Files**: `--config` names a file, or a folder of which every `*.toml` is read in the order of their names, hidden
//!   ones left out. A file that every user may write or replace is refused, and so is one that is no regular file. A byte
//!   order mark and CRLF are accepted.
//! - **Relative paths** are relative to the folder of the file they stand in.
//! - **Secrets** are written inline, as `${NAME}` of the environment, or in a file named by the same key with `_file`:
//!   exactly one of them ([`crate::secret`]). A value of that type is never shown, whichever mistake is near it, and a
//!   syntax error shows no value at all ([`span`]).
//! - **Errors** come all at once, each with file, line, key and a hint, with "did you mean" for a name that is nearly
//!   right ([`tellhal::nearest`]). A secret that cannot be read is a warning of `check` and an error of `run`.
//! - **Reload** on SIGHUP and when a file changes ([`watch`]). A refused version leaves the old one in force.
//! - **Last good version**: at start, a broken file of a folder is replaced by its last good version ([`last_good`]).
//!
//! ```text
//!  files ──▶ document (TOML, held against the schema of C::File) ──▶ C::check ──▶ C
//!               └─────────── problems, each with its place and a hint ──┘
//! ```

mod check_command;
mod checks;
mod document;
pub mod files;
mod last_good;
mod problem;
mod shape;
mod span;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod toy;
mod values;
mod watch;

use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;

pub use check_command::check_command;
pub use checks::Checks;
pub use document::Document;
pub use last_good::start;
pub use problem::{KeyProblem, Level, Problem, Problems};
use shape::LEFT_OUT;
pub use shape::{PATH, joined};
pub use span::Place;
pub use values::{LEAST_SIZE, OneOrMany, duration, duration_in, listen_address};
pub use watch::watch;

/// One service's configuration, in which every name exists and every value is legal.
pub trait Configuration: Sized + Send + 'static {
    /// The file as it is written: every key may be absent, so that a file that lacks one is still read to its end.
    type File: Default + DeserializeOwned + JsonSchema;

    /// The program, such as `hal-relay`: hints name its commands, and its state folder has this name.
    const SERVICE: &'static str;

    /// The shortest legal file.
    const LEAST: &'static str;

    /// Makes the configuration and adds its problems to `checks`. It is used only if no problem is an error.
    fn check(checks: &mut Checks<'_, Self::File>) -> Self;

    /// The warnings of this configuration.
    fn warnings(&mut self) -> &mut Vec<Problem>;

    /// The state folder that a file names.
    fn state_dir_of(file: &Self::File) -> Option<&PathBuf>;

    /// The JSON Schema of the file.
    fn schema() -> Schema {
        schemars::schema_for!(Self::File)
    }

    /// Reads a file, or every `*.toml` of a folder in the order of their names.
    fn load(path: &Path) -> Result<Self, Problems> {
        Self::from_texts(&files::read(path)?)
    }

    /// [`Configuration::parse`], with errors as the error and warnings in the configuration.
    fn from_texts(files: &[(PathBuf, String)]) -> Result<Self, Problems> {
        let (config, problems) = Self::parse(files);
        match config {
            Some(mut config) => {
                *config.warnings() = problems;
                Ok(config)
            }
            None => Err(Problems(problems)),
        }
    }

    /// Reads configuration texts. There is a configuration if no problem is an error. Opens no files but those of secrets.
    fn parse(files: &[(PathBuf, String)]) -> (Option<Self>, Vec<Problem>) {
        let mut problems = Vec::new();
        let documents = documents::<Self>(files, &mut problems);
        let mut checks = Checks::new(&documents, Self::SERVICE, !problems.is_empty());
        let config = Self::check(&mut checks);
        let found = checks.problems;
        let found = found.into_iter().filter(|problem| !is_of_stand_in(problem, &problems));
        let found: Vec<Problem> = found.collect();
        problems.extend(found);
        let sound = problems.iter().all(|problem| problem.level != Level::Error);
        (Some(config).filter(|_| sound), Problems::sorted(problems).0)
    }

    /// The configuration, if the service can start with it: a secret that cannot be read is an error here.
    fn ready(mut self) -> Result<Self, Problems> {
        if !self.warnings().iter().any(|problem| problem.at_start) {
            return Ok(self);
        }
        let error = |problem: Problem| match problem.at_start {
            true => Problem { level: Level::Error, ..problem },
            false => problem,
        };
        Err(Problems(std::mem::take(self.warnings()).into_iter().map(error).collect()))
    }
}

/// True for a problem of what stands for a value of the wrong shape, which is told already.
fn is_of_stand_in(problem: &Problem, shapes: &[Problem]) -> bool {
    let is_same = |shape: &Problem| (&shape.file, &shape.key) == (&problem.file, &problem.key);
    let names_it = problem.what.contains(LEFT_OUT) || problem.what.contains(&format!("{LEFT_OUT:?}"));
    names_it || !problem.key.is_empty() && shapes.iter().any(is_same)
}

/// The folder for a service's state: the one its files name, else `$STATE_DIRECTORY`, else
/// `$XDG_STATE_HOME/<service>`.
pub fn state_dir<C: Configuration>(named: Option<&Path>) -> Option<PathBuf> {
    let default = || values::default_state_dir(C::SERVICE, |name| std::env::var(name).ok());
    named.map(Path::to_owned).or_else(default)
}

fn documents<C: Configuration>(
    files: &[(PathBuf, String)],
    problems: &mut Vec<Problem>,
) -> Vec<Document<C::File>> {
    let schema = C::schema().into();
    files.iter().map(|(file, text)| Document::read(file, text, &schema, C::LEAST, problems)).collect()
}

/// The state folder that these texts name, even if they have errors.
fn named_state_dir<C: Configuration>(files: &[(PathBuf, String)]) -> Option<PathBuf> {
    let documents = documents::<C>(files, &mut Vec::new());
    documents.iter().find_map(|document| C::state_dir_of(&document.raw).cloned())
}

//! Exit statuses, the same as sysexits.h where it has one, and the one place that prints an error.

use std::fmt::Display;

use tellhal::refusal::Refusal;

/// The exit status of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) i32);

impl Exit {
    /// Success; a message is kept.
    pub(crate) const OK: Exit = Exit(0);
    /// The command line is wrong, or the tag in it.
    pub(crate) const USAGE: Exit = Exit(64);
    /// The message can never be accepted.
    pub(crate) const REFUSED: Exit = Exit(65);
    /// The message is not kept, or the server cannot be used now.
    pub(crate) const TEMPORARY: Exit = Exit(75);
    /// The credentials do not allow it.
    pub(crate) const NOT_PERMITTED: Exit = Exit(77);
    /// The configuration, of tellhal or of the server, is wrong.
    pub(crate) const CONFIG: Exit = Exit(78);

    /// The exit status for a refusal.
    pub(crate) fn of(refusal: &Refusal) -> Exit {
        match refusal {
            Refusal::TooLarge { .. } => Exit::REFUSED,
            Refusal::NotPermitted(_) => Exit::NOT_PERMITTED,
            Refusal::Config(_) | Refusal::NoStream { .. } | Refusal::WrongStream { .. } => Exit::CONFIG,
            Refusal::Down { .. } | Refusal::Silent { .. } | Refusal::Full(_) | Refusal::Stream(_) => {
                Exit::TEMPORARY
            }
        }
    }
}

/// The failure of a command.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// One line.
    pub(crate) what: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, what: impl Display) -> Self {
        Failure { exit, what: what.to_string() }
    }

    pub(crate) fn usage(what: impl Display) -> Self {
        Failure::new(Exit::USAGE, what)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::new(Exit::of(&refusal), refusal)
    }
}

pub(crate) type Outcome = Result<Exit, Failure>;

/// Prints one line to standard error. A closed standard error is not a failure.
pub(crate) fn say(what: impl Display) {
    use std::io::Write;
    let mut line = format!("tellhal: {what}").replace(['\n', '\r'], " ");
    line.push('\n');
    // In one write: other processes may write to the same file.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// `count` and the noun, such as "1 message" or "3 messages".
pub(crate) fn count(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

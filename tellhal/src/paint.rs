//! Colours for people on a terminal, the same in every program. There are none in a pipe or a file, nor where the user
//! wants none.

use std::io::IsTerminal;

use crate::message::Severity;

/// Colours, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    /// No colours.
    pub const NONE: Paint = Paint(false);
    /// Colours, whatever the output is.
    pub const ALWAYS: Paint = Paint(true);

    /// Colours if `output` is a terminal and the user did not turn colours off for all programs
    /// (<https://no-color.org>).
    pub fn of(output: &impl IsTerminal) -> Paint {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Paint(output.is_terminal() && !is_unwanted)
    }

    /// True if there are colours.
    pub fn is_on(self) -> bool {
        self.0
    }

    /// `text` in the colour of a severity.
    pub fn severity(self, severity: Severity, text: &str) -> String {
        match severity {
            Severity::Debug => self.faint(text),
            Severity::Info | Severity::Notice => text.to_owned(),
            Severity::Warning => self.caution(text),
            Severity::Error => self.code("31", text),
            Severity::Critical => self.bad(text),
        }
    }

    /// The colour of a thing that is as it should be.
    pub fn good(self, text: &str) -> String {
        self.code("32", text)
    }

    /// The colour of a thing that may need somebody.
    pub fn caution(self, text: &str) -> String {
        self.code("33", text)
    }

    /// The colour of a thing that needs somebody.
    pub fn bad(self, text: &str) -> String {
        self.code("1;31", text)
    }

    /// The look of text that is less important than the rest.
    pub fn faint(self, text: &str) -> String {
        self.code("2", text)
    }

    fn code(self, code: &str, text: &str) -> String {
        match self.0 {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_its_colour_or_is_left_alone() {
        assert_eq!(Paint::ALWAYS.severity(Severity::Critical, "x"), "\u{1b}[1;31mx\u{1b}[0m");
        assert_eq!(Paint::ALWAYS.severity(Severity::Info, "x"), "x");
        for severity in Severity::ALL {
            assert_eq!(Paint::NONE.severity(severity, "x"), "x");
        }
    }
}

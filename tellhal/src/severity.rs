//! The severity of a message, and the one table of other systems' names and numbers for it.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The severity of a message, from least to most severe.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Details for an investigation.
    Debug,
    /// Normal operation.
    #[default]
    Info,
    /// Normal, but worth reading.
    Notice,
    /// May become a problem.
    Warning,
    /// A problem.
    Error,
    /// A problem that needs a person at once.
    Critical,
}

/// Every name, in lower case, and every number that is read as a severity.
///
/// | source | names and numbers |
/// |---|---|
/// | ours | `debug info notice warning error critical` |
/// | syslog: RFC 5424, 6.2.1; syslog(3), logger(1) | 0 `emerg panic`, 1 `alert`, 2 `crit`, 3 `err`, 4 `warn`, 5, 6 `informational`, 7 |
/// | bunyan and pino, for Node | 10 `trace`, 20, 30, 40 `warn`, 50, 60 `fatal` |
/// | log4j, Python, Go's zap, OpenTelemetry's texts | `trace warn fatal dpanic` |
/// | java.util.logging | `severe config fine finer finest` |
/// | .NET, Windows' event log, npm | `verbose information` |
/// | Google Cloud Logging | `emergency` |
///
/// Python has the numbers 10 to 50 too, one step worse than bunyan's from 20 on; its formatters write names. A number such as
/// syslog's PRI (facility × 8 + severity) and OpenTelemetry's 1 to 24 cannot be told from these, and are not read.
const KNOWN: [(Severity, &[&str], &[u8]); 6] = [
    (Severity::Debug, &["debug", "trace", "verbose", "config", "fine", "finer", "finest"], &[7, 10, 20]),
    (Severity::Info, &["info", "information", "informational"], &[6, 30]),
    (Severity::Notice, &["notice"], &[5]),
    (Severity::Warning, &["warning", "warn"], &[4, 40]),
    (Severity::Error, &["error", "err", "severe"], &[3, 50]),
    (
        Severity::Critical,
        &["critical", "crit", "alert", "emerg", "emergency", "panic", "dpanic", "fatal"],
        &[0, 1, 2, 60],
    ),
];

impl Severity {
    /// All severities, from least to most severe.
    pub const ALL: [Severity; 6] = [
        Severity::Debug,
        Severity::Info,
        Severity::Notice,
        Severity::Warning,
        Severity::Error,
        Severity::Critical,
    ];

    /// The severity of a message that states one which is not known. The message is shown with a mark, and as a warning, so
    /// that it is not routed as normal operation.
    pub const UNKNOWN: Severity = Severity::Warning;

    /// The severity's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Debug => "debug",
            Severity::Info => "info",
            Severity::Notice => "notice",
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = String;

    /// Reads our names, and the names and numbers of syslog and of usual loggers, in any case.
    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.trim().to_ascii_lowercase();
        let number = name.parse::<u8>().ok();
        let is_known = |(_, names, numbers): &&(Severity, &[&str], &[u8])| {
            names.contains(&name.as_str()) || number.is_some_and(|number| numbers.contains(&number))
        };
        match KNOWN.iter().find(is_known) {
            Some((severity, ..)) => Ok(*severity),
            None => Err(format!(
                "severity {text:?} is unknown; it is one of debug, info, notice, warning, error, critical"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_of_usual_loggers_are_known() {
        let table = [
            ("fatal", Severity::Critical),
            ("ERR", Severity::Error),
            ("WARN", Severity::Warning),
            (" Warning\n", Severity::Warning),
            ("panic", Severity::Critical),
            ("emerg", Severity::Critical),
            ("0", Severity::Critical),
            ("3", Severity::Error),
            ("4", Severity::Warning),
            ("7", Severity::Debug),
            ("10", Severity::Debug),
            ("30", Severity::Info),
            ("50", Severity::Error),
            ("60", Severity::Critical),
            ("SEVERE", Severity::Error),
        ];
        for (text, want) in table {
            assert_eq!(text.parse(), Ok(want), "{text:?}");
        }
        for unknown in ["", "loud", "8", "134", "-1", "5.5", "sev1"] {
            assert!(unknown.parse::<Severity>().is_err(), "{unknown:?}");
        }
        for severity in Severity::ALL {
            assert_eq!(severity.as_str().parse(), Ok(severity));
        }
    }

    #[test]
    fn no_name_or_number_has_two_meanings() {
        let names: Vec<&str> = KNOWN.iter().flat_map(|(_, names, _)| names.iter().copied()).collect();
        let numbers: Vec<u8> = KNOWN.iter().flat_map(|(.., numbers)| numbers.iter().copied()).collect();
        assert!(names.iter().all(|name| names.iter().filter(|other| *other == name).count() == 1));
        assert!(numbers.iter().all(|number| numbers.iter().filter(|other| *other == number).count() == 1));
    }
}

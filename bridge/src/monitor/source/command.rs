//! A check that a host runs: a plugin of Nagios or Icinga, or any other program, served by `tellhal serve` as a chat command is.
//! The exit status is the verdict (0 ok, 1 warning, 2 critical, 3 unknown), and the first line is its words, without the
//! performance data behind a `|`, of which the first value is shown. The bridge runs nothing itself.
//!
//! Source: Monitoring Plugins Development Guidelines, "Plugin Return Codes" and "Performance data".

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use service::config::{KeyProblem, duration_in};
use service::text::{cut, one_line};
use tellhal::Timestamp;
use tellhal::command::{Answer, is_name};

use super::{Opening, Settings, Source, Uses, no_threshold};
use crate::bus::Bus;
use crate::command::dispatch::ask_for_itself;
use crate::monitor::observation::{Level, Observation, Observed, Reading};

/// The time for an answer when none is configured. One observation has 30 seconds.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(20);
/// The most arguments.
const ARGUMENTS: usize = 32;
/// The longest words of a check, in bytes.
const WORDS: usize = 500;

/// `[monitors.command]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Config {
    /// The name of the command, which a `tellhal serve` answers.
    #[serde(default)]
    command: Option<String>,
    /// Its arguments.
    #[serde(default)]
    args: Vec<String>,
    /// The verdict from which it is wrong; `warning` when absent. A warning is neither wrong nor good with `critical`.
    #[serde(default)]
    from: From,
    /// The time for an answer, from 1 to 20 seconds; `10s` when absent.
    #[serde(default)]
    timeout: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum From {
    #[default]
    Warning,
    Critical,
}

impl Settings for Config {
    fn problems(&self, clear: Option<f64>) -> Vec<KeyProblem> {
        let mut problems = Vec::new();
        if !self.command.as_deref().is_some_and(is_name) {
            let what =
                if self.command.is_some() { "is no name of a command" } else { "the command is missing" };
            problems.push(KeyProblem::new("command", what, "a word of a-z 0-9 _ -, such as check_disk"));
        }
        if self.args.len() > ARGUMENTS {
            problems.push(KeyProblem::new("args", "too many arguments", format!("at most {ARGUMENTS}")));
        }
        if let Some(Err((what, hint))) = self.timeout.as_deref().map(short) {
            problems.push(KeyProblem::new("timeout", what, hint));
        }
        problems.extend(clear.map(|_| no_threshold("from")));
        problems
    }

    fn uses(&self) -> Uses {
        Uses::Handlers
    }

    fn open(&self, opening: &Opening) -> anyhow::Result<Box<dyn Source>> {
        let bus = opening.bus.ok_or_else(|| anyhow::anyhow!("there is no connection"))?;
        Ok(Box::new(Check {
            bus: bus.clone(),
            command: self.command.clone().unwrap_or_default(),
            args: self.args.clone(),
            from: self.from,
            patience: self.timeout.as_deref().and_then(|text| short(text).ok()).unwrap_or(PATIENCE),
        }))
    }
}

fn short(text: &str) -> Result<Duration, (String, String)> {
    duration_in(text, Duration::from_secs(1), LONGEST, "from 1s to 20s, such as 15s")
}

struct Check {
    bus: Bus,
    command: String,
    args: Vec<String>,
    from: From,
    patience: Duration,
}

#[async_trait]
impl Source for Check {
    async fn observe(&self, _memory: &Value, _now: Timestamp) -> Observation {
        let place = format!("monitor/{}", self.command);
        let answer = ask_for_itself(&self.bus, place, &self.command, &self.args, self.patience).await?;
        Ok(Observed { readings: vec![reading(&answer, self.from)?], ..Observed::default() })
    }
}

/// The reading of an answer; an error if the check itself could not tell.
fn reading(answer: &Answer, from: From) -> Result<Reading, String> {
    let text = match answer.exit_status {
        // The handler says so in a line of its own.
        Some(status) => answer
            .answer
            .strip_prefix(&format!("exit status {status}"))
            .unwrap_or(&answer.answer)
            .trim_start(),
        None => &answer.answer,
    };
    let first = text.lines().next().unwrap_or_default();
    let (words, data) = first.split_once('|').unwrap_or((first, ""));
    let words = match words.trim() {
        "" => "no words".to_owned(),
        words => cut(&one_line(words), WORDS),
    };
    // A handler that is no program has only good and bad.
    let level = match (answer.exit_status, from) {
        (Some(0), _) => Level::Good,
        (Some(1), From::Warning) | (Some(2), _) => Level::Wrong,
        (Some(1), From::Critical) => Level::Between,
        (Some(status), _) => return Err(format!("exit status {status}: {words}")),
        (None, _) if answer.failed => Level::Wrong,
        (None, _) => Level::Good,
    };
    Ok(Reading { value: first_value(data), ..Reading::new(level, words) })
}

/// The first value of performance data: `'label'=value[unit];…`, where a quoted label may have spaces and `=` in it.
fn first_value(data: &str) -> Option<f64> {
    let data = data.trim_start();
    let value = match data.strip_prefix('\'') {
        Some(quoted) => quoted.split_once("'=")?.1,
        None => data.split_once('=')?.1,
    };
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+');
    let end = value.find(|c| !is_number(c)).unwrap_or(value.len());
    value[..end].parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: Option<i32>, text: &str, from: From) -> Result<(Level, String, Option<f64>), String> {
        let failed = status.is_some_and(|status| status != 0);
        let answer = Answer { exit_status: status, failed, ..Answer::done(text) };
        reading(&answer, from).map(|reading| (reading.level, reading.words, reading.value))
    }

    #[test]
    fn the_exit_status_is_the_verdict_and_the_first_line_its_words() {
        let disk = "DISK OK - free space: / 3326 MB | /=2643MB;5948;5958;0;5968\n/ is fine | /boot=68MB";
        let good = (Level::Good, "DISK OK - free space: / 3326 MB".to_owned(), Some(2643.0));
        assert_eq!(read(Some(0), disk, From::Warning), Ok(good));
        let text = |status: i32| format!("exit status {status}\nLOAD high|'load 1'=-2.5");
        let high = |level| Ok((level, "LOAD high".to_owned(), Some(-2.5)));
        assert_eq!(read(Some(1), &text(1), From::Warning), high(Level::Wrong));
        assert_eq!(read(Some(1), &text(1), From::Critical), high(Level::Between));
        assert_eq!(read(Some(2), &text(2), From::Critical), high(Level::Wrong));
        assert_eq!(read(Some(3), &text(3), From::Warning), Err("exit status 3: LOAD high".into()));
        assert_eq!(
            read(Some(127), "exit status 127", From::Warning),
            Err("exit status 127: no words".into())
        );
        assert_eq!(read(None, "fine", From::Warning), Ok((Level::Good, "fine".into(), None)));
    }

    #[test]
    fn values_that_cannot_be_read_are_none() {
        for data in ["", "a", "a=", "a=U;1", "'a=1", "'a b'=", "=", "a=1e999x", "a=--"] {
            assert!(first_value(data).is_none_or(f64::is_finite), "{data}");
        }
        assert_eq!(first_value(" a=.5s"), Some(0.5));
        assert_eq!(first_value("a=U;1"), None);
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let problems =
            toml::from_str::<Config>("command = 'a b'\ntimeout = '1m'").unwrap().problems(Some(1.0));
        let keys: Vec<_> = problems.iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["command", "timeout", "from"]);
    }
}

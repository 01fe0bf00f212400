//! A page or an API that must answer: its status, its body and its time. A server that cannot be reached is what the monitor is
//! about, and no failure of the monitor.

use std::time::Duration;

use async_trait::async_trait;
use regex::Regex;
use reqwest::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use service::config::{KeyProblem, duration_in};
use service::http::{Answer, Endpoint};
use service::tls;
use tellhal::Timestamp;
use tokio::time::Instant;

use super::{Opening, Settings, Source, no_threshold};
use crate::api::{Api, PATIENCE, Question};
use crate::monitor::observation::{Level, Observation, Observed, Reading};

/// `[monitors.http]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Config {
    #[serde(flatten)]
    api: Api,
    /// The only good status, such as `200`; any from 200 to 299 when absent. Redirects are not followed.
    #[serde(default)]
    status: Option<u16>,
    /// A regular expression that the body must match.
    #[serde(default)]
    body: Option<String>,
    /// The longest time for a whole answer, up to 10 seconds; `10s` when absent.
    #[serde(default)]
    slower_than: Option<String>,
    /// The time for which the server's certificate must still be valid, from an hour to 366 days, such as `14d`; not looked at
    /// when absent.
    #[serde(default)]
    certificate: Option<String>,
}

impl Settings for Config {
    fn problems(&self, clear: Option<f64>) -> Vec<KeyProblem> {
        let mut problems = self.api.problems();
        if let Some(status) = self.status.filter(|status| !(100..600).contains(status)) {
            problems.push(KeyProblem::new("status", format!("{status} is no status"), "such as 200"));
        }
        if let Some(Err(error)) = self.body.as_deref().map(Regex::new) {
            let error = service::text::one_line(&error.to_string());
            problems.push(KeyProblem::new("body", error, "a regular expression, such as \"ok|ready\""));
        }
        if let Some(Err((what, hint))) = self.slower_than.as_deref().map(short) {
            problems.push(KeyProblem::new("slower_than", what, hint));
        }
        if let Some(text) = self.certificate.as_deref() {
            if let Err((what, hint)) = days(text) {
                problems.push(KeyProblem::new("certificate", what, hint));
            }
            if !self.api.is_tls() {
                let what = "the address is not https, so there is no certificate";
                problems.push(KeyProblem::new("certificate", what, "url = \"https://…\""));
            }
        }
        problems.extend(clear.map(|_| no_threshold("status")));
        problems
    }

    fn api(&self) -> Option<&Api> {
        Some(&self.api)
    }

    fn open(&self, _opening: &Opening) -> anyhow::Result<Box<dyn Source>> {
        let (endpoint, is_folder) = (self.api.endpoint_anew()?, self.api.is_folder());
        Ok(Box::new(Http { endpoint, is_folder, rule: self.rule()? }))
    }
}

impl Config {
    fn rule(&self) -> anyhow::Result<Rule> {
        let slow = self.slower_than.as_deref().and_then(|text| short(text).ok());
        Ok(Rule {
            status: self.status,
            body: self.body.as_deref().map(Regex::new).transpose()?,
            slow: slow.unwrap_or(PATIENCE),
            certificate: self.certificate.as_deref().and_then(|text| days(text).ok()),
        })
    }
}

fn short(text: &str) -> Result<Duration, (String, String)> {
    duration_in(text, Duration::from_millis(1), PATIENCE, "from 1ms to 10s, such as 2s")
}

fn days(text: &str) -> Result<Duration, (String, String)> {
    const DAY: Duration = Duration::from_secs(86_400);
    duration_in(text, DAY / 24, DAY * 366, "from 1h to 366d, such as 14d")
}

struct Http {
    endpoint: Endpoint,
    is_folder: bool,
    rule: Rule,
}

struct Rule {
    status: Option<u16>,
    body: Option<Regex>,
    slow: Duration,
    certificate: Option<Duration>,
}

#[async_trait]
impl Source for Http {
    async fn observe(&self, _memory: &Value, now: Timestamp) -> Observation {
        let begun = Instant::now();
        // A call's path replaces a slash at the end of the address.
        let path = if self.is_folder { vec![""] } else { vec![] };
        let question = Question { method: Method::GET, path, query: vec![], body: Vec::new() };
        let reading = match question.ask(&self.endpoint).await {
            Ok(answer) => self.rule.reading(&answer, begun.elapsed(), now),
            Err(reason) => Reading::new(Level::Wrong, reason),
        };
        Ok(Observed { readings: vec![reading], ..Observed::default() })
    }
}

impl Rule {
    fn reading(&self, answer: &Answer, took: Duration, now: Timestamp) -> Reading {
        let status = answer.status;
        let is_good_status = match self.status {
            Some(wanted) => status.as_u16() == wanted,
            None => status.is_success(),
        };
        let time =
            humantime::format_duration(Duration::from_millis(u64::try_from(took.as_millis()).unwrap_or(0)));
        let slow = humantime::format_duration(self.slow);
        let is_body = self.body.as_ref().is_none_or(|body| body.is_match(&answer.body));
        let ending = self.certificate.and_then(|least| ending(answer.certificate.as_deref(), least, now));
        let (level, words) = match (is_good_status, is_body, took <= self.slow, ending) {
            (false, ..) => (Level::Wrong, format!("answered {status}")),
            (true, false, ..) => (Level::Wrong, format!("answered {status}, without the expected body")),
            (true, true, false, _) => {
                (Level::Wrong, format!("answered {status} in {time}, slower than {slow}"))
            }
            (true, true, true, Some(ending)) => (Level::Wrong, ending),
            (true, true, true, None) => (Level::Good, format!("answered {status} in {time}")),
        };
        Reading { value: Some(took.as_secs_f64()), ..Reading::new(level, words) }
    }
}

/// The words for a certificate that ends within `least` of `now`, or that cannot be read.
fn ending(certificate: Option<&[u8]>, least: Duration, now: Timestamp) -> Option<String> {
    let Some(ends) = certificate.and_then(tls::ends) else {
        return Some("its certificate cannot be read".into());
    };
    (ends < now.plus(least)).then(|| {
        let left = ends.since(now).as_secs();
        match left / 86_400 {
            0 => format!("its certificate ends in {} h", left / 3600),
            1 => "its certificate ends in a day".into(),
            days => format!("its certificate ends in {days} days"),
        }
    })
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    fn words(toml: &str, status: u16, body: &str, millis: u64) -> (Level, String) {
        let config: Config = toml::from_str(&format!("url = 'http://127.0.0.1'\n{toml}")).unwrap();
        assert_eq!(config.problems(None), []);
        let status = StatusCode::from_u16(status).unwrap();
        let answer = Answer { status, body: body.into(), complete: true, wait: None, certificate: None };
        let reading = config.rule().unwrap().reading(&answer, Duration::from_millis(millis), Timestamp(0));
        (reading.level, reading.words)
    }

    #[test]
    fn an_answer_is_judged_by_status_body_and_time() {
        let good = |text: &str| (Level::Good, text.to_owned());
        let wrong = |text: &str| (Level::Wrong, text.to_owned());
        assert_eq!(words("", 204, "", 20), good("answered 204 No Content in 20ms"));
        assert_eq!(words("", 302, "", 20), wrong("answered 302 Found"));
        assert_eq!(words("status = 401", 401, "", 20), good("answered 401 Unauthorized in 20ms"));
        assert_eq!(words("body = 'o+k'", 200, "look ook", 1), good("answered 200 OK in 1ms"));
        assert_eq!(words("body = '^ok$'", 200, "no", 1), wrong("answered 200 OK, without the expected body"));
        let slow = wrong("answered 200 OK in 2s 1ms, slower than 2s");
        assert_eq!(words("slower_than = '2s'", 200, "", 2001), slow);
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let toml = "url = 'x'\nstatus = 7\nbody = '('\nslower_than = '1m'\ncertificate = '1s'";
        let problems = toml::from_str::<Config>(toml).unwrap().problems(Some(1.0));
        let keys: Vec<_> = problems.iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["url", "status", "body", "slower_than", "certificate", "certificate", "status"]);
    }
}

//! Values of Graphite's render API. Points that are not written yet are null: they are skipped, and no data is never zero.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use service::config::{KeyProblem, duration};
use service::http::{Answer, Endpoint};
use service::text::{cut, one_line};
use tellhal::Timestamp;

use super::{NAME, Opening, SERIES, Settings, Source};
use crate::api::{Api, Question, refusal};
use crate::monitor::observation::{Observation, Observed, Reading};
use crate::monitor::threshold::{Limits, Threshold};

const WINDOW: Duration = Duration::from_secs(300);

/// `[monitors.graphite]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Config {
    #[serde(flatten)]
    api: Api,
    /// The target, as Graphite's `target` parameter has it. It may give several series.
    #[serde(default)]
    target: Option<String>,
    /// The time to look back, from a second to 5 days; `5m` when absent.
    #[serde(default)]
    window: Option<String>,
    /// The value of the window that counts; `last` when absent.
    #[serde(default)]
    value: Reduce,
    #[serde(flatten)]
    limits: Limits,
}

/// The way to one value of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Reduce {
    /// The last value that is there.
    #[default]
    Last,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// The average of those that are there.
    Avg,
    /// The sum of those that are there.
    Sum,
}

impl Reduce {
    fn of(self, points: &[Option<f64>]) -> Option<f64> {
        let values: Vec<f64> = points.iter().flatten().copied().collect();
        let sum = || values.iter().sum::<f64>();
        match self {
            Reduce::Last => values.last().copied(),
            Reduce::Max => values.iter().copied().reduce(f64::max),
            Reduce::Min => values.iter().copied().reduce(f64::min),
            // A window has no more than some thousand points.
            #[allow(clippy::cast_precision_loss)]
            Reduce::Avg => (!values.is_empty()).then(|| sum() / values.len() as f64),
            Reduce::Sum => (!values.is_empty()).then(sum),
        }
    }
}

impl Settings for Config {
    fn problems(&self, clear: Option<f64>) -> Vec<KeyProblem> {
        let mut problems = self.api.problems();
        if self.target.as_deref().is_none_or(|target| target.trim().is_empty()) {
            problems.push(KeyProblem::new(
                "target",
                "the target is missing",
                "target = \"stats.signup.failed\"",
            ));
        }
        if let Some(Err((what, hint))) = self.window.as_deref().map(duration) {
            problems.push(KeyProblem::new("window", what, hint));
        }
        problems.extend(self.limits.problems(clear));
        problems
    }

    fn api(&self) -> Option<&Api> {
        Some(&self.api)
    }

    fn open(&self, opening: &Opening) -> anyhow::Result<Box<dyn Source>> {
        let window = self.window.as_deref().and_then(|text| duration(text).ok()).unwrap_or(WINDOW);
        let threshold = self.limits.threshold(opening.clear);
        Ok(Box::new(Graphite {
            endpoint: self.api.endpoint()?,
            target: self.target.clone().unwrap_or_default(),
            from: format!("-{}s", window.as_secs()),
            reduce: self.value,
            threshold: threshold.ok_or_else(|| anyhow::anyhow!("there is no threshold"))?,
        }))
    }
}

struct Graphite {
    endpoint: Endpoint,
    target: String,
    from: String,
    reduce: Reduce,
    threshold: Threshold,
}

/// A series as Graphite writes it: each point is a value and a time.
#[derive(Deserialize)]
struct Series {
    target: String,
    datapoints: Vec<(Option<f64>, f64)>,
}

#[async_trait]
impl Source for Graphite {
    async fn observe(&self, _memory: &Value, _now: Timestamp) -> Observation {
        let question = Question {
            method: Method::GET,
            path: vec!["render"],
            query: vec![("target", &self.target), ("from", &self.from), ("until", "now"), ("format", "json")],
            body: Vec::new(),
        };
        let answer = question.ask(&self.endpoint).await?;
        let readings = self.readings(&answer)?;
        Ok(Observed { readings, ..Observed::default() })
    }
}

impl Graphite {
    fn readings(&self, answer: &Answer) -> Result<Vec<Reading>, String> {
        if !answer.status.is_success() {
            return Err(refusal(&self.endpoint, answer));
        }
        // Graphite writes infinity as a number that is too large to be one.
        let body = answer.body.replace("1e9999", "1e308");
        let series: Vec<Series> = serde_json::from_str(&body)
            .map_err(|error| self.endpoint.reason(&format!("the answer is not Graphite's: {error}")))?;
        if series.len() > SERIES {
            return Err(self.endpoint.reason(&format!("{} series, more than {SERIES}", series.len())));
        }
        Ok(series.into_iter().map(|series| self.reading(series)).collect())
    }

    fn reading(&self, series: Series) -> Reading {
        let points: Vec<Option<f64>> = series.datapoints.into_iter().map(|(value, _)| value).collect();
        let reading = self.threshold.reading(self.reduce.of(&points));
        // A single series bears the target's own name, and is the monitor itself.
        let name =
            if series.target == self.target { String::new() } else { cut(&one_line(&series.target), NAME) };
        Reading { points, ..reading }.of(name)
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;
    use crate::monitor::observation::Level;

    fn graphite(more: &str) -> Graphite {
        let toml = format!("url = 'http://127.0.0.1:8080'\ntarget = 'a.*'\nabove = 50\n{more}");
        let config: Config = toml::from_str(&toml).unwrap();
        assert_eq!(config.problems(None), []);
        Graphite {
            endpoint: config.api.endpoint().unwrap(),
            target: config.target.clone().unwrap(),
            from: String::new(),
            reduce: config.value,
            threshold: config.limits.threshold(None).unwrap(),
        }
    }

    fn read(graphite: &Graphite, status: u16, body: &str) -> Result<Vec<Reading>, String> {
        let status = StatusCode::from_u16(status).unwrap();
        graphite.readings(&Answer {
            status,
            body: body.into(),
            complete: true,
            wait: None,
            certificate: None,
        })
    }

    #[test]
    fn points_that_are_not_written_yet_are_skipped() {
        let body = r#"[{"target": "a.b", "tags": {"name": "a.b"}, "datapoints": [[61.0, 1795751600], [null, 1795751610], [null, 1795751620]]},
            {"target": "a.c", "datapoints": [[null, 1795751600]]}, {"target": "a.d", "datapoints": []},
            {"target": "a.*", "datapoints": [[0.0, 1795751600], [1e9999, 1795751610], [0, 1795751620]]}]"#;
        let readings = read(&graphite(""), 200, body).unwrap();
        let seen: Vec<_> = readings.iter().map(|r| (r.series.as_str(), r.level, r.value)).collect();
        assert_eq!(
            seen,
            [
                ("a.b", Level::Wrong, Some(61.0)),
                ("a.c", Level::Nothing, None),
                ("a.d", Level::Nothing, None),
                ("", Level::Good, Some(0.0)),
            ]
        );
        assert_eq!(readings[0].points, [Some(61.0), None, None]);
        assert_eq!(read(&graphite(""), 200, "[]"), Ok(vec![]));
    }

    #[test]
    fn a_window_has_one_value() {
        let body = r#"[{"target": "a.b", "datapoints": [[10, 1], [40, 2], [null, 3], [20, 4]]}]"#;
        for (value, want) in
            [("last", 20.0), ("max", 40.0), ("min", 10.0), ("sum", 70.0), ("avg", 70.0 / 3.0)]
        {
            let readings = read(&graphite(&format!("value = '{value}'")), 200, body).unwrap();
            assert_eq!(readings[0].value, Some(want), "{value}");
        }
    }

    #[test]
    fn errors_are_one_line() {
        let bad =
            "Invalid parameters (Received request for unknown function: nosuchfn); targets: nosuchfn(a)\n";
        let graphite = graphite("");
        assert_eq!(
            read(&graphite, 400, bad).unwrap_err(),
            format!("127.0.0.1: answered 400 Bad Request: {}", bad.trim())
        );
        let page = "<!DOCTYPE html>\n<html><body><h1>Server Error (500)</h1></body></html>";
        assert_eq!(
            read(&graphite, 500, page).unwrap_err(),
            "127.0.0.1: answered 500 Internal Server Error: Server Error (500)"
        );
        for wrong in ["<html>sign in</html>", "{}", "[{\"target\": 1}]", ""] {
            let error = read(&graphite, 200, wrong).unwrap_err();
            assert!(error.starts_with("127.0.0.1: the answer is not Graphite's"), "{error}");
        }
    }
}

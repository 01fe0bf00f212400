//! Values of Prometheus' query API, or of a compatible server's: one instant query in PromQL, a series for each element.

use std::collections::BTreeMap;

use async_trait::async_trait;
use reqwest::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use service::config::KeyProblem;
use service::http::{Answer, Endpoint};
use service::text::{cut, one_line};
use tellhal::Timestamp;

use super::{NAME, Opening, SERIES, Settings, Source};
use crate::api::{Api, Question, refusal};
use crate::monitor::observation::{Observation, Observed, Reading};
use crate::monitor::threshold::{Limits, Threshold};

/// `[monitors.prometheus]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Config {
    #[serde(flatten)]
    api: Api,
    /// The expression in PromQL, which gives a scalar or an instant vector.
    #[serde(default)]
    query: Option<String>,
    #[serde(flatten)]
    limits: Limits,
}

impl Settings for Config {
    fn problems(&self, clear: Option<f64>) -> Vec<KeyProblem> {
        let mut problems = self.api.problems();
        if self.query.as_deref().is_none_or(|query| query.trim().is_empty()) {
            problems.push(KeyProblem::new(
                "query",
                "the query is missing",
                "query = \"rate(errors_total[5m])\"",
            ));
        }
        problems.extend(self.limits.problems(clear));
        problems
    }

    fn api(&self) -> Option<&Api> {
        Some(&self.api)
    }

    fn open(&self, opening: &Opening) -> anyhow::Result<Box<dyn Source>> {
        let threshold = self.limits.threshold(opening.clear);
        Ok(Box::new(Prometheus {
            endpoint: self.api.endpoint()?,
            query: self.query.clone().unwrap_or_default(),
            threshold: threshold.ok_or_else(|| anyhow::anyhow!("there is no threshold"))?,
        }))
    }
}

struct Prometheus {
    endpoint: Endpoint,
    query: String,
    threshold: Threshold,
}

/// An answer of the API. Values are texts, since JSON has no infinity.
#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Reply {
    Success {
        data: Data,
    },
    Error {
        #[serde(rename = "errorType")]
        kind: String,
        error: String,
    },
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "snake_case")]
enum Data {
    Vector(Vec<Element>),
    Scalar((f64, String)),
    #[allow(dead_code, reason = "only its kind counts")]
    Matrix(Value),
    #[allow(dead_code, reason = "only its kind counts")]
    String(Value),
}

#[derive(Deserialize)]
struct Element {
    metric: BTreeMap<String, String>,
    /// A time and a value; absent where there is a native histogram.
    #[serde(default)]
    value: Option<(f64, String)>,
}

#[async_trait]
impl Source for Prometheus {
    async fn observe(&self, _memory: &Value, _now: Timestamp) -> Observation {
        let question = Question {
            method: Method::GET,
            path: vec!["api", "v1", "query"],
            query: vec![("query", &self.query), ("timeout", "10s")],
            body: Vec::new(),
        };
        let answer = question.ask(&self.endpoint).await?;
        let readings = self.readings(&answer)?;
        Ok(Observed { readings, ..Observed::default() })
    }
}

impl Prometheus {
    fn readings(&self, answer: &Answer) -> Result<Vec<Reading>, String> {
        let wrong = |what: String| self.endpoint.reason(&what);
        let data = match serde_json::from_str::<Reply>(&answer.body) {
            Ok(Reply::Error { kind, error }) => return Err(wrong(format!("{kind}: {}", one_line(&error)))),
            _ if !answer.status.is_success() => return Err(refusal(&self.endpoint, answer)),
            Ok(Reply::Success { data }) => data,
            Err(error) => return Err(wrong(format!("the answer is not Prometheus': {error}"))),
        };
        match data {
            Data::Vector(elements) if elements.len() > SERIES => {
                Err(wrong(format!("{} series, more than {SERIES}", elements.len())))
            }
            Data::Vector(elements) => Ok(elements.into_iter().map(|element| self.reading(element)).collect()),
            Data::Scalar((_, value)) => Ok(vec![self.threshold.reading(value.parse().ok())]),
            Data::Matrix(_) => Err(wrong("the query gives a range; write an instant vector".into())),
            Data::String(_) => Err(wrong("the query gives a text and not a number".into())),
        }
    }

    fn reading(&self, Element { metric, value }: Element) -> Reading {
        // Rust reads the same names of infinity and of what is no number.
        let value = value.and_then(|(_, value)| value.parse().ok());
        self.threshold.reading(value).of(name(&metric))
    }
}

/// A series as Prometheus writes it, such as `up{job="node"}`; empty without labels.
fn name(metric: &BTreeMap<String, String>) -> String {
    let labels = metric.iter().filter(|(label, _)| *label != "__name__");
    let labels: Vec<String> = labels.map(|(label, value)| format!("{label}={value:?}")).collect();
    let name = metric.get("__name__").map_or("", String::as_str);
    let text = if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) };
    cut(&one_line(&text), NAME)
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;
    use crate::monitor::observation::Level;

    fn read(status: u16, body: &str) -> Result<Vec<Reading>, String> {
        let toml = "url = 'http://127.0.0.1:9090'\nquery = 'up'\nbelow = 1";
        let config: Config = toml::from_str(toml).unwrap();
        assert_eq!(config.problems(None), []);
        let prometheus = Prometheus {
            endpoint: config.api.endpoint().unwrap(),
            query: "up".into(),
            threshold: config.limits.threshold(None).unwrap(),
        };
        let status = StatusCode::from_u16(status).unwrap();
        prometheus.readings(&Answer {
            status,
            body: body.into(),
            complete: true,
            wait: None,
            certificate: None,
        })
    }

    #[test]
    fn each_element_is_a_series_of_its_labels() {
        let body = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"__name__":"up","job":"node","instance":"a:9100"},"value":[1795751600.123,"0"]},
            {"metric":{"job":"x"},"value":[1795751600.123,"NaN"]},
            {"metric":{},"value":[1795751600.123,"+Inf"]},
            {"metric":{"a":"hist"},"histogram":[1795751600.123,{}]}]},"warnings":["w"]}"#;
        let readings = read(200, body).unwrap();
        let seen: Vec<_> = readings.iter().map(|r| (r.series.as_str(), r.level)).collect();
        assert_eq!(
            seen,
            [
                (r#"up{instance="a:9100",job="node"}"#, Level::Wrong),
                (r#"{job="x"}"#, Level::Nothing),
                ("", Level::Good),
                (r#"{a="hist"}"#, Level::Nothing),
            ]
        );
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1795751600.1,"0.5"]}}"#;
        assert_eq!(read(200, scalar).unwrap()[0].value, Some(0.5));
        assert_eq!(
            read(200, r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#),
            Ok(vec![])
        );
    }

    #[test]
    fn errors_are_named() {
        let bad = r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:3: parse error: unexpected end of input"}"#;
        assert!(read(400, bad).unwrap_err().starts_with("127.0.0.1: bad_data: invalid parameter"));
        assert_eq!(
            read(404, "404 page not found\n").unwrap_err(),
            "127.0.0.1: answered 404 Not Found: 404 page not found"
        );
        let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        assert!(read(200, matrix).unwrap_err().contains("write an instant vector"));
        let text = r#"{"status":"success","data":{"resultType":"string","result":[1,"hi"]}}"#;
        assert!(read(200, text).unwrap_err().contains("a text"));
        assert!(read(200, "<html>").unwrap_err().contains("not Prometheus'"));
    }
}

//! Lets a server draw a graph, within bounds, and checks what it answers. An error is one line without a secret; the answer is
//! never passed on as it is unless it is a picture.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde::de::IgnoredAny;
use service::http::{Bounds, Call, Endpoint, Fetched};
use tokio::time::Instant;

use super::picture::{LARGEST, size};
use super::question::{Pairs, Questions, of_grafana, of_graphite};
use super::words::Look;
use super::{Drawing, Graph};
use crate::api::{refusal, without_tags};

/// The longest time for a picture and what is asked before it.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest answer about data, in bytes.
const LONGEST_DATA: usize = 4 << 20;
/// The media type of parameters in a body.
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// A picture that passed the checks.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) png: Vec<u8>,
    /// Pixels.
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// The series with data; Grafana does not say.
    pub(crate) series: Option<usize>,
}

/// The part of a series that says whether there is data.
#[derive(Deserialize)]
struct Series {
    datapoints: Vec<(Option<f64>, IgnoredAny)>,
}

/// The error is one line for the person.
pub(crate) async fn render(endpoint: &Endpoint, graph: &Graph, look: &Look) -> Result<Picture, String> {
    let asking = Asking { endpoint, deadline: Instant::now() + PATIENCE };
    match &graph.drawing {
        Drawing::Targets(targets) => {
            let Questions { picture, data } = of_graphite(graph, targets, look);
            let series = asking.series(&data).await?;
            let picture = asking.fetch(Method::POST, vec!["render"], &picture, LARGEST).await?;
            asking.picture(&picture, Some(series))
        }
        Drawing::Panel { dashboard, panel } => {
            let pairs = of_grafana(graph, *panel, look)?;
            let path = vec!["render", "d-solo", dashboard, "graph"];
            let picture = asking.fetch(Method::GET, path, &pairs, LARGEST).await?;
            asking.picture(&picture, None)
        }
    }
}

struct Asking<'a> {
    endpoint: &'a Endpoint,
    deadline: Instant,
}

impl Asking<'_> {
    /// The whole answer, with a status of success. Parameters of a POST are its body: targets may be longer than an address.
    async fn fetch(
        &self,
        method: Method,
        path: Vec<&str>,
        pairs: &Pairs,
        limit: usize,
    ) -> Result<Vec<u8>, String> {
        let (mut query, mut body, mut media_type) = (Vec::new(), Vec::new(), None);
        if method == Method::GET {
            query = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        } else {
            body = serde_urlencoded::to_string(pairs).map_err(|error| error.to_string())?.into_bytes();
            media_type = Some(FORM);
        }
        // One byte more than may come, so that a longer answer is known.
        let bounds = Bounds { deadline: self.deadline, rest: PATIENCE, limit: limit + 1 };
        let call = Call { method, path, query, body, media_type, bounds };
        let answer = self.endpoint.fetch(call).await.map_err(|failure| failure.to_string())?;
        self.whole(answer, limit)
    }

    fn whole(&self, answer: Fetched, limit: usize) -> Result<Vec<u8>, String> {
        if answer.status.is_redirection() {
            let what = format!("answered {}, perhaps to a page for logging in", answer.status);
            return Err(self.endpoint.reason(&what));
        }
        if !answer.status.is_success() {
            return Err(refusal(self.endpoint, &answer.into_text()));
        }
        match (answer.body.len() > limit, answer.complete) {
            (true, _) => {
                Err(self.endpoint.reason(&format!("the answer is larger than {} KiB", limit / 1024)))
            }
            (false, false) => Err(self.endpoint.reason("the answer did not end in time")),
            (false, true) => Ok(answer.body),
        }
    }

    /// The number of series with data.
    async fn series(&self, question: &Pairs) -> Result<usize, String> {
        let answer = self.fetch(Method::POST, vec!["render"], question, LONGEST_DATA).await?;
        // Graphite writes infinity as a number that is too large to be one.
        let text = String::from_utf8_lossy(&answer).replace("1e9999", "1e308");
        let Ok(series) = serde_json::from_str::<Vec<Series>>(&text) else {
            return Err(self
                .endpoint
                .reason(&format!("answered no data of Graphite's: {}", without_tags(&text))));
        };
        let has_data = |series: &&Series| series.datapoints.iter().any(|(value, _)| value.is_some());
        match series.iter().filter(has_data).count() {
            0 if series.is_empty() => Err(self.endpoint.reason("no series is of the graph's targets")),
            0 => Err(self.endpoint.reason("the graph's series have no data in that time")),
            count => Ok(count),
        }
    }

    fn picture(&self, bytes: &[u8], series: Option<usize>) -> Result<Picture, String> {
        match size(bytes) {
            Ok((width, height)) => Ok(Picture { png: bytes.to_vec(), width, height, series }),
            Err(what) => {
                let text = String::from_utf8_lossy(bytes);
                let words =
                    if text.trim_start().starts_with('<') { without_tags(&text) } else { String::new() };
                let what = format!("answered {what}: {words}");
                Err(self.endpoint.reason(what.trim_end_matches([' ', ':'])))
            }
        }
    }
}

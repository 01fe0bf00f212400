//! Graphite's render API as graphite-web answers: a point is a value and a time, what is not written yet is null, no series is an
//! empty list, and an error is a page with status 400.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::http::{Reply, Request, Server};

/// The seconds between two points.
const STEP: u64 = 10;

type Series = Arc<Mutex<BTreeMap<String, Vec<Option<f64>>>>>;

/// A Graphite in the test's own process; gone when dropped.
#[derive(Debug)]
pub struct FakeGraphite {
    server: Server,
    series: Series,
}

impl FakeGraphite {
    pub async fn start() -> FakeGraphite {
        let series = Series::default();
        let own = series.clone();
        let server = Server::start(Arc::new(move |request| answer(request, &own))).await;
        FakeGraphite { server, series }
    }

    /// Gives a series its points, oldest first; the last one is of now.
    pub fn set(&self, name: &str, points: &[Option<f64>]) {
        self.series.lock().expect("no test panics here").insert(name.into(), points.to_vec());
    }

    /// Removes a series.
    pub fn remove(&self, name: &str) {
        self.series.lock().expect("no test panics here").remove(name);
    }
}

/// The script of its answers, and its requests.
impl Deref for FakeGraphite {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

fn answer(request: &Request, series: &Series) -> Reply {
    let form = String::from_utf8_lossy(&request.body);
    let query = match request.path.as_str() {
        "/render" if request.method == "POST" => Some(form.as_ref()),
        path => path.strip_prefix("/render?"),
    };
    let Some(query) = query.and_then(|query| serde_urlencoded::from_str::<Vec<(String, String)>>(query).ok())
    else {
        return Reply::text(404, "Not Found");
    };
    let of = |name: &str| query.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
    let (target, from) = (of("target"), of("from"));
    if of("format") == "png" {
        let pixels = |name: &str| of(name).parse().unwrap_or(100);
        return Reply { body: png(pixels("width"), pixels("height")), ..Reply::text(200, "") }
            .with("Content-Type", "image/png");
    }
    let refuse = |why: &str| {
        let text = format!("Invalid parameters ({why}); targets: {target}");
        Reply { headers: vec![("Content-Type".into(), "text/html".into())], ..Reply::text(400, text) }
    };
    if let Some((function, _)) = target.split_once('(') {
        return refuse(&format!("Received request for unknown function: {function}"));
    }
    let window = from.strip_prefix('-').and_then(|from| from.strip_suffix('s')?.parse::<u64>().ok());
    let Some(window) = window.filter(|_| of("format") == "json") else { return refuse("Invalid time") };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs() / STEP * STEP;
    let all = series.lock().expect("no test panics here");
    let found = all.iter().filter(|(name, _)| is_like(target, name));
    let found = found.map(|(name, points)| {
        let latest = points.iter().rev().take(usize::try_from(window / STEP).unwrap_or(1).max(1));
        let mut datapoints: Vec<Value> =
            latest.zip(0u64..).map(|(value, age)| json!([value, now - age * STEP])).collect();
        datapoints.reverse();
        json!({ "target": name, "tags": { "name": name }, "datapoints": datapoints })
    });
    Reply::json(200, &Value::Array(found.collect()))
}

/// A picture with nothing in it, as far as it is looked at.
pub fn png(width: u32, height: u32) -> Vec<u8> {
    let begin = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR";
    let end = b"\x08\x02\0\0\0crc.\0\0\0\0IEND\xae\x42\x60\x82";
    [begin, &width.to_be_bytes()[..], &height.to_be_bytes(), end].concat()
}

/// True if a name is of a target, in which `*` stands for any part of one node.
fn is_like(target: &str, name: &str) -> bool {
    let (target, name): (Vec<&str>, Vec<&str>) = (target.split('.').collect(), name.split('.').collect());
    target.len() == name.len() && target.iter().zip(name).all(|(want, node)| *want == "*" || *want == node)
}

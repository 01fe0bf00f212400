//! Intakes of MQTT as they are written, and their checks.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use service::config::{Checks, KeyProblem, OneOrMany};
use service::platform::mqtt::{Broker, filter_problem, overlap};
use tellhal::tag::Tag;

use super::named::{Named, named};
use crate::mqtt::intake::{Config, Retained, TOPIC};
use crate::webhook::jinja::Jinja;
use crate::webhook::kind::json::Mapping;
use crate::webhook::template::Template;

/// The messages that a broker may send before the first is acknowledged, if it is not configured.
const INFLIGHT: u16 = 20;
const INFLIGHT_MOST: u16 = 1000;
/// The most topics of one intake.
const TOPICS: usize = 100;

/// An intake: a broker, and topics whose messages are told.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("additionalProperties" = false))]
pub(super) struct Mqtt {
    #[serde(flatten)]
    broker: Broker,
    /// A topic such as `plant/+/alarm`, or a list of them.
    topics: Option<OneOrMany>,
    /// The tag, in which `{1}` stands for the first part of the topic that a wildcard took, as one word; `mqtt.NAME` when absent. In
    /// this and the keys below, `{topic}` is the topic, and `{/a/b}` the value at a JSON pointer of the payload.
    tag: Option<String>,
    /// The title.
    title: Option<String>,
    /// The text; the payload when absent.
    text: Option<String>,
    /// The severity, by one of many systems' names.
    severity: Option<String>,
    /// The status, by one of many systems' names: `firing` is `failed`, `ok` is `resolved`.
    status: Option<String>,
    /// The key of the thing that it is about.
    key: Option<String>,
    /// The address of a link.
    link: Option<String>,
    /// The fate of messages that the broker had before the topic was subscribed to: `ignore` when absent, or `tell`.
    retained: Option<Retained>,
    /// The messages that the broker may send before the first is acknowledged, 1 to 1000; 20 when absent. Only version 5 can tell it
    /// to the broker.
    inflight: Option<u16>,
}

/// Checks the intakes of all files, which `of` finds in one.
pub(super) fn check<F>(
    checks: &mut Checks<'_, F>,
    of: impl Fn(&F) -> &BTreeMap<String, Mqtt>,
    prefix: &str,
) -> BTreeMap<String, Config> {
    let mut intakes = BTreeMap::new();
    for Named { document, key, name, raw: mqtt } in named(checks, "mqtt", of) {
        let (problems, config) = mqtt.checked(&name, prefix);
        let at_start = match problems.is_empty() {
            true => config.broker.settings("").err(),
            false => None,
        };
        let at_start = at_start.map(|error| {
            KeyProblem::new("url", format!("{error:#}"), "hal-bridge cannot connect without it")
        });
        checks.take(document, &key, problems, at_start.into_iter().collect());
        intakes.insert(name, config);
    }
    intakes
}

impl Mqtt {
    /// The problems, and the settings as far as they could be understood.
    fn checked(&self, name: &str, prefix: &str) -> (Vec<KeyProblem>, Config) {
        let mut problems = self.broker.problems();
        let topics: Vec<String> =
            self.topics.iter().flat_map(OneOrMany::items).map(|(_, topic)| topic.to_owned()).collect();
        problems.extend(topics_problem(&topics));
        let wildcards = |topic: &String| topic.split('/').filter(|level| matches!(*level, "+" | "#")).count();
        let wildcards = topics.iter().map(wildcards).min().unwrap_or_default();
        let mut read = |key: &'static str, text: Option<&str>| {
            let read = text.map(|text| template(key, text, wildcards)).transpose();
            read.map_err(|problem| problems.push(problem)).ok().flatten()
        };
        let mapping = Mapping {
            each: None,
            tag: read("tag", Some(self.tag.as_deref().unwrap_or(&format!("mqtt.{name}"))))
                .unwrap_or_default(),
            title: read("title", self.title.as_deref()),
            text: read("text", self.text.as_deref()),
            severity: read("severity", self.severity.as_deref()),
            status: read("status", self.status.as_deref()),
            key: read("key", self.key.as_deref()),
            id: None,
            link: read("link", self.link.as_deref()),
            jinja: Jinja::default(),
        };
        let inflight = self.inflight.unwrap_or(INFLIGHT);
        if !(1..=INFLIGHT_MOST).contains(&inflight) {
            let hint = format!("1 to {INFLIGHT_MOST}");
            problems.push(KeyProblem::new("inflight", format!("{inflight} is out of range"), hint));
        }
        let config = Config {
            broker: self.broker.clone(),
            client_id: format!("{prefix}-{name}"),
            source: format!("in-{name}"),
            topics,
            mapping,
            retained: self.retained.unwrap_or_default(),
            inflight,
        };
        (problems, config)
    }
}

fn topics_problem(topics: &[String]) -> Option<KeyProblem> {
    let problem = |what: String, hint: &str| Some(KeyProblem::new("topics", what, hint));
    if topics.is_empty() {
        return problem("there are no topics".into(), "such as topics = [\"plant/+/alarm\"]");
    }
    if topics.len() > TOPICS {
        return problem(
            format!("{} topics are too many", topics.len()),
            &format!("at most {TOPICS}; + and # help"),
        );
    }
    for (at, topic) in topics.iter().enumerate() {
        if let Some(what) = filter_problem(topic) {
            return problem(format!("{topic:?} is no topic: {what}"), "such as plant/+/alarm, or plant/#");
        }
        if let Some(other) = topics[..at].iter().find(|other| overlap(other, topic)) {
            let what = format!("{other} and {topic} match the same topics, whose messages might come twice");
            return problem(what, "keep one of them, or write two intakes");
        }
    }
    None
}

fn template(key: &'static str, text: &str, wildcards: usize) -> Result<Template, KeyProblem> {
    let hint = "in braces stand topic, the number of a wildcard, and JSON pointers, such as {1} or {/state}";
    let template = Template::read(text).map_err(|what| KeyProblem::new(key, what, hint))?;
    let legal = |place: &&str| match place.parse::<usize>() {
        Ok(number) => (1..=wildcards).contains(&number),
        Err(_) => *place == TOPIC || place.starts_with('/'),
    };
    if let Some(unknown) = template.places().find(|place| !legal(place)) {
        let what = match unknown.parse::<usize>() {
            Ok(_) => format!("there is no wildcard {{{unknown}}} in each of the topics"),
            Err(_) => format!("there is no {{{unknown}}}"),
        };
        return Err(KeyProblem::new(key, what, hint));
    }
    if key == "tag" && template.fill(|_| "x".into()).parse::<Tag>().is_err() {
        return Err(KeyProblem::new(key, format!("{text:?} does not give a tag"), "such as plant.{1}.alarm"));
    }
    Ok(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intake_has_a_broker_topics_and_a_tag_that_can_be() {
        let url = r#""url":"mqtt://127.0.0.1""#;
        for (json, wrong) in [
            (r#""topics":["plant/+/alarm","door/#"],"tag":"plant.{1}.alarm""#, &[][..]),
            (r#""topics":"a","title":"{topic} is {/state}","retained":"tell","inflight":1"#, &[]),
            (r#""tag":"a""#, &["topics"]),
            (r##""topics":["a/#","a/b"]"##, &["topics"]),
            (r#""topics":"a/b+","tag":"a..b""#, &["topics", "tag"]),
            (r#""topics":["+/a","b"],"tag":"x.{1}""#, &["tag"]),
            (r#""topics":"a","title":"{state}","text":"{","inflight":0"#, &["title", "text", "inflight"]),
        ] {
            let mqtt: Mqtt = serde_json::from_str(&format!("{{{url},{json}}}")).unwrap();
            let keys: Vec<&str> = mqtt.checked("plant", "hal").0.iter().map(|problem| problem.key).collect();
            assert_eq!(keys, wrong, "{json}");
        }
        let (_, config) = Mqtt::default().checked("plant", "hal");
        assert_eq!((config.client_id.as_str(), config.source.as_str()), ("hal-plant", "in-plant"));
    }
}

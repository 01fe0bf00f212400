//! Webhooks as they are written, and their checks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use service::config::{Checks, KeyProblem, OneOrMany, PATH};
use service::secret::Secret;
use tellhal::nearest;
use tellhal::tag::{Pattern, Tag};

use super::named::{Named, named};
use crate::webhook::intake::Config;
use crate::webhook::jinja::Jinja;
use crate::webhook::kind::json::Mapping;
use crate::webhook::kind::{Kind, Read, registry, sns};
use crate::webhook::template::Template;

/// An intake: `POST /in/NAME` on the bridge's HTTP port.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Webhook {
    /// The system that sends the requests, such as `github` or `alertmanager`; `json` for any other one's JSON, `text` for texts of
    /// curl and devices, `slack` for requests in Slack's format. The intake's name when absent.
    kind: Option<String>,
    /// The secret that signs requests; for a kind that does not sign, a token of at least 128 bits, as `Authorization: Bearer`, as the
    /// password of basic authentication, or at the end of the address: `/in/NAME/TOKEN`.
    secret: Option<Secret>,
    /// A file with the secret.
    #[schemars(extend("format" = PATH))]
    secret_file: Option<PathBuf>,
    /// The tag, in which `{event}` stands for a part of the request, as one word. For `json`, parts are JSON pointers: `ci.{/job/name}`.
    tag: Option<String>,
    /// The tags that texts may use, of which the address names one: `POST /in/TAG`. Only for `text`.
    tags: Option<OneOrMany>,
    /// The topics of Amazon's SNS that may send, by their ARNs. Only for `sns`.
    topics: Option<OneOrMany>,
    /// The JSON pointer of the list whose items are events; the whole body is one event when absent. Only for `json`, like the keys below.
    each: Option<String>,
    /// The title, such as `{/job/name} is {/state}`.
    title: Option<String>,
    /// The text; the whole JSON when absent.
    text: Option<String>,
    /// The severity, by one of many systems' names.
    severity: Option<String>,
    /// The status, by one of many systems' names: `firing` is `failed`, `ok` is `resolved`.
    status: Option<String>,
    /// The key of the thing that it is about.
    key: Option<String>,
    /// The id of the event, so that one that is delivered again is told once.
    id: Option<String>,
    /// The address of a link.
    link: Option<String>,
    /// Templates in minijinja for the same parts, for what pointers cannot say.
    jinja: Templates,
}

/// Templates such as `{{ job.name | upper }}`, with the request's values by their names, and the whole of it as `this`. Filters: `default`,
/// `first`, `join`, `last`, `length`, `lower`, `replace`, `round`, `trim`, `upper`; test: `defined`. Only for `json`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Templates {
    /// The title.
    title: Option<String>,
    /// The text.
    text: Option<String>,
    /// The severity.
    severity: Option<String>,
    /// The status.
    status: Option<String>,
    /// The key of the thing that it is about.
    key: Option<String>,
    /// The id of the event.
    id: Option<String>,
    /// The address of a link.
    link: Option<String>,
}

/// Checks the webhooks of all files, which `of` finds in one.
pub(super) fn check<F>(
    checks: &mut Checks<'_, F>,
    of: impl Fn(&F) -> &BTreeMap<String, Webhook>,
) -> BTreeMap<String, Config> {
    let mut intakes = BTreeMap::new();
    for Named { document, key, name, raw: webhook } in named(checks, "webhooks", of) {
        let (problems, config) = webhook.checked(&name);
        let at_start = match &config {
            Some(config) if config.secret().is_set() && config.secret().problem().is_none() => {
                config.read_secret().err()
            }
            _ => None,
        };
        checks.take(document, &key, problems, at_start.into_iter().collect());
        config.into_iter().for_each(|config| drop(intakes.insert(name.clone(), config)));
    }
    intakes
}

impl Webhook {
    /// The problems, and the settings if they could be understood.
    fn checked(&self, name: &str) -> (Vec<KeyProblem>, Option<Config>) {
        let (key, written) = match &self.kind {
            Some(kind) => ("kind", kind.as_str()),
            None => ("", name),
        };
        let Some(kind) = registry::named(written) else {
            let hint = nearest::hint(written, registry::names());
            let what = match &self.kind {
                Some(kind) => format!("there is no kind {kind:?} of webhooks"),
                None => format!("{name:?} is no kind of webhooks, and kind is missing"),
            };
            return (vec![KeyProblem::new(if key.is_empty() { "kind" } else { key }, what, hint)], None);
        };
        let mut problems = Vec::new();
        let mut config = Config {
            kind,
            secret: self.secret.clone(),
            secret_file: self.secret_file.clone(),
            keys: ("secret", "secret_file"),
            topics: BTreeMap::new(),
            arns: self.arns(kind, &mut problems),
            tag: self.template(kind, &mut problems),
            tags: self.patterns(kind, &mut problems),
            mapping: Mapping::default(),
        };
        problems.extend(config.secret().required());
        config.mapping = self.mapping(kind, config.tag.clone(), &mut problems);
        (problems, Some(config))
    }

    fn template(&self, kind: &Kind, problems: &mut Vec<KeyProblem>) -> Template {
        let text = self.tag.as_deref().unwrap_or(kind.tag);
        if matches!(kind.read, Read::Text) && self.tag.is_some() {
            problems.push(KeyProblem::new(
                "tag",
                "the address names the tag of a text",
                "write tags, those that it may name",
            ));
        }
        let is_mapped = matches!(kind.read, Read::Mapped);
        let hint = match kind.parts {
            _ if is_mapped => "words joined by dots, such as ci.{/job/name}".to_owned(),
            [] => format!("words joined by dots, such as {}", kind.tag),
            parts => format!("words joined by dots, in which {{{}}} may stand", parts.join("}, {")),
        };
        let template = match Template::read(text) {
            Ok(template) => template,
            Err(what) => {
                problems.push(KeyProblem::new("tag", what, hint));
                return Template::default();
            }
        };
        let unknown = template
            .places()
            .find(|place| !if is_mapped { place.starts_with('/') } else { kind.parts.contains(place) });
        if let Some(unknown) = unknown {
            problems.push(KeyProblem::new(
                "tag",
                format!("there is no {{{unknown}}} in requests of {}", kind.name),
                hint,
            ));
        } else if template.fill(|_| "x".into()).parse::<Tag>().is_err() {
            problems.push(KeyProblem::new("tag", format!("{text:?} does not give a tag"), hint));
        }
        template
    }

    fn patterns(&self, kind: &Kind, problems: &mut Vec<KeyProblem>) -> Vec<Pattern> {
        let is_text = matches!(kind.read, Read::Text);
        match &self.tags {
            Some(_) if !is_text => {
                problems.push(KeyProblem::new("tags", "only texts name their tag", "write tag instead"))
            }
            None if is_text => {
                problems.push(KeyProblem::new(
                    "tags",
                    "the tags that texts may use are missing",
                    "such as tags = [\"door.>\"]",
                ));
            }
            _ => {}
        }
        let mut patterns = Vec::new();
        for (_, text) in self.tags.iter().flat_map(OneOrMany::items) {
            match text.parse::<Pattern>() {
                Ok(pattern) => patterns.push(pattern),
                Err(bad) => problems.push(KeyProblem::new("tags", bad.what, bad.hint)),
            }
        }
        patterns
    }

    fn templates(&self, kind: &Kind, problems: &mut Vec<KeyProblem>) -> Jinja {
        let Templates { title, text, severity, status, key, id, link } = &self.jinja;
        let mut jinja = Jinja::default();
        for (at, part, template, other) in [
            ("jinja.title", "title", title, &self.title),
            ("jinja.text", "text", text, &self.text),
            ("jinja.severity", "severity", severity, &self.severity),
            ("jinja.status", "status", status, &self.status),
            ("jinja.key", "key", key, &self.key),
            ("jinja.id", "id", id, &self.id),
            ("jinja.link", "link", link, &self.link),
        ] {
            let Some(template) = template else { continue };
            if !matches!(kind.read, Read::Mapped) {
                let what = format!("{} has its own format", kind.name);
                problems.push(KeyProblem::new(at, what, "remove it, or write kind = \"json\""));
            } else if other.is_some() {
                let hint = format!("write either {part} or jinja.{part}");
                problems.push(KeyProblem::new(at, format!("{part} is given twice"), hint));
            } else if let Err(what) = jinja.add(part, template) {
                problems.push(KeyProblem::new(at, what, "such as \"{{ job.name }} is {{ state | upper }}\""));
            }
        }
        jinja
    }

    fn arns(&self, kind: &Kind, problems: &mut Vec<KeyProblem>) -> Vec<String> {
        let hint = "such as topics = [\"arn:aws:sns:eu-west-1:123456789012:alarms\"]";
        match &self.topics {
            Some(_) if *kind != sns::KIND => {
                problems.push(KeyProblem::new("topics", "only SNS has topics", "remove it"));
            }
            None if *kind == sns::KIND => {
                problems.push(KeyProblem::new("topics", "the topics that may send are missing", hint));
            }
            _ => {}
        }
        let mut arns = Vec::new();
        for (_, arn) in self.topics.iter().flat_map(OneOrMany::items) {
            let words: Vec<&str> = arn.split(':').collect();
            if !matches!(words[..], ["arn", _, "sns", _, _, topic] if !topic.is_empty() && !arn.contains('*'))
            {
                problems.push(KeyProblem::new("topics", format!("{arn:?} is no topic's ARN"), hint));
            }
            arns.push(arn.to_owned());
        }
        arns
    }

    fn mapping(&self, kind: &Kind, tag: Template, problems: &mut Vec<KeyProblem>) -> Mapping {
        let is_mapped = matches!(kind.read, Read::Mapped);
        let hint = "such as \"{/job/name} is {/state}\", with JSON pointers in braces";
        let mut read = |key: &'static str, text: &Option<String>| {
            let text = text.as_ref()?;
            if !is_mapped {
                let what = format!("{} has its own format", kind.name);
                problems.push(KeyProblem::new(key, what, "remove it, or write kind = \"json\""));
                return None;
            }
            match Template::read(text) {
                Ok(template) if template.places().all(|place| place.starts_with('/')) => Some(template),
                Ok(_) => {
                    problems.push(KeyProblem::new(
                        key,
                        format!("{text:?} has a placeholder that is no JSON pointer"),
                        hint,
                    ));
                    None
                }
                Err(what) => {
                    problems.push(KeyProblem::new(key, what, hint));
                    None
                }
            }
        };
        let mapping = Mapping {
            each: self.each.clone(),
            tag,
            title: read("title", &self.title),
            text: read("text", &self.text),
            severity: read("severity", &self.severity),
            status: read("status", &self.status),
            key: read("key", &self.key),
            id: read("id", &self.id),
            link: read("link", &self.link),
            jinja: self.templates(kind, problems),
        };
        if self.each.as_ref().is_some_and(|each| !is_mapped || !each.starts_with('/')) {
            problems.push(KeyProblem::new(
                "each",
                "it is a JSON pointer, for kind = \"json\" alone",
                "such as each = \"/alerts\"",
            ));
        }
        mapping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(name: &str, toml: &str) -> Vec<&'static str> {
        let webhook: Webhook = serde_json::from_str(toml).unwrap();
        webhook.checked(name).0.iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn a_webhook_has_a_kind_a_secret_and_a_tag_that_can_be() {
        for (name, json, wrong) in [
            ("github", r#"{"secret":"s","tag":"github.{event}"}"#, &[][..]),
            ("github", r#"{}"#, &["secret"]),
            ("githib", r#"{"secret":"s"}"#, &["kind"]),
            ("ours", r#"{"secret":"s","kind":"nothing"}"#, &["kind"]),
            ("ours", r#"{"secret":"s","kind":"github","tag":"a.{evnt}"}"#, &["tag"]),
            ("ours", r#"{"secret":"s","kind":"github","tag":"a..{event}"}"#, &["tag"]),
            ("ours", r#"{"secret":"s","kind":"github","tag":"a.{event"}"#, &["tag"]),
            ("github", r#"{"secret":"s","secret_file":"f"}"#, &["secret"]),
            ("github", r#"{"secret":"s","title":"x","tags":"a"}"#, &["tags", "title"]),
            ("github", r#"{"secret":"s","topics":"arn:aws:sns:eu-west-1:1:alarms"}"#, &["topics"]),
            ("sns", r#"{"secret":"s","topics":"arn:aws:sns:eu-west-1:1:alarms"}"#, &[]),
            (
                "sns",
                r#"{"secret":"s","topics":["arn:aws:sns:eu-west-1:1:*","alarms"]}"#,
                &["topics", "topics"],
            ),
            ("sns", r#"{"secret":"s"}"#, &["topics"]),
            ("door", r#"{"secret":"s","kind":"text","tags":["door.>"]}"#, &[]),
            ("door", r#"{"secret":"s","kind":"text"}"#, &["tags"]),
            ("door", r#"{"secret":"s","kind":"text","tags":["door..x"],"tag":"x"}"#, &["tag", "tags"]),
            ("ci", r#"{"secret":"s","kind":"json","tag":"ci.{/job}","title":"{/a} {/b}","each":"/x"}"#, &[]),
            ("ci", r#"{"secret":"s","kind":"json","jinja":{"title":"{{ a | upper }}"},"text":"{/b}"}"#, &[]),
            (
                "ci",
                r#"{"secret":"s","kind":"json","jinja":{"title":"{{ a | up }}","key":"{{"}}"#,
                &["jinja.title", "jinja.key"],
            ),
            (
                "ci",
                r#"{"secret":"s","kind":"json","jinja":{"text":"{{ a }}"},"text":"{/b}"}"#,
                &["jinja.text"],
            ),
            ("github", r#"{"secret":"s","jinja":{"text":"{{ a }}"}}"#, &["jinja.text"]),
            (
                "ci",
                r#"{"secret":"s","kind":"json","tag":"ci.{job}","title":"{a}","each":"x"}"#,
                &["tag", "title", "each"],
            ),
        ] {
            assert_eq!(keys(name, json), wrong, "{json}");
        }
    }
}

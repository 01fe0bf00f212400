//! An intake: a name under which one system's requests become messages, with its secret and the tags it may use. Pure but for the
//! reading of its secret.

use std::collections::BTreeMap;
use std::path::PathBuf;

use service::config::KeyProblem;
use service::secret::{Pair, Secret};
use tellhal::message::Message;
use tellhal::tag::{Pattern, Tag};

use super::event::Event;
use super::kind::json::Mapping;
use super::kind::{Kind, Read, json, text};
use super::request::{Refusal, Request};
use super::template::Template;
use super::verify::{Proof, message_id, token_problem, verify};

/// The largest request, in bytes.
const LARGEST: usize = 1 << 20;
/// The same for GitHub, whose pushes list thousands of commits. It sends up to 25 MB.
const LARGEST_OF_GITHUB: usize = 4 << 20;
/// The most events of one request; the last one tells of the others.
const EVENTS: usize = 1000;

/// An intake's settings, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) kind: &'static Kind,
    pub(crate) secret: Option<Secret>,
    pub(crate) secret_file: Option<PathBuf>,
    /// The names of these two keys.
    pub(crate) keys: (&'static str, &'static str),
    pub(crate) tag: Template,
    /// The tags that a sender of texts may use.
    pub(crate) tags: Vec<Pattern>,
    /// The tags of topics, for ntfy.
    pub(crate) topics: BTreeMap<String, Tag>,
    /// The topics that may send, for SNS.
    pub(crate) arns: Vec<String>,
    pub(crate) mapping: Mapping,
}

impl Config {
    pub(crate) fn secret(&self) -> Pair<'_> {
        Pair::new(self.keys.0, self.keys.1, &self.secret, &self.secret_file)
    }

    /// The secret, if it is good enough.
    pub(crate) fn read_secret(&self) -> Result<Secret, KeyProblem> {
        let pair = self.secret();
        let secret = pair
            .read()?
            .ok_or_else(|| KeyProblem::new(pair.key, "the secret is missing", "write secret_file"))?;
        let is_token = self.kind.proofs.iter().any(|proof| proof.is_token());
        match token_problem(&secret).filter(|_| is_token) {
            Some(what) => {
                let key = if pair.file.is_some() { pair.file_key } else { pair.key };
                Err(KeyProblem::new(key, what, "openssl rand -hex 16 makes one"))
            }
            None => Ok(secret),
        }
    }
}

/// An intake that is open.
pub(crate) struct Intake {
    pub(crate) name: String,
    pub(crate) config: Config,
    pub(crate) secret: Secret,
    source: String,
}

/// A message to be published, with the id of its event if it has one.
pub(crate) type Told = (Option<String>, Message);

impl Intake {
    pub(crate) fn open(name: &str, config: &Config) -> anyhow::Result<Intake> {
        let secret = config.read_secret();
        let secret = secret.map_err(|bad| anyhow::anyhow!("{}: {}", bad.key, bad.what))?;
        Ok(Intake { name: name.to_owned(), config: config.clone(), secret, source: format!("in-{name}") })
    }

    /// The intake without its secret, which takes nothing from the network.
    pub(crate) fn closed(name: &str, config: &Config) -> Intake {
        let (name, secret, source) = (name.to_owned(), Secret::new(""), format!("in-{name}"));
        Intake { name, config: config.clone(), secret, source }
    }

    /// The largest request, in bytes.
    pub(crate) fn largest(&self) -> usize {
        if self.config.kind.name == "github" { LARGEST_OF_GITHUB } else { LARGEST }
    }

    /// `Ok` if a request could be the right sender's, as far as its head tells.
    pub(crate) fn admits(&self, head: &Request<'_>) -> Result<(), Refusal> {
        let proofs = self.config.kind.proofs;
        match proofs.iter().all(|proof| proof.is_token()) {
            true => verify(proofs, &self.secret, head).map_err(Refusal::Unproven),
            false => Ok(()),
        }
    }

    /// True if a request shows this intake's token.
    pub(crate) fn is_shown(&self, head: &Request<'_>) -> bool {
        verify(&[Proof::Token], &self.secret, head).is_ok()
    }

    /// The messages of a request that proves its sender. A text has the `tag` of its address.
    pub(crate) fn read(&self, request: &Request<'_>, tag: Option<&Tag>) -> Result<Vec<Told>, Refusal> {
        verify(self.config.kind.proofs, &self.secret, request).map_err(Refusal::Unproven)?;
        self.told(request, tag)
    }

    /// The same whoever has sent it, for trying out.
    pub(crate) fn told(&self, request: &Request<'_>, tag: Option<&Tag>) -> Result<Vec<Told>, Refusal> {
        let mut events = match self.config.kind.read {
            Read::Own(read) => read(request)?,
            Read::Mapped => json::read(request, &self.config.mapping)?,
            Read::Text => text::read(request)?,
        };
        if events.len() > EVENTS {
            let rest = events.split_off(EVENTS - 1).len();
            events.push(Event {
                severity: tellhal::message::Severity::Warning,
                ..Event::new(format!("{rest} more events of the same request are not shown"))
            });
        }
        let topics = events.iter().filter_map(|event| event.parts.get("topic"));
        if !self.config.topics.is_empty()
            && !topics.into_iter().all(|topic| self.config.topics.contains_key(topic))
        {
            return Err(Refusal::Unknown("there is no such topic"));
        }
        Ok(events.into_iter().map(|event| self.message(event, tag)).collect())
    }

    fn message(&self, event: Event, tag: Option<&Tag>) -> Told {
        let part = |name: &str| event.parts.get(name).cloned().unwrap_or_default();
        let topic = self.config.topics.get(&part("topic"));
        let (tag, original) = match tag.or(topic) {
            Some(tag) => (tag.clone(), None),
            None => self.config.tag.tag(part),
        };
        let id = event.id.clone();
        let mut message = event.message(&self.source, tag, original);
        if let Some(id) = &id {
            message.id = message_id(&self.secret, &self.name, id);
        }
        (id, message)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use axum::http::header::AUTHORIZATION;

    use super::super::kind::registry::named;
    use super::*;

    use super::super::event::FIELD;
    use tellhal::message::MAX_TITLE;

    const TOKEN: &str = "kZ3pQ9vX2mB7nR4tY8wL1c";

    fn intake(kind: &str, tag: &str, secret: &str) -> anyhow::Result<Intake> {
        let config = Config {
            kind: named(kind).unwrap(),
            secret: Some(Secret::new(secret)),
            secret_file: None,
            tag: Template::read(tag).unwrap(),
            keys: ("secret", "secret_file"),
            tags: Vec::new(),
            topics: BTreeMap::new(),
            arns: Vec::new(),
            mapping: Mapping::default(),
        };
        Intake::open("one", &config)
    }

    #[test]
    fn a_message_has_its_intakes_source_and_a_tag_of_its_template() {
        let body = r#"{"alerts":[{"status":"firing","labels":{"alertname":"hal.ctl.>","x":"y"},"fingerprint":"f","startsAt":"t"}]}"#;
        let headers = HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {TOKEN}").parse().unwrap())]);
        let request =
            Request { headers: &headers, body: body.as_bytes(), token: None, path: "", query: "", now: 0 };
        let told = intake("alertmanager", "alert.{alertname}", TOKEN).unwrap().read(&request, None).unwrap();
        let (id, message) = &told[0];
        assert_eq!((message.source.as_str(), message.tag.as_str()), ("in-one", "alert.hal_ctl__"));
        assert_eq!((message.fields["tag"].as_str(), id.as_deref()), ("alert.hal.ctl.>", Some("f/t/firing")));
    }

    #[test]
    fn a_message_has_an_id_that_only_its_intake_can_make() {
        let id_of = |secret: &str, fingerprint: &str| {
            let body = format!(
                r#"{{"alerts":[{{"status":"firing","fingerprint":"{fingerprint}","startsAt":"t"}}]}}"#
            );
            let headers = HeaderMap::new();
            let request = Request {
                headers: &headers,
                body: body.as_bytes(),
                token: Some(secret),
                path: "",
                query: "",
                now: 0,
            };
            intake("alertmanager", "a", secret).unwrap().read(&request, None).unwrap().remove(0).1.id
        };
        assert_eq!(id_of(TOKEN, "f"), id_of(TOKEN, "f"), "the log drops it when it is delivered again");
        assert_ne!(id_of(TOKEN, "f"), id_of(TOKEN, "g"));
        assert_ne!(
            id_of(TOKEN, "f"),
            id_of("0Zq8Xw7Yv6Ut5Sr4Qp3On2", "f"),
            "nobody else can take it beforehand"
        );
        assert_ne!(id_of(TOKEN, ""), id_of(TOKEN, ""), "an event without an id is told each time");
    }

    #[test]
    fn nobody_else_is_read_and_a_guessable_token_is_refused() {
        let headers = HeaderMap::new();
        let intake_of = intake("alertmanager", "a", TOKEN).unwrap();
        for token in [None, Some(""), Some("x"), Some(&TOKEN[..21])] {
            let request =
                Request { headers: &headers, body: b"{\"alerts\":[]}", token, path: "", query: "", now: 0 };
            assert!(matches!(intake_of.read(&request, None), Err(Refusal::Unproven(_))), "{token:?}");
            assert!(intake_of.admits(&request).is_err() && !intake_of.is_shown(&request));
        }
        let refused = intake("alertmanager", "a", "hunter2").err().unwrap().to_string();
        assert!(refused.contains("128 random bits") && !refused.contains("hunter2"), "{refused}");
        assert!(intake("github", "a", "hunter2").is_ok(), "what signs is not sent");
    }

    #[test]
    fn sizes_are_bounded() {
        let alerts: Vec<String> = (0..1500)
            .map(|i| {
                format!(r#"{{"status":"firing","labels":{{"alertname":"{}","n":"{i}"}}}}"#, "é".repeat(1200))
            })
            .collect();
        let body = format!(r#"{{"alerts":[{}]}}"#, alerts.join(","));
        let headers = HeaderMap::new();
        let request = Request {
            headers: &headers,
            body: body.as_bytes(),
            token: Some(TOKEN),
            path: "",
            query: "",
            now: 0,
        };
        let told = intake("alertmanager", "a.{alertname}", TOKEN).unwrap().read(&request, None).unwrap();
        assert_eq!(told.len(), EVENTS);
        assert_eq!(
            told[EVENTS - 1].1.title.as_deref(),
            Some("501 more events of the same request are not shown")
        );
        let (_, message) = &told[0];
        assert!(message.title.as_ref().unwrap().len() <= MAX_TITLE && message.fields["tag"].len() <= FIELD);
        assert!(message.key.as_ref().unwrap().len() == 32, "{:?}", message.key);
    }
}

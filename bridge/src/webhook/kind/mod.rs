//! The kinds of intakes, one file each: the default tag, the proofs that the system can give, and its events. To add one, write its
//! file and name it in `registry`.

mod alertmanager;
mod bugzilla;
mod cloudevents;
mod datadog;
mod gitea;
mod github;
mod gitlab;
mod grafana;
mod jenkins;
mod jira;
pub(crate) mod json;
pub(crate) mod ntfy;
mod pagerduty;
mod redmine;
pub(crate) mod registry;
mod sentry;
pub(crate) mod slack;
pub(crate) mod sns;
mod standard;
mod statuspage;
#[cfg(test)]
mod testing;
pub(crate) mod text;
mod uptime_kuma;

pub(crate) use super::event::Event;
pub(crate) use super::request::{Refusal, Request};
pub(crate) use super::verify::Proof;

/// A kind of intake.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// The tag when the configuration has none.
    pub(crate) tag: &'static str,
    /// The placeholders that a tag can have.
    pub(crate) parts: &'static [&'static str],
    /// One of these must be right.
    pub(crate) proofs: &'static [Proof],
    pub(crate) read: Read,
}

/// The way a request's events are read.
#[derive(Debug)]
pub(crate) enum Read {
    /// The system's own format.
    Own(fn(&Request<'_>) -> Result<Vec<Event>, Refusal>),
    /// Any JSON, as the configuration maps it.
    Mapped,
    /// A text whose sender names the tag: `POST /in/{tag}`.
    Text,
}

impl PartialEq for Kind {
    fn eq(&self, other: &Kind) -> bool {
        self.name == other.name
    }
}

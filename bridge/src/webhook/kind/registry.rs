//! All kinds of intakes.

use super::*;

static KINDS: [&Kind; 21] = [
    &alertmanager::KIND,
    &bugzilla::KIND,
    &cloudevents::KIND,
    &datadog::KIND,
    &gitea::FORGEJO,
    &gitea::GITEA,
    &github::KIND,
    &gitlab::KIND,
    &grafana::KIND,
    &jenkins::KIND,
    &jira::KIND,
    &json::KIND,
    &pagerduty::KIND,
    &redmine::KIND,
    &sentry::KIND,
    &slack::KIND,
    &sns::KIND,
    &standard::KIND,
    &statuspage::KIND,
    &text::KIND,
    &uptime_kuma::KIND,
];

/// The kind of a name.
pub(crate) fn named(name: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}

/// The names of all kinds.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.name)
}

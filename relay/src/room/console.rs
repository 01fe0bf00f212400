//! A terminal: each message as lines on the relay's standard output, coloured when a person looks.

use std::io::Write;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tellhal::paint::Paint;

use super::{self as room, Part, Post, Room, Shared};
use crate::delivery::Delivery;
use crate::render::{self, View};
use service::platform::{Failure, Sent};

/// `[rooms.NAME.console]`: it has no settings.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

impl room::Settings for Config {
    fn open(&self, _shared: &Shared) -> anyhow::Result<Box<dyn Room>> {
        Ok(Box::new(Console::open()))
    }
}

pub(super) struct Console {
    paint: Paint,
}

impl Console {
    pub(super) fn open() -> Self {
        Console { paint: Paint::of(&std::io::stdout()) }
    }
}

#[async_trait]
impl Room for Console {
    fn render(&self, post: &Post) -> Vec<Part> {
        let shown = render::lines(post).join("\n");
        let (first, rest) = shown.split_at(shown.find('\n').unwrap_or(shown.len()));
        // The only escape codes in the output: `render::lines` removes those of a message.
        let shown_severity = |delivery: &Delivery| View::of(delivery, &post.zone).severity;
        let severities =
            post.listed.iter().map(shown_severity).chain(post.counted.as_ref().map(|counted| counted.worst));
        let wire = self.paint.severity(severities.max().unwrap_or_default(), first) + rest;
        vec![Part { shown, wire, plain: None, id: post.id.clone(), file: None }]
    }

    /// On a thread for blocking work: a pipe without a reader must not block the other rooms.
    async fn send(&self, part: &Part) -> Result<Sent, Failure> {
        let line = part.wire.clone();
        let write = move || {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{line}").and_then(|()| out.flush())
        };
        let written = tokio::task::spawn_blocking(write).await.map_err(std::io::Error::other);
        match written.and_then(|written| written) {
            Ok(()) => Ok(Sent { answer: "written to standard output".into(), ..Sent::default() }),
            Err(error) => {
                let reason = format!("standard output: {error}");
                Err(Failure::Transient { reason, wait: None, ambiguous: true })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::conformance;

    #[test]
    fn passes_the_kit() {
        conformance::renders(&Console { paint: Paint::NONE }, usize::MAX, &["\x1b", "\0", "\x07", "\r"]);
    }

    #[test]
    fn an_error_has_a_colour_on_its_first_line() {
        let mut message = conformance::message("first\nsecond");
        let wire = |message: &tellhal::Message| {
            let post = Post::single(conformance::delivery("m1", message.clone()));
            Console { paint: Paint::ALWAYS }.render(&post).remove(0).wire
        };
        assert_eq!(wire(&message), "[backup.mysql] db1: first\nsecond");
        message.severity = tellhal::Severity::Error;
        assert_eq!(wire(&message), "\x1b[31mERROR [backup.mysql] db1: first\x1b[0m\nsecond");
    }

    #[tokio::test]
    async fn a_line_is_written() {
        let room = Console { paint: Paint::NONE };
        let sent = conformance::send(&room, "a line of this test").await;
        assert_eq!(sent.map(|sent| sent.post), Ok(None));
    }
}

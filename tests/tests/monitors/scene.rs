//! The log without a relay, and monitors that look at a fake each second.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use async_nats::jetstream::stream::{Config, Stream};
use tellhal::message::Status;
use tellhal::{Message, Names};
use tests::wait::SOON;
use tests::{FakeGraphite, NatsServer, wait_until};

/// The log, as the relay makes it, and what is in it.
pub(super) struct Log {
    pub(super) server: NatsServer,
    pub(super) stream: Stream,
}

impl Log {
    pub(super) async fn start() -> Log {
        let server = NatsServer::start().await;
        let config = Config {
            name: Names::default().ops_stream(),
            subjects: vec!["hal.ops.>".into(), "hal.ctl.>".into()],
            duplicate_window: Duration::from_secs(3600),
            ..Default::default()
        };
        let stream = server.jetstream().await.create_stream(config).await.unwrap();
        Log { server, stream }
    }

    /// All messages of the bridge itself.
    pub(super) async fn messages(&mut self) -> Vec<Message> {
        let last = self.stream.info().await.unwrap().state.last_sequence;
        let mut messages = Vec::new();
        for sequence in 1..=last {
            let raw = self.stream.get_raw_message(sequence).await.unwrap();
            if raw.subject.starts_with("hal.ops.bridge.") {
                messages.push(serde_json::from_slice(&raw.payload).unwrap());
            }
        }
        messages
    }

    /// The messages of the bridge, once there are so many.
    pub(super) async fn wait_for(&mut self, count: usize) -> Vec<Message> {
        let mut messages = Vec::new();
        wait_until(&format!("{count} messages"), SOON, async || {
            messages = self.messages().await;
            messages.len() >= count
        })
        .await;
        assert_eq!(messages.len(), count, "{messages:#?}");
        messages
    }
}

impl Log {
    /// The first message with this key and status, once there is one.
    pub(super) async fn wait_for_one(&mut self, key: &str, status: Status) -> Message {
        let mut message = None;
        wait_until(&format!("{key} {status}"), SOON, async || {
            let is_it =
                |message: &Message| message.key.as_deref() == Some(key) && message.status == Some(status);
            message = self.messages().await.into_iter().find(is_it);
            message.is_some()
        })
        .await;
        message.unwrap()
    }
}

/// A monitor that looks each second. `more` stands before the table of its kind.
pub(super) fn monitor(name: &str, more: &str, kind: &str) -> String {
    format!("[[monitors]]\nname = \"{name}\"\ntag = \"monitor.{name}\"\nevery = \"1s\"\n{more}\n{kind}\n")
}

pub(super) fn graphite(server: &FakeGraphite, target: &str, more: &str) -> String {
    format!(
        "[monitors.graphite]\nurl = \"http://{}\"\ntarget = \"{target}\"\nabove = 50\n{more}",
        server.addr()
    )
}

/// Waits until the monitors have looked so often again.
pub(super) async fn looks(graphite: &FakeGraphite, count: usize) {
    let before = graphite.requests().len();
    wait_until("further looks", SOON, async || graphite.requests().len() >= before + count).await;
}

//! The counts of a listener's inputs, and the report of those that became no message: the first at once, further ones once a minute.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tellhal::message::{Message, Severity};
use tellhal::tag::Tag;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::networks::Networks;
use crate::metrics::{DeviceInput, Metrics};
use crate::outbox::{Outbox, SOURCE};

/// The time in which further losses join the first.
const GATHER: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_secs(60);
/// An input of an address that may not use the listener: logged, and no message, since anybody can cause it.
const NOT_ALLOWED: &str = "not_allowed";

/// The counts of one listener.
pub(crate) struct Tally {
    /// `syslog_udp`, `syslog_tcp` or `mail`.
    kind: &'static str,
    /// The listener, such as `syslog.net`.
    listener: String,
    metrics: Arc<Metrics>,
    lost: Mutex<Lost>,
    changed: Notify,
}

/// The inputs of each outcome, and the address of the last one.
type Lost = BTreeMap<&'static str, (u64, IpAddr)>;

impl Tally {
    pub(crate) fn new(kind: &'static str, listener: String, metrics: &Arc<Metrics>) -> Arc<Tally> {
        let (metrics, lost, changed) = (metrics.clone(), Mutex::default(), Notify::new());
        Arc::new(Tally { kind, listener, metrics, lost, changed })
    }

    /// True if `peer` is of the networks that may use the listener; counts it otherwise.
    pub(crate) fn admits(&self, allow: &Networks, peer: IpAddr) -> bool {
        let is_allowed = allow.contain(peer);
        if !is_allowed {
            self.lose(NOT_ALLOWED, peer);
        }
        is_allowed
    }

    /// Counts an input that is told, or that nobody wants to be told.
    pub(crate) fn count(&self, outcome: &'static str) {
        let label = DeviceInput { kind: self.kind, outcome };
        self.metrics.device_inputs.get_or_create(&label).inc();
    }

    /// Counts an input that became no message, for the next report.
    pub(crate) fn lose(&self, outcome: &'static str, peer: IpAddr) {
        self.count(outcome);
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, last) = lost.entry(outcome).or_insert((0, peer));
        (*count, *last) = (*count + 1, peer);
        self.changed.notify_one();
    }

    /// Reports until `stop`, and then what is left.
    pub(crate) async fn report(&self, outbox: &Outbox, stop: &CancellationToken) {
        while stop.run_until_cancelled(self.changed.notified()).await.is_some() {
            stop.run_until_cancelled(sleep(GATHER)).await;
            self.tell(outbox).await;
            stop.run_until_cancelled(sleep(EVERY)).await;
        }
        self.tell(outbox).await;
    }

    async fn tell(&self, outbox: &Outbox) {
        let lost = std::mem::take(&mut *self.lost.lock().unwrap_or_else(PoisonError::into_inner));
        if lost.is_empty() {
            return;
        }
        tracing::warn!(listener = self.listener, lost = words(&lost), "inputs became no messages");
        if lost.keys().all(|outcome| *outcome == NOT_ALLOWED) {
            return;
        }
        let tag = format!("bridge.{}.lost", self.kind);
        let text = format!("{}: inputs became no messages: {}", self.listener, words(&lost));
        let mut message = Message::new(SOURCE, Tag::nearest(&tag), text);
        message.severity = Severity::Warning;
        message.key = Some(format!("lost/{}", self.listener));
        outbox.publish("own", &message).await;
    }
}

/// Such as `7 over_rate (the last from 192.0.2.1), 2 queue_full (…)`.
fn words(lost: &Lost) -> String {
    let one = |(outcome, (count, last)): (&&str, &(u64, IpAddr))| {
        format!("{count} {} (the last from {last})", outcome.replace('_', " "))
    };
    lost.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_counted_by_their_reason() {
        let tally = Tally::new("syslog_udp", "syslog.net".into(), &Arc::default());
        for (outcome, last) in [("over_rate", 1), ("over_rate", 2), (NOT_ALLOWED, 3)] {
            tally.lose(outcome, [192, 0, 2, last].into());
        }
        assert_eq!(
            words(&tally.lost.lock().unwrap()),
            "1 not allowed (the last from 192.0.2.3), 2 over rate (the last from 192.0.2.2)"
        );
        let metrics = tally.metrics.text();
        assert!(
            metrics.contains("device_inputs_total{kind=\"syslog_udp\",outcome=\"over_rate\"} 2"),
            "{metrics}"
        );
    }
}

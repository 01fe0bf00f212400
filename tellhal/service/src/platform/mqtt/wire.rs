//! A version of the protocol as the client uses it, and what comes of a connection.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::platform::Failure;

/// What the broker keeps of a client that is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: for a client that only publishes.
    Nothing,
    /// Subscriptions and messages, and the most that it sends before the first is acknowledged (only version 5 can say it).
    Session { inflight: u16 },
}

/// A message that has arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrived {
    pub topic: String,
    pub payload: Bytes,
    /// The broker had it when the topic was subscribed to.
    pub is_retained: bool,
    /// The broker may have delivered it before.
    pub is_repeated: bool,
    /// The packet to acknowledge; none at QoS 0.
    pub packet: Option<u16>,
}

/// The next of a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The broker lets us in; with the session that it kept, or without one.
    Connected {
        has_session: bool,
    },
    /// The answers to a subscription, in the order of its filters; an error is the broker's reason.
    Subscribed(Vec<Result<(), String>>),
    Arrived(Arrived),
    /// Something of the protocol alone.
    Other,
}

/// The answer to what was published.
pub(super) type Published = BoxFuture<'static, Result<(), Failure>>;

/// A version of the protocol.
#[async_trait]
pub(super) trait Wire: Send {
    async fn next(&mut self) -> Result<Event, Failure>;
    fn subscribe(&self, filters: &[String], retained: bool) -> Result<(), String>;
    fn unsubscribe(&self, filters: &[String]) -> Result<(), String>;
    fn acknowledge(&self, packet: u16) -> Result<(), String>;
    fn publish(&self, topic: &str, payload: Bytes, retain: bool) -> Result<Published, Failure>;
    fn disconnect(&self);
}

//! One connection to a broker, of either version. It ends with the first error; another one begins with a new client.

use bytes::Bytes;

use super::config::{Settings, Version};
use super::five::Five;
use super::three::Three;
use super::wire::{Event, Keep, Wire};
use crate::platform::Failure;

/// A connection.
pub struct Client {
    settings: Settings,
    wire: Box<dyn Wire>,
}

impl Client {
    /// A connection that begins with the first [`Client::next`].
    pub fn new(settings: Settings, keep: Keep) -> Client {
        let wire: Box<dyn Wire> = match settings.version {
            Version::Three => Box::new(Three::new(settings.clone(), keep)),
            Version::Five => Box::new(Five::new(settings.clone(), keep)),
        };
        Client { settings, wire }
    }

    /// The next event; must be asked for all the time, since nothing is sent or received otherwise. An error is the end.
    pub async fn next(&mut self) -> Result<Event, Failure> {
        self.wire.next().await
    }

    /// Asks for the messages of `filters`, and for those that the broker has `retained` if it can be told.
    pub fn subscribe(&self, filters: &[String], retained: bool) -> Result<(), Failure> {
        self.queued(self.wire.subscribe(filters, retained))
    }

    /// Takes a subscription back.
    pub fn unsubscribe(&self, filters: &[String]) -> Result<(), Failure> {
        self.queued(self.wire.unsubscribe(filters))
    }

    /// Acknowledges a message: the broker forgets it.
    pub fn acknowledge(&self, packet: u16) -> Result<(), Failure> {
        self.queued(self.wire.acknowledge(packet))
    }

    /// Publishes at QoS 1. The future ends with the broker's answer, while [`Client::next`] is asked.
    pub fn publish(
        &self,
        topic: &str,
        payload: Bytes,
        retain: bool,
    ) -> Result<impl Future<Output = Result<(), Failure>> + Send + 'static, Failure> {
        self.wire.publish(topic, payload, retain)
    }

    /// Says goodbye, after what was queued; [`Client::next`] then ends with an error.
    pub async fn end(mut self) {
        self.wire.disconnect();
        while self.wire.next().await.is_ok() {}
    }

    fn queued(&self, queued: Result<(), String>) -> Result<(), Failure> {
        queued.map_err(|error| self.settings.transient(&error))
    }
}

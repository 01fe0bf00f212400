//! MQTT 3.1.1 and 5: a connection that takes messages and one that publishes them, both at QoS 1. It neither decides what a
//! message means nor connects again.
//!
//! Both versions are rumqttc's, a crate each (`three`, `five`); TCP and TLS are ours (`stream`), so that errors about
//! certificates read as everywhere and a packet of any size does no harm.

mod client;
mod config;
mod five;
mod publisher;
mod stream;
mod three;
mod topic;
mod wire;

pub use client::Client;
pub use config::{Broker, Settings, Version};
pub use publisher::{Connection, Connections};
pub use stream::LARGEST;
pub use topic::{filter_problem, matched, overlap, topic_problem};
pub use wire::{Arrived, Event, Keep};

//! Servers, fakes and guards for the end-to-end tests. All of them listen on loopback, on a port of their own, with
//! their files in a folder that is removed when the guard is dropped.

pub mod cluster;
pub mod command_box;
pub mod events;
pub mod faults;
pub mod find;
pub mod http;
pub mod irc;
pub mod ircd;
pub mod line_client;
pub mod nats;
pub mod neighbour;
pub mod ports;
pub mod process;
pub mod prosody;
pub mod proxy;
pub mod serve;
pub mod service;
pub mod slack;
pub mod structure;
pub mod synapse;
pub mod tls;
pub mod wait;
pub mod webhook;

pub use cluster::NatsCluster;
pub use command_box::ask;
pub use events::Events;
pub use http::{Answer, Reply};
pub use irc::IrcClient;
pub use ircd::{Inspircd, IrcNetwork, Ngircd};
pub use nats::{NatsOptions, NatsServer, largest_message};
pub use neighbour::Neighbour;
pub use ports::Port;
pub use process::Process;
pub use prosody::{Prosody, XmppClient};
pub use proxy::{Fault, Proxy};
pub use serve::Served;
pub use service::{Bridge, Relay, tellhal};
pub use slack::FakeSlack;
pub use synapse::{MatrixUser, Nio, Synapse};
pub use tls::{Certificates, Flaw, TlsFront};
pub use wait::wait_until;
pub use webhook::WebhookSink;

//! The connection to NATS. The relay's streams are in [`streams`].

pub mod connections;
pub mod files;
pub mod follow;
pub mod message;
pub mod renumber;
pub mod scan;
pub mod streams;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, Event};
use tellhal::nats::NatsConfig;
use tellhal::refusal::redact;
use tellhal::{Names, Publisher};
use tokio::sync::watch;

use self::connections::Connections;

/// A connection that reconnects by itself.
#[derive(Clone)]
pub struct Bus {
    pub client: Client,
    pub js: Context,
    pub names: Names,
    pub connections: Connections,
    config: NatsConfig,
}

impl Bus {
    /// Starts to connect and returns at once; retries without end while the server is down.
    pub async fn connect(config: &NatsConfig, name: &str) -> anyhow::Result<Self> {
        let (count, connections) = watch::channel(0);
        let last_event = Mutex::new(String::new());
        let servers = addresses(config);
        let options = config
            .options()
            .map_err(|error| anyhow::anyhow!("[nats] {error}"))?
            .name(name)
            .retry_on_initial_connect()
            // A server that is stopped is left after three of them.
            .ping_interval(Duration::from_secs(2))
            .connection_timeout(Duration::from_secs(3))
            .request_timeout(Some(Duration::from_secs(5)))
            .reconnect_delay_callback(|tries| Duration::from_millis(100 * tries.clamp(1, 10) as u64))
            .event_callback(move |event| {
                report(&event, &last_event, &servers);
                if matches!(event, Event::Connected) {
                    count.send_modify(|count| *count += 1);
                }
                std::future::ready(())
            });
        let names = config.names().map_err(|error| anyhow::anyhow!("[nats] {error}"))?;
        let client = options.connect(config.servers()).await.context("[nats] url")?;
        let js = jetstream::context::ContextBuilder::new()
            .timeout(Duration::from_secs(5))
            .ack_timeout(Duration::from_secs(5))
            .backpressure_on_inflight(false)
            .build(client.clone());
        let connections = Connections::new(connections);
        Ok(Bus { client, js, names, connections, config: config.clone() })
    }

    /// The addresses of the servers, and the name of the one that was connected last.
    pub fn server(&self) -> String {
        let (servers, info) = (addresses(&self.config), self.client.server_info());
        match info.server_name.is_empty() || info.server_name == info.server_id {
            true => servers,
            false => format!("{servers} ({})", info.server_name),
        }
    }

    /// Waits for the first connection. The connection that retries does not report its errors (a certificate,
    /// credentials), so a second one is tried beside it, which does.
    pub async fn connected(&self) -> anyhow::Result<()> {
        let mut connections = self.connections.count.clone();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(3);
        tokio::select! {
            biased;
            _ = connections.wait_for(|count| *count > 0) => return Ok(()),
            tried = Publisher::connect(&self.config, "hal-relay", deadline) => {
                tried.map(drop).context("not connected to NATS yet")?;
            }
        }
        // The server accepts connections, so the next attempt of the first one succeeds.
        let coming = tokio::time::timeout(Duration::from_secs(3), connections.wait_for(|count| *count > 0));
        coming.await.context("not connected to NATS yet")?.map(drop).context("the connection is closed")
    }

    /// Publishes one entry and checks that the log itself has acknowledged it; returns its sequence.
    pub async fn append(&self, subject: String, id: &str, payload: Vec<u8>) -> anyhow::Result<u64> {
        let publish = jetstream::message::PublishMessage::build().payload(payload.into()).message_id(id);
        let ack = self.js.send_publish(subject.clone(), publish).await.context("cannot publish")?;
        let ack = ack.await.with_context(|| format!("{subject} was not acknowledged"))?;
        let log = self.names.ops_stream();
        ensure!(ack.stream == log, "{subject} was stored in {}, not in {log}", ack.stream);
        Ok(ack.sequence)
    }
}

fn addresses(config: &NatsConfig) -> String {
    config.servers().iter().map(|server| redact(server)).collect::<Vec<_>>().join(", ")
}

/// Logs events of the connection. A server that is away for long is logged once, not at each attempt.
fn report(event: &Event, last_event: &Mutex<String>, servers: &str) {
    let text = event.to_string();
    if std::mem::replace(&mut *last_event.lock().unwrap_or_else(PoisonError::into_inner), text.clone())
        == text
    {
        return;
    }
    match event {
        Event::Connected => tracing::info!(servers, "connected to NATS"),
        Event::Disconnected => tracing::warn!(servers, "disconnected from NATS"),
        _ => tracing::warn!(event = text, servers, "NATS"),
    }
}

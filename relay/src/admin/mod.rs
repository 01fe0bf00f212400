//! An operator's questions and actions: the fate of a message, the explanation of one, and dead letters. Reads the streams
//! and writes the log like any other client; the relay need not run.

pub mod dead;
pub mod explain;
pub mod rooms;
pub mod status;
pub mod streams;
pub mod timeline;
pub mod trace;
mod waiting;

use std::sync::LazyLock;

use anyhow::Context as _;
use async_nats::Event;
use async_nats::jetstream::Context;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::Stream;
use tellhal::nats::NatsConfig;
use tellhal::refusal::is_denial;
use tellhal::subject::Names;
use tokio::sync::watch;

use crate::bus::connections::Connections;
use crate::bus::scan::Scan;

/// The server's first denial, once there is one: it refuses a question without an answer, and whoever asks would wait in vain.
static DENIAL: LazyLock<watch::Sender<Option<String>>> = LazyLock::new(|| watch::channel(None).0);

/// Waits until the server has denied an operator something; returns its words.
pub async fn denied() -> String {
    let mut denials = DENIAL.subscribe();
    let denial = denials.wait_for(Option::is_some).await;
    denial.ok().and_then(|denial| denial.clone()).unwrap_or_default()
}

/// An operator's connection to the streams.
pub struct Operator {
    pub jetstream: Context,
    pub names: Names,
    pub connections: Connections,
}

impl Operator {
    /// Connects, or fails at once, since a person waits.
    pub async fn connect(nats: &NatsConfig) -> anyhow::Result<Self> {
        let servers = nats.servers();
        let (count, connections) = watch::channel(0);
        let options =
            nats.options().context("[nats]")?.name("hal-relay operator").event_callback(move |event| {
                match &event {
                    Event::Connected => count.send_modify(|count| *count += 1),
                    Event::ServerError(error) if is_denial(&error.to_string()) => {
                        DENIAL.send_replace(Some(error.to_string()));
                    }
                    _ => {}
                }
                std::future::ready(())
            });
        let client =
            options.connect(&servers).await.with_context(|| format!("NATS at {}", servers.join(", ")))?;
        let (jetstream, names) = (async_nats::jetstream::new(client), nats.names().context("[nats]")?);
        Ok(Operator { jetstream, names, connections: Connections::new(connections) })
    }

    /// The log. It is an error if the log does not exist.
    async fn log(&self) -> anyhow::Result<Stream> {
        let name = self.names.ops_stream();
        let hint = || format!("there is no stream {name} on this server: no relay has run with it yet");
        self.stream(&name).await?.with_context(hint)
    }

    /// The messages of a stream whose subject matches `filter`, beginning at `from`.
    pub(crate) async fn scan(
        &self,
        stream: Stream,
        filter: String,
        from: DeliverPolicy,
    ) -> anyhow::Result<Scan> {
        Scan::open(&self.jetstream, &self.connections, stream, filter, from).await
    }

    /// A stream; `None` if it does not exist.
    pub(crate) async fn stream(&self, name: &str) -> anyhow::Result<Option<Stream>> {
        match self.jetstream.get_stream(name).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    Ok(None)
                }
                _ => Err(error).with_context(|| format!("stream {name}")),
            },
        }
    }
}

/// Text from a message, fit for one line of a terminal, its first 200 characters.
pub fn one_line(text: &str) -> String {
    const MOST: usize = 200;
    let start = text.char_indices().nth(MOST).map_or(text, |(end, _)| &text[..end]);
    let mut line = tellhal::text::one_line(start);
    if text.chars().nth(MOST).is_some() {
        line.push('…');
    }
    line
}

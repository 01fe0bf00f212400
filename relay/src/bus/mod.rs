//! The connection to NATS and the relay's streams: created if they are missing, and checked against the relay's needs if
//! they exist. Limits that an operator has changed (sizes, ages) are left alone.

pub mod connections;
pub mod files;
pub mod follow;
pub mod message;
pub mod renumber;
mod replicas;
pub mod scan;

use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind};
use async_nats::jetstream::kv::Store;
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Stream};
use async_nats::jetstream::{self, Context, ErrorCode, kv, object_store};
use async_nats::{Client, Event};
use tellhal::nats::NatsConfig;
use tellhal::refusal::redact;
use tellhal::{Names, Publisher};
use tokio::sync::watch;

use self::connections::Connections;

/// Age of messages in the log after which they may be purged.
pub const LOG_AGE: Duration = Duration::from_secs(7 * 86_400);
/// The part of the log's limit, in percent, from which on history gives way to new messages.
pub const NEARLY_FULL: u64 = 85;
/// Distance in sequences from the last snapshot to the start of a recreated log: more than is ever folded between two
/// snapshots.
const GAP: u64 = 10_000_000;
/// Interval at which the streams are checked.
const WATCH: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const MIB: i64 = 1 << 20;
/// The smallest useful size of a stream: some of the largest messages.
const LEAST_BYTES: i64 = 4 * MIB;

/// A connection that reconnects by itself.
#[derive(Clone)]
pub struct Bus {
    pub client: Client,
    pub js: Context,
    pub names: Names,
    pub connections: Connections,
    config: NatsConfig,
}

/// The streams and buckets that the relay uses.
#[derive(Clone)]
pub struct Streams {
    pub ops: Stream,
    pub sent: Stream,
    pub dead: Stream,
    pub state: Store,
    pub files: ObjectStore,
}

impl Streams {
    /// Takes over one stream that was replaced. The others stay as they were known, so that their own ends are noticed.
    pub fn renew(&mut self, what: &Replaced, now: Streams) {
        for (own, new) in [(&mut self.sent, now.sent), (&mut self.dead, now.dead)] {
            if new.cached_info().config.name == what.stream {
                *own = new;
            }
        }
    }
}

/// A stream that was deleted or made anew underneath.
#[derive(Debug, thiserror::Error)]
#[error("stream {stream} {}", if *.is_anew { "was deleted and made anew" } else { "is gone" })]
pub struct Replaced {
    pub stream: String,
    pub is_log: bool,
    is_anew: bool,
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

    /// The streams, created or updated. A recreated log starts far after the last folded sequence, since the fold must not
    /// meet a sequence twice. `replicas` is applied to streams that exist too; if it is absent, new ones get one replica.
    pub async fn streams(&self, replicas: Option<usize>) -> anyhow::Result<Streams> {
        self.check_version()?;
        let num_replicas = replicas.unwrap_or(1);
        let names = &self.names;
        let bucket = names.state_bucket();
        let state = match self.js.get_key_value(&bucket).await {
            Ok(store) => store,
            Err(_) => {
                let config =
                    kv::Config { bucket: bucket.clone(), history: 1, num_replicas, ..kv::Config::default() };
                self.js.create_key_value(config).await.with_context(|| format!("bucket {bucket}"))?
            }
        };
        let bucket = names.files_bucket();
        let files = match self.js.get_object_store(&bucket).await {
            Ok(store) => store,
            Err(_) => {
                let config = object_store::Config {
                    bucket: bucket.clone(),
                    num_replicas,
                    ..object_store::Config::default()
                };
                self.js.create_object_store(config).await.with_context(|| format!("object store {bucket}"))?
            }
        };
        self.name_old_outbox().await;
        let folded = files::load_snapshot(&files).await?.map(|snapshot| snapshot.sequence);
        let log = Config { first_sequence: folded.map(|sequence| sequence + GAP), ..log(names) };
        let ops = self.stream(Config { num_replicas, ..log }).await?;
        let sent = self.stream(Config { num_replicas, ..receipts(names) }).await?;
        let dead = self.stream(Config { num_replicas, ..dead_letters(names) }).await?;
        if let Some(replicas) = replicas {
            let files = self.js.get_stream(format!("OBJ_{}", names.files_bucket())).await?;
            for stream in [&ops, &sent, &dead, &state.stream, &files] {
                replicas::apply(&self.js, stream, replicas).await;
            }
        }
        Ok(Streams { ops, sent, dead, state, files })
    }

    /// Says once that the outbox of an early relay is there. It is left alone: its deliveries may have been posted or not.
    async fn name_old_outbox(&self) {
        static SAID: Once = Once::new();
        let stream = self.names.out_stream();
        if self.js.get_stream(&stream).await.is_ok() {
            SAID.call_once(|| {
                tracing::warn!(stream, "this stream of an early relay is not used any more; delete it")
            });
        }
    }

    /// Returns once one of these streams is missing, or is another than it was. A server that does not answer is no evidence
    /// for that.
    pub async fn watch(&self, streams: Streams) -> Replaced {
        let known = [&streams.ops, &streams.sent, &streams.dead];
        let mut known =
            known.map(|stream| (stream.cached_info().config.name.clone(), stream.cached_info().created));
        loop {
            tokio::time::sleep(WATCH).await;
            for (number, (stream, created)) in known.iter_mut().enumerate() {
                let is_anew = match self.js.get_stream(&*stream).await {
                    Ok(now) if now.cached_info().created != *created => true,
                    Err(error) if is_missing(&error) => false,
                    _ => continue,
                };
                return Replaced { stream: std::mem::take(stream), is_log: number == 0, is_anew };
            }
        }
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

    fn check_version(&self) -> anyhow::Result<()> {
        let info = self.client.server_info();
        let mut numbers = info.version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        ensure!(version >= (2, 10), "nats-server {} is too old; 2.10 or later is needed", info.version);
        Ok(())
    }

    /// Creates a stream. The server reserves its size; on a small disk the stream gets at most half of the free space, so
    /// that the streams after it fit too.
    async fn create(&self, mut config: Config) -> anyhow::Result<Stream> {
        let (name, first, usual) = (config.name.clone(), config.first_sequence, config.max_bytes);
        loop {
            let bytes = config.max_bytes;
            let probe = Config { max_bytes: 2 * bytes, ..config.clone() };
            match self.js.create_stream(probe).await {
                Ok(_) => {
                    self.js.update_stream(&config).await?;
                    tracing::info!(stream = name, bytes, first, replicas = config.num_replicas, "stream created");
                    if bytes < usual {
                        tracing::warn!(
                            stream = name,
                            bytes,
                            usual,
                            "the stream is smaller than usual, since the server has little storage"
                        );
                    }
                    return Ok(self.js.get_stream(&name).await?);
                }
                Err(error) if is_short_of_storage(&error) && bytes / 2 >= LEAST_BYTES => config.max_bytes /= 2,
                Err(error) if is_short_of_storage(&error) => return Err(error).context(
                    "the server has too little storage. hal-relay needs 32 MiB, and 4 GiB for streams of the usual size: set \
                     max_file_store of nats-server's jetstream (or the account's max_file) to that, or free its disk",
                ),
                // Another relay, or a person, was faster.
                Err(error) if refused_as(&error, &[ErrorCode::STREAM_NAME_EXIST]) => {
                    return Ok(self.js.get_stream(&name).await?);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn stream(&self, want: Config) -> anyhow::Result<Stream> {
        let name = want.name.clone();
        let stream = match self.js.get_stream(&name).await {
            Ok(stream) => stream,
            Err(error) if is_missing(&error) => {
                self.create(want.clone()).await.with_context(|| format!("stream {name}"))?
            }
            Err(error) => return Err(error).with_context(|| format!("stream {name}")),
        };
        let have = &stream.cached_info().config;
        // The leader is about to make a closed one anew.
        if fits(have, &want) || have.subjects == [closed(&name)] {
            return Ok(stream);
        }
        let update = self.js.update_stream(&keep_limits(have.clone(), &want)).await;
        update.with_context(|| format!("stream {name} cannot be changed to the settings the relay needs"))?;
        let stream = self.js.get_stream(&name).await?;
        if !fits(&stream.cached_info().config, &want) {
            bail!(
                "stream {name} does not have the settings that the relay needs: {:?}",
                stream.cached_info().config
            );
        }
        Ok(stream)
    }
}

fn is_short_of_storage(error: &CreateStreamError) -> bool {
    let short = [
        ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED,
        ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        ErrorCode::INSUFFICIENT_RESOURCES,
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
    ];
    // A cluster says that no server is suitable, and only its text says why.
    error.to_string().contains("insufficient storage") || refused_as(error, &short)
}

fn refused_as(error: &CreateStreamError, codes: &[ErrorCode]) -> bool {
    matches!(error.kind(), CreateStreamErrorKind::JetStream(error) if codes.contains(&error.error_code()))
}

/// The only subject of a log that is being renumbered.
fn closed(stream: &str) -> String {
    format!("{stream}.closed")
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

fn is_missing(error: &jetstream::context::GetStreamError) -> bool {
    match error.kind() {
        jetstream::context::GetStreamErrorKind::JetStream(error) => {
            error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND
        }
        _ => false,
    }
}

fn log(names: &Names) -> Config {
    Config {
        name: names.ops_stream(),
        subjects: vec![names.all_ops(), names.all_ctl()],
        max_bytes: 2048 * MIB,
        discard: DiscardPolicy::New,
        duplicate_window: HOUR,
        allow_direct: true,
        description: Some("tellhal: the log of every ops message".into()),
        ..Config::default()
    }
}

fn receipts(names: &Names) -> Config {
    Config {
        name: names.sent_stream(),
        subjects: vec![names.sent("*")],
        max_bytes: 512 * MIB,
        max_age: LOG_AGE,
        duplicate_window: HOUR,
        allow_direct: true,
        description: Some("tellhal: receipts of posts".into()),
        ..Config::default()
    }
}

fn dead_letters(names: &Names) -> Config {
    Config {
        name: names.dead_stream(),
        subjects: vec![names.dead("*")],
        max_bytes: 512 * MIB,
        max_age: Duration::from_secs(90 * 86_400),
        discard: DiscardPolicy::New,
        duplicate_window: HOUR,
        allow_direct: true,
        description: Some("tellhal: deliveries that a room could not take".into()),
        ..Config::default()
    }
}

/// True if an existing stream has the settings that the relay relies on, whatever its limits are.
fn fits(have: &Config, want: &Config) -> bool {
    want.subjects.iter().all(|subject| have.subjects.contains(subject))
        && have.retention == want.retention
        && have.discard == want.discard
        && have.allow_direct
        && have.duplicate_window >= want.duplicate_window
        && (want.max_age != Duration::ZERO || have.max_age == Duration::ZERO)
}

fn keep_limits(have: Config, want: &Config) -> Config {
    Config {
        subjects: want.subjects.clone(),
        discard: want.discard,
        allow_direct: true,
        duplicate_window: have.duplicate_window.max(want.duplicate_window),
        max_age: if want.max_age == Duration::ZERO { Duration::ZERO } else { have.max_age },
        ..have
    }
}

//! The relay's streams: created if they are missing, and checked against the relay's needs if they exist. Sizes and replicas
//! are the operator's: an existing stream has those of the configuration, or keeps its own.

use std::sync::Once;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind};
use async_nats::jetstream::kv::Store;
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Stream};
use async_nats::jetstream::{self, ErrorCode, kv, object_store};
use service::config::LEAST_SIZE;
use service::streams::{Limits, apply};
use tellhal::Names;

use super::{Bus, files};

/// Age of messages in the log after which they may be purged.
pub const LOG_AGE: Duration = Duration::from_secs(7 * 86_400);
/// The part of the log's limit, in percent, from which on history gives way to new messages.
pub const NEARLY_FULL: u64 = 85;
/// Distance in sequences from the last snapshot to the start of a recreated log: more than is ever folded between two
/// snapshots.
const GAP: u64 = 10_000_000;
const HOUR: Duration = Duration::from_secs(3600);
const MIB: i64 = 1 << 20;
/// The smallest useful size of a stream.
const LEAST_BYTES: i64 = LEAST_SIZE as i64;
/// Interval at which the streams are checked.
const WATCH: Duration = Duration::from_secs(1);

/// The replicas and sizes of the streams, as far as they are configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The number of servers of a cluster that hold each stream and bucket.
    pub replicas: Option<usize>,
    /// The size of the log, in bytes.
    pub log: Option<u64>,
    /// The size of the receipts, in bytes.
    pub receipts: Option<u64>,
    /// The size of the dead letters, in bytes.
    pub dead_letters: Option<u64>,
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
    /// The streams, created or updated. A recreated log starts far after the last folded sequence, since the fold must not
    /// meet a sequence twice. The settings are applied to streams that exist too; a refusal is only told.
    pub async fn streams(&self, settings: &Settings) -> anyhow::Result<Streams> {
        let streams = self.open(settings).await?;
        for refusal in self.apply(settings, &streams).await? {
            tracing::error!("{refusal:#}; it is used as it is");
        }
        Ok(streams)
    }

    async fn open(&self, settings: &Settings) -> anyhow::Result<Streams> {
        self.check_version()?;
        let num_replicas = settings.replicas.unwrap_or(1);
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
        let ops = self.stream(Config { num_replicas, ..log }, settings.log).await?;
        let sent = self.stream(Config { num_replicas, ..receipts(names) }, settings.receipts).await?;
        let dead = self.stream(Config { num_replicas, ..dead_letters(names) }, settings.dead_letters).await?;
        Ok(Streams { ops, sent, dead, state, files })
    }

    /// Gives the streams their configured sizes and replicas; returns what was refused.
    async fn apply(&self, settings: &Settings, streams: &Streams) -> anyhow::Result<Vec<anyhow::Error>> {
        let files = self.js.get_stream(format!("OBJ_{}", self.names.files_bucket())).await?;
        let Streams { ops, sent, dead, state, .. } = streams;
        // The leader makes room in a log that is nearly full.
        let all = [
            (ops, settings.log, true),
            (sent, settings.receipts, false),
            (dead, settings.dead_letters, false),
            (&state.stream, None, false),
            (&files, None, false),
        ];
        let mut refused = Vec::new();
        for (stream, max_bytes, gives_way) in all {
            let limits = Limits { max_bytes, replicas: settings.replicas, gives_way };
            refused.extend(apply(&self.js, stream, limits).await.err());
        }
        Ok(refused)
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

    fn check_version(&self) -> anyhow::Result<()> {
        let info = self.client.server_info();
        let mut numbers = info.version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        ensure!(version >= (2, 10), "nats-server {} is too old; 2.10 or later is needed", info.version);
        Ok(())
    }

    /// Creates a stream. The server reserves its size; on a small disk the stream gets less, and at most half of the free
    /// space unless its size is configured, so that the streams after it fit too.
    async fn create(&self, mut config: Config, configured: Option<u64>) -> anyhow::Result<Stream> {
        if let Some(bytes) = configured {
            config.max_bytes = i64::try_from(bytes)?;
        }
        let (name, first, wanted) = (config.name.clone(), config.first_sequence, config.max_bytes);
        let spare = if configured.is_some() { 1 } else { 2 };
        loop {
            let bytes = config.max_bytes;
            let probe = Config { max_bytes: spare * bytes, ..config.clone() };
            match self.js.create_stream(probe).await {
                Ok(_) => {
                    self.js.update_stream(&config).await?;
                    tracing::info!(stream = name, bytes, first, replicas = config.num_replicas, "stream created");
                    if bytes < wanted {
                        tracing::warn!(
                            stream = name,
                            bytes,
                            wanted,
                            "the stream is smaller than wanted, since the server has little storage"
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

    async fn stream(&self, want: Config, configured: Option<u64>) -> anyhow::Result<Stream> {
        let name = want.name.clone();
        let stream = match self.js.get_stream(&name).await {
            Ok(stream) => stream,
            Err(error) if is_missing(&error) => {
                self.create(want.clone(), configured).await.with_context(|| format!("stream {name}"))?
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

fn is_missing(error: &jetstream::context::GetStreamError) -> bool {
    match error.kind() {
        jetstream::context::GetStreamErrorKind::JetStream(error) => {
            error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND
        }
        _ => false,
    }
}

/// The only subject of a log that is being renumbered.
pub(super) fn closed(stream: &str) -> String {
    format!("{stream}.closed")
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

//! The bridge's part of the bus beside the outbox: the audit, the claims, the leases, and the connection on which commands are
//! asked. The streams are created when they are missing, so that the bridge does not depend on a relay.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::denials;
use anyhow::{Context as _, ensure};
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::kv::{self, Store};
use async_nats::jetstream::object_store::{self, ObjectMetadata, ObjectStore};
use async_nats::jetstream::stream::{Config, Stream};
use async_nats::jetstream::{self, Context, message::PublishMessage};
use async_nats::{Client, HeaderMap};
use futures_util::StreamExt as _;
use nkeys::KeyPair;
use serde::Serialize;
use service::streams::{Limits, apply};
use tellhal::attached::File;
use tellhal::audit::{Entry, Kind};
use tellhal::command::{Request, sign};
use tellhal::nats::NatsConfig;
use tellhal::tag::legal_token;
use tellhal::{Names, Publisher, Timestamp};
use tokio::time::timeout;

/// The age of audit entries.
const AUDIT_AGE: Duration = Duration::from_secs(90 * 86_400);
const AUDIT_BYTES: u64 = 256 << 20;
/// The age of claims: longer than any platform sends an event again.
const CLAIM_AGE: Duration = Duration::from_secs(8 * 86_400);
const CLAIM_BYTES: u64 = 64 << 20;
const MEMORY_BYTES: u64 = 64 << 20;
/// The longest wait for a file to be kept or listed.
const FILE: Duration = Duration::from_secs(10);
/// The most entries of the audit that are looked through for the end of one request.
const LOOK: usize = 10_000;
/// The longest wait for an acknowledgement.
const PATIENCE: Duration = Duration::from_secs(3);

/// The bus as commands use it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Bus {
    pub(crate) names: Names,
    /// The connection of the account with JetStream.
    pub(crate) client: Client,
    /// The connection of the account of handlers; the same one if there is only one account.
    pub(crate) handlers: Client,
    pub(crate) js: Context,
    key: Arc<KeyPair>,
    settings: Settings,
    streams: Arc<Mutex<Option<Streams>>>,
}

/// The replicas and sizes of the streams, as far as they are configured; in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The number of servers of a cluster that hold each stream and bucket.
    pub(crate) replicas: Option<usize>,
    pub(crate) audit: Option<u64>,
    pub(crate) claims: Option<u64>,
    pub(crate) memory: Option<u64>,
}

/// The bridge's buckets.
#[derive(Clone)]
pub(crate) struct Streams {
    pub(crate) state: Store,
    pub(crate) claims: Store,
    /// States that outlive a bridge, without an age: see `memory`.
    pub(crate) memory: Store,
}

impl Bus {
    /// The bus as commands use it. Handlers may have an account, and so a connection, of their own.
    pub(crate) async fn with_handlers(
        publisher: &Publisher,
        handlers: Option<&NatsConfig>,
        key: KeyPair,
        settings: &Settings,
    ) -> anyhow::Result<Bus> {
        let handlers = match handlers {
            Some(nats) => {
                let commands = Publisher::service(nats, "hal-bridge commands").await;
                let commands = commands.context("handlers.nats")?;
                tokio::spawn(denials::log(commands.denials()));
                commands.client().clone()
            }
            None => publisher.client().clone(),
        };
        Ok(Bus::new(publisher, handlers, key, settings))
    }

    pub(crate) fn new(publisher: &Publisher, handlers: Client, key: KeyPair, settings: &Settings) -> Bus {
        let client = publisher.client().clone();
        let js = jetstream::context::ContextBuilder::new()
            .timeout(PATIENCE)
            .ack_timeout(PATIENCE)
            .api_prefix(publisher.api())
            .build(client.clone());
        let (names, key) = (publisher.names().clone(), Arc::new(key));
        let (settings, streams) = (settings.clone(), Arc::default());
        Bus { names, client, handlers, js, key, settings, streams }
    }

    /// The buckets, created when they are missing, as is the stream of the audit. Existing ones get the configured sizes and
    /// replicas; a refusal is only told.
    pub(crate) async fn streams(&self) -> anyhow::Result<Streams> {
        if let Some(streams) = self.known().clone() {
            return Ok(streams);
        }
        let (names, settings) = (&self.names, &self.settings);
        let audit = Config {
            name: names.audit_stream(),
            subjects: vec![names.all_audit()],
            max_age: AUDIT_AGE,
            max_bytes: i64::try_from(settings.audit.unwrap_or(AUDIT_BYTES))?,
            num_replicas: self.replicas(),
            duplicate_window: Duration::from_secs(3600),
            ..Config::default()
        };
        let audit = self.js.get_or_create_stream(audit).await;
        let audit = audit.with_context(|| format!("stream {}", names.audit_stream()))?;
        let state = kv::Config { bucket: names.state_bucket(), ..self.bucket() };
        let claims = kv::Config {
            bucket: names.claims_bucket(),
            max_age: CLAIM_AGE,
            max_bytes: i64::try_from(settings.claims.unwrap_or(CLAIM_BYTES))?,
            ..self.bucket()
        };
        let memory = kv::Config {
            bucket: names.bridge_bucket(),
            max_bytes: i64::try_from(settings.memory.unwrap_or(MEMORY_BYTES))?,
            ..self.bucket()
        };
        let streams = Streams {
            state: self.store(state).await?,
            claims: self.store(claims).await?,
            memory: self.store(memory).await?,
        };
        self.limit(&audit, &streams).await;
        *self.known() = Some(streams.clone());
        Ok(streams)
    }

    /// Gives the streams their configured sizes and replicas.
    async fn limit(&self, audit: &Stream, streams: &Streams) {
        let (settings, Streams { claims, memory, .. }) = (&self.settings, streams);
        // The relay's settings are those of its bucket of leases.
        let all =
            [(audit, settings.audit), (&claims.stream, settings.claims), (&memory.stream, settings.memory)];
        for (stream, max_bytes) in all {
            let limits = Limits { max_bytes, replicas: settings.replicas, gives_way: false };
            if let Err(refusal) = apply(&self.js, stream, limits).await {
                tracing::error!("{refusal:#}; it is used as it is");
            }
        }
    }

    fn replicas(&self) -> usize {
        self.settings.replicas.unwrap_or(1)
    }

    fn bucket(&self) -> kv::Config {
        kv::Config { history: 1, num_replicas: self.replicas(), ..kv::Config::default() }
    }

    async fn store(&self, config: kv::Config) -> anyhow::Result<Store> {
        let bucket = config.bucket.clone();
        match self.js.get_key_value(&bucket).await {
            Ok(store) => Ok(store),
            Err(_) => self.js.create_key_value(config).await.with_context(|| format!("bucket {bucket}")),
        }
    }

    /// Looks for the streams anew before the next use: one may have been deleted.
    pub(crate) fn forget(&self) {
        *self.known() = None;
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<Streams>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores an entry of the audit, and returns its place there. It is stored for sure only if this succeeds.
    pub(crate) async fn audit(&self, entry: &Entry) -> anyhow::Result<u64> {
        let subject = self.names.audit(entry.kind.as_str(), &token(&entry.command));
        let id = format!("{}-{}", entry.id, entry.kind.as_str());
        let publish = PublishMessage::build().payload(serde_json::to_vec(entry)?.into()).message_id(id);
        let stored = async {
            let ack = self.js.send_publish(subject, publish).await?.await?;
            ensure!(ack.stream == self.names.audit_stream(), "stream {} has taken it", ack.stream);
            Ok(ack.sequence)
        };
        let stored = stored.await;
        if stored.is_err() {
            self.forget();
        }
        stored
    }

    /// The end of a request that was asked, if the audit has one behind the place `after`.
    pub(crate) async fn end_of(&self, command: &str, id: &str, after: u64) -> anyhow::Result<Option<Entry>> {
        let ends = [Kind::Done, Kind::Failed, Kind::Unknown];
        let config = pull::OrderedConfig {
            filter_subjects: ends.map(|kind| self.names.audit(kind.as_str(), &token(command))).into(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: after + 1 },
            ..pull::OrderedConfig::default()
        };
        let audit = self.js.get_stream(self.names.audit_stream()).await?;
        let mut consumer = audit.create_consumer(config).await?;
        let pending = usize::try_from(consumer.info().await?.num_pending)?;
        let mut entries = consumer.messages().await?.take(pending.min(LOOK));
        while let Some(entry) = entries.next().await {
            match serde_json::from_slice::<Entry>(&entry?.payload) {
                Ok(entry) if entry.id == id => return Ok(Some(entry)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Keeps a file of an answer under the name `object`.
    pub(crate) async fn keep_file(&self, object: &str, file: &File) -> anyhow::Result<()> {
        let about = ObjectMetadata {
            name: object.to_owned(),
            description: Some(file.name.clone()),
            ..ObjectMetadata::default()
        };
        let files = self.files().await?;
        timeout(FILE, files.put(about, &mut file.data.as_slice())).await??;
        Ok(())
    }

    /// The files whose names begin with `prefix`, each with the time since when it is kept.
    pub(crate) async fn kept_files(&self, prefix: &str) -> anyhow::Result<Vec<(String, Timestamp)>> {
        let mut kept = Vec::new();
        let mut all = self.files().await?.list().await?;
        while let Some(object) = timeout(FILE, all.next()).await? {
            let object = object?;
            if object.name.starts_with(prefix)
                && let Some(at) = object.modified
            {
                kept.push((object.name, Timestamp::from_stream(at)));
            }
        }
        Ok(kept)
    }

    pub(crate) async fn remove_file(&self, object: &str) -> anyhow::Result<()> {
        Ok(self.files().await?.delete(object).await?)
    }

    async fn files(&self) -> anyhow::Result<ObjectStore> {
        let bucket = self.names.files_bucket();
        if let Ok(files) = self.js.get_object_store(&bucket).await {
            return Ok(files);
        }
        let config =
            object_store::Config { bucket, num_replicas: self.replicas(), ..object_store::Config::default() };
        Ok(self.js.create_object_store(config).await?)
    }

    /// A request, signed, as it goes on the bus.
    pub(crate) fn signed(&self, request: &Request) -> anyhow::Result<(Vec<u8>, HeaderMap)> {
        sign(request, &self.key).map_err(anyhow::Error::msg)
    }

    /// The public key that handlers know the bridge by.
    pub(crate) fn public_key(&self) -> String {
        self.key.public_key()
    }

    /// Publishes a reply; an error means that the connection is gone, and with it the one who waits.
    pub(crate) async fn reply(&self, to: async_nats::Subject, body: &impl Serialize) {
        if let Ok(payload) = serde_json::to_vec(body) {
            let _ = self.client.publish(to, payload.into()).await;
        }
    }
}

/// A command as a token of a subject, whatever somebody typed.
fn token(command: &str) -> String {
    let mut token = legal_token(command);
    token.truncate(64);
    if token.is_empty() { "_".to_owned() } else { token }
}

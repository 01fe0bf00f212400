//! The streams and buckets of relay and bridge as they are on the server: what each holds, how full it is, and on how many
//! servers it is kept.

use async_nats::jetstream::stream::Info;
use serde::Serialize;
use service::streams::{Limits, apply};
use tellhal::Names;
use tellhal::timestamp::Timestamp;

use super::Operator;
use crate::bus::streams::Settings;

/// One of them.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    pub stream: String,
    pub holds: &'static str,
    pub messages: u64,
    pub bytes: u64,
    /// Absent if it has no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    pub replicas: usize,
    /// The time of the oldest message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
    /// The servers of a cluster whose copy is not up to date.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<String>,
    /// The settings of the configuration that it does not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<String>,
}

/// The streams that are there, and the names of those that are not.
pub async fn list(operator: &Operator, settings: &Settings) -> anyhow::Result<(Vec<Listed>, Vec<String>)> {
    let (mut listed, mut missing) = (Vec::new(), Vec::new());
    for (name, holds, max_bytes) in all(&operator.names, settings) {
        match operator.stream(&name).await? {
            Some(stream) => {
                listed.push(Listed::new(stream.cached_info(), holds, max_bytes, settings.replicas))
            }
            None => missing.push(name),
        }
    }
    Ok((listed, missing))
}

/// Gives the bridge's streams as many replicas; hal-bridge itself makes them, with their sizes.
pub async fn replicate_bridge(operator: &Operator, replicas: usize) -> anyhow::Result<()> {
    for name in bridge(&operator.names).map(|(name, _)| name) {
        if let Some(stream) = operator.stream(&name).await? {
            let limits = Limits { replicas: Some(replicas), ..Limits::default() };
            apply(&operator.jetstream, &stream, limits).await?;
        }
    }
    Ok(())
}

/// Every stream with what it holds and its configured size.
fn all(names: &Names, settings: &Settings) -> Vec<(String, &'static str, Option<u64>)> {
    let mut all = vec![
        (names.ops_stream(), "the log of all messages", settings.log),
        (names.sent_stream(), "receipts of posts", settings.receipts),
        (names.dead_stream(), "dead letters", settings.dead_letters),
        (format!("KV_{}", names.state_bucket()), "leases", None),
        (format!("OBJ_{}", names.files_bucket()), "snapshots and pictures", None),
    ];
    all.extend(bridge(names).map(|(name, holds)| (name, holds, None)));
    all
}

fn bridge(names: &Names) -> [(String, &'static str); 3] {
    [
        (names.audit_stream(), "record of commands"),
        (format!("KV_{}", names.claims_bucket()), "events that were taken"),
        (format!("KV_{}", names.bridge_bucket()), "reminders, approvals, states"),
    ]
}

impl Listed {
    fn new(info: &Info, holds: &'static str, max_bytes: Option<u64>, replicas: Option<usize>) -> Listed {
        let (config, state) = (&info.config, &info.state);
        let has = u64::try_from(config.max_bytes).ok();
        let size = max_bytes.filter(|wanted| Some(*wanted) != has);
        let size = size.map(|bytes| service::streams::size(i64::try_from(bytes).unwrap_or(i64::MAX)));
        let copies = replicas.filter(|replicas| *replicas != config.num_replicas);
        let peers = info.cluster.iter().flat_map(|cluster| &cluster.replicas);
        Listed {
            stream: config.name.clone(),
            holds,
            messages: state.messages,
            bytes: state.bytes,
            max_bytes: has,
            replicas: config.num_replicas,
            oldest: (state.messages > 0).then(|| Timestamp::from_stream(state.first_timestamp)),
            behind: peers
                .filter(|peer| !peer.current || peer.offline)
                .map(|peer| peer.name.clone())
                .collect(),
            differs: size.into_iter().chain(copies.map(|copies| format!("{copies} replicas"))).collect(),
        }
    }
}

//! The sizes and replicas of streams that exist, as a configuration has them. A stream about which it says nothing keeps what
//! an operator gave it.

use anyhow::{Context as _, ensure};
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, Stream};
use bytesize::ByteSize;

/// The size and the replicas that a stream is to have, as far as they are configured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// The most bytes that it holds.
    pub max_bytes: Option<u64>,
    /// The number of servers of a cluster that hold it.
    pub replicas: Option<usize>,
    /// True if it may be made smaller than what it holds, since its owner lets the oldest go. Of any other stream the server
    /// would drop something that nobody has chosen, or take nothing new.
    pub gives_way: bool,
}

/// Gives a stream its limits. The error is the first refusal; a service can work with the limits as they are.
pub async fn apply(js: &Context, stream: &Stream, limits: Limits) -> anyhow::Result<()> {
    let info = stream.cached_info();
    let mut config = info.config.clone();
    let resized = match limits.max_bytes.map(i64::try_from).transpose()? {
        Some(bytes) if bytes != config.max_bytes => {
            resize(js, &mut config, bytes, info.state.bytes, limits).await
        }
        _ => Ok(()),
    };
    // After the size, since each is refused for reasons of its own.
    if let Some(replicas) = limits.replicas.filter(|replicas| *replicas != config.num_replicas) {
        let wanted = Config { num_replicas: replicas, ..config.clone() };
        js.update_stream(&wanted).await.with_context(|| {
            format!(
                "the replicas of stream {} cannot be changed from {} to {replicas}",
                config.name, config.num_replicas
            )
        })?;
        tracing::info!(
            stream = config.name,
            from = config.num_replicas,
            to = replicas,
            "number of replicas changed"
        );
    }
    resized
}

/// Gives a stream another size; `config` has it then.
async fn resize(
    js: &Context,
    config: &mut Config,
    bytes: i64,
    held: u64,
    limits: Limits,
) -> anyhow::Result<()> {
    let wanted = size(bytes);
    ensure!(
        limits.gives_way || held <= bytes.unsigned_abs(),
        "stream {} holds {}, which is more than the {wanted} that it is to have: it keeps its size",
        config.name,
        ByteSize::b(held).display()
    );
    let update = Config { max_bytes: bytes, ..config.clone() };
    js.update_stream(&update).await.with_context(|| {
        format!(
            "the size of stream {} cannot be changed from {} to {wanted}",
            config.name,
            size(config.max_bytes)
        )
    })?;
    tracing::info!(stream = config.name, from = config.max_bytes, to = bytes, "size changed");
    *config = update;
    Ok(())
}

/// A size as people read it, such as `2.0 GiB`; a stream without a limit has −1.
pub fn size(bytes: i64) -> String {
    u64::try_from(bytes).map_or_else(|_| "unlimited".into(), |bytes| ByteSize::b(bytes).display().to_string())
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_told_in_units() {
        assert_eq!([size(2 << 30), size(300), size(-1)], ["2.0 GiB", "300 B", "unlimited"]);
    }
}

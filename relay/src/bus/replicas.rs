//! The number of servers of a cluster that hold each stream, as the configuration has it.

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, Stream};

/// Gives an existing stream this many replicas. The relay can work with another number, so a refusal is only told.
pub(super) async fn apply(js: &Context, stream: &Stream, replicas: usize) {
    let config = stream.cached_info().config.clone();
    let (name, now) = (config.name.clone(), config.num_replicas);
    if now == replicas {
        return;
    }
    match js.update_stream(Config { num_replicas: replicas, ..config }).await {
        Ok(_) => tracing::info!(stream = name, from = now, to = replicas, "number of replicas changed"),
        Err(error) => tracing::error!(
            stream = name,
            replicas = now,
            wanted = replicas,
            %error,
            "the number of replicas cannot be changed; the stream is used as it is"
        ),
    }
}

//! Streams as the relay makes them, and messages in them, for the tests beside this folder.

use async_nats::jetstream::{self, stream};
use tellhal::subject::Names;
use tests::wait::SOON;
use tests::wait_until;

/// The log as the relay makes it, as far as these tests care.
pub(crate) async fn make_log(jetstream: &jetstream::Context, names: &Names) {
    make(jetstream, names.ops_stream(), vec![names.all_ops(), names.all_ctl()]).await;
}

pub(crate) async fn make(jetstream: &jetstream::Context, name: String, subjects: Vec<String>) {
    let config = stream::Config { name, subjects, allow_direct: true, ..stream::Config::default() };
    // A server that has just deleted a stream of this name may still remove its files.
    let made = async || jetstream.create_stream(config.clone()).await.is_ok();
    wait_until("the stream is made", SOON, made).await;
}

/// Publishes and waits for the stream to have it.
pub(crate) async fn publish(
    jetstream: &jetstream::Context,
    subject: String,
    payload: impl Into<String>,
) -> u64 {
    let payload = payload.into().into();
    jetstream.publish(subject, payload).await.unwrap().await.unwrap().sequence
}

//! The newest entries of a stream, a page at a time.

use std::collections::VecDeque;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::stream::Stream;

use crate::admin::Operator;
use crate::bus::message::StreamMessage;
use crate::page::answers::PAGE;

/// The last `limit` entries before the sequence `before`, newest first, or as many as fit into a page, and the cursor of
/// the page before them. The stream can only be read forwards, so each attempt starts further back until there are enough.
/// Messages that `read` makes nothing of are left out.
pub(super) async fn newest<T>(
    operator: &Operator,
    stream: Stream,
    filter: String,
    (before, limit): (u64, usize),
    read: impl Fn(&StreamMessage) -> Option<T>,
) -> anyhow::Result<(Vec<T>, Option<u64>)> {
    let state = &stream.cached_info().state;
    let (first, end) = (state.first_sequence.max(1), before.min(state.last_sequence.saturating_add(1)));
    let mut window = 4 * limit as u64;
    loop {
        let start_sequence = end.saturating_sub(window).max(first);
        let from = DeliverPolicy::ByStartSequence { start_sequence };
        let mut scan = operator.scan(stream.clone(), filter.clone(), from).await?;
        let (mut entries, mut bytes, mut more) = (VecDeque::new(), 0, false);
        while let Some(message) = scan.next().await?.filter(|message| message.sequence < end) {
            let Some(entry) = read(&message) else { continue };
            let size = message.payload.len();
            bytes += size;
            entries.push_back((entry, message.sequence, size));
            while entries.len() > limit || (bytes > PAGE && entries.len() > 1) {
                bytes -= entries.pop_front().map_or(0, |(_, _, size)| size);
                more = true;
            }
        }
        if more || entries.len() == limit || start_sequence == first {
            let more = more || start_sequence > first;
            let cursor = entries.front().filter(|_| more).map(|(_, sequence, _)| *sequence);
            return Ok((entries.into_iter().rev().map(|(entry, ..)| entry).collect(), cursor));
        }
        window *= 4;
    }
}

//! One message of a consumer and its acknowledgement.

use std::time::Duration;

use async_nats::Client;
use tellhal::Timestamp;

/// One message that waits for its acknowledgement.
pub(super) struct Delivery {
    pub(super) client: Client,
    pub(super) message: async_nats::Message,
    pub(super) sequence: u64,
    pub(super) tries: u64,
    pub(super) at: Timestamp,
}

impl Delivery {
    /// A message from a consumer; `None` for any other message.
    pub(super) fn new(client: &Client, message: async_nats::Message) -> Option<Self> {
        let (tries, sequence, at) = position(message.reply.as_deref()?)?;
        Some(Delivery { client: client.clone(), message, sequence, tries, at })
    }

    /// Tells the server that the command still runs.
    pub(super) async fn in_progress(&self) -> Result<(), String> {
        self.answer("+WPI".into()).await
    }

    pub(super) async fn done(&self) -> Result<(), String> {
        self.answer("+ACK".into()).await
    }

    pub(super) async fn again_in(&self, wait: Duration) -> Result<(), String> {
        self.answer(format!("-NAK {{\"delay\": {}}}", wait.as_nanos())).await
    }

    async fn answer(&self, answer: String) -> Result<(), String> {
        let Some(reply) = self.message.reply.clone() else { return Ok(()) };
        self.client.publish(reply, answer.into()).await.map_err(|error| error.to_string())
    }
}

/// The number of deliveries, the sequence in the log, and the time in the log, from
/// `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<tries>.<sequence>.<…>.<nanoseconds>.<pending>[.<…>]`.
fn position(reply: &str) -> Option<(u64, u64, Timestamp)> {
    let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let from = match tokens.len() {
        7 => 2,
        9.. => 4,
        _ => return None,
    };
    let nanos: i64 = tokens[from + 3].parse().ok()?;
    Some((tokens[from].parse().ok()?, tokens[from + 1].parse().ok()?, Timestamp(nanos / 1_000_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_reply_tell_the_position() {
        let at = Timestamp(1_795_000_000_000);
        for reply in [
            "$JS.ACK.HAL_OPS.listen-x.2.71.5.1795000000000000000.0",
            "$JS.ACK._.hash.HAL_OPS.listen-x.2.71.5.1795000000000000000.0",
            "$JS.ACK.hub.hash.HAL_OPS.listen-x.2.71.5.1795000000000000000.0.random",
        ] {
            assert_eq!(position(reply), Some((2, 71, at)), "{reply}");
        }
        for reply in ["_INBOX.x", "$JS.ACK.HAL_OPS.x.2.71.5.1", "$JS.ACK.HAL_OPS.x.2.a.5.1.0"] {
            assert_eq!(position(reply), None, "{reply}");
        }
    }
}

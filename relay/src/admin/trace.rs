//! Where a message went: its entry in the log, the deliveries that still wait, the receipts, the dead
//! letters and the retries.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::stream::{DirectGetErrorKind, LastRawMessageErrorKind, Stream};
use serde::Serialize;
use tellhal::message::{Message, read};
use tellhal::subject::Subject;
use tellhal::timestamp::Timestamp;
use time::OffsetDateTime;

use super::Operator;
use super::dead::{self, Letter};
use crate::delivery::{Delivery, Receipt};
use crate::engine::entry::Retry;
use crate::index::search::Traces;
use crate::scan::{Found, Scan};

/// The fewest characters of an id that may stand for it.
const SHORTEST: usize = 8;
/// How far the clock of a sender may be ahead for its id still to be looked for at the right place first.
const SLACK: Duration = Duration::from_secs(60);
/// How many messages are named when an id could be any of them.
const NAMED: usize = 10;

/// What looking for an id gives.
#[derive(Debug)]
pub enum Search {
    One(Box<Located>),
    /// The beginning of several ids; at most the first ten are here.
    Several(Vec<Located>),
    Nothing,
}

/// A message in the log.
#[derive(Clone, Debug, Serialize)]
pub struct Located {
    pub sequence: u64,
    /// The stream's time.
    pub at: Timestamp,
    pub message: Message,
}

/// Everything that is known of a message.
#[derive(Debug, Serialize)]
pub struct Fate {
    #[serde(flatten)]
    pub located: Located,
    /// Deliveries that no room has taken yet.
    pub waiting: Vec<Delivery>,
    pub receipts: Vec<Receipt>,
    pub dead: Vec<Letter>,
    pub retries: Vec<Retried>,
}

/// An entry of the log that asks for another try.
#[derive(Debug, Serialize)]
pub struct Retried {
    pub sequence: u64,
    pub at: Timestamp,
    pub room: String,
    pub reason: String,
    /// The delivery that is tried again.
    pub id: String,
}

impl Operator {
    /// Looks for a message by its id, the first characters of it, or `seq-N`.
    pub async fn find(&self, id: &str) -> anyhow::Result<Search> {
        let log = self.log().await?;
        // A delivery's id begins with its message's.
        let id = id.split('/').next().unwrap_or(id);
        if let Some(sequence) = id.strip_prefix("seq-").and_then(|n| n.parse().ok()) {
            return self.at_sequence(&log, sequence).await;
        }
        if id.len() < SHORTEST {
            anyhow::bail!("{id:?} is too short to tell messages apart; give at least {SHORTEST} characters");
        }
        if let Some(about) = made_about(id, Timestamp::now()) {
            let start_time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(about.0) * 1_000_000)?;
            let found = self.search(&log, id, DeliverPolicy::ByStartTime { start_time }).await?;
            if !matches!(found, Search::Nothing) {
                return Ok(found);
            }
        }
        self.search(&log, id, DeliverPolicy::All).await
    }

    async fn at_sequence(&self, log: &Stream, sequence: u64) -> anyhow::Result<Search> {
        let found: Found = match log.get_raw_message(sequence).await {
            Ok(message) => message.into(),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                return Ok(Search::Nothing);
            }
            Err(error) => return Err(error).context("reading the log"),
        };
        let located = self.located(&found);
        Ok(located.map_or(Search::Nothing, |located| Search::One(Box::new(located))))
    }

    async fn search(&self, log: &Stream, id: &str, from: DeliverPolicy) -> anyhow::Result<Search> {
        let mut scan = Scan::open(log, self.names.all_ops(), from).await?;
        let mut candidates: Vec<Located> = Vec::new();
        while let Some(found) = scan.next().await? {
            let Some(located) = self.located(&found) else { continue };
            if located.message.id == id {
                return Ok(Search::One(Box::new(located)));
            }
            let known = || candidates.iter().any(|other| other.message.id == located.message.id);
            if located.message.id.starts_with(id) && candidates.len() < NAMED && !known() {
                candidates.push(located);
            }
        }
        Ok(match candidates.len() {
            0 => Search::Nothing,
            1 => Search::One(Box::new(candidates.remove(0))),
            _ => Search::Several(candidates),
        })
    }

    fn located(&self, found: &Found) -> Option<Located> {
        let Found { sequence, at, payload, .. } = found;
        let Some(Subject::Ops { source, tag }) = self.names.parse(&found.subject) else { return None };
        let message = read(source, tag, payload, *sequence, *at).message;
        Some(Located { sequence: *sequence, at: *at, message })
    }

    /// What became of a message, found by reading everything that came after it.
    pub async fn fate(&self, located: Located) -> anyhow::Result<Fate> {
        let id = &located.message.id;
        let retries = self.retries(&located).await?;
        let waiting = self.all_waiting(&located, &retries).await?;
        let receipts = self.receipts(&located).await?;
        let letters = dead::list(self, None, from(located.at)?).await?;
        let dead = letters.into_iter().filter(|letter| is_about(&letter.id, id)).collect();
        Ok(Fate { waiting, receipts, dead, retries, located })
    }

    /// The same for who knows where its traces are.
    pub async fn fate_by(&self, located: Located, traces: Traces) -> anyhow::Result<Fate> {
        let log = self.log().await?;
        let mut retries = Vec::new();
        for found in self.read(Some(log), &traces.retries).await? {
            let Ok(retry) = serde_json::from_slice::<Retry>(&found.payload) else { continue };
            let (id, room, reason) = (retry.delivery.id, retry.room, retry.reason);
            retries.push(Retried { sequence: found.sequence, at: found.at, room, reason, id });
        }
        let waiting = self.all_waiting(&located, &retries).await?;
        let sent = self.stream(&self.names.sent_stream()).await?;
        let receipts = self.read(sent, &traces.receipts).await?;
        let receipts =
            receipts.iter().filter_map(|found| serde_json::from_slice(&found.payload).ok()).collect();
        let letters = self.stream(&self.names.dead_stream()).await?;
        let dead = self.read(letters, &traces.dead).await?.iter().map(Letter::read).collect();
        Ok(Fate { waiting, receipts, dead, retries, located })
    }

    /// Messages of a stream by their sequences; those that are gone are left out.
    async fn read(&self, stream: Option<Stream>, sequences: &[u64]) -> anyhow::Result<Vec<Found>> {
        let mut all = Vec::new();
        let Some(stream) = stream else { return Ok(all) };
        for sequence in sequences {
            match stream.direct_get(*sequence).await {
                Ok(message) => all.push(message.into()),
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => {}
                Err(error) => return Err(error).context("reading what became of it"),
            }
        }
        Ok(all)
    }

    async fn all_waiting(&self, located: &Located, retries: &[Retried]) -> anyhow::Result<Vec<Delivery>> {
        let id = &located.message.id;
        let mut waiting = self.waiting(id, located.sequence).await?;
        for retry in retries {
            waiting.extend(self.waiting(id, retry.sequence).await?);
        }
        Ok(waiting)
    }

    async fn retries(&self, located: &Located) -> anyhow::Result<Vec<Retried>> {
        let start_sequence = located.sequence;
        let from = DeliverPolicy::ByStartSequence { start_sequence };
        let mut scan = Scan::open(&self.log().await?, self.names.ctl("retry"), from).await?;
        let mut retries = Vec::new();
        while let Some(found) = scan.next().await? {
            let Ok(retry) = serde_json::from_slice::<Retry>(&found.payload) else { continue };
            if is_about(&retry.delivery.id, &located.message.id) {
                let (sequence, at, id) = (found.sequence, found.at, retry.delivery.id);
                retries.push(Retried { sequence, at, room: retry.room, reason: retry.reason, id });
            }
        }
        Ok(retries)
    }

    async fn receipts(&self, located: &Located) -> anyhow::Result<Vec<Receipt>> {
        let Some(sent) = self.stream(&self.names.sent_stream()).await? else { return Ok(Vec::new()) };
        let mut scan = Scan::open(&sent, self.names.sent("*"), from(located.at)?).await?;
        let id = &located.message.id;
        let mut receipts = Vec::new();
        while let Some(found) = scan.next().await? {
            // Most receipts are others'; looking is much cheaper than reading.
            if !std::str::from_utf8(&found.payload).is_ok_and(|text| text.contains(id)) {
                continue;
            }
            let Ok(receipt) = serde_json::from_slice::<Receipt>(&found.payload) else { continue };
            if receipt.ids.iter().any(|delivery| is_about(delivery, id)) {
                receipts.push(receipt);
            }
        }
        Ok(receipts)
    }

    /// The waiting deliveries of message `id` that the log's entry `sequence` gave. A work queue takes no
    /// second consumer, so its messages are asked for one by one; they are in the log's order, so the
    /// first one is found by halving.
    async fn waiting(&self, id: &str, sequence: u64) -> anyhow::Result<Vec<Delivery>> {
        let Some(out) = self.stream(&self.names.out_stream()).await? else { return Ok(Vec::new()) };
        let state = &out.cached_info().state;
        let (mut low, mut high) = (state.first_sequence, state.last_sequence + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.first_waiting(&out, middle).await? {
                Some((at, delivery)) if delivery.place.sequence < sequence => low = at + 1,
                _ => high = middle,
            }
        }
        let mut waiting = Vec::new();
        while let Some((at, delivery)) = self.first_waiting(&out, low).await? {
            if delivery.place.sequence != sequence {
                break;
            }
            if is_about(&delivery.id, id) {
                waiting.push(delivery);
            }
            low = at + 1;
        }
        Ok(waiting)
    }

    /// The first delivery at or after `sequence` of the outbox that can be read.
    async fn first_waiting(&self, out: &Stream, sequence: u64) -> anyhow::Result<Option<(u64, Delivery)>> {
        let mut next = sequence;
        loop {
            match out.get_first_raw_message_by_subject(self.names.out("*"), next).await {
                Ok(message) => match serde_json::from_slice(&message.payload) {
                    Ok(delivery) => return Ok(Some((message.sequence, delivery))),
                    Err(_) => next = message.sequence + 1,
                },
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(None),
                Err(error) => return Err(error).context("reading the outbox"),
            }
        }
    }
}

/// Whether a delivery's id (or, in some receipts, a message's) is of the message `id`.
fn is_about(delivery: &str, id: &str) -> bool {
    let rest = delivery.strip_prefix(id);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        || delivery.contains(&format!("/{id}/sum/"))
}

/// What happened to a message happened after it came.
fn from(at: Timestamp) -> anyhow::Result<DeliverPolicy> {
    let start_time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)?;
    Ok(DeliverPolicy::ByStartTime { start_time })
}

/// About when a UUIDv7 was made, of which `id` is the beginning; `None` when it is none.
fn made_about(id: &str, now: Timestamp) -> Option<Timestamp> {
    const DAY: Duration = Duration::from_secs(86_400);
    let digits: String = id.chars().filter(|c| *c != '-').collect();
    if !digits.is_ascii() || digits.as_bytes().get(12).is_some_and(|version| *version != b'7') {
        return None;
    }
    let clock = &digits[..digits.len().min(12)];
    let made = Timestamp(i64::from_str_radix(&format!("{clock:0<12}"), 16).ok()?);
    let plausible = made > Timestamp(1_577_836_800_000) && made < now.plus(DAY);
    plausible.then(|| Timestamp(made.0 - i64::try_from(SLACK.as_millis()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_when_it_was_made_if_it_is_a_uuid_of_version_7() {
        let now = Timestamp(1_795_000_000_000);
        let id = "01a1ee2c-3000-7abc-8def-0123456789ab";
        let made = i64::from_str_radix("01a1ee2c3000", 16).unwrap();
        assert_eq!(made_about(id, now), Some(Timestamp(made - 60_000)));
        assert_eq!(made_about("01a1ee2c", now), Some(Timestamp((made & !0xffff) - 60_000)));
        assert_eq!(made_about("01a1ee2c-3000-4abc", now), None);
        assert_eq!(made_about("ffffffffffff", now), None);
        assert_eq!(made_about("deploy-of-web", now), None);
        assert_eq!(made_about("ééééééééééééé", now), None);
    }

    #[test]
    fn deliveries_are_told_apart_by_whole_ids() {
        for about in ["m-1", "m-1/ops", "m-1/ops/r7", "backups/m-1/sum/ops"] {
            assert!(is_about(about, "m-1"), "{about}");
        }
        for other in ["m-12/ops", "m-1x", "backups/m-12/sum/ops", "m/ops"] {
            assert!(!is_about(other, "m-1"), "{other}");
        }
    }
}

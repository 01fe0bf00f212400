//! The traces of a message: its entry in the log, waiting deliveries, receipts, dead letters and retries.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::stream::Stream;
use serde::Serialize;
use tellhal::message::{Message, read};
use tellhal::subject::Subject;
use tellhal::timestamp::Timestamp;
use time::OffsetDateTime;

use super::Operator;
use super::dead::{self, Letter};
use crate::bus::message::StreamMessage;
use crate::delivery::id::retry_of;
use crate::delivery::{Delivery, Outcome, Receipt, message_id};
use crate::engine::Rules;
use crate::engine::entry::Retry;
use crate::index::{Index, Origin};

/// The fewest characters by which a message can be looked for.
pub const SHORTEST: usize = 8;
/// The search for an id starts this long before the time in it, for senders whose clock is ahead.
const SLACK: Duration = Duration::from_secs(60);
/// The largest number of candidates listed for an ambiguous id.
pub const NAMED: usize = 10;

/// The result of a search by id.
#[derive(Debug)]
pub enum Search {
    One(Box<Located>),
    /// The text is the beginning of several ids; the first ten messages.
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

/// A message with all of its traces.
#[derive(Debug, Serialize)]
pub struct Fate {
    #[serde(flatten)]
    pub located: Located,
    /// Deliveries that no room has taken yet.
    pub waiting: Vec<Delivery>,
    pub receipts: Vec<Receipt>,
    pub dead: Vec<Letter>,
    pub retries: Vec<Retried>,
    /// False if the index was behind, so that traces may be missing.
    #[serde(skip)]
    pub complete: bool,
}

/// An entry of the log that requests a retry.
#[derive(Debug, Serialize)]
pub struct Retried {
    pub sequence: u64,
    pub at: Timestamp,
    pub room: String,
    pub reason: String,
    /// The id of the delivery that is retried.
    pub id: String,
}

impl Fate {
    /// Keeps only the traces of this entry of the log, if all of `entries` have the same id. To the engine, a message whose id
    /// comes again soon is a duplicate, one of another source gets its sequence as id, and one that comes after the id
    /// was forgotten is delivered again.
    pub fn keep_own(&mut self, entries: &[u64]) {
        let here = self.located.sequence;
        let is_duplicate = |entry: u64| {
            let of =
                |receipt: &Receipt| receipt.outcome == Outcome::Duplicate && receipt.place.sequence == entry;
            self.receipts.iter().any(of)
        };
        let by_place = |entry: u64| self.is_about(&format!("seq-{entry}"));
        let delivered_anew = |entry: &u64| *entry > here && !is_duplicate(*entry) && !by_place(*entry);
        // Traces of this id before `end` in the log are of this entry.
        let mut end = entries.iter().copied().filter(delivered_anew).min().unwrap_or(u64::MAX);
        if by_place(here) {
            self.located.message.id = format!("seq-{here}");
        } else if is_duplicate(here) {
            end = here;
        }
        let (id, range) = (self.located.message.id.clone(), here..end);
        let own = |delivery: &str, place: u64| message_id(delivery) == id && range.contains(&place);
        self.waiting.retain(|delivery| own(&delivery.id, delivery.place.sequence));
        self.retries.retain(|retry| own(&retry.id, retry.sequence));
        let place =
            |letter: &Letter| letter.delivery.as_ref().map_or(here, |delivery| delivery.place.sequence);
        self.dead.retain(|letter| own(&letter.id, place(letter)));
        let asked: Vec<u64> = self.retries.iter().map(|retry| retry.sequence).collect();
        self.receipts.retain(|receipt| match (receipt.outcome, receipt.place.sequence) {
            (Outcome::Duplicate, place) => place == here || asked.contains(&place),
            (_, place) => receipt.ids.iter().any(|delivery| own(delivery, place)),
        });
    }

    /// Removes from the waiting deliveries those that have a trace, and those of a message that is delivered nowhere. Of a
    /// dead letter on the list, its receipt says nothing more. A letter whose receipt a leader could not store any more is
    /// void: the next leader has posted its delivery.
    fn drop_settled(&mut self) {
        let Fate { located, waiting, receipts, dead, .. } = self;
        let is_posted = |letter: &Letter| {
            let of = |receipt: &Receipt| receipt.tries > 0 && receipt.outcome != Outcome::Dead;
            receipts.iter().any(|receipt| of(receipt) && receipt.ids.contains(&letter.id))
        };
        dead.retain(|letter| !is_posted(letter));
        let is_about = |receipt: &Receipt, delivery: &Delivery| match receipt.outcome {
            Outcome::Duplicate => receipt.place.sequence == delivery.place.sequence,
            Outcome::Throttled => {
                receipt.room == delivery.room
                    && receipt.place.sequence == located.sequence
                    && retry_of(&delivery.id).is_none()
            }
            _ => receipt.ids.iter().any(|id| *id == *delivery.id),
        };
        waiting.retain(|delivery| {
            !receipts.iter().any(|receipt| is_about(receipt, delivery))
                && !dead.iter().any(|letter| letter.id == *delivery.id)
        });
        receipts.retain(|receipt| {
            receipt.outcome != Outcome::Dead
                || !receipt.ids.iter().any(|id| dead.iter().any(|letter| letter.id == *id))
        });
    }

    fn is_about(&self, id: &str) -> bool {
        let own = |delivery: &str| message_id(delivery) == id;
        self.waiting.iter().any(|delivery| own(&delivery.id))
            || self.receipts.iter().any(|receipt| receipt.ids.iter().any(|delivery| own(delivery)))
            || self.dead.iter().any(|letter| own(&letter.id))
            || self.retries.iter().any(|retry| own(&retry.id))
    }
}

impl Operator {
    /// Looks for a message by its id, the first characters of it, or `seq-N`.
    pub async fn find(&self, id: &str) -> anyhow::Result<Search> {
        let log = self.log().await?;
        // A delivery's id begins with its message's.
        let id = message_id(id);
        if let Some(sequence) = id.strip_prefix("seq-").and_then(|n| n.parse().ok()) {
            return self.at_sequence(&log, sequence).await;
        }
        if id.len() < SHORTEST {
            anyhow::bail!("{id:?} is too short for a search; give at least {SHORTEST} characters");
        }
        if let Some(about) = made_about(id, Timestamp::now()) {
            let start_time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(about.0) * 1_000_000)?;
            let result = self.search(&log, id, DeliverPolicy::ByStartTime { start_time }).await?;
            if !matches!(result, Search::Nothing) {
                return Ok(result);
            }
        }
        self.search(&log, id, DeliverPolicy::All).await
    }

    async fn at_sequence(&self, log: &Stream, sequence: u64) -> anyhow::Result<Search> {
        let name = &log.cached_info().config.name;
        let stored = StreamMessage::at(&self.jetstream, name, sequence).await.context("reading the log")?;
        let located = stored.and_then(|stored| self.located(&stored));
        Ok(located.map_or(Search::Nothing, |located| Search::One(Box::new(located))))
    }

    async fn search(&self, log: &Stream, id: &str, from: DeliverPolicy) -> anyhow::Result<Search> {
        let mut scan = self.scan(log.clone(), self.names.all_ops(), from).await?;
        let mut candidates: Vec<Located> = Vec::new();
        while let Some(stored) = scan.next().await? {
            let Some(located) = self.located(&stored) else { continue };
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

    fn located(&self, stored: &StreamMessage) -> Option<Located> {
        let StreamMessage { sequence, at, payload, .. } = stored;
        let Some(Subject::Ops { source, tag }) = self.names.parse(&stored.subject) else { return None };
        let message = read(source, tag, payload, *sequence, *at).message;
        Some(Located { sequence: *sequence, at: *at, message })
    }

    /// The traces of a message, found by reading the streams from its time on. Waiting deliveries are found only with `rules`, those
    /// of its time.
    pub async fn fate(&self, located: Located, rules: Option<&Arc<Rules>>) -> anyhow::Result<Fate> {
        let id = &located.message.id;
        let retries = self.retries(&located).await?;
        let waiting = self.all_waiting(&located, &retries, rules).await?;
        let receipts = self.receipts(&located).await?;
        let letters = dead::list(self, None, from(located.at)?).await?;
        let dead = letters.into_iter().filter(|letter| message_id(&letter.id) == id).collect();
        let mut fate = Fate { waiting, receipts, dead, retries, located, complete: true };
        fate.drop_settled();
        Ok(fate)
    }

    /// The same by the index, of the message under any of these ids. Waiting deliveries are read before receipts, so that a
    /// delivery that is posted meanwhile is in both and not in neither.
    pub async fn fate_by(
        &self,
        located: Located,
        rules: Option<&Arc<Rules>>,
        index: &Arc<Index>,
        ids: Vec<String>,
    ) -> anyhow::Result<Fate> {
        let mut retries = Vec::new();
        for stored in self.read(&self.names.ops_stream(), &index.traces(ids.clone()).await?.retries).await? {
            let Ok(retry) = serde_json::from_slice::<Retry>(&stored.payload) else { continue };
            let (id, room, reason) = (retry.delivery.id.into(), retry.room, retry.reason);
            retries.push(Retried { sequence: stored.sequence, at: stored.at, room, reason, id });
        }
        let waiting = self.all_waiting(&located, &retries, rules).await?;
        let (log, sent, letters) =
            (self.names.ops_stream(), self.names.sent_stream(), self.names.dead_stream());
        let mut complete = true;
        for (origin, name) in
            [(Origin::Log, &log), (Origin::Receipts, &sent), (Origin::DeadLetters, &letters)]
        {
            let stream = self.stream(name).await?;
            let last = stream.map_or(0, |stream| stream.cached_info().state.last_sequence);
            complete &= index.progress(origin).sequence >= last;
        }
        let traces = index.traces(ids).await?;
        let receipts = self.read(&sent, &traces.receipts).await?;
        let receipts =
            receipts.iter().filter_map(|stored| serde_json::from_slice(&stored.payload).ok()).collect();
        let dead = self.read(&letters, &traces.dead).await?.iter().map(Letter::read).collect();
        let mut fate = Fate { waiting, receipts, dead, retries, located, complete };
        fate.drop_settled();
        Ok(fate)
    }

    /// Messages of a stream by their sequences; deleted ones are left out.
    async fn read(&self, stream: &str, sequences: &[u64]) -> anyhow::Result<Vec<StreamMessage>> {
        let mut all = Vec::new();
        for sequence in sequences {
            let stored = StreamMessage::at(&self.jetstream, stream, *sequence).await;
            all.extend(stored.context("reading the traces of the message")?);
        }
        Ok(all)
    }

    async fn all_waiting(
        &self,
        located: &Located,
        retries: &[Retried],
        rules: Option<&Arc<Rules>>,
    ) -> anyhow::Result<Vec<Delivery>> {
        match rules {
            Some(rules) => self.waiting(located, retries, rules).await,
            None => Ok(Vec::new()),
        }
    }

    async fn retries(&self, located: &Located) -> anyhow::Result<Vec<Retried>> {
        let start_sequence = located.sequence;
        let from = DeliverPolicy::ByStartSequence { start_sequence };
        let mut scan = self.scan(self.log().await?, self.names.ctl("retry"), from).await?;
        let mut retries = Vec::new();
        while let Some(stored) = scan.next().await? {
            let Ok(retry) = serde_json::from_slice::<Retry>(&stored.payload) else { continue };
            if message_id(&retry.delivery.id) == located.message.id {
                let (sequence, at, id) = (stored.sequence, stored.at, retry.delivery.id.into());
                retries.push(Retried { sequence, at, room: retry.room, reason: retry.reason, id });
            }
        }
        Ok(retries)
    }

    async fn receipts(&self, located: &Located) -> anyhow::Result<Vec<Receipt>> {
        let Some(sent) = self.stream(&self.names.sent_stream()).await? else { return Ok(Vec::new()) };
        let mut scan = self.scan(sent, self.names.sent("*"), from(located.at)?).await?;
        let id = &located.message.id;
        let mut receipts = Vec::new();
        while let Some(stored) = scan.next().await? {
            // A search in the text is much cheaper than parsing, and most receipts are of other messages.
            if !std::str::from_utf8(&stored.payload).is_ok_and(|text| text.contains(id)) {
                continue;
            }
            let Ok(receipt) = serde_json::from_slice::<Receipt>(&stored.payload) else { continue };
            if receipt.ids.iter().any(|delivery| message_id(delivery) == id) {
                receipts.push(receipt);
            }
        }
        Ok(receipts)
    }
}

/// The traces of a message are younger than the message.
fn from(at: Timestamp) -> anyhow::Result<DeliverPolicy> {
    let start_time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)?;
    Ok(DeliverPolicy::ByStartTime { start_time })
}

/// The approximate time of a UUIDv7 that begins with `id`; `None` for other ids.
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
    use crate::delivery::Place;

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

    fn receipt(outcome: Outcome, id: &str, sequence: u64) -> Receipt {
        let mut receipt =
            Receipt::unsent("ops", outcome, "", Place { sequence, number: 0 }, Timestamp(0), String::new());
        receipt.ids = vec![id.to_owned()];
        receipt
    }

    /// The sequences of the receipts that are left for one of the entries of `m-1`, and the message's id.
    fn own(sequence: u64) -> (Vec<u64>, String) {
        let mut message = Message::new("db1", "a".parse().unwrap(), "x");
        message.id = "m-1".into();
        let located = Located { sequence, at: Timestamp(0), message };
        let receipts = vec![
            receipt(Outcome::Posted, "m-1/ops", 7),
            receipt(Outcome::Duplicate, "m-1", 20),
            receipt(Outcome::Posted, "seq-30/ops", 30),
            receipt(Outcome::Counted, "m-1/dba", 31),
            receipt(Outcome::Posted, "m-1/ops", 5000),
        ];
        let mut fate =
            Fate { located, waiting: vec![], receipts, dead: vec![], retries: vec![], complete: true };
        fate.keep_own(&[7, 20, 30, 5000]);
        let left = fate.receipts.iter().map(|receipt| receipt.place.sequence).collect();
        (left, fate.located.message.id)
    }

    #[test]
    fn entries_with_the_same_id_have_fates_of_their_own() {
        assert_eq!(own(7), (vec![7, 31], "m-1".into()), "a late post of it, too");
        assert_eq!(own(20), (vec![20], "m-1".into()), "it came again soon, and is only noted");
        assert_eq!(own(30), (vec![30], "seq-30".into()), "another source's");
        assert_eq!(own(5000), (vec![5000], "m-1".into()), "the id was forgotten");
    }
}

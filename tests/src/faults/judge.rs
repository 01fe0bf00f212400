//! The figures of a run: messages, losses, order, repeats by cause, silence.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::Rooms;
use super::chaos::{Chaos, Kind};
use super::producers::{Fate, Sent};
use crate::WebhookSink;

const WITHOUT_TEXT: &str = "the text of this message is lost";
/// A message whose acknowledgement is noted so short after a purge or deletion of the log was in it before.
const UNDER_WAY: Duration = Duration::from_secs(5);
/// The step in which a silence is looked at.
const STEP: Duration = Duration::from_millis(100);
/// The time before a post in which a fault can be the cause of its repetition.
const EARLIER: Duration = Duration::from_secs(5);

/// The counts of one room.
#[derive(Debug, Default)]
struct Count {
    posts: usize,
    messages: usize,
    dead: usize,
    lost: Vec<String>,
    /// Not posted, since the log was purged or deleted before.
    gone_with_the_log: usize,
    invented: Vec<String>,
    disordered: Vec<(u64, u64)>,
    /// Posts with messages that an earlier post had, by their cause.
    repeated: BTreeMap<Option<Kind>, usize>,
    silence: Duration,
    /// The same without the time in which no post could be made.
    needless_silence: Duration,
}

impl Count {
    fn was_silent(&mut self, chaos: &Chaos, time: Range<Instant>) {
        let silence = time.end.duration_since(time.start);
        self.silence = self.silence.max(silence);
        // Looked at in steps, and only if it may be the longest.
        if silence > self.needless_silence {
            let steps = u32::try_from(silence.as_millis() / STEP.as_millis()).unwrap_or(u32::MAX);
            let hopeless = (0..steps).filter(|step| chaos.is_hopeless(time.start + STEP * *step)).count();
            let needless = silence.saturating_sub(STEP * u32::try_from(hopeless).unwrap_or(u32::MAX));
            self.needless_silence = self.needless_silence.max(needless);
        }
    }
}

/// The result of a run.
#[derive(Debug)]
pub struct Verdict {
    faults: BTreeMap<Kind, usize>,
    fates: [usize; 3],
    rooms: Vec<(&'static str, Count)>,
}

impl Verdict {
    /// True if no promise is broken.
    pub fn holds(&self) -> bool {
        self.rooms.iter().all(|(_, count)| {
            count.lost.is_empty()
                && count.invented.is_empty()
                && count.disordered.is_empty()
                && !count.repeated.contains_key(&None)
        })
    }

    /// The number of messages that had to arrive.
    pub fn kept(&self) -> usize {
        self.fates[0]
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: Vec<String>| if counts.is_empty() { "none".into() } else { counts.join(", ") };
        let faults = self.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        writeln!(f, "faults: {}", list(faults))?;
        let [kept, unknown, refused] = self.fates;
        writeln!(f, "messages: {kept} kept, {unknown} unknown, {refused} refused\n")?;
        writeln!(
            f,
            "| room | posts | messages | dead | lost | gone with the log | invented | out of order | repeated posts, by cause | longest silence | while servers, relay and log were there |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|---|--:|--:|")?;
        for (room, count) in &self.rooms {
            let cause =
                |cause: &Option<Kind>| cause.map_or("UNEXPLAINED".to_owned(), |kind| kind.to_string());
            let repeated = count.repeated.iter().map(|(kind, number)| format!("{} {number}", cause(kind)));
            writeln!(
                f,
                "| {room} | {} | {} | {} | {} | {} | {} | {} | {} | {:.1} s | {:.1} s |",
                count.posts,
                count.messages,
                count.dead,
                count.lost.len(),
                count.gone_with_the_log,
                count.invented.len(),
                count.disordered.len(),
                list(repeated.collect()),
                count.silence.as_secs_f64(),
                count.needless_silence.as_secs_f64()
            )?;
        }
        for (room, count) in &self.rooms {
            let some = |list: &[String]| list.iter().take(10).cloned().collect::<Vec<_>>().join(" ");
            if !count.lost.is_empty() {
                writeln!(f, "{room} lost: {}", some(&count.lost))?;
            }
            if !count.invented.is_empty() {
                writeln!(f, "{room} shows what was never sent: {}", some(&count.invented))?;
            }
            for (before, after) in count.disordered.iter().take(10) {
                writeln!(f, "{room} has {before} before {after}")?;
            }
        }
        Ok(())
    }
}

/// Waits until every message that was kept is handled, at most for `most`, and counts.
pub(super) async fn settle(
    rooms: &Rooms,
    sent: &[Sent],
    chaos: &Chaos,
    run: Range<Instant>,
    most: Duration,
) -> Verdict {
    let until = Instant::now() + most;
    loop {
        let letters = dead_letters(chaos).await;
        let counts = rooms.all().map(|(name, sink)| (name, count(name, sink, sent, &letters, chaos, &run)));
        let is_settled = counts.iter().all(|(_, count)| count.lost.is_empty());
        if is_settled || Instant::now() > until {
            let fates = [Fate::Kept, Fate::Unknown, Fate::Refused]
                .map(|fate| sent.iter().filter(|message| message.fate == fate).count());
            let mut faults = BTreeMap::new();
            chaos.faults.iter().for_each(|fault| *faults.entry(fault.kind).or_default() += 1);
            return Verdict { faults, fates, rooms: counts.into() };
        }
        sleep(Duration::from_secs(1)).await;
    }
}

fn count(
    room: &str,
    sink: &WebhookSink,
    sent: &[Sent],
    letters: &[(String, String)],
    chaos: &Chaos,
    run: &Range<Instant>,
) -> Count {
    let posts = sink.deliveries();
    let mut count = Count { posts: posts.len(), ..Count::default() };
    let by_text: HashMap<&str, &Sent> = sent.iter().map(|message| (message.text.as_str(), message)).collect();
    let mut posted: HashMap<String, Instant> = HashMap::new();
    let (mut last, mut last_at) = (0, run.start);
    for post in &posts {
        if post.at <= run.end {
            count.was_silent(chaos, last_at..post.at);
            last_at = post.at;
        }
        let mut repeated = None;
        // The relay says so of a message whose entry was purged while it waited.
        for text in post.texts().into_iter().filter(|text| !text.starts_with(WITHOUT_TEXT)) {
            let message = by_text.get(text.as_str());
            if message.is_none_or(|message| message.fate == Fate::Refused) {
                count.invented.push(text.clone());
            }
            if let Some(first) = posted.get(&text) {
                repeated.get_or_insert_with(|| cause(chaos, *first, post.at));
                continue;
            }
            posted.insert(text, post.at);
            if let Some(sequence) = message.and_then(|message| message.sequence) {
                if sequence < last {
                    count.disordered.push((last, sequence));
                }
                last = last.max(sequence);
            }
        }
        if let Some(cause) = repeated {
            *count.repeated.entry(cause).or_default() += 1;
        }
    }
    count.was_silent(chaos, last_at..run.end.max(last_at));
    let dead: BTreeSet<&str> =
        letters.iter().filter(|(of, _)| of == room).map(|(_, text)| text.as_str()).collect();
    (count.messages, count.dead) = (posted.len(), dead.len());
    for message in sent.iter().filter(|message| message.fate == Fate::Kept) {
        if posted.contains_key(&message.text) || dead.contains(message.text.as_str()) {
            continue;
        }
        if is_gone_with_the_log(chaos, message) {
            count.gone_with_the_log += 1;
        } else {
            count.lost.push(message.text.clone());
        }
    }
    count
}

/// The first fault in the order of the kinds that happened between the two posts, or shortly before the first.
fn cause(chaos: &Chaos, first: Instant, second: Instant) -> Option<Kind> {
    let is_between =
        |kind: &Kind| chaos.of(*kind).any(|fault| fault.from <= second && fault.until + EARLIER >= first);
    Kind::ALL.into_iter().find(is_between)
}

/// True if the message was in a log that was purged or deleted before it was posted.
fn is_gone_with_the_log(chaos: &Chaos, message: &Sent) -> bool {
    let mut faults = chaos.of(Kind::LogPurged).chain(chaos.of(Kind::LogDeleted));
    faults.any(|fault| message.at <= fault.until + UNDER_WAY)
}

/// The room and the text of each dead letter.
async fn dead_letters(chaos: &Chaos) -> Vec<(String, String)> {
    let Ok(stream) = chaos.js.get_stream("HAL_DEAD").await else { return Vec::new() };
    let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
    let Ok(consumer) = stream.create_consumer(config).await else { return Vec::new() };
    let count = usize::try_from(stream.cached_info().state.messages).unwrap_or(usize::MAX);
    let Ok(messages) = consumer.messages().await else { return Vec::new() };
    let mut letters = Vec::new();
    let mut messages = messages.take(count);
    while let Ok(Some(Ok(message))) = timeout(Duration::from_secs(5), messages.next()).await {
        let letter: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        let room = letter["room"].as_str().unwrap_or_default().to_owned();
        letters.extend(text_in(&letter["delivery"]["content"]).map(|text| (room, text)));
    }
    letters
}

/// The text of a message, wherever it is in the content of a delivery.
fn text_in(content: &Value) -> Option<String> {
    let fields = content.as_object()?;
    let text = fields.get("text").and_then(Value::as_str).map(str::to_owned);
    text.or_else(|| fields.values().find_map(text_in))
}

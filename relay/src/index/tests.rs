//! Tests of the index in a file of its own, with messages made by hand.

use proptest::prelude::*;
use tellhal::message::{Message, Severity, Status};

use super::filter::Choice;
use super::problems::{self, Asked, Ending, Problem, Problems, State, Story};
use super::search::{self, span};
use super::store::reader;
use super::*;
use crate::bus::message::StreamMessage;
use crate::delivery::{Attempts, Content, DeadLetter, Delivery, Outcome, Place, Receipt};
use crate::engine::entry::{ConfigEntry, Retry};

const LOG: Timestamp = Timestamp(1);

struct Indexed {
    _folder: tempfile::TempDir,
    path: PathBuf,
    store: Store,
}

impl Indexed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.db");
        let mut store = Store::open(&path).unwrap();
        assert_eq!(store.begin(Origin::Log, LOG).unwrap(), 0);
        store.begin(Origin::Receipts, LOG).unwrap();
        store.begin(Origin::DeadLetters, LOG).unwrap();
        Indexed { _folder: folder, path, store }
    }

    fn add(&mut self, origin: Origin, batch: &[StreamMessage]) {
        self.store.add(origin, &Names::default(), batch).unwrap();
    }

    fn db(&self) -> Connection {
        reader(&self.path).unwrap()
    }

    fn search(&self, filter: &Filter, before: u64, limit: usize) -> Hits {
        search::search(&self.db(), filter, before, limit).unwrap()
    }

    fn all(&self, filter: &Filter) -> Vec<u64> {
        self.search(filter, u64::MAX, 1000).sequences
    }
}

fn entry(sequence: u64, at: i64, subject: String, body: &impl serde::Serialize) -> StreamMessage {
    let payload = serde_json::to_vec(body).unwrap().into();
    let subject = subject.into();
    StreamMessage {
        sequence,
        at: Timestamp(at),
        subject,
        headers: None,
        payload,
        is_plain: true,
        number: 0,
        pending: 0,
    }
}

fn message(source: &str, tag: &str, severity: Severity, text: &str) -> Message {
    let mut message = Message::new(source, tag.parse().unwrap(), text);
    message.severity = severity;
    message
}

fn message_entry(sequence: u64, at: i64, message: &Message) -> StreamMessage {
    entry(sequence, at, Names::default().ops(&message.source, &message.tag), message)
}

fn filter(change: impl Fn(&mut Filter)) -> Filter {
    let mut filter = Filter::default();
    change(&mut filter);
    filter
}

fn delivery(id: &str) -> Delivery {
    let content = Content::Message(std::sync::Arc::new(message("db1", "a", Severity::Info, "x")));
    let (room, at) = ("ops".to_owned(), Timestamp(0));
    Delivery { id: id.into(), room, place: Place::default(), at, routes: vec![], marks: vec![], content }
}

fn receipt(ids: &[&str]) -> Receipt {
    let mut receipt =
        Receipt::unsent("ops", Outcome::Posted, "", Place::default(), Timestamp(0), String::new());
    receipt.ids = ids.iter().map(|id| (*id).to_owned()).collect();
    receipt
}

#[test]
fn finds_by_tag_severity_source_text_and_time_newest_first() {
    let mut index = Indexed::new();
    let mysql = message("db1", "backup.mysql", Severity::Error, "Disk FULL on /var");
    let files = message("web1", "backup.files", Severity::Info, "fine");
    let deploy = message("web1", "deploy", Severity::Notice, "version 7, disk fine");
    index.add(
        Origin::Log,
        &[message_entry(1, 1000, &mysql), message_entry(3, 2000, &files), message_entry(4, 3000, &deploy)],
    );
    let tag = |pattern: &str| Choice::read([pattern].into_iter()).unwrap();
    assert_eq!(index.all(&Filter::default()), [4, 3, 1]);
    assert_eq!(index.all(&filter(|f| f.tags = tag("backup.>"))), [3, 1]);
    assert_eq!(index.all(&filter(|f| f.tags = tag("nothing.>"))), [0; 0]);
    assert_eq!(index.all(&filter(|f| f.severity = Some(Severity::Notice))), [4, 1]);
    assert_eq!(index.all(&filter(|f| f.sources = Choice::read(["web1"].into_iter()).unwrap())), [4, 3]);
    assert_eq!(index.all(&filter(|f| f.words = filter::words("disk"))), [4, 1]);
    assert_eq!(index.all(&filter(|f| f.words = filter::words("disk full"))), [1]);
    assert_eq!(index.all(&filter(|f| f.since = Some(Timestamp(2000)))), [4, 3]);
    assert_eq!(index.all(&filter(|f| f.until = Some(Timestamp(2000)))), [1]);
    let both = filter(|f| {
        f.words = filter::words("fine");
        f.until = Some(Timestamp(3000));
    });
    assert_eq!(index.all(&both), [3]);
    let sequences = search::find(&index.db(), &deploy.id).unwrap();
    assert_eq!(sequences, [4]);
    assert!(search::find(&index.db(), "seq-4").unwrap().is_empty(), "the id itself contains the sequence");
}

#[test]
fn pages_follow_each_other_without_a_gap() {
    let mut index = Indexed::new();
    let batch: Vec<StreamMessage> =
        (1..=25).map(|n| message_entry(n, n as i64, &message("s", "t", Severity::Info, "x"))).collect();
    index.add(Origin::Log, &batch);
    let (mut before, mut all) = (u64::MAX, Vec::new());
    loop {
        let page = index.search(&Filter::default(), before, 10);
        all.extend(page.sequences);
        assert_eq!(page.until, None);
        match page.before {
            Some(next) => before = next,
            None => break,
        }
    }
    assert_eq!(all, (1..=25).rev().collect::<Vec<u64>>());
}

#[test]
fn a_clock_that_goes_back_hides_nothing() {
    let mut index = Indexed::new();
    let text = message("s", "t", Severity::Info, "x");
    index.add(Origin::Log, &[message_entry(1, 5000, &text), message_entry(2, 1000, &text)]);
    index.add(Origin::Log, &[message_entry(3, 6000, &text)]);
    assert_eq!(index.all(&filter(|f| f.since = Some(Timestamp(5000)))), [3, 2, 1]);
    assert_eq!(index.all(&filter(|f| f.until = Some(Timestamp(5500)))), [2, 1]);
}

#[test]
fn counts_by_span_and_severity() {
    let mut index = Indexed::new();
    let at = |sequence, at, severity| message_entry(sequence, at, &message("s", "t", severity, "x"));
    index.add(
        Origin::Log,
        &[at(1, 0, Severity::Info), at(2, 99, Severity::Error), at(3, 100, Severity::Error)],
    );
    index.add(Origin::Log, &[at(4, 199, Severity::Critical), at(5, 200, Severity::Info)]);
    let range = (Timestamp(0), Timestamp(200));
    let counts = search::count(&index.db(), &Filter::default(), u64::MAX, range, 2).unwrap();
    assert_eq!(counts.spans, [[0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 1, 1]]);
    let errors = filter(|f| f.severity = Some(Severity::Critical));
    let counts = search::count(&index.db(), &errors, 5, range, 2).unwrap();
    assert_eq!(counts.spans, [[0; 6], [0, 0, 0, 0, 0, 1]]);
    assert_eq!(search::first_at(&index.db()).unwrap(), Some(Timestamp(0)));
}

#[test]
fn traces_are_found_by_the_message_whatever_the_form_of_its_id() {
    let mut index = Indexed::new();
    let id = "019a1ee2-3000-7abc-8def-0123456789ab";
    let one = format!("{id}/ops");
    index.add(
        Origin::Receipts,
        &[
            entry(1, 0, "hal.sent.ops".into(), &receipt(&[&one, "seq-9/ops"])),
            entry(2, 0, "hal.sent.ops".into(), &receipt(&["backups/deploy@7/sum/ops"])),
        ],
    );
    let (room, reason) = ("ops".to_owned(), "gone".to_owned());
    let letter = DeadLetter {
        room,
        reason,
        at: Timestamp(0),
        tries: 1,
        attempts: Attempts::default(),
        delivery: delivery(&format!("{id}/dba")),
    };
    index.add(Origin::DeadLetters, &[entry(5, 0, "hal.dead.dba".into(), &letter)]);
    let retry = Retry {
        once: String::new(),
        delivery: delivery(&format!("{id}/dba")),
        room: "dba".into(),
        reason: String::new(),
    };
    index.add(Origin::Log, &[entry(7, 0, "hal.ctl.retry".into(), &retry)]);
    let traces = |ids: &[&str]| search::traces(&index.db(), ids).unwrap();
    let all = traces(&[id, "seq-3"]);
    assert_eq!((all.receipts, all.dead, all.retries), (vec![1], vec![5], vec![7]));
    assert_eq!(traces(&["seq-9"]).receipts, [1]);
    assert_eq!(traces(&["deploy@7"]).receipts, [2]);
    assert_eq!(traces(&["deploy"]), Traces::default());
}

#[test]
fn names_have_times_and_counts_even_without_messages_in_the_log() {
    const NOW: Timestamp = Timestamp(100 * 3_600_000);
    let mut index = Indexed::new();
    let hours_ago = |hours: i64| NOW.0 - hours * 3_600_000 + 1;
    let mut old = message("db1", "backup.mysql", Severity::Info, "x");
    old.host = Some("db1.example.com".into());
    let bad = message("web1", "deploy", Severity::Error, "x");
    let fine = message("web1", "deploy", Severity::Info, "x");
    index.add(
        Origin::Log,
        &[
            message_entry(1, hours_ago(50), &old),
            message_entry(2, hours_ago(3), &bad),
            message_entry(3, hours_ago(1), &fine),
        ],
    );
    index.store.forget(Origin::Log, 2).unwrap();
    let sources = search::names(&index.db(), Kind::Source, "", 10, NOW).unwrap().names;
    let [db, web] = &sources[..] else { panic!("{sources:?}") };
    assert_eq!((db.name.as_str(), db.count, db.worst), ("db1", 0, None));
    assert_eq!((db.host.as_deref(), db.last), (Some("db1.example.com"), Timestamp(hours_ago(50))));
    assert_eq!((web.count, web.worst, web.last_sequence), (2, Some(Severity::Error), 3));
    assert_eq!((web.hours[23], web.hours[21], web.hours.iter().sum::<u64>()), (1, 1, 2));
    let tags = search::names(&index.db(), Kind::Tag, "backup.mysql", 10, NOW).unwrap().names;
    assert_eq!(tags.len(), 1, "after a name: {tags:?}");
    assert_eq!(index.all(&Filter::default()), [3, 2]);
}

#[test]
fn knows_the_configuration_in_force() {
    let mut index = Indexed::new();
    let config = |sequence, hash: &str| {
        entry(sequence, 0, "hal.ctl.config".into(), &ConfigEntry { hash: hash.into() })
    };
    index.add(Origin::Log, &[config(5, "a"), config(9, "b"), config(12, "c")]);
    let at = |index: &Indexed, sequence| search::configuration(&index.db(), sequence).unwrap().unwrap();
    let hashes = |index: &Indexed| [3, 5, 8, 9, 40].map(|sequence| at(index, sequence));
    assert_eq!(hashes(&index), ["a", "a", "a", "b", "c"]);
    index.store.forget(Origin::Log, 10).unwrap();
    assert_eq!(at(&index, 10), "b");
}

#[test]
fn continues_after_a_restart_and_starts_again_with_another_log_or_a_corrupt_file() {
    let mut index = Indexed::new();
    index.add(Origin::Log, &[message_entry(7, 0, &message("s", "t", Severity::Info, "x"))]);
    index.store = Store::open(&index.path).unwrap();
    assert_eq!(index.store.begin(Origin::Log, LOG).unwrap(), 7);
    assert_eq!(index.store.begin(Origin::Log, Timestamp(2)).unwrap(), 0);
    assert!(index.all(&Filter::default()).is_empty());

    std::fs::write(&index.path, "this is no database, whatever its name says").unwrap();
    index.store = Store::open(&index.path).unwrap();
    assert_eq!(index.store.begin(Origin::Log, LOG).unwrap(), 0);
    index.add(Origin::Log, &[message_entry(1, 0, &message("s", "t", Severity::Info, "x"))]);
    assert_eq!(index.all(&Filter::default()), [1]);
}

#[tokio::test]
async fn a_corrupt_file_is_created_again() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path(), &Names::default()).unwrap();
    let begin = || index.write(|store| store.begin(Origin::Log, LOG));
    let one = |sequence| vec![message_entry(sequence, 0, &message("s", "t", Severity::Info, "x"))];
    let add = |sequence| index.add(Origin::Log, Names::default(), one(sequence));
    assert_eq!(begin().await.unwrap(), 0);
    add(5).await.unwrap();
    assert!(index.first_at().await.unwrap().is_some());
    for file in ["index-hal.db", "index-hal.db-wal"] {
        let file = folder.path().join(file);
        let size = std::fs::metadata(&file).unwrap().len();
        std::fs::write(&file, vec![b'x'; usize::try_from(size).unwrap()]).unwrap();
    }
    index.readers.lock().unwrap().clear();
    assert!(index.first_at().await.is_err());
    assert_eq!(index.first_at().await.unwrap(), None, "it is another file");
    assert!(add(6).await.is_err(), "the earlier entries are not in the new file");
    assert_eq!(begin().await.unwrap(), 0);
    add(5).await.unwrap();
    assert!(index.first_at().await.unwrap().is_some());
}

/// Ids from a batch that failed are not used again.
#[test]
fn names_of_a_batch_that_failed_get_new_ids() {
    let mut index = Indexed::new();
    let of = |source: &str| message(source, "t", Severity::Info, "x");
    let other = Connection::open(&index.path).unwrap();
    let full = "create trigger full before insert on haystack begin select raise(abort, 'no space'); end";
    other.execute_batch(full).unwrap();
    assert!(index.store.add(Origin::Log, &Names::default(), &[message_entry(1, 0, &of("lost"))]).is_err());
    other.execute_batch("drop trigger full").unwrap();
    index.add(Origin::Log, &[message_entry(2, 0, &of("new")), message_entry(3, 0, &of("lost"))]);
    assert_eq!(index.all(&filter(|f| f.sources = Choice::read(["lost"].into_iter()).unwrap())), [3]);
    assert_eq!(index.all(&filter(|f| f.sources = Choice::read(["new"].into_iter()).unwrap())), [2]);
}

#[test]
fn a_file_belongs_to_one_relay() {
    let folder = tempfile::tempdir().unwrap();
    let first = Index::open(&folder.path().join("state"), &Names::default()).unwrap();
    let second = Index::open(&folder.path().join("state"), &Names::default()).err().unwrap();
    assert!(second.to_string().ends_with("index-hal.db is in use by another relay"), "{second}");
    drop(first);
    Index::open(&folder.path().join("state"), &Names::default()).unwrap();
}

/// A message about a thing, an hour after the one before.
fn about(sequence: u64, source: &str, key: &str, status: Status, severity: Severity) -> StreamMessage {
    let mut message = message(source, "job", severity, "x");
    (message.key, message.status) = (Some(key.into()), Some(status));
    message_entry(sequence, HOUR * sequence as i64, &message)
}

const HOUR: i64 = 3_600_000;

#[test]
fn problems_are_open_until_they_are_over_the_worst_first() {
    use Severity::{Critical, Error, Info, Warning};
    use Status::{Failed, Resolved, Started, Succeeded};
    let mut index = Indexed::new();
    let mut elsewhere = message("db1", "job", Critical, "no key, so nothing could end it");
    elsewhere.status = Some(Failed);
    index.add(
        Origin::Log,
        &[
            about(1, "db1", "backup", Started, Info),
            about(2, "db1", "backup", Failed, Error),
            about(3, "db2", "backup", Failed, Critical),
            about(4, "db2", "backup", Succeeded, Info),
            about(5, "db1", "report", Started, Info),
            about(6, "web1", "deploy", Failed, Warning),
            about(7, "web1", "replication", Failed, Critical),
            about(8, "web1", "replication", Failed, Warning),
            message_entry(9, 9 * HOUR, &elsewhere),
        ],
    );
    let open =
        |index: &Indexed, hours: i64| problems::open(&index.db(), 10, Timestamp(hours * HOUR)).unwrap();
    let sequences =
        |open: &Problems| open.problems.iter().map(|each| (each.sequence, each.state)).collect::<Vec<_>>();
    let found = open(&index, 10);
    let failed = [8, 2, 6].map(|sequence| (sequence, State::Failed));
    assert_eq!(sequences(&found), [&failed[..], &[(5, State::Running)]].concat());
    let Problem { severity, failures, since, .. } = found.problems[0];
    assert_eq!((severity, failures, since), (Critical, 2, Timestamp(7 * HOUR)), "the worst of its failures");
    assert_eq!((found.total, found.late), (4, false));
    assert_eq!(sequences(&open(&index, 30))[3], (5, State::NoEnd));
    let worst = problems::open(&index.db(), 1, Timestamp(10 * HOUR)).unwrap();
    assert_eq!((worst.problems.len(), worst.total), (1, 4));

    // An end in another place of the log, and of the same key of another source.
    index.add(
        Origin::Log,
        &[about(10, "web1", "replication", Resolved, Info), about(11, "db9", "deploy", Resolved, Info)],
    );
    assert_eq!(sequences(&open(&index, 11)), [(2, State::Failed), (6, State::Failed), (5, State::Running)]);
    index.store.forget(Origin::Log, 6).unwrap();
    assert_eq!(sequences(&open(&index, 11)), [(6, State::Failed)], "a purged message has no story");

    let asked =
        [("web1", "replication", 7), ("web1", "replication", 8), ("web1", "deploy", 6), ("none", "none", 3)];
    let asked =
        asked.map(|(source, key, sequence)| Asked { source: source.into(), key: key.into(), sequence });
    let over = Ending { sequence: 10, at: Timestamp(10 * HOUR), status: Resolved };
    let over = Story { over: Some(over), due: None };
    let (stories, late) = problems::stories(&index.db(), &asked).unwrap();
    assert_eq!((stories, late), (vec![over.clone(), over, Story::default(), Story::default()], false));
}

#[test]
fn a_run_is_over_when_it_ends_or_starts_again() {
    use Status::{Failed, Started, Succeeded};
    let mut index = Indexed::new();
    let run = |sequence, status| about(sequence, "db1", "backup", status, Severity::Info);
    let statuses = [Started, Failed, Started, Started, Succeeded, Started];
    let batch: Vec<StreamMessage> =
        (1..).zip(statuses).map(|(sequence, status)| run(sequence, status)).collect();
    index.add(Origin::Log, &batch);
    let asked =
        [1, 2, 3, 4, 6].map(|sequence| Asked { source: "db1".into(), key: "backup".into(), sequence });
    let (stories, _) = problems::stories(&index.db(), &asked).unwrap();
    let ends: Vec<Option<(u64, Status)>> =
        stories.iter().map(|story| story.over.map(|over| (over.sequence, over.status))).collect();
    let (failed, again, success) = (Some((2, Failed)), Some((4, Started)), Some((5, Succeeded)));
    assert_eq!(ends, [failed, success, again, success, None]);
    // Two runs of an hour each came before: the third may take two hours and a minute.
    let due: Vec<Option<Timestamp>> = stories.iter().map(|story| story.due).collect();
    assert_eq!(due, [None, None, None, None, Some(Timestamp(8 * HOUR + 60_000))]);
}

#[test]
fn spans_cover_their_range() {
    let range = (Timestamp(0), Timestamp(100));
    let of = |at| span(Timestamp(at), range, 4);
    assert_eq!([-5, 0, 24, 25, 99, 100, 500].map(of), [0, 0, 0, 1, 3, 3, 3]);
    assert_eq!(span(Timestamp(5), (Timestamp(9), Timestamp(9)), 3), 0);
}

/// Key, host and status of a message.
fn thing() -> impl Strategy<Value = (Option<String>, Option<String>, Option<Status>)> {
    let statuses = vec![Status::Started, Status::Succeeded, Status::Failed, Status::Resolved];
    let name = || prop::option::of("[kh]");
    (name(), name(), prop::option::of(prop::sample::select(statuses)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// For any filter, the index finds the messages that match it.
    #[test]
    fn finds_what_the_filter_takes(
        logged in prop::collection::vec((0usize..3, 0usize..4, 0usize..6, "[abc ]{0,6}", thing()), 1..40),
        tag in prop::option::of(prop::sample::select(vec!["a.>", "a.b", "*", "x", "!a.>"])),
        severity in prop::option::of(0usize..6),
        source in prop::option::of(prop::sample::select(vec!["s0", "s1", "!s2", "!s9"])),
        text in "[abc!\" ]{0,4}",
        (key, host) in (prop::option::of("!?[kh]"), prop::option::of("!?[kh]")),
        status in prop::option::of("!?(started|failed|resolved)"),
        (since, until) in (prop::option::of(0i64..45), prop::option::of(0i64..45)),
    ) {
        let mut index = Indexed::new();
        let tags = ["a.b", "a.c", "x"];
        let messages: Vec<Message> = logged.iter().map(|(tag, source, severity, text, thing)| {
            let mut message = message(&format!("s{source}"), tags[*tag], Severity::ALL[*severity], text);
            (message.key, message.host, message.status) = thing.clone();
            message
        }).collect();
        let batch: Vec<StreamMessage> =
            messages.iter().enumerate().map(|(n, message)| message_entry(n as u64 + 1, n as i64, message)).collect();
        index.add(Origin::Log, &batch);
        let filter = Filter {
            tags: Choice::read(tag.into_iter()).unwrap(),
            severity: severity.map(|severity| Severity::ALL[severity]),
            sources: Choice::read(source.into_iter()).unwrap(),
            keys: Choice::read(key.as_deref().into_iter()).unwrap(),
            hosts: Choice::read(host.as_deref().into_iter()).unwrap(),
            statuses: Choice::read(status.as_deref().into_iter()).unwrap(),
            words: filter::words(&text),
            since: since.map(Timestamp),
            until: until.map(Timestamp),
        };
        let matching = |(n, message): &(usize, &Message)| filter.matches(message, Timestamp(*n as i64));
        let mut want: Vec<u64> =
            messages.iter().enumerate().filter(matching).map(|(n, _)| n as u64 + 1).collect();
        want.reverse();
        prop_assert_eq!(index.all(&filter), want);
    }
}

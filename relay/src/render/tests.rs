//! The lines of messages, summaries and backlogs.

use service::zone::Zone;
use tellhal::message::Link;

use super::*;
use crate::delivery::Place;

pub(crate) fn message(tag: &str, text: &str) -> Message {
    Message::new("db1", tag.parse().unwrap(), text)
}

pub(crate) fn delivery(content: Content) -> Delivery {
    Delivery {
        id: "m1/ops".into(),
        room: "ops".into(),
        place: Place::default(),
        at: Timestamp(10_801_000),
        routes: vec![],
        marks: vec![],
        content,
    }
}

fn shown(message: Message) -> Vec<String> {
    View::of(&delivery(Content::Message(std::sync::Arc::new(message))), &Zone::default()).lines()
}

#[test]
fn a_plain_message_is_one_line() {
    let lines = shown(message("backup.mysql", "Nightly backup finished"));
    assert_eq!(lines, ["[backup.mysql] db1: Nightly backup finished"]);
    assert_eq!(shown(message("a", "")), ["[a] db1: (empty)"]);
}

#[test]
fn everything_else_has_its_place() {
    let mut full = message("backup.mysql", "line one\n\n\nline two\x07\n");
    full.severity = Severity::Error;
    full.title = Some("Backup\nbroke".into());
    full.status = Some(Status::Failed);
    full.fields = [("size", "3 G"), ("db", "shop")].map(|(k, v)| (k.into(), v.into())).into();
    full.links = vec![
        Link { url: "https://a.b/1".into(), title: Some("Log".into()) },
        Link { url: "https://a.b/2".into(), title: None },
    ];
    full.run = Some(Run { command: "b.sh".into(), duration: Some(200.3), exit: Some(1), ..Run::default() });
    let mut delivery = delivery(Content::Message(std::sync::Arc::new(full)));
    delivery.marks = vec![Mark::Foreign, Mark::TagRewritten, Mark::ForRoom("dba".into())];
    let view = View::of(&delivery, &Zone::default());
    assert_eq!(
        view.lines(),
        [
            "ERROR [backup.mysql] db1: Backup broke (failed, exit 1, 3m 20s)",
            "line one",
            "",
            "line two",
            "db=shop size=\"3 G\"",
            "Log: https://a.b/1",
            "https://a.b/2",
            "(tag rewritten; for room dba)",
        ]
    );
    assert_eq!(view.listed(), "[backup.mysql] db1: Backup broke (failed, exit 1, 3m 20s) (for room dba)");
}

#[test]
fn what_is_over_is_no_alarm() {
    let mut over = message("monitor.disk", "disk is fine again");
    (over.severity, over.status) = (Severity::Critical, Some(Status::Resolved));
    assert_eq!(shown(over), ["[monitor.disk] db1: disk is fine again (resolved)"]);
}

#[test]
fn fields_do_not_repeat_the_headline() {
    let mut event = message("github.push", "o/shop: amy pushed 12 commits to main");
    let fields = [
        ("repository", "o/shop"),
        ("sender", "amy"),
        ("branch", "main"),
        ("file", "pushed 1"),
        ("shard", "1"),
        ("owner", "hop"),
    ];
    event.fields = fields.map(|(k, v)| (k.into(), v.into())).into();
    let tail = "file=\"pushed 1\" owner=hop shard=1";
    assert_eq!(shown(event), ["[github.push] db1: o/shop: amy pushed 12 commits to main", tail]);
}

#[test]
fn the_outcome_does_not_repeat_the_headline() {
    let mut ended = message("a", "rsync failed, exit 3");
    ended.status = Some(Status::Failed);
    ended.run = Some(Run { command: "rsync".into(), duration: Some(0.42), exit: Some(3), ..Run::default() });
    assert_eq!(shown(ended), ["[a] db1: rsync failed, exit 3 (0.4s)"]);
    let mut ours = message("a", "rsync failed with status 3 after 420ms");
    ours.run = Some(Run { command: "rsync".into(), duration: Some(0.42), exit: Some(3), ..Run::default() });
    assert_eq!(shown(ours), ["[a] db1: rsync failed with status 3 after 420ms"]);
    let mut titled = message("a", "same");
    titled.title = Some("same".into());
    assert_eq!(shown(titled), ["[a] db1: same"]);
    let mut run = message("a", "");
    run.run = Some(Run { command: "tar".into(), duration: Some(7300.0), signal: Some(9), ..Run::default() });
    assert_eq!(shown(run), ["[a] db1: tar (signal 9, 2h 1m)"]);
}

#[test]
fn a_summary_counts_what_was_held_back() {
    let summary = Summary {
        route: "backups".into(),
        first_id: "m1".into(),
        count: 12,
        first: Timestamp(10_801_000),
        last: Timestamp(10_860_000),
        severity: Severity::Error,
        tags: [("backup.mysql".into(), 8), ("backup.pg".into(), 4)].into(),
        source: Some("db1".into()),
        headline: "Backup failed".into(),
    };
    let lines = View::of(&delivery(Content::Summary(summary)), &Zone::default()).lines();
    assert_eq!(
        lines,
        [
            "ERROR [backup.>] db1: 12 more from 03:00:01Z to 03:01:00Z, the last: Backup failed",
            "backup.mysql 8, backup.pg 4",
            "(held back by route backups)",
        ]
    );
}

#[test]
fn a_backlog_is_listed_and_counted() {
    let mut bad = message("backup.pg", &format!("Backup failed {}", "x".repeat(300)));
    bad.severity = Severity::Error;
    let mut post = Post::single(delivery(Content::Message(std::sync::Arc::new(message("deploy", "done")))));
    post.listed.push(delivery(Content::Message(std::sync::Arc::new(bad))));
    post.counted = Some(Counted {
        count: 20,
        first: Timestamp(10_801_000),
        last: Timestamp(10_801_000 + 86_400_000),
        worst: Severity::Warning,
        tags: (0..20).map(|n| (format!("backup.n{n}"), 1)).collect(),
    });
    post.zone = Zone::named("Asia/Tokyo").unwrap();
    let tokyo = lines(&post);
    assert_eq!(tokyo[0], "12:00:01 JST [deploy] db1: done");
    assert!(tokyo[2].starts_with("… and 20 more, first 1970-01-01 12:00:01 JST, last "), "{}", tokyo[2]);
    post.zone = Zone::default();
    let lines = lines(&post);
    assert_eq!(lines[0], "03:00:01Z [deploy] db1: done");
    assert!(lines[1].starts_with("03:00:01Z ERROR [backup.pg] db1: Backup failed xxx"));
    assert!(lines[1].len() < 261 && lines[1].ends_with('…'), "{}", lines[1]);
    assert_eq!(
        lines[2],
        "… and 20 more, first 1970-01-01 03:00:01Z, last 1970-01-02 03:00:01Z, worst warning: backup.> 20"
    );
}

#[test]
fn a_table_keeps_its_first_row_beside_the_others() {
    let df = "Filesystem      Size  Used Avail Use% Mounted on\n/dev/sda1        40G   25G   13G  67% /\n";
    let mut disk = message("disk.report", df);
    let view = View::of(&delivery(Content::Message(std::sync::Arc::new(disk.clone()))), &Zone::default());
    assert!(view.table);
    assert_eq!(view.headline, "Filesystem Size Used Avail Use% Mounted on");
    assert_eq!(view.body.join("\n") + "\n", df);
    for (text, table) in [
        ("a b\nc d", false),
        ("Done.  All well.\nnothing else\nto say", false),
        ("one  row", false),
        ("  indented\n  code", false),
        ("a\tb\nc\td", true),
    ] {
        disk.text = text.into();
        assert_eq!(
            View::of(&delivery(Content::Message(std::sync::Arc::new(disk.clone()))), &Zone::default()).table,
            table,
            "{text}"
        );
    }
}

#[test]
fn the_body_gives_way_first() {
    let lines = |n: usize, name: &str| (0..n).map(|i| format!("{name}{i}")).collect::<Vec<_>>();
    let fitted = |keep_end| fit(lines(1, "h"), lines(20, "b"), lines(1, "t"), 5, keep_end);
    assert_eq!(fitted(false), ["h0", "b0", "… (17 more lines)", "b18", "b19", "t0"]);
    assert_eq!(fitted(true), ["h0", "… (17 more lines)", "b17", "b18", "b19", "t0"]);
    assert_eq!(fit(lines(9, "h"), vec![], lines(9, "t"), 8, false).len(), 9);
    assert_eq!(fit(lines(1, "h"), lines(3, "b"), lines(1, "t"), 5, false).len(), 5);
}

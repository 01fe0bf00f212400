//! Expected messages, and when they are missed: periods, sources, runs, and times of day over changes of the clocks.

use super::*;

fn rule(more: &str) -> Rule {
    let toml = format!("seen = 'backup.>'\nwithin = '1h'\ngrace = '10m'\n{more}");
    let config: Config = toml::from_str(&toml).unwrap();
    assert_eq!(config.problems(None), []);
    config.rule().unwrap()
}

fn at(minute: u64) -> Timestamp {
    Timestamp(1_795_751_600_000).plus(Duration::from_secs(minute * 60))
}

fn message(source: &str, status: Option<Status>) -> Message {
    let mut message = Message::new(source, "backup.mysql".parse().unwrap(), "");
    message.status = status;
    message
}

fn levels(memory: &Memory, rule: &Rule, minute: u64) -> Vec<(String, Level)> {
    let readings = memory.readings(rule, at(minute));
    readings.into_iter().map(|reading| (reading.series, reading.level)).collect()
}

#[test]
fn it_is_armed_at_once_and_again_by_each_message() {
    let rule = rule("status = 'succeeded'");
    let mut memory = Memory::armed(7, at(0));
    let level = |memory: &Memory, minute| levels(memory, &rule, minute)[0].1;
    assert_eq!((level(&memory, 70), level(&memory, 71)), (Level::Good, Level::Wrong));
    memory.take(&rule, &message("a", Some(Status::Failed)), at(50)).unwrap();
    assert_eq!(level(&memory, 71), Level::Wrong);
    memory.take(&rule, &message("a", Some(Status::Succeeded)), at(72)).unwrap();
    assert_eq!((level(&memory, 142), level(&memory, 143)), (Level::Good, Level::Wrong));
}

#[test]
fn every_source_that_once_told_must_tell_again() {
    let rule = rule("every_source = true");
    let mut memory = Memory::armed(7, at(0));
    memory.take(&rule, &message("a", None), at(1)).unwrap();
    memory.take(&rule, &message("b", None), at(30)).unwrap();
    let (good, wrong) = (Level::Good, Level::Wrong);
    let all = |a, b| [("", good), ("a", a), ("b", b)].map(|(series, level)| (series.to_owned(), level));
    assert_eq!(levels(&memory, &rule, 71), all(good, good));
    assert_eq!(levels(&memory, &rule, 72), all(wrong, good));
    assert_eq!(levels(&memory, &rule, 101), all(wrong, wrong));
}

#[test]
fn a_run_that_began_must_end() {
    let rule = rule("finished = true");
    let mut memory = Memory::armed(7, at(0));
    memory.take(&rule, &message("a", Some(Status::Started)), at(1)).unwrap();
    memory.take(&rule, &message("b", Some(Status::Succeeded)), at(1)).unwrap();
    memory.take(&rule, &message("a", None), at(2)).unwrap();
    let run = |level| [(String::new(), Level::Good), ("a/backup.mysql".to_owned(), level)];
    assert_eq!(levels(&memory, &rule, 71), run(Level::Good));
    assert_eq!(levels(&memory, &rule, 72), run(Level::Wrong));
    memory.take(&rule, &message("a", Some(Status::Failed)), at(73)).unwrap();
    assert_eq!(levels(&memory, &rule, 74), run(Level::Good), "it is shown once more as it ends");
    let stored: Memory = serde_json::from_value(serde_json::to_value(&memory).unwrap()).unwrap();
    assert_eq!(levels(&stored, &rule, 75), [(String::new(), Level::Good)]);
}

fn by(times: &str) -> Rule {
    let mut config: Config = toml::from_str(&format!("seen = 'backup.>'\n{times}")).unwrap();
    config.in_zone(&Zone::named("Europe/Dublin").unwrap());
    assert_eq!(config.problems(None), []);
    config.rule().unwrap()
}

fn clock(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn level_at(rule: &Rule, last: &str, now: &str) -> Level {
    rule.reading("", clock(last), true, clock(now)).level
}

#[test]
fn it_is_told_each_night_by_a_time_over_changes_of_the_clocks() {
    let rule = by("at = '03:30'\ngrace = '15m'");
    // In winter, over the night in which an hour is left out, and in summer: the deadline in UTC, and whether the message came.
    for (before, deadline) in [
        ("2026-03-27T03:20:00Z", "2026-03-28T03:45:00Z"),
        ("2026-03-28T03:20:00Z", "2026-03-29T02:45:00Z"),
        ("2026-03-29T02:20:00Z", "2026-03-30T02:45:00Z"),
        ("2026-10-24T02:20:00Z", "2026-10-25T03:45:00Z"),
        ("2026-10-25T03:20:00Z", "2026-10-26T03:45:00Z"),
    ] {
        let deadline = clock(deadline);
        let at = |now: Timestamp| rule.reading("", clock(before), true, now).level;
        let moment = Duration::from_millis(1);
        assert_eq!((at(deadline), at(deadline.plus(moment))), (Level::Good, Level::Wrong), "{deadline}");
        let tonight = deadline.minus(Duration::from_secs(1500));
        assert_eq!(rule.reading("", tonight, true, deadline.plus(moment)).level, Level::Good);
    }
}

#[test]
fn a_skipped_time_is_at_the_change_and_a_repeated_one_the_first_time() {
    let rule = by("at = '01:30'\nwithin = '1h'");
    // 01:00 became 02:00 at 01:00Z.
    assert_eq!(level_at(&rule, "2026-03-28T01:29:00Z", "2026-03-29T01:00:00Z"), Level::Good);
    assert_eq!(level_at(&rule, "2026-03-28T01:29:00Z", "2026-03-29T01:00:00.001Z"), Level::Wrong);
    // 02:00 became 01:00 at 01:00Z: 01:30 was at 00:30Z and at 01:30Z, which is no further time.
    assert_eq!(level_at(&rule, "2026-10-24T00:20:00Z", "2026-10-25T00:30:00.001Z"), Level::Wrong);
    assert_eq!(level_at(&rule, "2026-10-25T00:20:00Z", "2026-10-25T12:00:00Z"), Level::Good);
}

#[test]
fn a_message_that_is_late_counts_for_the_next_time_unless_a_bound_says_otherwise() {
    let (late, next) = ("2026-06-01T05:00:00Z", "2026-06-02T03:00:00Z");
    assert_eq!(level_at(&by("at = '03:30'"), late, "2026-06-01T05:00:01Z"), Level::Good, "it is there");
    assert_eq!(level_at(&by("at = '03:30'"), late, next), Level::Good);
    assert_eq!(level_at(&by("at = '03:30'\nwithin = '6h'"), late, next), Level::Wrong);
    // One in the grace is of the time before.
    assert_eq!(level_at(&by("at = '03:30'\ngrace = '1h'"), "2026-06-01T03:00:00Z", next), Level::Good);
    assert_eq!(
        level_at(&by("at = '03:30'\ngrace = '1h'"), "2026-06-01T03:00:00Z", "2026-06-02T03:31:00Z"),
        Level::Wrong
    );
    let weekly = by("cron = '0 4 * * 1'\nzone = 'UTC'");
    assert_eq!(level_at(&weekly, "2026-06-01T03:00:00Z", "2026-06-08T04:00:00Z"), Level::Good);
    assert_eq!(level_at(&weekly, "2026-06-01T03:00:00Z", "2026-06-08T04:00:01Z"), Level::Wrong);
}

#[test]
fn the_first_time_that_counts_was_watched_from_its_beginning() {
    let rule = by("at = '03:30'");
    let unseen = |now: &str| rule.reading("", clock("2026-06-01T02:00:00Z"), false, clock(now));
    assert_eq!(unseen("2026-06-01T04:00:00Z").level, Level::Good, "it may have come before we began");
    let missed = unseen("2026-06-02T02:30:01Z");
    assert_eq!(missed.level, Level::Wrong);
    assert_eq!(missed.words, "backup.> has not come by 2026-06-02 03:30:00 IST");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let keys = |toml: &str, clear| {
        let problems = toml::from_str::<Config>(toml).unwrap().problems(clear);
        problems.iter().map(|problem| problem.key).collect::<Vec<_>>()
    };
    assert_eq!(keys("", None), ["seen", "within"]);
    assert_eq!(keys("seen = 'a b'\nwithin = '0s'\ngrace = 'x'", None), ["seen", "within", "grace"]);
    assert_eq!(keys("seen = 'a'\nwithin = '1h'\nfinished = true\nstatus = 'failed'", None), ["finished"]);
    assert_eq!(keys("seen = 'a'\nwithin = '1h'", Some(1.0)), ["within"]);
    assert_eq!(keys("seen = 'a'\nat = '25:00'\ndays = 'someday'", None), ["at", "days"]);
    assert_eq!(
        keys("seen = 'a'\nat = '03:30'\ncron = '0 3 * * *'\nfinished = true", None),
        ["cron", "finished"]
    );
    assert_eq!(keys("seen = 'a'\ncron = '0 3 31 2 *'", None), ["cron"]);
    assert_eq!(keys("seen = 'a'\nat = '03:30'\nzone = 'Europe/Dubln'", None), ["zone"]);
    assert_eq!(keys("seen = 'a'\nwithin = '1h'\ndays = 'mon'\nzone = 'UTC'", None), ["days", "zone"]);
}

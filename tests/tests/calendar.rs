//! The due times of schedules over changes of the clocks, against an independent calendar: Python's `zoneinfo`.

#![expect(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tellhal::Timestamp;
use tests::find;

/// Zones, each with the Mondays of weeks in which its clocks change.
const WEEKS: [(&str, &[&str]); 5] = [
    ("America/New_York", &["2026-03-02", "2026-10-26"]),
    // In winter Dublin's clocks are behind its standard time.
    ("Europe/Dublin", &["2026-03-23", "2026-10-19"]),
    // By half an hour.
    ("Australia/Lord_Howe", &["2026-03-30", "2026-09-28"]),
    ("Africa/Casablanca", &["2026-02-09", "2026-03-16"]),
    ("UTC", &["2026-11-23"]),
];
const TIMES: [&str; 8] = ["00:00", "01:30", "01:45", "02:00", "02:15", "02:30", "03:00", "10:30"];
/// As they are written, and as Python counts them.
const DAYS: [(&str, &[u8]); 3] =
    [("daily", &[0, 1, 2, 3, 4, 5, 6]), ("mon-fri", &[0, 1, 2, 3, 4]), ("sat,sun", &[5, 6])];
const CRON: [&str; 5] = ["30 2 * * *", "30 1 * * 0", "*/20 * * * *", "15 1-3 * * *", "5 */2 * * 6,0"];

#[test]
fn the_due_times_are_those_of_an_independent_calendar() {
    for (zone, weeks) in WEEKS {
        for week in weeks {
            let from: Timestamp = format!("{week}T00:00:00Z").parse().unwrap();
            let until = Timestamp(from.0 + 8 * 86_400_000);
            let (mut config, mut asked) = (String::new(), Vec::new());
            let mut add = |keys: String, mut schedule: Value| {
                let name = asked.len();
                config +=
                    &format!("[[schedules]]\nname = \"{name}\"\nzone = \"{zone}\"\ntext = \"x\"\n{keys}");
                (schedule["zone"], schedule["from"], schedule["until"]) =
                    (zone.into(), (from.0 / 1000).into(), (until.0 / 1000).into());
                asked.push(schedule);
            };
            for at in TIMES {
                for (days, numbers) in DAYS {
                    add(format!("at = \"{at}\"\ndays = \"{days}\"\n"), json!({ "at": at, "days": numbers }));
                }
            }
            for cron in CRON {
                add(format!("cron = \"{cron}\"\n"), json!({ "cron": cron }));
            }
            for ((asked, ours), theirs) in asked.iter().zip(ours(&config, from, until)).zip(theirs(&asked)) {
                assert_eq!(ours, theirs, "{asked}");
                assert!(!ours.is_empty(), "{asked}");
            }
        }
    }
}

/// The due times of all schedules, in seconds since 1970.
fn ours(config: &str, from: Timestamp, until: Timestamp) -> Vec<Vec<i64>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bridge.toml");
    std::fs::write(&path, config).unwrap();
    let jobs = Command::new(find::ours("hal-bridge"))
        .args(["jobs", "--json", "--next", "600", "--from", &from.to_string(), "--config"])
        .arg(&path)
        .output()
        .unwrap();
    let jobs: Vec<Value> = serde_json::from_slice(&jobs.stdout).unwrap();
    let due = |job: &Value| {
        let due = job["due"].as_array().unwrap().iter();
        let due = due.map(|due| due.as_str().unwrap().parse::<Timestamp>().unwrap());
        due.filter(|due| *due <= until).map(|due| due.0 / 1000).collect()
    };
    jobs.iter().map(due).collect()
}

fn theirs(asked: &[Value]) -> Vec<Vec<i64>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/calendar.py");
    let mut python =
        Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(json!(asked).to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

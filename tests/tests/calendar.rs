//! The due times of schedules over changes of the clocks, against an independent calendar: Python's `zoneinfo`. Once as the
//! configuration alone gives them, and once as two bridges fire them for an hour around a change, of which one after the other is
//! killed. Their wall clock runs fast (Debian's `faketime`).

#![expect(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tellhal::{Message, Timestamp};
use tempfile::TempDir;
use tests::{NatsServer, Port, Process, find};
use tokio::time::sleep;

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
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/due_times.py");
    let mut python =
        Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(json!(asked).to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The wall clock runs so many times as fast, and begins so long before the hour that counts.
const FAST: u32 = 120;
const BEFORE: Duration = Duration::from_secs(15 * 60);
const HOUR: Duration = Duration::from_secs(3600);
/// The time after which the next bridge is killed.
const KILL: Duration = Duration::from_secs(4);

/// A wall clock of its own.
#[derive(Clone, Copy)]
struct Wall {
    from: Timestamp,
    begun: Instant,
}

impl Wall {
    fn now(self) -> Timestamp {
        self.from.plus(self.begun.elapsed() * FAST)
    }
}

/// A bridge at the time of a wall clock of its own.
struct Shifted {
    dir: TempDir,
    wall: Wall,
    process: Process,
}

impl Shifted {
    fn start(nats: &NatsServer, config: &str, wall: Wall) -> Shifted {
        let dir = tempfile::tempdir().unwrap();
        let listen =
            format!("[http]\nlisten = \"{}\"\n[nats]\nurl = \"{}\"\n", Port::free().addr(), nats.url());
        let listen = format!("{listen}nkey_file = {:?}\n", tests::users::key("bridge"));
        std::fs::write(dir.path().join("bridge.toml"), format!("{config}{listen}")).unwrap();
        let process = run(&dir, wall);
        Shifted { dir, wall, process }
    }

    fn restart(&mut self) {
        self.process.kill();
        self.process = run(&self.dir, self.wall);
    }
}

fn run(dir: &TempDir, wall: Wall) -> Process {
    let mut command = Command::new(find::ours("hal-bridge"));
    command.args(["run", "--config"]).arg(dir.path().join("bridge.toml"));
    let now = wall.now().to_string();
    let now = now.split('.').next().unwrap().trim_end_matches('Z').replace('T', " ");
    command.env("STATE_DIRECTORY", dir.path()).env("TZ", "UTC").env("LD_PRELOAD", faketime());
    // Timers and leases go on as they are: only the clock on the wall runs fast.
    command.env("FAKETIME", format!("@{now} x{FAST}")).env("DONT_FAKE_MONOTONIC", "1");
    Process::start("hal-bridge", &mut command, &dir.path().join("log"))
}

/// Debian's library, in the folder of the machine's architecture.
fn faketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|folder| folder.unwrap().path());
    let mut found =
        folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).filter(|path| path.exists());
    found.next().expect("faketime is installed (tests/run installs it)")
}

/// Fires the schedules of a zone for an hour from `from` on, by two bridges of which one after the other is killed.
async fn an_hour(zone: &str, from: &str, times: &[&str]) {
    let from: Timestamp = from.parse().unwrap();
    let until = from.plus(HOUR);
    let nats = NatsServer::start().await;
    nats.create_log().await;
    let mut config =
        "[[schedules]]\nname = \"ten\"\nevery = \"10m\"\ncatch_up = \"1h\"\ntext = \"x\"\n".to_owned();
    let mut asked = Vec::new();
    let range = |mut schedule: Value| {
        (schedule["zone"], schedule["from"], schedule["until"]) =
            (zone.into(), (from.0 / 1000).into(), (until.0 / 1000).into());
        schedule
    };
    for (number, at) in times.iter().enumerate() {
        config += &format!(
            "[[schedules]]\nname = \"at{number}\"\nzone = \"{zone}\"\nat = \"{at}\"\ntext = \"x\"\n"
        );
        asked.push((format!("at{number}"), range(json!({ "at": at, "days": [0, 1, 2, 3, 4, 5, 6] }))));
    }
    config += &format!(
        "[[schedules]]\nname = \"cron\"\nzone = \"{zone}\"\ncron = \"*/20 * * * *\"\ntext = \"x\"\n"
    );
    asked.push(("cron".into(), range(json!({ "cron": "*/20 * * * *" }))));

    let wall = Wall { from: from.minus(BEFORE), begun: Instant::now() };
    let mut bridges = [Shifted::start(&nats, &config, wall), Shifted::start(&nats, &config, wall)];
    let mut turn = 0;
    // A due time at the end of the hour is fired some seconds later.
    while wall.now() < until.plus(KILL * FAST) {
        sleep(KILL).await;
        bridges[turn % 2].restart();
        turn += 1;
    }
    let mut want = BTreeMap::<String, Vec<i64>>::new();
    let questions: Vec<Value> = asked.iter().map(|(_, schedule)| schedule.clone()).collect();
    for ((name, _), due) in asked.iter().zip(theirs(&questions)) {
        want.insert(name.clone(), due);
    }
    want.insert(
        "ten".into(),
        (from.0 / 1000..=until.0 / 1000).filter(|due| due % 600 == 0 && *due > from.0 / 1000).collect(),
    );
    want.retain(|_, due| !due.is_empty());
    assert_eq!(fired(&nats, from, until).await, want, "{zone}, {turn} times killed");
}

/// The due times of all messages, by schedule, in seconds since 1970.
async fn fired(nats: &NatsServer, from: Timestamp, until: Timestamp) -> BTreeMap<String, Vec<i64>> {
    let stream = nats.jetstream().await.get_stream("HAL_OPS").await.unwrap();
    let mut fired = BTreeMap::<String, Vec<i64>>::new();
    for sequence in 1..=stream.cached_info().state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let message: Message = serde_json::from_slice(&message.payload).unwrap();
        // One that is on time is at most ten seconds late, and all are due at whole minutes.
        let due = message.fields.get("due").map_or(message.time, |due| due.parse().unwrap());
        let due = due.0 / 60_000 * 60;
        if due > from.0 / 1000 && due <= until.0 / 1000 {
            fired.entry(message.fields["schedule"].clone()).or_default().push(due);
        }
    }
    fired.values_mut().for_each(|due| due.sort_unstable());
    fired
}

#[tokio::test]
async fn two_bridges_fire_what_the_calendar_says_for_an_hour_around_a_change() {
    tokio::join!(
        an_hour("America/New_York", "2026-03-08T06:30:00Z", &["01:45", "02:00", "02:30", "03:00", "03:15"]),
        // 01:15 comes for the second time in this hour.
        an_hour("Europe/Dublin", "2026-10-25T00:30:00Z", &["01:15", "01:45", "02:00"]),
        an_hour("Australia/Lord_Howe", "2026-10-03T15:00:00Z", &["01:45", "02:15", "02:30", "02:45"]),
    );
}

//! A million throttle keys: the size of the engine, the number of its windows, and the memory of each.
//! Every row is a process of its own, since memory that was freed is not given back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bench::process::memory;
use bench::stats::Table;
use relay::engine::entry::{Entry, Happening};
use relay::engine::routing::{Route, Routing, ThrottleBy};
use relay::engine::{Engine, Rules};
use tellhal::message::{Message, Received};
use tellhal::timestamp::Timestamp;

/// Keys, times each comes.
const CASES: [(usize, usize); 5] = [(1, 1_000_000), (10_000, 1), (100_000, 1), (100_000, 2), (1_000_000, 1)];

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [keys, times] = &args[..] {
        return fill(keys.parse()?, times.parse()?);
    }
    let mut table = Table::new(&["keys", "times each", "open windows", "state MiB", "bytes a window"]);
    for (keys, times) in CASES {
        let output = std::process::Command::new(std::env::current_exe()?)
            .args([keys.to_string(), times.to_string()])
            .output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout)?;
        let numbers: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [windows, bytes, without] = numbers[..] else { anyhow::bail!("{text:?}") };
        let each = bytes.saturating_sub(without) / windows.max(1);
        let each = if windows > 1 { each.to_string() } else { "–".into() };
        let mebibytes = format!("{:.1}", bytes as f64 / (1024.0 * 1024.0));
        table.row(vec![keys.to_string(), times.to_string(), windows.to_string(), mebibytes, each]);
    }
    println!("{}", table.markdown());
    println!("state: resident memory of the engine, with remembered ids; bytes per window: without them");
    Ok(())
}

/// Prints the open windows, the engine's bytes, and the bytes of one that saw as many ids without a throttle.
fn fill(keys: usize, times: usize) -> anyhow::Result<()> {
    let before = memory(std::process::id(), "VmRSS")?;
    let plain = run(keys, times, None)?;
    let between = memory(std::process::id(), "VmRSS")?;
    let throttled = run(keys, times, Some(Duration::from_secs(3600)))?;
    let after = memory(std::process::id(), "VmRSS")?;
    println!(
        "{} {} {}",
        throttled.open_windows(),
        after.saturating_sub(between),
        between.saturating_sub(before)
    );
    drop((plain, throttled));
    Ok(())
}

fn run(keys: usize, times: usize, throttle: Option<Duration>) -> anyhow::Result<Engine> {
    let route = Route {
        name: "all".into(),
        rooms: vec!["ops".into()],
        throttle,
        throttle_by: vec![ThrottleBy::Tag, ThrottleBy::Source],
        ..Route::default()
    };
    let rooms = BTreeSet::from(["ops".to_owned()]);
    let routing = Routing { default_room: "ops".into(), rooms, routes: vec![route], dev_room: None };
    let mut engine = Engine::new(Arc::new(Rules::new(routing)));
    for number in 0..keys * times {
        let tag = format!("backup.db{}.done", number % keys);
        let tag = tag.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        let message = Message::new("db1", tag, "the nightly backup has finished");
        let (sequence, at) =
            (number as u64 + 1, Timestamp(1_795_000_000_000 + i64::try_from(number)? / 1_000));
        let what = Happening::Message(Received { message, marks: Vec::new() });
        engine.apply(Entry { sequence, at, what });
    }
    Ok(engine)
}

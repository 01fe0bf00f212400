//! A room beside a dead one with a full queue: the latency of the healthy room, the relay's memory, the size of a snapshot and the
//! time of a takeover. `dead_room [--messages N]`.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bench::process::{cpu_seconds, memory};
use bench::servers::{self, Server, free_address};
use bench::stats::Table;
use bench_pipeline::sink::{Sink, Stats};
use bench_pipeline::{load, relay_process, runtime, sink};

/// The deliveries that wait for the dead room before anything is measured: as many as may.
const WAITING: usize = 50_000;
const PER_SECOND: f64 = 1_000.0;

fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["sink", address] => runtime()?.block_on(sink::serve(address.parse()?)),
        [] => runtime()?.block_on(run(100_000)),
        ["--messages", number] => runtime()?.block_on(run(number.parse().context("--messages")?)),
        _ => bail!("usage: dead_room [--messages N]"),
    }
}

async fn run(messages: usize) -> anyhow::Result<()> {
    let mut table =
        Table::new(&["the healthy room", "p50 ms", "p99 ms", "CPU µs a message", "RSS MiB", "peak MiB"]);
    row(&mut table, "alone", &measure(messages, false).await?);
    let beside = measure(messages, true).await?;
    row(&mut table, &format!("beside a dead one with {WAITING} waiting"), &beside);
    println!("{}", table.markdown());
    println!("{messages} messages for both rooms at {PER_SECOND} a second.");
    println!("Snapshot with {WAITING} waiting: {} KiB.", beside.snapshot / 1024);
    println!("Dead letters written meanwhile: {}.", beside.dead);
    println!(
        "From the leader's kill -9 to the next post in the healthy room: {:.2} s, of which up to 5 s are the old lease's.",
        beside.takeover.as_secs_f64()
    );
    Ok(())
}

struct Measured {
    stats: Stats,
    cpu_us: f64,
    rss: u64,
    peak: u64,
    snapshot: usize,
    dead: u64,
    takeover: Duration,
}

fn row(table: &mut Table, name: &str, measured: &Measured) {
    let mebibytes = |bytes: u64| format!("{:.1}", bytes as f64 / (1024.0 * 1024.0));
    table.row(vec![
        name.into(),
        format!("{:.2}", measured.stats.p50),
        format!("{:.2}", measured.stats.p99),
        format!("{:.0}", measured.cpu_us),
        mebibytes(measured.rss),
        mebibytes(measured.peak),
    ]);
}

/// A relay with the room `live` and, if `dead`, one whose address nobody listens on.
async fn start(
    folder: &Path,
    nats: &Server,
    sink: &Sink,
    dead: Option<std::net::SocketAddr>,
) -> anyhow::Result<(Server, std::net::SocketAddr)> {
    let page = free_address()?;
    let mut text = format!(
        "default_room = \"live\"\nnats.url = \"nats://{}\"\npage.listen = \"{page}\"\n\
         rooms.live.webhook = {{ url = \"{}\", allow_private = true }}\n",
        nats.address,
        sink.url()
    );
    if let Some(address) = dead {
        text += &format!(
            "rooms.dead.webhook = {{ url = \"http://{address}\", allow_private = true }}\n\
             routes = [{{ name = \"both\", tag = \">\", rooms = [\"dead\", \"live\"] }}]\n"
        );
    }
    let config = folder.join("relay.toml");
    std::fs::write(&config, text)?;
    let program = relay_process::program()?.context("hal-relay is not built")?;
    Ok((relay_process::start(&program, folder, &config, page).await?.0, page))
}

async fn measure(messages: usize, with_dead: bool) -> anyhow::Result<Measured> {
    let (folder, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let nats = servers::nats(folder.path(), free_address()?, None)?;
    let sink = Sink::start(&folder.path().join("sink.log"))?;
    let dead = with_dead.then(free_address).transpose()?;
    let (mut relay, page) = start(folder.path(), &nats, &sink, dead).await?;
    let context = load::connect(nats.address).await?;
    load::publish(&context, 0..WAITING, None).await?;
    if with_dead {
        wait_until_waiting(page).await?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    sink.reset().await?;
    let before = cpu_seconds(relay.pid())?;
    load::publish(&context, WAITING..WAITING + messages, Some(PER_SECOND)).await?;
    let stats = sink.wait(messages as u64).await?;
    let cpu_us = (cpu_seconds(relay.pid())? - before) * 1e6 / messages as f64;
    let (rss, peak) = (memory(relay.pid(), "VmRSS")?, memory(relay.pid(), "VmHWM")?);

    let (standby, _) = start(other.path(), &nats, &sink, dead).await?;
    relay.kill();
    let killed = Instant::now();
    let last = WAITING + messages;
    sink.reset().await?;
    load::publish(&context, last..last + 1, None).await?;
    sink.wait(1).await?;
    let takeover = killed.elapsed();
    drop(standby);
    let files = context.get_object_store("HAL_FILES").await?;
    let snapshot = files.info("snapshot").await?.size;
    let dead = context.get_stream("HAL_DEAD").await?.cached_info().state.messages;
    Ok(Measured { stats, cpu_us, rss, peak, snapshot, dead, takeover })
}

async fn wait_until_waiting(page: std::net::SocketAddr) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let (_, pending) = relay_process::folded(&client, page).await?;
        if pending >= WAITING as u64 {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "only {pending} deliveries wait");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

//! The relay with many waiting messages, for a dead room and a million in the log: its memory, and the
//! times until it is ready and until it delivers after the server's restart. `backlog [--messages N] [--without-index]`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bench::process::memory;
use bench::servers::{self, Server, free_address};
use bench::stats::Table;
use bench_pipeline::sink::Sink;
use bench_pipeline::{load, relay_process, runtime, sink};

/// Delivered before the baseline is taken, so that every part of the relay has run.
const FIRST: usize = 2_000;
/// Number of times the server is killed and restarted.
const RETURNS: usize = 3;
/// Number of waiting deliveries: fewer than a room's queue holds.
const FOR_DEAD_ROOM: usize = 40_000;
/// Leaves out the page's index, for the memory of everything else.
const WITHOUT_INDEX: &str = "--without-index";

fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).filter(|word| *word != WITHOUT_INDEX).collect();
    let with_index = words.len() == args.len();
    match words[..] {
        ["sink", address] => runtime()?.block_on(sink::serve(address.parse()?)),
        [] => runtime()?.block_on(run(1_000_000, with_index)),
        ["--messages", number] => runtime()?.block_on(run(number.parse().context("--messages")?, with_index)),
        _ => bail!("usage: backlog [--messages N] [{WITHOUT_INDEX}]"),
    }
}

struct Bench {
    relay: Server,
    sink: Sink,
    nats: Server,
    program: PathBuf,
    config: PathBuf,
    page: SocketAddr,
    table: Table,
    folder: tempfile::TempDir,
}

async fn run(messages: usize, with_index: bool) -> anyhow::Result<()> {
    let mut bench = Bench::start(with_index).await?;
    let context = load::connect(bench.nats.address).await?;
    load::publish(&context, 0..FIRST, None).await?;
    relay_process::drained(&context).await?;
    bench.memory("nothing waits, after its first messages")?;
    for number in FIRST..FIRST + RETURNS {
        bench.restart_server(number).await?;
    }

    bench.sink.server.kill();
    let first = FIRST + RETURNS;
    load::publish(&context, first..first + FOR_DEAD_ROOM, None).await?;
    bench.waiting(FOR_DEAD_ROOM as u64).await?;
    bench.memory(&format!("{FOR_DEAD_ROOM} deliveries wait for a dead room"))?;
    bench.sink.restart()?;
    relay_process::drained(&context).await?;
    bench.memory("after they were delivered")?;

    bench.relay.kill();
    let first = first + FOR_DEAD_ROOM;
    load::publish(&context, first..first + messages, None).await?;
    bench.start_relay(&format!("ready with {messages} messages waiting in the log")).await?;
    let start = Instant::now();
    relay_process::drained(&context).await?;
    bench.table.row(vec![
        "then until all are delivered, the old lease's end included".into(),
        "–".into(),
        "–".into(),
        seconds(start.elapsed()),
    ]);
    bench.memory("after they were delivered")?;
    for _ in 0..RETURNS {
        bench.relay.kill();
        bench.start_relay(&format!("ready after kill -9, {messages} messages in the log")).await?;
    }
    let start = Instant::now();
    let last = first + messages;
    bench.sink.reset().await?;
    load::publish(&context, last..last + 1, None).await?;
    bench.sink.wait(1).await?;
    let what = "then until one more is delivered, the old lease's end included";
    bench.table.row(vec![what.into(), "–".into(), "–".into(), seconds(start.elapsed())]);
    bench.memory("after it was delivered")?;
    println!("{}", bench.table.markdown());
    let dead = context.get_stream("HAL_DEAD").await?.cached_info().state.messages;
    println!("{dead} dead letters; the sink got {} messages one by one", bench.sink.stats().await?.messages);
    Ok(())
}

impl Bench {
    async fn start(with_index: bool) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let nats = servers::nats(folder.path(), free_address()?, None)?;
        let sink = Sink::start(&folder.path().join("sink.log"))?;
        let program = relay_process::program()?.context("hal-relay is not built")?;
        let (config, page) = relay_process::configure(folder.path(), nats.address, &sink.url(), 1, None)?;
        if !with_index {
            // A place where no file can be made.
            let text = std::fs::read_to_string(&config)?;
            std::fs::write(&config, format!("state_dir = \"/dev/null/none\"\n{text}"))?;
        }
        let (relay, ready) = relay_process::start(&program, folder.path(), &config, page).await?;
        let mut table = Table::new(&["what", "RSS MiB", "peak MiB", "seconds"]);
        table.row(vec!["ready on an empty server".into(), "–".into(), "–".into(), seconds(ready)]);
        Ok(Bench { relay, sink, nats, program, config, page, table, folder })
    }

    fn memory(&mut self, what: &str) -> anyhow::Result<()> {
        let mebibytes = |line| -> anyhow::Result<String> {
            Ok(format!("{:.1}", memory(self.relay.pid(), line)? as f64 / (1024.0 * 1024.0)))
        };
        let row = vec![what.into(), mebibytes("VmRSS")?, mebibytes("VmHWM")?, "–".into()];
        self.table.row(row);
        Ok(())
    }

    /// Waits until `waiting` deliveries wait for the room.
    async fn waiting(&self, waiting: u64) -> anyhow::Result<()> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let (_, pending) = relay_process::folded(&client, self.page).await?;
            if pending == waiting {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "{pending} deliveries wait, not {waiting}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Starts the relay and records the time until it is ready.
    async fn start_relay(&mut self, what: &str) -> anyhow::Result<()> {
        let (relay, ready) =
            relay_process::start(&self.program, self.folder.path(), &self.config, self.page).await?;
        self.relay = relay;
        self.table.row(vec![what.into(), "–".into(), "–".into(), seconds(ready)]);
        Ok(())
    }

    /// Kills and restarts the server; returns the time until a message published then is in the room.
    async fn restart_server(&mut self, number: usize) -> anyhow::Result<()> {
        let address = self.nats.address;
        self.sink.reset().await?;
        self.nats.kill();
        self.nats = servers::nats(self.folder.path(), address, None)?;
        let returned = Instant::now();
        let context = load::connect(address).await?;
        load::publish(&context, number..number + 1, None).await?;
        self.sink.wait(1).await?;
        let what = "delivered after the server's kill -9 and return";
        self.table.row(vec![what.into(), "–".into(), "–".into(), seconds(returned.elapsed())]);
        Ok(())
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64())
}

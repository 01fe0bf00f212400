//! The relay's throughput and added latency, each measured in one interleaved run with its peers.
//! `relay [--rounds N] [--messages N]`; other arguments are the roles of its own child processes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bench::process::{cpu_seconds, memory};
use bench::servers::{self, Server};
use bench::stats::{Spread, Table, cell, interleave, ratio, spread};
use bench_pipeline::sink::{Sink, Stats};
use bench_pipeline::{alertmanager, consume, load, relay_process, role, runtime, sink};

const PER_SECOND: f64 = 500.0;
/// A case's number, its row's values of one round.
type Results<T> = Vec<Vec<Option<T>>>;

struct Options {
    rounds: usize,
    messages: usize,
}

fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["sink", address] => runtime()?.block_on(sink::serve(address.parse()?)),
        ["bare", address, count] => {
            print(runtime()?.block_on(consume::bare(address.parse()?, count.parse()?)))
        }
        ["decide", address, count] => {
            print(runtime()?.block_on(consume::decide(address.parse()?, count.parse()?)))
        }
        ["naive", address, url, rooms] => {
            print(runtime()?.block_on(consume::naive(address.parse()?, url, rooms.parse()?, None)))
        }
        _ => {
            let options = options(&args)?;
            println!("## Consume and decide\n\n{}", reading(&options)?);
            println!("## Deliver a backlog to webhook rooms\n\n{}", delivering(&options)?);
            println!("## Added latency at {PER_SECOND} messages a second\n\n{}", waiting(&options)?);
            Ok(())
        }
    }
}

fn print(seconds: anyhow::Result<f64>) -> anyhow::Result<()> {
    println!("{}", seconds?);
    Ok(())
}

fn options(args: &[String]) -> anyhow::Result<Options> {
    let mut options = Options { rounds: 7, messages: 100_000 };
    for pair in args.chunks(2) {
        match pair {
            [flag, number] if flag == "--rounds" => options.rounds = number.parse().context("--rounds")?,
            [flag, number] if flag == "--messages" => {
                options.messages = number.parse().context("--messages")?
            }
            _ => bail!("usage: relay [--rounds N] [--messages N]"),
        }
    }
    Ok(options)
}

/// The bare consumer, the fold with a null sink, and the fold into the queues.
fn reading(options: &Options) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let nats = servers::nats(folder.path(), servers::free_address()?, None)?;
    runtime()?.block_on(preload(nats.address, options.messages))?;
    let mut names = vec!["bare consumer: parse, drop, ack each", "consume and decide, 100 routes, null sink"];
    if Courier::Relay(None).installed()? {
        names.push("the same into the queues: hal-relay, its room down");
    }
    let results = interleave(names.len(), 1, options.rounds, |number, _| {
        let Some(name) = ["bare", "decide"].get(number) else {
            return fill_queues(options.messages).map(Some);
        };
        let seconds = role(&[(*name).to_owned(), nats.address.to_string(), options.messages.to_string()])?;
        Ok(Some(options.messages as f64 / seconds))
    })?;
    let mut table = Table::new(&["pipeline", "messages/s", "× bare consumer", "× null sink"]);
    for (name, rates) in names.iter().zip(&results) {
        let rate = spread(rates.iter().flatten().copied());
        let times = |base: usize| cell(ratio(rates, &results[base]).map(|ratio| ratio.median), 2);
        table.row(vec![(*name).into(), show(rate, 0), times(0), times(1)]);
    }
    Ok(table.markdown())
}

/// Messages a second that the relay folds, from the first to the last of a full log.
fn fill_queues(messages: usize) -> anyhow::Result<f64> {
    let mut run = Run::new()?;
    run.sink.server.kill();
    runtime()?.block_on(async {
        preload(run.nats.address, messages).await?;
        let begin = Instant::now();
        let page = run.start(Courier::Relay(None), 1).await?.context("no page")?;
        let client = reqwest::Client::builder().no_proxy().build()?;
        let deadline = begin + Duration::from_secs(60);
        let mut first = None;
        loop {
            let (now, (folded, _)) = (Instant::now(), relay_process::folded(&client, page).await?);
            let (before, start) = *first.get_or_insert((folded, now));
            if before == 0 && folded > 0 {
                first = Some((folded, now));
            }
            if folded >= messages as u64 {
                anyhow::ensure!(folded > before, "all was folded before it could be watched");
                return Ok((folded - before) as f64 / (now - start).as_secs_f64());
            }
            anyhow::ensure!(now < deadline, "{folded} of {messages} messages are folded");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
}

async fn preload(nats: SocketAddr, messages: usize) -> anyhow::Result<()> {
    let context = load::connect(nats).await?;
    load::log(&context).await?;
    load::publish(&context, 0..messages, None).await
}

/// The program that brings messages from the bus (or an API) to the sink.
#[derive(Clone, Copy, PartialEq)]
enum Courier {
    Direct,
    Naive,
    /// `hal-relay`, with the largest number of messages in one post.
    Relay(Option<usize>),
    Alertmanager,
}

#[derive(Clone, Copy)]
struct Delivered {
    rate: f64,
    posts: f64,
    listed: f64,
    cpu_us: f64,
    peak_mib: f64,
    p50: f64,
    p99: f64,
}

/// A server, a sink and a courier for one run, so that no run depends on the state of another.
struct Run {
    courier: Option<Server>,
    sink: Sink,
    nats: Server,
    folder: tempfile::TempDir,
}

impl Courier {
    fn installed(self) -> anyhow::Result<bool> {
        Ok(match self {
            Courier::Relay(_) => relay_process::program()?.is_some(),
            Courier::Alertmanager => bench::process::find("prometheus-alertmanager").is_some(),
            Courier::Direct | Courier::Naive => true,
        })
    }
}

impl Run {
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let nats = servers::nats(folder.path(), servers::free_address()?, None)?;
        let sink = Sink::start(&folder.path().join("sink.log"))?;
        Ok(Run { courier: None, sink, nats, folder })
    }

    /// Also returns the address of the relay's page.
    async fn start(&mut self, courier: Courier, rooms: usize) -> anyhow::Result<Option<SocketAddr>> {
        let (folder, nats, url) = (self.folder.path(), self.nats.address, self.sink.url());
        let mut its_page = None;
        self.courier = match courier {
            Courier::Direct => None,
            Courier::Naive => {
                let mut command = std::process::Command::new(std::env::current_exe()?);
                command.args(["naive", &nats.to_string(), &url, &rooms.to_string()]);
                Some(Server::start(command, self.sink.server.address, &folder.join("naive.log"))?)
            }
            Courier::Relay(batch) => {
                let program = relay_process::program()?.context("hal-relay is not built")?;
                let (config, page) = relay_process::configure(folder, nats, &url, rooms, batch)?;
                its_page = Some(page);
                Some(relay_process::start(&program, folder, &config, page).await?.0)
            }
            Courier::Alertmanager => alertmanager::start(folder, &url)?,
        };
        Ok(its_page)
    }

    /// The cost of `messages`, of which the sink has seen `stats`.
    fn delivered(&self, messages: usize, stats: &Stats) -> anyhow::Result<Delivered> {
        let pid = self.courier.as_ref().map(Server::pid);
        let messages = messages as f64;
        Ok(Delivered {
            rate: messages / stats.seconds,
            posts: stats.posts as f64,
            listed: stats.messages as f64,
            cpu_us: pid.map(cpu_seconds).transpose()?.unwrap_or(0.0) * 1e6 / messages,
            peak_mib: pid.map(|pid| memory(pid, "VmHWM")).transpose()?.unwrap_or(0) as f64
                / (1024.0 * 1024.0),
            p50: stats.p50,
            p99: stats.p99,
        })
    }
}

/// A log of waiting messages, delivered as fast as the courier can.
fn deliver(courier: Courier, rooms: usize, messages: usize) -> anyhow::Result<Delivered> {
    let mut run = Run::new()?;
    runtime()?.block_on(async {
        if courier == Courier::Alertmanager {
            run.start(courier, rooms).await?;
            let server = run.courier.as_ref().context("alertmanager is not installed")?;
            alertmanager::feed(server.address, 0..messages, rooms, None).await?;
        } else {
            preload(run.nats.address, messages).await?;
            run.start(courier, rooms).await?;
        }
        run.sink.wait(messages as u64).await?;
        run.delivered(messages, &run.sink.stats().await?)
    })
}

/// A steady stream of messages, each published while the courier runs.
fn trickle(courier: Courier, messages: usize) -> anyhow::Result<Delivered> {
    let mut run = Run::new()?;
    runtime()?.block_on(async {
        preload(run.nats.address, 0).await?;
        run.start(courier, 1).await?;
        let server = run.courier.as_ref().map(|server| server.address);
        let context = load::connect(run.nats.address).await?;
        let warm_up = messages / 5;
        for numbers in [0..warm_up, warm_up..messages] {
            run.sink.reset().await?;
            let count = numbers.len() as u64;
            match (courier, server) {
                (Courier::Alertmanager, Some(address)) => {
                    alertmanager::feed(address, numbers, 8, Some(PER_SECOND)).await?;
                }
                (Courier::Direct, _) => load::post(&run.sink.url(), numbers, PER_SECOND).await?,
                _ => load::publish(&context, numbers, Some(PER_SECOND)).await?,
            }
            run.sink.wait(count).await?;
        }
        run.delivered(messages - warm_up, &run.sink.stats().await?)
    })
}

fn delivering(options: &Options) -> anyhow::Result<String> {
    let mut out = String::new();
    for rooms in [1, 8] {
        let mut cases = vec![(Courier::Naive, "naive relay: consume, POST, ack", options.messages / 5)];
        let name = "hal-relay, up to 500 messages in a post";
        cases.push((Courier::Relay(Some(500)), name, options.messages / 5));
        cases.push((Courier::Relay(Some(1)), "hal-relay, a post for each message", options.messages / 5));
        cases.push((Courier::Alertmanager, "Alertmanager", options.messages / 20));
        let (cases, left_out) = installed(cases)?;
        let results: Results<Delivered> = interleave(cases.len(), 1, options.rounds, |number, _| {
            let (courier, _, messages) = cases[number];
            deliver(courier, rooms, messages).map(Some)
        })?;
        let pick = |number: usize, value: fn(Delivered) -> f64| -> Vec<Option<f64>> {
            results[number].iter().map(|one| one.map(value)).collect()
        };
        let head = [
            &format!("{rooms} at once"),
            "messages/s",
            "× naive",
            "posts",
            "listed",
            "CPU µs a message",
            "peak MiB",
        ];
        let mut table = Table::new(&head);
        for (number, (_, name, _)) in cases.iter().enumerate() {
            let rate = pick(number, |d| d.rate);
            let median =
                |value| spread(pick(number, value).into_iter().flatten()).map(|spread| spread.median);
            table.row(vec![
                (*name).into(),
                show(spread(rate.iter().flatten().copied()), 0),
                cell(ratio(&rate, &pick(0, |d| d.rate)).map(|ratio| ratio.median), 2),
                cell(median(|d| d.posts), 0),
                cell(median(|d| d.listed), 0),
                cell(median(|d| d.cpu_us), 0),
                cell(median(|d| d.peak_mib), 1),
            ]);
        }
        out += &format!("{}{left_out}\n", table.markdown());
    }
    Ok(out)
}

fn waiting(options: &Options) -> anyhow::Result<String> {
    let messages = options.messages / 40;
    let (cases, left_out) = installed(vec![
        (Courier::Direct, "direct POST", messages),
        (Courier::Naive, "naive relay", messages),
        (Courier::Relay(None), "hal-relay", messages),
        (Courier::Alertmanager, "Alertmanager", messages),
    ])?;
    let results = interleave(cases.len(), 0, options.rounds.min(5), |number, _| {
        trickle(cases[number].0, cases[number].2).map(Some)
    })?;
    let mut table = Table::new(&["from publish to sink", "p50 ms", "p99 ms", "peak MiB"]);
    for ((_, name, _), runs) in cases.iter().zip(&results) {
        let all = |value: fn(&Delivered) -> f64| spread(runs.iter().flatten().map(value));
        let peak = cell(all(|d| d.peak_mib).map(|spread| spread.median), 1);
        table.row(vec![(*name).into(), show(all(|d| d.p50), 2), show(all(|d| d.p99), 2), peak]);
    }
    Ok(format!("{}{left_out}", table.markdown()))
}

type Case = (Courier, &'static str, usize);

/// The cases whose program is installed, and a remark on the others.
fn installed(cases: Vec<Case>) -> anyhow::Result<(Vec<Case>, String)> {
    let mut sorted: BTreeMap<bool, Vec<Case>> = BTreeMap::new();
    for case in cases {
        sorted.entry(case.0.installed()?).or_default().push(case);
    }
    let missing = sorted.remove(&false).unwrap_or_default();
    let remarks = missing.iter().map(|(_, name, _)| format!("\nleft out: {name} (not installed or built)\n"));
    Ok((sorted.remove(&true).unwrap_or_default(), remarks.collect()))
}

fn show(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(|| "–".into(), |spread| spread.show(digits))
}

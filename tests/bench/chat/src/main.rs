//! From a line to its answer: the bridge on IRC and on the page's command box, beside a Hubot and an Errbot on the same IRC
//! server, each asked in turn. `commands [--rounds N]`. Measures no throughput.

mod asker;
mod bots;

use anyhow::{Context, bail};
use bench::stats::{Table, cell, interleave, quantile, ratio, spread};
use tests::{Bridge, IrcNetwork, NatsServer, Served};

use crate::asker::{Asker, Page};

/// The pause before each line. Within 40 ms of its last line a server may hold back the next one (Nagle's algorithm, against delayed
/// acknowledgements); people do not type so fast.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
const WARM_UP: usize = 5;
/// The commands that one account gives; the bridge takes 20 at once and then one each two seconds.
const EACH: usize = 6;

/// A row of the table: its name, and the line that is typed.
struct Case {
    name: &'static str,
    asked: Asked,
}

enum Asked {
    /// In this channel; the answer comes from this nick and contains these words.
    Irc {
        channel: &'static str,
        line: &'static str,
        nick: &'static str,
        words: &'static str,
    },
    Page {
        line: &'static str,
        words: &'static str,
    },
}

const fn irc(
    name: &'static str,
    channel: &'static str,
    line: &'static str,
    nick: &'static str,
    words: &'static str,
) -> Case {
    Case { name, asked: Asked::Irc { channel, line, nick, words } }
}

const fn page(name: &'static str, line: &'static str, words: &'static str) -> Case {
    Case { name, asked: Asked::Page { line, words } }
}

const CASES: [Case; 8] = [
    irc("Hubot 14.1.0: ping, its own", "#hubot", "hubot ping", "hubot", "pong"),
    irc("Errbot 6.2.1: ping, its own", "#errbot", "!ping", "errbot", "pong"),
    irc("bridge: whoami, its own", "#ops", "!whoami", "halbot", "with the roles operator"),
    irc("bridge: ping, a handler in Node", "#ops", "!ping", "halbot", "pong"),
    irc("bridge: echo by tellhal serve, a process each", "#ops", "!echo", "halbot", "pong"),
    page("bridge, page: whoami, its own", "whoami", "with the roles operator"),
    page("bridge, page: ping, a handler in Node", "ping", "pong"),
    page("bridge, page: echo by tellhal serve, a process each", "echo", "pong"),
];

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let rounds = match words[..] {
        [] => 100,
        ["--rounds", number] => number.parse().context("--rounds")?,
        _ => bail!("usage: commands [--rounds N]"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut scene = runtime.block_on(Scene::start(rounds))?;
    let times = interleave(CASES.len(), WARM_UP, rounds, |case, round| {
        runtime.block_on(scene.ask(&CASES[case], round)).with_context(|| CASES[case].name).map(Some)
    })?;
    println!("{}", table(&times).markdown());
    println!("{rounds} lines each, one at a time, in a new order each round.");
    Ok(())
}

fn table(times: &[Vec<Option<f64>>]) -> Table {
    let mut table = Table::new(&["from a line to its answer", "median ms", "p95 ms", "× Hubot", "× Errbot"]);
    for (case, row) in CASES.iter().zip(times) {
        let mut sorted: Vec<f64> = row.iter().copied().flatten().collect();
        sorted.sort_by(f64::total_cmp);
        let median = spread(sorted.iter().copied()).map_or_else(|| "–".into(), |spread| spread.show(2));
        let against = |base: usize| cell(ratio(row, &times[base]).map(|spread| spread.median), 2);
        table.row(vec![case.name.into(), median, cell(quantile(&sorted, 0.95), 2), against(0), against(1)]);
    }
    table
}

/// The servers and programs, and those who ask.
struct Scene {
    askers: Vec<Asker>,
    page: Page,
    _bots: bots::Bots,
    _served: Served,
    _bridge: Bridge,
    _network: IrcNetwork,
    _nats: NatsServer,
}

impl Scene {
    async fn start(rounds: usize) -> anyhow::Result<Scene> {
        let count = (WARM_UP + rounds).div_ceil(EACH);
        let (nats, network) = (NatsServer::start().await, IrcNetwork::without_limits().await);
        nats.create_log().await;
        let mut configuration = format!(
            "[chat.main.irc]\nserver = \"{}\"\ntls = false\nnick = \"halbot\"\nchannels = [\"#ops\"]\nburst = 100\nline_every = \"1ms\"\n\
             [[commands]]\nname = \"*\"\nallow = [\"operator\"]\n",
            network.addr()
        );
        for n in 0..count {
            configuration += &format!(
                "[[people]]\nname = \"p{n}\"\nroles = [\"operator\"]\nirc = \"p{n}\"\npage = \"p{n}\"\n"
            );
        }
        let bridge = Bridge::start(&nats.url(), &configuration).await;
        let mut served = Served::default();
        served.serve(&nats.url(), &bridge, &["echo", "--exec", "echo pong"]).await;
        let bots = bots::Bots::start(&nats.url(), &bridge.key(), network.addr()).await;
        let mut askers = Vec::new();
        for n in 0..count {
            askers.push(Asker::join(network.addr(), &format!("p{n}"), &["#ops", "#hubot", "#errbot"]).await?);
        }
        let page = Page::open(nats.client().await).await?;
        Ok(Scene {
            askers,
            page,
            _bots: bots,
            _served: served,
            _bridge: bridge,
            _network: network,
            _nats: nats,
        })
    }

    /// The milliseconds from a line to its answer.
    async fn ask(&mut self, case: &Case, round: usize) -> anyhow::Result<f64> {
        let n = round % self.askers.len();
        tokio::time::sleep(PAUSE).await;
        let time = match case.asked {
            Asked::Irc { channel, line, nick, words } => {
                self.askers[n].ask(channel, line, nick, words).await?
            }
            Asked::Page { line, words } => self.page.ask(&format!("p{n}"), line, words).await?,
        };
        Ok(time.as_secs_f64() * 1e3)
    }
}

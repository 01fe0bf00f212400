//! One-shot publish: a cold process until its message is acknowledged and it has ended, against the
//! floor and the peers, in one interleaved run. `oneshot [--rounds N]`; see the README for the columns.

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use bench::process::{Cost, Program, find};
use bench::servers::{self, Certificate, Server};
use bench::stats::{Table, cell, interleave, ratio, spread};

const TAG: &str = "backup.mysql";
const SUBJECT: &str = "hal.ops.bench.backup.mysql";
const TEXT: &str = "Nightly backup finished";
const WARM_UP: usize = 5;
/// One way of the long line on which round trips are counted.
const ONE_WAY: Duration = Duration::from_millis(20);
const LAUNCHES: usize = 5;

/// One row of the table.
struct Case {
    name: &'static str,
    program: Program,
    /// The program runs in every `every`th round only; more than 1 for a slow peer.
    every: usize,
    /// The number of messages that one run adds to the stream.
    stored: u64,
    /// The same program with the server behind the given address, to count its round trips.
    behind: Option<(SocketAddr, Program)>,
    /// A folder that is emptied before each run, so that no run depends on an earlier one.
    spool: Option<PathBuf>,
}

struct Bench {
    folder: tempfile::TempDir,
    programs: PathBuf,
    nats: Server,
    nats_tls: Server,
    mosquitto: Option<(Server, SocketAddr)>,
    certificate: Certificate,
    left_out: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let rounds = rounds()?;
    let mut bench = Bench::start()?;
    let cases = bench.cases()?;
    let results = interleave(cases.len(), WARM_UP, rounds, |number, round| {
        let case = &cases[number];
        (round % case.every == 0).then(|| case.run()).transpose()
    })?;
    let peaks = cases.iter().map(|case| bench.peak(case)).collect::<anyhow::Result<Vec<_>>>()?;
    let trips = cases.iter().map(round_trips).collect::<anyhow::Result<Vec<_>>>()?;
    bench.check_stored(&cases, &results)?;
    print(&cases, &results, &peaks, &trips);
    bench.print_sizes()?;
    for remark in &bench.left_out {
        println!("left out: {remark}");
    }
    println!("{rounds} rounds after {WARM_UP} of warm-up; {}", versions());
    Ok(())
}

fn rounds() -> anyhow::Result<usize> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args[..] {
        [] => Ok(200),
        [flag, number] if flag == "--rounds" => Ok(number.parse::<usize>().context("--rounds")?.max(1)),
        _ => bail!("usage: oneshot [--rounds N]"),
    }
}

impl Bench {
    fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| -> anyhow::Result<PathBuf> {
            let path = folder.path().join(name);
            std::fs::create_dir(&path)?;
            Ok(path)
        };
        let certificate = Certificate::make(&path("tls")?)?;
        let nats = servers::nats(&path("nats")?, servers::free_address()?, None)?;
        let nats_tls = servers::nats(&path("nats-tls")?, servers::free_address()?, Some(&certificate))?;
        create_stream(nats.address, None)?;
        create_stream(nats_tls.address, Some(&certificate.authority))?;
        let mosquitto = servers::mosquitto(&path("mosquitto")?, &certificate)?;
        let programs = std::env::current_exe()?.parent().context("no folder of programs")?.to_owned();
        let left_out = Vec::new();
        Ok(Bench { programs, nats, nats_tls, mosquitto, certificate, left_out, folder })
    }

    fn cases(&mut self) -> anyhow::Result<Vec<Case>> {
        let mut cases = self.floors()?;
        cases.extend(self.tellhal()?);
        cases.extend(self.mqtt()?);
        cases.extend(self.other_peers()?);
        Ok(cases)
    }

    fn ours(&self, name: &str) -> Program {
        Program::new(self.programs.join(name))
    }

    fn floors(&self) -> anyhow::Result<Vec<Case>> {
        let spool = self.spool("bare")?;
        let floor = |to: SocketAddr| self.ours("floor").args([&to.to_string(), SUBJECT, TEXT]);
        let waiting = |to| floor(to).arg("wait");
        let tls = |to: SocketAddr| {
            let (to, authority) = (to.to_string(), self.certificate.authority.clone());
            self.ours("floor-tls").arg(to).arg(authority).args([SUBJECT, TEXT])
        };
        let plain = |to: SocketAddr| self.ours("async-nats-plain").args([&to.to_string(), SUBJECT, TEXT]);
        let (to, secure) = (self.nats.address, self.nats_tls.address);
        let line = |to| bench::delay::line(to, ONE_WAY);
        Ok(vec![
            Case::new("empty Rust program", self.ours("empty")),
            Case::new("bare spool write", self.ours("spool-write").arg(spool.clone()).arg(TEXT)).spool(spool),
            Case::new("floor", floor(to)).stores().behind(line(to)?, floor),
            Case::new("floor that waits for PONG", waiting(to)).stores().behind(line(to)?, waiting),
            Case::new("async-nats as it comes", plain(to)).stores().behind(line(to)?, plain),
            Case::new("floor, TLS", tls(secure)).behind(line(secure)?, tls),
        ])
    }

    fn tellhal(&mut self) -> anyhow::Result<Vec<Case>> {
        if !self.programs.join("tellhal").is_file() {
            self.left_out.push("tellhal (not built)".into());
            return Ok(Vec::new());
        }
        let authority = format!("tls_ca = {:?}\n", self.certificate.authority);
        let (to, secure, nobody) = (self.nats.address, self.nats_tls.address, servers::free_address()?);
        let plain = |to| self.tellhal_to("plain", to, "");
        let tls = |to| self.tellhal_to("tls", to, &authority);
        let line = |to| bench::delay::line(to, ONE_WAY);
        let down = self.spool("down")?;
        Ok(vec![
            Case::new("tellhal", plain(to)?).stores().behind_result(line(to)?, plain)?,
            Case::new("tellhal, TLS", tls(secure)?).behind_result(line(secure)?, tls)?,
            Case::new("tellhal into the spool, server down", self.tellhal_to("down", nobody, "")?)
                .spool(down),
        ])
    }

    /// tellhal with a configuration file and an empty spool.
    fn tellhal_to(&self, name: &str, to: SocketAddr, more: &str) -> anyhow::Result<Program> {
        let config = self.folder.path().join(format!("{name}-{}.toml", to.port()));
        let scheme = if more.is_empty() { "nats" } else { "tls" };
        let spool = self.spool(name)?;
        std::fs::write(
            &config,
            format!("source = \"bench\"\nspool = {spool:?}\n[nats]\nurl = \"{scheme}://{to}\"\n{more}"),
        )?;
        let clean = ["TELLHAL_URL", "TELLHAL_SPOOL", "TELLHAL_SOURCE", "TELLHAL_TIMEOUT", "TELLHAL_CONTEXT"];
        if let Some(name) = clean.iter().find(|name| std::env::var_os(name).is_some()) {
            bail!("{name} is set and would change what is measured");
        }
        Ok(self.ours("tellhal").args([TAG, TEXT]).env("TELLHAL_CONFIG", config))
    }

    fn spool(&self, name: &str) -> anyhow::Result<PathBuf> {
        let spool = self.folder.path().join(format!("spool-{name}"));
        for folder in ["tmp", "new"] {
            DirBuilder::new().recursive(true).mode(0o700).create(spool.join(folder))?;
        }
        Ok(spool)
    }

    fn mqtt(&mut self) -> anyhow::Result<Vec<Case>> {
        let Some(((server, secure), publisher)) = self.mosquitto.as_ref().zip(find("mosquitto_pub")) else {
            self.left_out.push("mosquitto_pub (mosquitto or mosquitto-clients is not installed)".into());
            return Ok(Vec::new());
        };
        let plain = |to: SocketAddr| {
            let port = to.port().to_string();
            Program::new(&publisher).args([
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-q",
                "1",
                "-t",
                "backup/mysql",
                "-m",
                TEXT,
            ])
        };
        let tls = |to| plain(to).arg("--cafile").arg(self.certificate.authority.clone());
        let line = |to| bench::delay::line(to, ONE_WAY);
        Ok(vec![
            Case::new("mosquitto_pub -q 1", plain(server.address)).behind(line(server.address)?, plain),
            Case::new("mosquitto_pub -q 1, TLS", tls(*secure)).behind(line(*secure)?, tls),
        ])
    }

    fn other_peers(&mut self) -> anyhow::Result<Vec<Case>> {
        let (lines, http) = (servers::line_sink()?.port().to_string(), servers::http_sink()?);
        let mut cases = Vec::new();
        let mut peer =
            |name: &'static str, program: &str, make: &dyn Fn(Program) -> Program| match find(program) {
                Some(path) => cases.push(Case::new(name, make(Program::new(path)))),
                None => self.left_out.push(format!("{name} ({program} is not installed)")),
            };
        peer("logger -n -T (no acknowledgement)", "logger", &|logger| {
            logger.args(["-n", "127.0.0.1", "-P", &lines, "-T", "-t", TAG, TEXT])
        });
        peer("shell and nc, as the original (no acknowledgement)", "nc", &|nc| {
            let script =
                format!("printf '%s\\n%s' \"$1\" \"$2\" | {} -N 127.0.0.1 {lines}", nc.path.display());
            Program::new("/bin/sh").args(["-c", &script, "sh", TAG, TEXT])
        });
        peer("curl -d", "curl", &|curl| curl.args(["-fsS", "-d", TEXT, &format!("http://{http}/")]));
        cases.extend(self.nats_py());
        Ok(cases)
    }

    fn nats_py(&mut self) -> Option<Case> {
        let python = std::env::var_os("BENCH_PYTHON").map(PathBuf::from).or_else(|| find("python3"));
        let python = python.filter(|path| Program::new(path).args(["-c", "import nats"]).run().is_ok());
        let Some(python) = python else {
            self.left_out.push("nats-py (not importable; BENCH_PYTHON names another python)".into());
            return None;
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/nats_oneshot.py");
        let program = Program::new(python).arg(script).args([&self.nats.address.to_string(), SUBJECT, TEXT]);
        Some(Case::new("nats-py", program).stores().rare(20))
    }

    fn peak(&self, case: &Case) -> anyhow::Result<f64> {
        let launch = self.programs.join("launch");
        let peaks = (0..LAUNCHES).map(|_| {
            case.prepare()?;
            Ok(case.program.peak_bytes(&launch)? as f64 / (1024.0 * 1024.0))
        });
        Ok(spread(peaks.collect::<anyhow::Result<Vec<_>>>()?).map_or(0.0, |spread| spread.median))
    }

    /// Checks that the stream has every acknowledged message: without that, the times mean nothing.
    fn check_stored(&self, cases: &[Case], results: &[Vec<Option<Cost>>]) -> anyhow::Result<()> {
        let rounds = WARM_UP + results.first().map_or(0, Vec::len);
        let runs = |case: &Case| {
            let trips = if case.behind.is_some() { TRIP_RUNS } else { 0 };
            (0..rounds).filter(|round| round % case.every == 0).count() + LAUNCHES + trips
        };
        let expected: u64 = cases.iter().map(|case| case.stored * runs(case) as u64).sum();
        let stored = messages(self.nats.address)?;
        if stored != expected {
            bail!("the programs report {expected} acknowledged messages, the stream has {stored}");
        }
        println!("every one of the {stored} acknowledged messages is in the stream\n");
        Ok(())
    }

    fn print_sizes(&self) -> anyhow::Result<()> {
        let mut table = Table::new(&["binary", "KiB"]);
        for name in ["empty", "floor", "floor-tls", "async-nats-plain", "tellhal"] {
            if let Ok(file) = std::fs::metadata(self.programs.join(name)) {
                table.row(vec![name.into(), format!("{}", file.len().div_ceil(1024))]);
            }
        }
        println!("\n{}", table.markdown());
        Ok(())
    }
}

impl Case {
    fn new(name: &'static str, program: Program) -> Self {
        Case { name, program, every: 1, stored: 0, behind: None, spool: None }
    }

    fn stores(mut self) -> Self {
        self.stored = 1;
        self
    }

    fn rare(mut self, every: usize) -> Self {
        self.every = every;
        self
    }

    fn spool(mut self, spool: PathBuf) -> Self {
        self.spool = Some(spool);
        self
    }

    fn behind(mut self, line: SocketAddr, program: impl Fn(SocketAddr) -> Program) -> Self {
        self.behind = Some((line, program(line)));
        self
    }

    fn behind_result(
        self,
        line: SocketAddr,
        program: impl Fn(SocketAddr) -> anyhow::Result<Program>,
    ) -> anyhow::Result<Self> {
        let program = program(line)?;
        Ok(self.behind(line, |_| program.clone()))
    }

    fn prepare(&self) -> anyhow::Result<()> {
        let Some(spool) = &self.spool else { return Ok(()) };
        for file in std::fs::read_dir(spool.join("new"))? {
            std::fs::remove_file(file?.path())?;
        }
        Ok(())
    }

    fn run(&self) -> anyhow::Result<Cost> {
        self.prepare()?;
        let cost = self.program.run().context(self.name)?;
        if let Some(spool) = &self.spool
            && std::fs::read_dir(spool.join("new"))?.count() != 1
        {
            bail!("{}: not exactly one file in {}", self.name, spool.display());
        }
        Ok(cost)
    }
}

const TRIP_RUNS: usize = 3;

/// The number of round trips in the time that the long line adds, with TCP's own first one.
fn round_trips(case: &Case) -> anyhow::Result<Option<f64>> {
    let Some((_, program)) = &case.behind else { return Ok(None) };
    let mut runs = Vec::new();
    for _ in 0..TRIP_RUNS {
        runs.push(program.run().context(case.name)?.wall_ms);
    }
    let trip = 2.0 * ONE_WAY.as_secs_f64() * 1e3;
    Ok(spread(runs).map(|spread| (spread.median / trip).floor() + 1.0))
}

fn print(cases: &[Case], results: &[Vec<Option<Cost>>], peaks: &[f64], trips: &[Option<f64>]) {
    let wall = |name: &str| {
        let number = cases.iter().position(|case| case.name == name);
        number.map(|number| {
            results[number].iter().map(|cost| cost.map(|cost| cost.wall_ms)).collect::<Vec<_>>()
        })
    };
    let bases = ["floor", "bare spool write", "mosquitto_pub -q 1"].map(wall);
    let mut table = Table::new(&[
        "program",
        "wall ms",
        "CPU ms",
        "RSS MiB",
        "round trips",
        "× floor",
        "× spool write",
        "× mosquitto_pub",
    ]);
    for (number, case) in cases.iter().enumerate() {
        let walls: Vec<_> = results[number].iter().map(|cost| cost.map(|cost| cost.wall_ms)).collect();
        let cpu = spread(results[number].iter().flatten().map(|cost| cost.cpu_ms));
        let times = bases.iter().map(|base| {
            let ratio = base.as_ref().and_then(|base| ratio(&walls, base));
            cell(ratio.map(|ratio| ratio.median), 2)
        });
        let mut row = vec![
            case.name.into(),
            spread(walls.iter().flatten().copied()).map_or_else(String::new, |spread| spread.show(2)),
            cell(cpu.map(|cpu| cpu.median), 2),
            format!("{:.1}", peaks[number]),
            cell(trips[number], 0),
        ];
        row.extend(times);
        table.row(row);
    }
    println!("{}", table.markdown());
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn create_stream(address: SocketAddr, authority: Option<&Path>) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let mut options = async_nats::ConnectOptions::new();
        if let Some(authority) = authority {
            options = options.add_root_certificates(authority.to_owned()).require_tls(true);
        }
        let context = async_nats::jetstream::new(options.connect(address.to_string()).await?);
        let config = async_nats::jetstream::stream::Config {
            name: "HAL_OPS".into(),
            subjects: vec!["hal.ops.>".into(), "hal.ctl.>".into()],
            duplicate_window: Duration::from_secs(3600),
            ..Default::default()
        };
        context.create_stream(config).await?;
        Ok(())
    })
}

fn messages(address: SocketAddr) -> anyhow::Result<u64> {
    runtime()?.block_on(async {
        let context = async_nats::jetstream::new(async_nats::connect(address.to_string()).await?);
        Ok(context.get_stream("HAL_OPS").await?.cached_info().state.messages)
    })
}

/// The versions of the programs compared.
fn versions() -> String {
    let ask = |name: &str, flag: &str| {
        let output = find(name).and_then(|path| std::process::Command::new(path).arg(flag).output().ok());
        let text =
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let words: Vec<&str> = text.lines().next()?.split_whitespace().take(4).collect();
        (!words.is_empty()).then(|| words.join(" "))
    };
    let all = [
        ask("nats-server", "--version"),
        ask("mosquitto", "-h"),
        ask("curl", "--version"),
        ask("logger", "--version"),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

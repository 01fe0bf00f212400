//! `tests/faults`: runs the faults of [`tests::faults`] and prints what came of them. Ends with 1 if a promise is broken.

use std::process::ExitCode;
use std::time::Duration;

use tests::faults::{Kind, Options, run};

const USAGE: &str = "\
usage: tests/faults [--minutes N] [--seconds N] [--seed N] [--servers N] [--relays N] [--producers N] [--without FAULT]... [--logs FOLDER]

FAULT is one of: ";

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            let kinds = Kind::ALL.map(|kind| kind.to_string().replace(' ', "-"));
            eprintln!("tests/faults: {problem}\n{USAGE}{}", kinds.join(" "));
            return ExitCode::from(64);
        }
    };
    let Options { time, seed, servers, relays, producers, .. } = &options;
    println!("seed {seed}: {time:?}, {servers} servers, {relays} relays, {producers} producers");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let verdict = runtime.expect("a runtime starts").block_on(run(&options));
    println!("{verdict}");
    if verdict.holds() {
        println!("all promises hold");
        ExitCode::SUCCESS
    } else {
        println!("a promise is broken; --seed {seed} repeats the choices");
        ExitCode::FAILURE
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        time: Duration::from_secs(600),
        seed: fastrand::u64(..),
        servers: 3,
        relays: 3,
        producers: 4,
        without: Vec::new(),
        logs: None,
    };
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{flag} {value}: not a number"));
        let count = || number().map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        match flag.as_str() {
            "--minutes" => options.time = Duration::from_secs(60 * number()?),
            "--seconds" => options.time = Duration::from_secs(number()?),
            "--seed" => options.seed = number()?,
            "--servers" => options.servers = count()?,
            "--relays" => options.relays = count()?,
            "--producers" => options.producers = count()?,
            "--without" => {
                let kind = Kind::ALL.into_iter().find(|kind| kind.to_string() == value.replace('-', " "));
                options.without.push(kind.ok_or_else(|| format!("{value}: no such fault"))?);
            }
            "--logs" => options.logs = Some(value.into()),
            _ => return Err(format!("{flag}: no such flag")),
        }
    }
    Ok(options)
}

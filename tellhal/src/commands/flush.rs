//! `tellhal flush`: sends the messages in the spool; for root, those in every user's spool. With `--wait` it tries until they are
//! empty.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tellhal::{Publisher, Refusal, Spool};
use tokio::time::Instant;

use super::block_on;
use super::send::say_about;
use crate::cli::Flush;
use crate::config::{ALL_SPOOLS, Flags, Settings, load};
use crate::exit::{Exit, Failure, Outcome, count, say};

/// The pause after a try that has sent something. It doubles up to `LONGEST` while nothing can be sent.
const FIRST: Duration = Duration::from_millis(250);
/// With the time limit of a connection, a server is found within 15 s of its return.
const LONGEST: Duration = Duration::from_secs(10);

#[derive(Debug, Default, Serialize)]
struct Report {
    sent: u64,
    left: u64,
    busy: u64,
    bad: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip)]
    refusal: Option<Refusal>,
    /// Spools that cannot be used.
    #[serde(skip)]
    problems: Vec<String>,
}

pub(crate) fn flush(args: &Flush, flags: &Flags) -> Outcome {
    if args.wait {
        return block_on(until_empty(flags));
    }
    let settings = load(flags);
    if let Some(broken) = settings.broken() {
        return Err(Failure::new(Exit::CONFIG, broken));
    }
    let (spools, problems) = spools(&settings);
    problems.iter().for_each(say);
    let mut waiting = 0;
    for spool in &spools {
        waiting += spool.waiting().map_or(0, |names| names.len());
    }
    let report = if waiting == 0 { Report::default() } else { block_on(send(&settings, &spools))? };
    report.problems.iter().for_each(say);
    if args.json {
        let line = serde_json::to_string(&report).map_err(|error| Failure::new(Exit::TEMPORARY, error))?;
        let _ = writeln!(std::io::stdout(), "{line}");
    } else if report.sent > 0 || report.left == 0 {
        let _ = writeln!(
            std::io::stdout(),
            "{} sent, {} left, {} moved to bad/",
            report.sent,
            report.left,
            report.bad
        );
    }
    match report.refusal {
        Some(refusal) => Err(Failure::new(
            Exit::of(&refusal),
            format!("{} kept in the spool: {refusal}", count(report.left, "message")),
        )),
        None if report.left > 0 => Err(Failure::new(
            Exit::TEMPORARY,
            format!("{} kept in the spool: out of time; --timeout gives more", count(report.left, "message")),
        )),
        None => Ok(Exit::OK),
    }
}

async fn send(settings: &Settings, spools: &[Spool]) -> Report {
    let deadline = Instant::now() + settings.timeout;
    let mut report = Report::default();
    let publisher = match Publisher::connect(&settings.nats, "tellhal flush", deadline).await {
        Ok(publisher) => publisher,
        Err(refusal) => {
            report.left =
                spools.iter().map(|spool| spool.waiting().map_or(0, |names| names.len() as u64)).sum();
            report.reason = Some(refusal.to_string());
            report.refusal = Some(refusal);
            return report;
        }
    };
    for spool in spools {
        match tellhal::flush::flush(&publisher, spool, deadline).await {
            Ok(mut flushed) => {
                let reason = flushed.reason.take();
                say_about(&flushed, spool);
                report.sent += flushed.sent;
                report.left += flushed.left;
                report.busy += flushed.busy;
                report.bad += (flushed.broken.len() + flushed.refused.len()) as u64;
                report.reason = report.reason.or_else(|| reason.as_ref().map(ToString::to_string));
                report.refusal = report.refusal.or(reason);
            }
            Err(error) => report.problems.push(error.to_string()),
        }
    }
    report
}

/// Tries until no message waits, for as long as it takes, with the configuration of each moment. A reason is printed when it is new.
async fn until_empty(flags: &Flags) -> Exit {
    let (mut told, mut sent, mut pause) = (Vec::new(), 0, FIRST);
    loop {
        let settings = load(flags);
        let (spools, mut problems) = spools(&settings);
        let report = match settings.broken() {
            Some(broken) => Report { reason: Some(broken), ..Report::default() },
            None if files(&settings) == 0 => Report::default(),
            None => send(&settings, &spools).await,
        };
        sent += report.sent;
        let waiting = files(&settings);
        if waiting == 0 {
            let _ = writeln!(std::io::stdout(), "{} sent", count(sent, "message"));
            return Exit::OK;
        }
        problems.extend(report.problems);
        problems.extend(report.reason);
        if report.busy + report.left == 0 && problems.is_empty() {
            problems.push(format!("{ALL_SPOOLS} has files in folders that are no user's spool: {waiting}"));
        }
        pause = if report.sent > 0 { FIRST } else { LONGEST.min(pause * 2) };
        let news = problems.iter().filter(|problem| !told.contains(*problem));
        news.for_each(|problem| {
            say(format!("{} kept in the spool: {problem}", count(waiting as u64, "message")))
        });
        told = problems;
        tokio::time::sleep(pause).await;
    }
}

/// The number of files that wait, counted as systemd's path unit does: a folder that is no spool starts the unit too, and would
/// start it again and again.
fn files(settings: &Settings) -> usize {
    let others = all_spools(settings).map(|(path, _)| path);
    let folders = settings.spools().map(Path::to_owned).chain(others);
    folders.map(|folder| std::fs::read_dir(folder.join("new")).map_or(0, Iterator::count)).sum()
}

/// Our own spools, and for root also every user's; and the problems of those that cannot be used, as one that others can write.
fn spools(settings: &Settings) -> (Vec<Spool>, Vec<String>) {
    let (mut spools, mut problems) = (Vec::new(), Vec::new());
    let mut take = |spool: Result<Option<Spool>, tellhal::spool::SpoolError>| match spool {
        Ok(spool) => spools.extend(spool),
        Err(error) => problems.push(error.to_string()),
    };
    settings.spools().for_each(|path| take(Spool::existing(path)));
    for (path, uid) in all_spools(settings) {
        if let Some(uid) = uid {
            take(Spool::owned_by(&path, uid));
        }
    }
    (spools, problems)
}

/// For root, the folders beside its own spool, each with the user whose name it bears. An explicit spool stands for itself only.
fn all_spools(settings: &Settings) -> impl Iterator<Item = (PathBuf, Option<u32>)> {
    let own = settings.spool.as_deref().unwrap_or(Path::new(""));
    let every = rustix::process::geteuid().is_root() && own.starts_with(ALL_SPOOLS);
    let entries = every.then(|| std::fs::read_dir(ALL_SPOOLS)).into_iter().flatten().flatten().flatten();
    let paths = entries.map(|entry| entry.path()).filter(move |path| path != own);
    paths.map(|path| {
        let uid = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        (path, uid)
    })
}

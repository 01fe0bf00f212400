//! `tellhal flush`: sends the messages in the spool; for root, those in every user's spool.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;
use tellhal::{Publisher, Refusal, Spool};
use tokio::time::Instant;

use super::block_on;
use super::send::say_about;
use crate::cli::Flush;
use crate::config::{ALL_SPOOLS, Flags, Settings, load};
use crate::exit::{Exit, Failure, Outcome, count, say};

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
}

pub(crate) fn flush(args: &Flush, flags: &Flags) -> Outcome {
    let settings = load(flags);
    if let Some(broken) = settings.broken() {
        return Err(Failure::new(Exit::CONFIG, broken));
    }
    let spools = spools(&settings);
    let mut waiting = 0;
    for spool in &spools {
        waiting += spool.waiting().map_or(0, |names| names.len());
    }
    let report = if waiting == 0 { Report::default() } else { block_on(send(&settings, &spools))? };
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
            Err(error) => say(error),
        }
    }
    report
}

/// Our own spool, and for root also every user's. A spool that others can write is refused.
fn spools(settings: &Settings) -> Vec<Spool> {
    let mut spools = Vec::new();
    let own = settings.spool.as_deref().unwrap_or(Path::new(""));
    let mut take = |spool: Result<Option<Spool>, tellhal::spool::SpoolError>| match spool {
        Ok(spool) => spools.extend(spool),
        Err(error) => say(error),
    };
    settings.spools().for_each(|path| take(Spool::existing(path)));
    // An explicit spool stands for itself only.
    if rustix::process::geteuid().is_root() && own.starts_with(ALL_SPOOLS) {
        for entry in std::fs::read_dir(ALL_SPOOLS).into_iter().flatten().flatten() {
            let uid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            let owner = entry.metadata().map(|meta| meta.uid());
            match (uid, owner) {
                (Some(uid), Ok(_)) if entry.path() != own => take(Spool::owned_by(&entry.path(), uid)),
                _ => {}
            }
        }
    }
    spools
}

//! A service's process: its command line's errors and exit statuses, its logs, its output, and the signals that end it.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr as _;
use std::time::Duration;

use clap::Parser;
use tellhal::paint::Paint;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::TaskTracker;

use crate::config::Problems;
use crate::pages;

/// Exit statuses as sysexits.h has them.
const EX_USAGE: u8 = 64;
const EX_NOPERM: u8 = 77;
const EX_CONFIG: u8 = 78;

/// A service's `main`: reads the command line as `Cli`, sets up TLS and logs, runs `start` on a current-thread runtime, and
/// prints an error once. Ends with 64 for a wrong call, 77 for what the server does not permit, 78
/// for a refused configuration, else 1.
pub fn main<Cli: Parser, Fut: Future<Output = anyhow::Result<()>>>(
    start: impl FnOnce(Cli) -> Fut,
) -> ExitCode {
    // ring and aws-lc-rs may both be linked: TLS takes the one that is installed first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if let Some(folder) = pages_wanted() {
        let written = pages::write(Cli::command(), &folder);
        return written.map_or_else(|error| ExitCode::from(report("pages", &error)), |()| ExitCode::SUCCESS);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, and go to stdout.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EX_USAGE } else { 0 });
        }
    };
    let name = Cli::command().get_name().to_owned();
    logging();
    if let Some(limit) = tellhal::file::too_few() {
        return ExitCode::from(report(&name, &anyhow::anyhow!(limit)));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(start(cli))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(report(&name, &error)),
    }
}

/// The folder of `pages FOLDER`, with which a package is built.
fn pages_wanted() -> Option<PathBuf> {
    let mut words = std::env::args_os().skip(1);
    words.next().filter(|word| word == "pages").and(words.next()).map(PathBuf::from)
}

/// Prints an error, and returns its exit status.
fn report(name: &str, error: &anyhow::Error) -> u8 {
    if let Some(problems) = error.downcast_ref::<Problems>() {
        eprint!("{}", problems.report(colour()));
        eprintln!("{name}: the configuration is refused: {}", problems.summary());
        return EX_CONFIG;
    }
    eprintln!("{name}: {error:#}");
    match error {
        error if error.is::<Usage>() => EX_USAGE,
        error if error.is::<NotPermitted>() => EX_NOPERM,
        _ => 1,
    }
}

/// Logs go to stderr: for people on a terminal, as JSON elsewhere. `HAL_LOG` filters them, such as
/// `HAL_LOG=relay=debug`; `info` when it is unset.
fn logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("HAL_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,async_nats=warn"));
    // The XMPP library logs what goes over the wire at finer levels, the password of the login included.
    let quiet = tracing_subscriber::filter::Directive::from_str("tokio_xmpp=info");
    let filter = quiet.into_iter().fold(filter, tracing_subscriber::EnvFilter::add_directive);
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        logs.compact().with_target(false).init();
    } else {
        logs.json().flatten_event(true).init();
    }
}

/// True if stderr takes colours.
pub fn colour() -> bool {
    Paint::of(&std::io::stderr()).is_on()
}

/// Prints to stdout. A closed pipe, as in `… | head`, is not an error.
pub fn print(text: &str) -> std::io::Result<()> {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Prints data for a program to read.
pub fn print_json(data: &impl serde::Serialize) -> anyhow::Result<()> {
    Ok(print(&(serde_json::to_string_pretty(data)? + "\n"))?)
}

/// The server does not allow what a command asks of it.
#[derive(Debug, thiserror::Error)]
#[error("not permitted: {0}")]
pub struct NotPermitted(pub String);

/// An error in the command line: exit status 64.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Waits for the first SIGTERM or SIGINT. A second one ends the process at once, for a user who does not want to wait.
pub async fn until_signal() -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(130);
    });
    Ok(())
}

/// Waits until all `tasks` have ended, for at most `grace`, and logs a warning if some have not.
pub async fn drain(tasks: &TaskTracker, grace: Duration) {
    tasks.close();
    if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
        tracing::warn!(
            unfinished = tasks.len(),
            "some tasks did not finish within {}",
            humantime::format_duration(grace)
        );
    }
}

//! hal-relay: the command line. Each subcommand is one file under `cmd/`; errors are printed here, once.

mod cmd;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use relay::config::Problems;

/// Exit statuses as sysexits.h has them.
const EX_USAGE: u8 = 64;
const EX_CONFIG: u8 = 78;

/// Fans tagged ops messages out to rooms.
#[derive(Parser)]
#[command(name = "hal-relay", version, about)]
struct Cli {
    #[command(subcommand)]
    command: cmd::Command,
}

fn main() -> ExitCode {
    // ring and aws-lc-rs may both be linked: TLS takes the one that is installed first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, and go to stdout.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EX_USAGE } else { 0 });
        }
    };
    logging();
    match start(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(report(&error)),
    }
}

fn start(command: cmd::Command) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command.run())
}

/// Says what went wrong, and which exit status that is.
fn report(error: &anyhow::Error) -> u8 {
    if let Some(problems) = error.downcast_ref::<Problems>() {
        eprint!("{}", problems.report(cmd::colour()));
        eprintln!("hal-relay: the configuration is refused: {}", problems.summary());
        return EX_CONFIG;
    }
    eprintln!("hal-relay: {error:#}");
    if error.is::<cmd::Usage>() { EX_USAGE } else { 1 }
}

/// Logs go to stderr: for people on a terminal, as JSON elsewhere. `HAL_LOG` filters them, such as
/// `HAL_LOG=relay=debug`; `info` when it is unset.
fn logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("HAL_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,async_nats=warn"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        logs.compact().with_target(false).init();
    } else {
        logs.json().flatten_event(true).init();
    }
}

//! hal-bridge: everything inbound. The command line: reads flags, prints errors once, maps them to exit statuses.
//!
//! What other systems say becomes messages on the bus; nothing here posts into a room. Sources are one file each
//! under `source/`, and only `outbox` publishes.

mod config;
mod health;
mod metrics;
mod outbox;
mod run;
mod source;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use config::{Config, Problems};

/// Exit statuses as sysexits.h has them.
const EX_USAGE: u8 = 64;
const EX_CONFIG: u8 = 78;

/// Puts what other systems say on the bus.
#[derive(Parser)]
#[command(name = "hal-bridge", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run as a service until SIGTERM.
    Run {
        #[command(flatten)]
        place: Place,
    },
    /// Read the configuration and say everything that is wrong with it.
    Check {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(clap::Args)]
struct Place {
    /// The configuration: a file, or a folder of *.toml.
    #[arg(long, env = "HAL_BRIDGE_CONFIG", value_name = "FILE|DIR", default_value = "/etc/hal-bridge")]
    config: PathBuf,
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
    let done = match cli.command {
        Command::Check { place } => check(&place),
        Command::Run { place } => start(&place),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hal-bridge: {error:#}");
            ExitCode::from(if error.is::<Problems>() { EX_CONFIG } else { 1 })
        }
    }
}

fn check(place: &Place) -> anyhow::Result<()> {
    let config = Config::load(&place.config)?;
    for warning in config.secrets_missing() {
        eprintln!("hal-bridge: warning: {warning}");
    }
    println!("{} is good", place.config.display());
    Ok(())
}

fn start(place: &Place) -> anyhow::Result<()> {
    let config = Config::load(&place.config)?;
    let missing = config.secrets_missing();
    if !missing.is_empty() {
        return Err(Problems(missing).into());
    }
    logging();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run::run(config))
}

/// Logs go to stderr: for people on a terminal, as JSON elsewhere. `HAL_LOG` filters them; `info` when it is unset.
fn logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("HAL_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        logs.compact().with_target(false).init();
    } else {
        logs.json().flatten_event(true).init();
    }
}

//! The subcommands: this enum is the table of contents, each subcommand has a file of its own.

mod check;
mod dead;
mod explain;
mod rooms;
mod run;
mod schema;
mod trace;

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Read the log and post into the rooms, until stopped
    Run(run::Run),
    /// Check the configuration and print all problems
    Check(check::Check),
    /// Show where a message went
    Trace(trace::Trace),
    /// List dead letters, retry them or give them up
    Dead(dead::Dead),
    /// Show which rooms a message would go to, why, and its text in each
    Explain(explain::Explain),
    /// List the rooms, or post a test message into them
    Rooms(rooms::Rooms),
    /// Print the JSON Schema of the configuration
    Schema(schema::Schema),
}

impl Command {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Run(run) => run.run().await,
            Command::Check(check) => check.run(),
            Command::Trace(trace) => trace.run().await,
            Command::Dead(dead) => dead.run().await,
            Command::Explain(explain) => explain.run(),
            Command::Rooms(rooms) => rooms.run().await,
            Command::Schema(schema) => schema.run(),
        }
    }
}

/// The path of the configuration, for every subcommand that reads it.
#[derive(clap::Args)]
pub(crate) struct ConfigPath {
    /// Configuration: a file, or a folder of *.toml files
    #[arg(long, value_name = "PATH", env = "HAL_RELAY_CONFIG", default_value = "/etc/hal-relay/relay.toml")]
    pub config: PathBuf,
}

/// True if stderr may have colours: it is a terminal, and the user has not disabled colours
/// (<https://no-color.org>).
pub(crate) fn colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints to stdout. A reader that stops early, as in `… | head`, is not an error.
pub(crate) fn print(text: &str) -> std::io::Result<()> {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Prints data for a program to read.
pub(crate) fn print_json(data: &impl serde::Serialize) -> anyhow::Result<()> {
    Ok(print(&(serde_json::to_string_pretty(data)? + "\n"))?)
}

/// A wrong use of the command: exit status 64.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub String);

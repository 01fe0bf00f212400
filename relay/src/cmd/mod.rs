//! The subcommands: this enum is the table of contents, each has a file of its own.

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
    /// Read the log and post into the rooms, until told to stop
    Run(run::Run),
    /// Read the configuration and say everything that is wrong with it
    Check(check::Check),
    /// Say where a message went
    Trace(trace::Trace),
    /// List dead letters, try them again or give them up
    Dead(dead::Dead),
    /// Say which rooms would read a message, why, and what each would show
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

/// Which configuration; every subcommand that reads one takes this.
#[derive(clap::Args)]
pub(crate) struct ConfigPath {
    /// The configuration: a file, or a folder of *.toml
    #[arg(long, value_name = "PATH", env = "HAL_RELAY_CONFIG", default_value = "/etc/hal-relay/relay.toml")]
    pub config: PathBuf,
}

/// Whether stderr takes colours: a terminal, and the user did not ask every program for none
/// (<https://no-color.org>).
pub(crate) fn colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints to stdout. That nobody reads on, as in `… | head`, is no error.
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

/// Called in a way that makes no sense: exit status 64.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub String);

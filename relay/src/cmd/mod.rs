//! The subcommands: this enum is the table of contents, each subcommand has a file of its own.

mod check;
mod config_path;
mod dead;
mod explain;
mod rooms;
mod run;
mod schema;
mod status;
mod streams;
mod trace;

use clap::Subcommand;
use relay::admin::denied;
use service::process::NotPermitted;
pub(crate) use service::process::{Usage, print, print_json};

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
    /// Say in a few lines whether all is well; the exit status is 1 if it is not
    Status(status::Status),
    /// Show the streams and how full they are, or give them the configured sizes and replicas
    Streams(streams::Streams),
    /// Print the JSON Schema of the configuration
    Schema(schema::Schema),
}

impl Command {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        use Command::{Dead, Status, Streams, Trace};
        let asks = matches!(self, Trace(_) | Dead(_) | Status(_) | Streams(_));
        tokio::select! {
            done = self.perform() => done,
            denial = denied(), if asks => {
                let who = "use the nkey_file or creds_file of the relay or of an operator";
                Err(NotPermitted(format!("{denial}; {who}")).into())
            }
        }
    }

    async fn perform(self) -> anyhow::Result<()> {
        match self {
            Command::Run(run) => run.run().await,
            Command::Check(check) => check.run(),
            Command::Trace(trace) => trace.run().await,
            Command::Dead(dead) => dead.run().await,
            Command::Explain(explain) => explain.run(),
            Command::Rooms(rooms) => rooms.run().await,
            Command::Status(status) => status.run().await,
            Command::Streams(streams) => streams.run().await,
            Command::Schema(schema) => schema.run(),
        }
    }
}

//! hal-relay: the command line. Each subcommand is one file under `cmd/`.

mod cmd;

use std::process::ExitCode;

use clap::Parser;

/// Fans tagged ops messages out to rooms.
#[derive(Parser)]
#[command(name = "hal-relay", version = tellhal::VERSION, about)]
struct Cli {
    #[command(subcommand)]
    command: cmd::Command,
}

fn main() -> ExitCode {
    service::process::main(|cli: Cli| cli.command.run())
}

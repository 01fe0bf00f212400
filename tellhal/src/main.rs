//! The command `tellhal`: reads the command line, does one thing, prints one reason, ends with one status.
//! What it can do is in `commands/`, one file each.
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod config;
mod exit;

use std::ffi::OsString;

use cli::{Asked, Cli, Command};
use exit::{Exit, Outcome, say};

fn main() {
    let args: Vec<OsString> = std::env::args_os().collect();
    let exit = match dispatch(args) {
        Ok(exit) => exit,
        Err(failure) => {
            say(failure.what);
            failure.exit
        }
    };
    // Ends at once: a name server that does not answer must not hold the job up.
    std::process::exit(exit.0);
}

fn dispatch(args: Vec<OsString>) -> Outcome {
    let asked = match cli::parse(args) {
        Ok(asked) => asked,
        Err(error) => {
            let _ = error.print();
            return Ok(if error.use_stderr() { Exit::USAGE } else { Exit::OK });
        }
    };
    match asked {
        Asked::Send(said) => commands::send::send(said.send, &said.flags),
        Asked::Other(cli) => other(*cli),
    }
}

// A frame of its own: a message that is only sent shall not touch the stack that the other commands need.
#[inline(never)]
fn other(cli: Cli) -> Outcome {
    match cli.command {
        Command::Run(run) => commands::run::run(run, &cli.flags),
        Command::Listen(listen) => commands::listen::listen(&listen, &cli.flags),
        Command::Flush(flush) => commands::flush::flush(&flush, &cli.flags),
        Command::Status(status) => commands::status::status(&status, &cli.flags),
        Command::Check(check) => commands::check::check(&check, &cli.flags),
        #[cfg(feature = "pages")]
        Command::Completions { shell } => commands::print::completions(shell),
        #[cfg(feature = "pages")]
        Command::Man => commands::print::manual(),
        #[cfg(feature = "pages")]
        Command::Schema => commands::print::schema(),
    }
}

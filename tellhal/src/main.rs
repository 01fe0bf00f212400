//! The command `tellhal`: reads the command line, does one thing, prints one reason, ends with one status.
//! Each command has a file in `commands/`.
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod config;
mod exit;

use std::ffi::OsString;

use cli::{Cli, Command, Invocation};
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
    let invocation = match cli::parse(args) {
        Ok(invocation) => invocation,
        Err(error) => {
            let _ = error.print();
            return Ok(if error.use_stderr() { Exit::USAGE } else { Exit::OK });
        }
    };
    match invocation {
        Invocation::Send(cli) => commands::send::send(cli.send, &cli.flags),
        Invocation::Other(cli) => other(*cli),
    }
}

// Not inlined: sending a message shall not touch the stack that the other commands need.
#[inline(never)]
fn other(cli: Cli) -> Outcome {
    match cli.command {
        Command::Run(run) => commands::run::run(run, &cli.flags),
        Command::Listen(listen) => commands::listen::listen(&listen, &cli.flags),
        Command::Serve(serve) => commands::serve::serve(&serve, &cli.flags),
        Command::Flush(flush) => commands::flush::flush(&flush, &cli.flags),
        Command::Status(status) => commands::status::status(&status, &cli.flags),
        Command::Check(check) => commands::check::check(&check, &cli.flags),
        Command::Nkey(nkey) => commands::nkey::nkey(&nkey, &cli.flags),
        #[cfg(feature = "pages")]
        Command::Completions { shell } => commands::print::completions(shell),
        #[cfg(feature = "pages")]
        Command::Man { name } => commands::print::manual(name.as_deref()),
        #[cfg(feature = "pages")]
        Command::Schema { of } => commands::print::schema(of),
    }
}

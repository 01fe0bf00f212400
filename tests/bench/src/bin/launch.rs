//! Runs a program and prints its peak resident set in bytes, from a process small enough not to
//! be the peak itself.

use std::process::ExitCode;

use bench::process::Program;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let Some(path) = args.next() else {
        eprintln!("usage: launch PROGRAM [ARGUMENT…]");
        return ExitCode::from(64);
    };
    match Program::new(path).args(args).run() {
        Ok(cost) => {
            println!("{}", cost.peak_bytes);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

//! `tellhal check [PATH]`: prints all problems of the configuration. Does not contact a server.

use std::io::Write;

use crate::cli::Check;
use crate::config::{FileCheck, Flags, Problem, load, read_file};
use crate::exit::{Exit, Failure, Outcome};

pub(crate) fn check(args: &Check, flags: &Flags) -> Outcome {
    let (check, read) = match &args.path {
        Some(path) => {
            let shown = path.display().to_string();
            match read_file(path) {
                Ok(Some(config)) => (config.check_files(&shown), vec![shown]),
                Ok(None) => {
                    let missing = Problem::new(shown, "there is no such file", "name one, or none at all");
                    (FileCheck { problems: vec![missing], ..FileCheck::default() }, vec![])
                }
                Err(problems) => (FileCheck { problems, ..FileCheck::default() }, vec![]),
            }
        }
        None => {
            let settings = load(flags);
            let mut check = settings.check_files();
            check.problems.splice(0..0, settings.problems);
            (check, settings.read)
        }
    };
    let FileCheck { problems, warnings } = check;
    for warning in &warnings {
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    for problem in &problems {
        let _ = writeln!(std::io::stderr(), "{problem}");
    }
    if problems.is_empty() {
        let read = if read.is_empty() { "no file, so the defaults".into() } else { read.join(", ") };
        let _ = writeln!(std::io::stdout(), "good: {read}");
        return Ok(Exit::OK);
    }
    let count =
        if problems.len() == 1 { "one problem".into() } else { format!("{} problems", problems.len()) };
    Err(Failure::new(Exit::CONFIG, format!("{count} in the configuration")))
}

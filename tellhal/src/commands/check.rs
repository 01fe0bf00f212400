//! `tellhal check [PATH]`: prints everything that is wrong with the configuration. Contacts no server.

use std::io::Write;

use crate::cli::Check;
use crate::config::{Flags, Look, Problem, load, read_file};
use crate::exit::{Exit, Failure, Outcome};

pub(crate) fn check(said: &Check, flags: &Flags) -> Outcome {
    let (look, read) = match &said.path {
        Some(path) => {
            let shown = path.display().to_string();
            match read_file(path) {
                Ok(Some(config)) => (config.look(&shown), vec![shown]),
                Ok(None) => {
                    let missing = Problem::new(shown, "there is no such file", "name one, or none at all");
                    (Look { problems: vec![missing], ..Look::default() }, vec![])
                }
                Err(problems) => (Look { problems, ..Look::default() }, vec![]),
            }
        }
        None => {
            let settings = load(flags);
            let mut look = settings.look();
            look.problems.splice(0..0, settings.problems);
            (look, settings.read)
        }
    };
    let Look { problems, warnings } = look;
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

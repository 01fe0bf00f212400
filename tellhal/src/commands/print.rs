//! `completions`, `man` and `schema`: the files that packages ship, each generated from its one source. Only
//! with the feature `pages`: hosts get the files.

use std::io::Write;

use tellhal::Message;

use crate::cli::documented;
use crate::exit::{Exit, Failure, Outcome};

pub(crate) fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut documented(), "tellhal", &mut bytes);
    print(&bytes)
}

/// The page of tellhal, or of one of its subcommands: `tellhal-run(1)`.
pub(crate) fn manual(name: Option<&str>) -> Outcome {
    let mut command = documented();
    command.build();
    if let Some(name) = name {
        let names: Vec<String> = command.get_subcommands().map(|known| known.get_name().to_owned()).collect();
        let found = command.find_subcommand(name).cloned();
        command = found.ok_or_else(|| {
            let hint = tellhal::nearest::hint(name, names.iter().map(String::as_str));
            Failure::usage(format!("there is no subcommand {name}; {hint}"))
        })?;
    }
    let mut bytes = Vec::new();
    let title = name.map_or_else(|| "tellhal".into(), |name| format!("tellhal-{name}"));
    let page = clap_mangen::Man::new(command).title(title).manual("User Commands");
    page.render(&mut bytes).map_err(|error| Failure::new(Exit::TEMPORARY, error))?;
    print(&bytes)
}

pub(crate) fn schema() -> Outcome {
    let schema = schemars::schema_for!(Message);
    let text = serde_json::to_string_pretty(&schema).map_err(|error| Failure::new(Exit::TEMPORARY, error))?;
    print(format!("{text}\n").as_bytes())
}

fn print(bytes: &[u8]) -> Outcome {
    // A reader that stops early, as in `… | head`, is not an error.
    let _ = std::io::stdout().write_all(bytes);
    Ok(Exit::OK)
}

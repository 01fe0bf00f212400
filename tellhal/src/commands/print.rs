//! `completions`, `man` and `schema`: the files that packages ship, each generated from its one source. Only
//! with the feature `pages`: hosts get the files.

use std::io::Write;

use tellhal::{Message, audit, command};

use crate::cli::{Format, documented};
use crate::config::FileConfig;
use crate::exit::{Exit, Failure, Outcome};

pub(crate) fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut documented(), "tellhal", &mut bytes);
    print(&bytes)
}

/// The page of tellhal, or of one of its subcommands: `tellhal-run(1)`.
pub(crate) fn manual(name: Option<&str>) -> Outcome {
    // Pages name no commit: they are the same for all builds of a version.
    let mut command = documented().version(env!("CARGO_PKG_VERSION"));
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

/// The schema of messages, of everything that chat commands are made of, or of `tellhal.toml`.
pub(crate) fn schema(of: Format) -> Outcome {
    let schema = match of {
        Format::Message => schemars::schema_for!(Message),
        Format::Command => command(),
        Format::Config => schemars::schema_for!(FileConfig),
    };
    let text = serde_json::to_string_pretty(&schema).map_err(|error| Failure::new(Exit::TEMPORARY, error))?;
    print(format!("{text}\n").as_bytes())
}

fn command() -> schemars::Schema {
    let mut generator = schemars::SchemaGenerator::default();
    generator.subschema_for::<command::Request>();
    generator.subschema_for::<command::Progress>();
    generator.subschema_for::<command::Answer>();
    generator.subschema_for::<command::Metadata>();
    generator.subschema_for::<audit::Entry>();
    generator.subschema_for::<audit::PageLine>();
    let definitions: serde_json::Value = generator.take_definitions(true).into();
    let title = "Chat commands on the bus";
    schemars::json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, "$defs": definitions
    })
}

fn print(bytes: &[u8]) -> Outcome {
    // A reader that stops early, as in `… | head`, is not an error.
    let _ = std::io::stdout().write_all(bytes);
    Ok(Exit::OK)
}

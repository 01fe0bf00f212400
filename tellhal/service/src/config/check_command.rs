//! The subcommand `check` of every service: prints all problems of a configuration at once. Does not connect or send. A secret
//! that cannot be read here is a warning, since the service may be able to read it.

use std::path::Path;

use serde::Serialize;

use super::{Configuration, Problem, Problems};
use crate::process::{colour, print, print_json};

#[derive(Serialize)]
struct Report<'a, S> {
    ok: bool,
    problems: &'a [Problem],
    #[serde(flatten)]
    summary: Option<S>,
}

/// Reads the configuration at `path` and prints its problems, with `json` as data. Of a good one it prints the
/// result of `summary`, as text or as data.
pub fn check_command<C: Configuration, S: Serialize + ToString>(
    path: &Path,
    json: bool,
    summary: impl Fn(&C) -> S,
) -> anyhow::Result<()> {
    let mut checked = C::load(path);
    if json {
        let good = checked.as_ref().ok().map(&summary);
        let ok = good.is_some();
        let problems: &[Problem] = match &mut checked {
            Ok(config) => config.warnings(),
            Err(problems) => &problems.0,
        };
        print_json(&Report { ok, problems, summary: good })?;
    }
    let mut config = checked?;
    if !json {
        eprint!("{}", Problems(std::mem::take(config.warnings())).report(colour()));
        print(&(summary(&config).to_string() + "\n"))?;
    }
    Ok(())
}

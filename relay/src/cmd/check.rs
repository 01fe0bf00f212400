//! `hal-relay check`: all problems of a configuration at once. It does not connect or send; a secret that cannot be read
//! here is a warning, since the service may be able to read it.

use relay::config::{Config, Problem, Problems};
use serde::Serialize;

use super::{ConfigPath, colour, print, print_json};

#[derive(clap::Args)]
pub(crate) struct Check {
    #[command(flatten)]
    path: ConfigPath,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    problems: &'a [Problem],
    #[serde(flatten)]
    counts: Option<Counts>,
}

#[derive(Serialize)]
struct Counts {
    rooms: usize,
    routes: usize,
    tests: usize,
}

impl Check {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let checked = Config::load(&self.path.config);
        if self.json {
            let (problems, counts) = match &checked {
                Ok(config) => (config.warnings.as_slice(), Some(Counts::of(config))),
                Err(problems) => (problems.0.as_slice(), None),
            };
            let report = Report { ok: checked.is_ok(), problems, counts };
            print_json(&report)?;
        }
        let config = checked?;
        if !self.json {
            eprint!("{}", Problems(config.warnings.clone()).report(colour()));
            print(&(Counts::of(&config).sentence() + "\n"))?;
        }
        Ok(())
    }
}

impl Counts {
    /// The built-in page is not counted: it is not in the configuration.
    fn of(config: &Config) -> Self {
        let Config { rooms, routing, tests, .. } = config;
        Counts { rooms: rooms.len() - 1, routes: routing.routes.len(), tests: *tests }
    }

    fn sentence(&self) -> String {
        let some = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        let tests = match self.tests {
            0 => "no tests".to_owned(),
            1 => "1 test passes".to_owned(),
            tests => format!("{tests} tests pass"),
        };
        format!("{}, {}, {tests}", some(self.rooms, "room"), some(self.routes, "route"))
    }
}

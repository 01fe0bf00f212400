//! `hal-relay check`: everything that is wrong with a configuration, at once.

use std::fmt;

use relay::config::Config;
use serde::Serialize;
use service::config::check_command;

use super::config_path::ConfigPath;

#[derive(clap::Args)]
pub(crate) struct Check {
    #[command(flatten)]
    path: ConfigPath,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Counts {
    rooms: usize,
    routes: usize,
    tests: usize,
}

impl Check {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        check_command(&self.path.config, self.json, Counts::of)
    }
}

impl Counts {
    /// The built-in page is not counted: it is not in the configuration.
    fn of(config: &Config) -> Self {
        let Config { rooms, routing, tests, .. } = config;
        Counts { rooms: rooms.len() - 1, routes: routing.routes.len(), tests: *tests }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let some = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        write!(f, "{}, {}", some(self.rooms, "room"), some(self.routes, "route"))?;
        match self.tests {
            0 => f.write_str(", no tests"),
            1 => f.write_str(", 1 test passes"),
            n => write!(f, ", {n} tests pass"),
        }
    }
}

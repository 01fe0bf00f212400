//! `hal-relay schema`: the JSON Schema of the configuration, for editors and other checkers.

use service::config::Configuration as _;

#[derive(clap::Args)]
pub(crate) struct Schema {}

impl Schema {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        super::print_json(&relay::config::Config::schema())
    }
}

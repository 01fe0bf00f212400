//! The option that says where the configuration is, the same in every subcommand that reads it.

use std::path::PathBuf;

/// The path of the configuration, for every subcommand that reads it.
#[derive(clap::Args)]
pub(crate) struct ConfigPath {
    /// Configuration: a file, or a folder of *.toml files
    #[arg(long, value_name = "PATH", env = "HAL_RELAY_CONFIG", default_value = "/etc/tellhal/relay.d")]
    pub config: PathBuf,
}

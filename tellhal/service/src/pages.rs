//! The manual pages and completions of a service's command line, for packages: `hal-relay pages FOLDER`. Users get the files, so
//! that no help names this.

use std::path::Path;

use anyhow::Context;
use clap_complete::Shell;

/// Writes `NAME.1`, a page for each subcommand, and the completions of bash, fish and zsh into `folder`, which must exist.
pub fn write(command: clap::Command, folder: &Path) -> anyhow::Result<()> {
    let failed = || format!("cannot write pages into {}", folder.display());
    // Pages name no commit: they are the same for all builds of a version.
    let mut command = command.disable_help_subcommand(true).version(env!("CARGO_PKG_VERSION"));
    let name = command.get_name().to_owned();
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut command, &name, folder).with_context(failed)?;
    }
    clap_mangen::generate_to(command, folder).with_context(failed)
}

//! The shared parts of the relay's benchmarks: the messages, the sink that counts them, the relay under test as a
//! process, and its peers.

pub mod alertmanager;
pub mod consume;
pub mod load;
pub mod relay_process;
pub mod sink;

use std::process::Command;

use anyhow::{Context, bail};

/// A current-thread runtime, as the relay's own.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Runs this program again in another role and returns the number it prints, so that every measured
/// part has a process, and with it a heap and a runtime, of its own.
pub fn role(args: &[String]) -> anyhow::Result<f64> {
    let output = Command::new(std::env::current_exe()?).args(args).output()?;
    if !output.status.success() {
        bail!("{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout)?;
    text.trim().parse().with_context(|| format!("{args:?} printed {text:?}"))
}

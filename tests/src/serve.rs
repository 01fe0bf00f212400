//! `tellhal serve`: programs of the tests that answer chat commands.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::Bridge;
use crate::process::Process;
use crate::service::tellhal_as;

/// Running `tellhal serve`s with a folder for their programs; killed when dropped.
#[derive(Debug)]
pub struct Served {
    // The first field, so that the processes end before the folder is removed.
    processes: Vec<Process>,
    dir: TempDir,
}

impl Default for Served {
    fn default() -> Self {
        Served { processes: Vec::new(), dir: TempDir::new().expect("a folder for programs") }
    }
}

impl Served {
    /// Runs `tellhal serve` with these arguments, which takes requests of `bridge` alone, and waits until it serves.
    pub async fn serve(&mut self, nats_url: &str, bridge: &Bridge, arguments: &[&str]) {
        let mut command = tellhal_as("handler", nats_url, self.dir.path());
        command.arg("serve").args(arguments).args(["--bridge-key", &bridge.key()]);
        self.spawn(command).await;
    }

    /// Runs a command of `tellhal serve` and waits until it serves.
    pub async fn spawn(&mut self, mut command: Command) {
        let log = self.log_path(self.processes.len());
        let mut process = Process::start("tellhal serve", &mut command, &log);
        let serves = async || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("serves "));
        process.ready("it serves", serves).await;
        self.processes.push(process);
    }

    /// The process that was started as number `index`, to stop (SIGSTOP), resume, kill or terminate.
    pub fn process(&mut self, index: usize) -> &mut Process {
        &mut self.processes[index]
    }

    /// The output of the one that was started as number `index`.
    pub fn log(&self, index: usize) -> String {
        std::fs::read_to_string(self.log_path(index)).expect("its log")
    }

    fn log_path(&self, index: usize) -> PathBuf {
        self.path(&format!("serve-{index}"))
    }

    /// A shell script, to be served.
    pub fn program(&self, name: &str, script: &str) -> String {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a program");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .expect("an executable program");
        path.display().to_string()
    }

    /// A path in the folder of the programs.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The folder of the programs.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

//! One process from spawn to exit: wall time, CPU time, largest resident set.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use wait4::Wait4;

/// A command line that can be run again and again.
#[derive(Clone, Debug)]
pub struct Program {
    pub path: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(String, OsString)>,
}

/// The cost of one run.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub wall_ms: f64,
    pub cpu_ms: f64,
    /// The peak resident set. Only meaningful if the measuring process is small: a child starts with its parent's peak,
    /// because spawning shares the parent's memory until the new program is loaded.
    pub peak_bytes: u64,
}

impl Program {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Program { path: path.into(), args: Vec::new(), env: Vec::new() }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Runs it to its end; an exit status other than 0 is an error, since its time would mean nothing.
    pub fn run(&self) -> anyhow::Result<Cost> {
        let mut command = self.command();
        let start = Instant::now();
        let mut child = command.spawn().with_context(|| format!("{}", self.path.display()))?;
        let end = child.wait4()?;
        let wall_ms = start.elapsed().as_secs_f64() * 1e3;
        if !end.status.success() {
            bail!("{} ended with {}: {:?} {:?}", self.path.display(), end.status, self.args, self.env);
        }
        let cpu = end.rusage.utime + end.rusage.stime;
        Ok(Cost { wall_ms, cpu_ms: cpu.as_secs_f64() * 1e3, peak_bytes: end.rusage.maxrss })
    }

    /// Its peak resident set, measured through the small program `launch` (see [`Cost::peak_bytes`]).
    pub fn peak_bytes(&self, launch: &std::path::Path) -> anyhow::Result<u64> {
        let mut command = Command::new(launch);
        command.arg(&self.path).args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        let output = command.stderr(Stdio::inherit()).output()?;
        let text = String::from_utf8(output.stdout)?;
        text.trim().parse().with_context(|| format!("{}: {text:?}", self.path.display()))
    }
}

/// The full path of a program on `PATH`, if it is installed.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// A line of `/proc/<pid>/status` such as `VmRSS` or `VmHWM`, in bytes.
pub fn memory(pid: u32, line: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes = status
        .lines()
        .find_map(|text| text.strip_prefix(line)?.strip_prefix(':')?.trim().strip_suffix(" kB"))
        .with_context(|| format!("no {line} of process {pid}"))?;
    Ok(kilobytes.parse::<u64>()? * 1024)
}

/// User and system time a living process has used. The kernel counts in hundredths of a second.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name is in parentheses and may contain any character.
    let (_, rest) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(ticks as f64 / 100.0)
}

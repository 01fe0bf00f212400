//! Programs in other languages: copies of the examples in `tests/neighbours`, each in a folder of its own with its packages.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::find;
use crate::process::Process;

/// A running example; killed when dropped.
#[derive(Debug)]
pub struct Neighbour {
    // The first field, so that the process ends before its folder is removed.
    process: Process,
    dir: TempDir,
}

impl Neighbour {
    /// Copies `files` (example, place) into a new folder, adds `(name, text)` of `written`, and starts the command there.
    pub fn start(
        files: &[(&str, &str)],
        written: &[(&str, String)],
        mut command: Command,
        env: &[(&str, String)],
    ) -> Neighbour {
        let dir = TempDir::new().expect("a folder for an example");
        for (example, place) in files {
            let to = within(&dir, place);
            std::fs::copy(find::repository().join("tests/neighbours").join(example), to).expect(example);
        }
        for (place, text) in written {
            std::fs::write(within(&dir, place), text).expect(place);
        }
        // Node looks for packages beside the script.
        std::os::unix::fs::symlink(find::node_packages("hubot"), dir.path().join("node_modules"))
            .expect("a link to the packages");
        command.current_dir(dir.path()).envs(env.iter().map(|(name, value)| (name, value)));
        let process = Process::start("an example", &mut command, &dir.path().join("log"));
        Neighbour { process, dir }
    }

    /// Waits until its output contains `words`.
    pub async fn says(&mut self, words: &str) {
        let log = self.dir.path().join("log");
        let said = async || std::fs::read_to_string(&log).is_ok_and(|text| text.contains(words));
        self.process.ready(words, said).await;
    }

    /// The process, to stop (SIGSTOP), resume, kill or terminate.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// A path in the folder, whose parents are there.
fn within(dir: &TempDir, place: &str) -> std::path::PathBuf {
    let path = dir.path().join(place);
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a folder");
    path
}

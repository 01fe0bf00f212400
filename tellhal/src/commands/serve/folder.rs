//! A folder of one request, in which its program leaves files for the answer. Gone with the request.

use std::fs::DirBuilder;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tellhal::attached::{File, LONGEST, MOST, bounded};

/// The variable that names the folder.
pub(super) const FILES: &str = "TELLHAL_FILES";
static NEXT: AtomicU64 = AtomicU64::new(0);
/// The most entries that are looked at.
const LOOK: usize = 100;

pub(super) struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            crate::exit::say(format!("{} stays: {error}", self.0.display()));
        }
    }
}

impl Folder {
    /// A new one that only this user can read.
    pub(super) fn new() -> std::io::Result<Folder> {
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("tellhal-{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Folder(path)),
                // Another process with this number was killed.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The files in it, in the order of their names, and a line about each that is left out. Links are not followed.
    pub(super) fn take(&self) -> (Vec<File>, Vec<String>) {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten().take(LOOK);
        let is_file = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_file());
        let mut paths: Vec<PathBuf> = entries.filter(is_file).map(|entry| entry.path()).collect();
        paths.sort();
        let read = |path: &PathBuf| {
            let mut data = Vec::new();
            // One byte more than fits, so that a longer one is noticed.
            let limit = u64::try_from(LONGEST).unwrap_or(u64::MAX) + 1;
            std::fs::File::open(path).ok()?.take(limit).read_to_end(&mut data).ok()?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Some(File { name, data, object: String::new() })
        };
        bounded(paths.iter().take(MOST + 1).filter_map(read).collect())
    }
}

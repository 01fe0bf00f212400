//! One directory held open, so that it cannot be replaced by a symlink while it is used.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, SeekFrom, Stat};
use rustix::io::Errno;

/// The smallest size of a file on disk, in bytes.
pub(super) const BLOCK: u64 = 4096;

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, Errno> {
        rustix::fs::open(path, OPEN, Mode::empty()).map(Folder)
    }

    pub(super) fn child(&self, name: &str) -> Result<Self, Errno> {
        rustix::fs::openat(&self.0, name, OPEN, Mode::empty()).map(Folder)
    }

    /// Opens or creates a file here; never follows a symlink.
    pub(super) fn file(&self, name: &OsStr, flags: OFlags) -> Result<File, Errno> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR).map(File::from)
    }

    pub(super) fn stat(&self) -> Result<Stat, Errno> {
        rustix::fs::fstat(&self.0)
    }

    pub(super) fn sync(&self) -> Result<(), Errno> {
        rustix::fs::fsync(&self.0)
    }

    pub(super) fn remove(&self, name: &OsStr) -> Result<(), Errno> {
        rustix::fs::unlinkat(&self.0, name, AtFlags::empty())
    }

    /// The names in it, in no order.
    pub(super) fn names(&self) -> Result<Vec<OsString>, Errno> {
        let mut names = Vec::new();
        let mut room = [MaybeUninit::uninit(); 1024];
        rustix::fs::seek(&self.0, SeekFrom::Start(0))?;
        let mut entries = RawDir::new(&self.0, &mut room);
        while let Some(entry) = entries.next() {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    /// The number of entries and their bytes on disk. Entries that vanish meanwhile do not count.
    pub(super) fn measure(&self) -> Result<(u64, u64), Errno> {
        let (mut count, mut bytes) = (0, 0_u64);
        for name in self.names()? {
            if let Ok(stat) = rustix::fs::statat(&self.0, &name, AtFlags::SYMLINK_NOFOLLOW) {
                count += 1;
                bytes = bytes.saturating_add(on_disk(u64::try_from(stat.st_size).unwrap_or(0)));
            }
        }
        Ok((count, bytes))
    }
}

/// The size of `bytes` on disk, where each file takes whole blocks: many tiny files count too.
pub(super) fn on_disk(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK).max(1).saturating_mul(BLOCK)
}

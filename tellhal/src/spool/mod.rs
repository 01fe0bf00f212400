//! Messages that no stream has acknowledged yet, kept on disk as in a maildir: written and fsynced in `tmp/`,
//! renamed into `new/`, and the directory fsynced. A file in `new/` is whole.
//!
//! Any number of processes may use one spool at once: the sender of a message holds its file's lock.
//! Independent of the network; [`crate::flush`] empties it.

mod entry;
mod folder;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use entry::MAX_ENTRY;
pub use entry::{Broken, encode, parse};
use folder::{Folder, on_disk};

use crate::message::Message;

/// Default limit of a spool's size on disk, in bytes.
pub const DEFAULT_LIMIT: u64 = 64 * 1024 * 1024;

/// A spool directory that only its owner can write.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    root: Folder,
    owner: u32,
    limit: u64,
}

/// The reason why the spool cannot keep or give a message.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The directory cannot be trusted.
    #[error("spool {}: {what}", path.display())]
    Unsafe {
        /// The spool.
        path: PathBuf,
        /// The problem.
        what: String,
    },
    /// There is no room for one more message.
    #[error("spool {} is full: {used} of {limit} bytes ({bad} of them in bad/)", path.display())]
    Full {
        /// The spool.
        path: PathBuf,
        /// Bytes in it.
        used: u64,
        /// Bytes of the files in `bad/`.
        bad: u64,
        /// Limit of its size, in bytes.
        limit: u64,
    },
    /// A system call failed.
    #[error("spool {}: {doing}: {source}", path.display())]
    Io {
        /// The spool.
        path: PathBuf,
        /// The failed operation.
        doing: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
}

/// The contents of a spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Messages that wait.
    pub waiting: u64,
    /// Files in `bad/`: they are not messages, or no server ever takes them.
    pub bad: u64,
    /// Bytes on disk of all files.
    pub bytes: u64,
    /// Bytes of the files in `bad/`.
    pub bad_bytes: u64,
}

/// The result of an attempt to claim one message.
#[derive(Debug)]
pub enum Claim<'a> {
    /// The message is ours until the value is dropped.
    Ours(Box<Held<'a>>),
    /// Another process is sending it.
    Busy,
    /// Another process has sent it.
    Gone,
    /// The file is not a message and was moved to `bad/`.
    Bad(Broken),
}

/// A spooled message that no other process sends meanwhile.
#[derive(Debug)]
pub struct Held<'a> {
    /// The message.
    pub message: Message,
    spool: &'a Spool,
    name: OsString,
    _lock: File,
}

impl Spool {
    /// The spool at `path`, created with mode 0700 when it is missing.
    pub fn open(path: &Path) -> Result<Self, SpoolError> {
        if let Some(spool) = Self::existing(path)? {
            return Ok(spool);
        }
        let failed = |doing| move |source| SpoolError::Io { path: path.into(), doing, source };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed("cannot create it"))?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)
                .and_then(|parent| parent.sync_all())
                .map_err(failed("cannot sync its parent"))?;
        }
        let gone = || failed("cannot open it")(std::io::ErrorKind::NotFound.into());
        Self::existing(path)?.ok_or_else(gone)
    }

    /// The spool at `path` if there is one.
    pub fn existing(path: &Path) -> Result<Option<Self>, SpoolError> {
        Self::owned_by(path, rustix::process::geteuid().as_raw())
    }

    /// The spool at `path` if there is one; an error unless it belongs to `owner` alone.
    pub fn owned_by(path: &Path, owner: u32) -> Result<Option<Self>, SpoolError> {
        let refuse = |what: &str| SpoolError::Unsafe { path: path.into(), what: what.into() };
        let root = match Folder::open(path) {
            Ok(root) => root,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(refuse("is a symlink or not a directory")),
            Err(error) => {
                return Err(SpoolError::Io {
                    path: path.into(),
                    doing: "cannot open it",
                    source: error.into(),
                });
            }
        };
        let stat = root.stat().map_err(|error| refuse(&error.to_string()))?;
        if stat.st_uid != owner {
            return Err(refuse(&format!("belongs to uid {}, not to {owner}", stat.st_uid)));
        }
        if stat.st_mode & 0o022 != 0 {
            return Err(refuse("can be written by others; chmod 0700 corrects that"));
        }
        Ok(Some(Spool { path: path.into(), root, owner, limit: DEFAULT_LIMIT }))
    }

    /// The same spool with another limit, in bytes.
    #[must_use]
    pub fn with_limit(self, limit: u64) -> Self {
        Spool { limit, ..self }
    }

    /// The path of the spool.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps `message`: after this returns `Ok`, it survives a crash of the machine.
    pub fn keep(&self, message: &Message) -> Result<(), SpoolError> {
        let bytes = encode(message).map_err(|error| self.io("cannot encode the message")(error.into()))?;
        let used = self.sweep_and_measure()?;
        if used.bytes + on_disk(bytes.len() as u64) > self.limit {
            let (path, bad) = (self.path.clone(), used.bad_bytes);
            return Err(SpoolError::Full { path, used: used.bytes, bad, limit: self.limit });
        }
        let tmp = self.folder("tmp")?;
        let new = self.folder("new")?;
        // Milliseconds first, so that names sort by age.
        let id: String = message.id.chars().map(|c| if c == '/' || c == '\0' { '_' } else { c }).collect();
        let name = format!("{:013}-{id}", message.time.0);
        // A sweeper may remove the file between its creation and its lock; then it is written again.
        for attempt in 0..3 {
            let draft = format!("{name}.{}.{attempt}", std::process::id());
            match self.write(&tmp, &new, &draft, &name, &bytes) {
                Err(SpoolError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                done => return done,
            }
        }
        Err(self.io("cannot write a message")(std::io::ErrorKind::NotFound.into()))
    }

    fn write(
        &self,
        tmp: &Folder,
        new: &Folder,
        draft: &str,
        name: &str,
        bytes: &[u8],
    ) -> Result<(), SpoolError> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
        let file = tmp.file(OsStr::new(draft), flags).map_err(self.errno("cannot create a file in tmp/"))?;
        let written = (|| {
            file.try_lock().map_err(|error| self.io("cannot lock a file in tmp/")(error.into()))?;
            (&file).write_all(bytes).map_err(self.io("cannot write a file in tmp/"))?;
            file.sync_all().map_err(self.io("cannot sync a file in tmp/"))?;
            rustix::fs::renameat(tmp, draft, new, name).map_err(self.errno("cannot rename a file into new/"))
        })();
        if written.is_err() {
            let _ = tmp.remove(OsStr::new(draft));
        }
        written?;
        new.sync().map_err(self.errno("cannot sync new/"))
    }

    /// The names of the waiting messages, oldest first.
    pub fn waiting(&self) -> Result<Vec<OsString>, SpoolError> {
        let mut names = match self.root.child("new") {
            Ok(new) => new.names().map_err(self.errno("cannot list new/"))?,
            Err(Errno::NOENT) => Vec::new(),
            Err(error) => return Err(self.errno("cannot open new/")(error)),
        };
        names.sort_unstable();
        Ok(names)
    }

    /// Claims the message `name`, so that no other process sends it meanwhile.
    pub fn claim(&self, name: &OsStr) -> Result<Claim<'_>, SpoolError> {
        let new = self.folder("new")?;
        let aside = |broken: Broken| {
            self.set_aside(name)?;
            Ok(Claim::Bad(broken))
        };
        // The file's type is checked before it is opened: opening a device or a fifo may have effects.
        let stat = match rustix::fs::statat(&new, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Claim::Gone),
            Err(error) => return Err(self.errno("cannot look at a file in new/")(error)),
        };
        if let Some(what) = self.not_ours(&stat) {
            return aside(Broken::NotAFile(what));
        }
        let file = match new.file(name, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(Claim::Gone),
            Err(error) => return Err(self.errno("cannot open a file in new/")(error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(Claim::Busy),
            Err(error) => return Err(self.io("cannot lock a file in new/")(error.into())),
        }
        // The previous holder of the lock may have sent and removed the file.
        if rustix::fs::fstat(&file).is_ok_and(|stat| stat.st_nlink == 0) {
            return Ok(Claim::Gone);
        }
        let mut bytes = Vec::new();
        (&file).take(MAX_ENTRY).read_to_end(&mut bytes).map_err(self.io("cannot read a file in new/"))?;
        match parse(&bytes) {
            Ok(message) => {
                Ok(Claim::Ours(Box::new(Held { message, spool: self, name: name.into(), _lock: file })))
            }
            Err(broken) => aside(broken),
        }
    }

    fn not_ours(&self, stat: &rustix::fs::Stat) -> Option<&'static str> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if stat.st_uid != self.owner => Some("another user's"),
            FileType::RegularFile if stat.st_nlink > 1 => Some("linked from elsewhere"),
            FileType::RegularFile => None,
            FileType::Symlink => Some("a symlink"),
            FileType::Directory => Some("a directory"),
            _ => Some("not a regular file"),
        }
    }

    /// Moves `name` from `new/` to `bad/`, under another name if that one is taken.
    fn set_aside(&self, name: &OsStr) -> Result<(), SpoolError> {
        let (new, bad) = (self.folder("new")?, self.folder("bad")?);
        let mut other = name.to_owned();
        other.push(format!(".{}", uuid::Uuid::now_v7()));
        for to in [name, other.as_os_str()] {
            match rustix::fs::renameat_with(&new, name, &bad, to, rustix::fs::RenameFlags::NOREPLACE) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(self.errno("cannot move a file to bad/")(error)),
            }
        }
        Ok(())
    }

    /// The contents, counted.
    pub fn usage(&self) -> Result<Usage, SpoolError> {
        let mut usage = Usage::default();
        for name in ["tmp", "new", "bad"] {
            let folder = match self.root.child(name) {
                Ok(folder) => folder,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(self.errno("cannot open a folder in it")(error)),
            };
            let (count, bytes) = folder.measure().map_err(self.errno("cannot measure it"))?;
            usage.bytes += bytes;
            match name {
                "new" => usage.waiting = count,
                "bad" => (usage.bad, usage.bad_bytes) = (count, bytes),
                _ => {}
            }
        }
        Ok(usage)
    }

    /// Removes the files that killed writers left in `tmp/`, then measures.
    fn sweep_and_measure(&self) -> Result<Usage, SpoolError> {
        self.sweep()?;
        self.usage()
    }

    /// Removes the files that killed writers left in `tmp/`: a living writer holds its file's lock.
    pub fn sweep(&self) -> Result<(), SpoolError> {
        let Ok(tmp) = self.root.child("tmp") else { return Ok(()) };
        for name in tmp.names().map_err(self.errno("cannot list tmp/"))? {
            let dead = match tmp.file(&name, OFlags::RDONLY | OFlags::NONBLOCK) {
                Ok(file) => file.try_lock().is_ok(),
                Err(Errno::LOOP) => true,
                Err(_) => false,
            };
            if dead {
                let _ = tmp.remove(&name);
            }
        }
        Ok(())
    }

    fn folder(&self, name: &str) -> Result<Folder, SpoolError> {
        match self.root.child(name) {
            Err(Errno::NOENT) => {}
            opened => return opened.map_err(self.errno("cannot open a folder in it")),
        }
        match rustix::fs::mkdirat(&self.root, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(self.errno("cannot create a folder in it")(error)),
        }
        self.root.sync().map_err(self.errno("cannot sync it"))?;
        self.root.child(name).map_err(self.errno("cannot open a folder in it"))
    }

    fn io(&self, doing: &'static str) -> impl FnOnce(std::io::Error) -> SpoolError {
        let path = self.path.clone();
        move |source| SpoolError::Io { path, doing, source }
    }

    fn errno(&self, doing: &'static str) -> impl FnOnce(Errno) -> SpoolError {
        let fail = self.io(doing);
        move |errno| fail(errno.into())
    }
}

impl Held<'_> {
    /// Removes the message after its acknowledgement.
    pub fn remove(self) -> Result<(), SpoolError> {
        let new = self.spool.folder("new")?;
        match new.remove(&self.name) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.spool.errno("cannot remove a sent message")(error)),
        }
    }

    /// Moves the message to `bad/`: no server ever takes it.
    pub fn set_aside(self) -> Result<(), SpoolError> {
        self.spool.set_aside(&self.name)
    }
}

#[cfg(test)]
mod tests;

//! Small files that people name: configurations, credentials, certificates. Only regular files are read, and only up to a
//! limit: a FIFO would block for ever and a device would never end.

use std::io::{Error, ErrorKind, Read};
use std::path::Path;

/// The largest file that is read, in bytes: far larger than every system's bundle of CA certificates.
pub const LARGEST: u64 = 4 * 1024 * 1024;

/// The number of files that a connection and the spool need open at once, with some to spare.
const OPEN: u64 = 16;

/// The reason why this process may open too few files for a connection: a limit that a runtime meets with a panic.
pub fn too_few() -> Option<String> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    (limit < OPEN)
        .then(|| format!("only {limit} files may be open at once here (ulimit -n), and {OPEN} are needed"))
}

/// The bytes of a regular file of at most [`LARGEST`] bytes.
pub fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    // Looked at before it is opened: opening a FIFO waits for its writer, and opening a device may have effects.
    if !path.metadata()?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        let limit = LARGEST / 1024 / 1024;
        return Err(Error::new(ErrorKind::InvalidData, format!("it is larger than {limit} MiB")));
    }
    Ok(bytes)
}

/// The problem of a configuration that every user may change, and a hint: such a user could redirect messages.
pub fn open_to_all(file: &Path) -> Option<(&'static str, String)> {
    use std::os::unix::fs::MetadataExt;
    let mode = |path: &Path| path.metadata().map_or(0, |meta| meta.mode());
    let hint = |path: &Path| format!("other users could redirect messages: chmod o-w {}", path.display());
    if mode(file) & 0o002 != 0 {
        return Some(("can be written by everybody", hint(file)));
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // In a sticky folder, such as /tmp, only its owner may replace a file.
    let replaceable = mode(folder) & 0o1002 == 0o0002;
    replaceable.then(|| ("is in a folder that can be written by everybody", hint(folder)))
}

/// The text of a regular file of at most [`LARGEST`] bytes.
pub fn read_text(path: &Path) -> std::io::Result<String> {
    String::from_utf8(read(path)?).map_err(|_| Error::new(ErrorKind::InvalidData, "it is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_everybody_can_write_or_replace_is_named() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        std::fs::write(&file, "").unwrap();
        let problem = |folder: u32, mode: u32| {
            std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(folder)).unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
            open_to_all(&file).map(|(what, _)| what)
        };
        assert_eq!(problem(0o755, 0o644), None);
        assert_eq!(problem(0o1777, 0o644), None);
        assert_eq!(problem(0o755, 0o646), Some("can be written by everybody"));
        assert_eq!(problem(0o777, 0o644), Some("is in a folder that can be written by everybody"));
    }

    #[test]
    fn only_regular_files_of_a_reasonable_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("text"), "é").unwrap();
        assert_eq!(read_text(&path("text")).unwrap(), "é");
        std::fs::write(path("latin"), b"\xe9").unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        std::fs::File::create(path("large")).unwrap().set_len(LARGEST + 1).unwrap();
        for (file, why) in [
            (path("latin"), "it is not UTF-8 text"),
            (path("fifo"), "it is not a regular file"),
            (path("large"), "it is larger than 4 MiB"),
            (dir.path().to_owned(), "it is not a regular file"),
            ("/dev/zero".into(), "it is not a regular file"),
        ] {
            assert_eq!(read_text(&file).unwrap_err().to_string(), why);
        }
        assert_eq!(read(&path("gone")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

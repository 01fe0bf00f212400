//! Files with an nkey seed: the key that a machine or a service proves with who it is. NATS servers are given its public half alone.

use std::fs::OpenOptions;
use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nkeys::KeyPair;

/// The key whose seed is in the file at `path`.
///
/// # Errors
/// The file cannot be read, or there is no seed in it. The error repeats nothing of the file.
pub fn read(path: &Path) -> std::io::Result<KeyPair> {
    let text = crate::file::read_text(path)?;
    KeyPair::from_seed(text.trim())
        .map_err(|_| Error::new(ErrorKind::InvalidData, "there is no nkey seed in it"))
}

/// The same, of a new key when there is no such file. Only its owner may read the file; a missing folder is made.
///
/// # Errors
/// As [`read`], and when the file cannot be made.
pub fn read_or_create(path: &Path) -> std::io::Result<KeyPair> {
    match create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read(path),
        created => created,
    }
}

/// Made under another name and then linked, so that nobody ever reads half a seed and none is overwritten.
fn create(path: &Path) -> std::io::Result<KeyPair> {
    if path.exists() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let key = KeyPair::new_user();
    let seed = key.seed().map_err(Error::other)?;
    let new = folder.join(format!(".nkey-{}", uuid::Uuid::now_v7()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let linked =
        writeln!(file, "{seed}").and_then(|()| file.sync_all()).and_then(|()| std::fs::hard_link(&new, path));
    let _ = std::fs::remove_file(&new);
    linked.map(|()| key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_a_wrong_file_is_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/host.nk");
        assert_eq!(read(&path).unwrap_err().kind(), ErrorKind::NotFound);
        let keys: Vec<String> = std::thread::scope(|scope| {
            let made: Vec<_> =
                (0..8).map(|_| scope.spawn(|| read_or_create(&path).unwrap().public_key())).collect();
            made.into_iter().map(|made| made.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0] && key.starts_with('U')), "{keys:?}");
        assert_eq!(read(&path).unwrap().public_key(), keys[0]);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path().join("keys")).unwrap().count(), 1);
        std::fs::write(&path, "SUsecret").unwrap();
        assert_eq!(read_or_create(&path).unwrap_err().to_string(), "there is no nkey seed in it");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "SUsecret");
    }
}

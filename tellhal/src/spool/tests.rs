//! The spool against what a disk, other users and other processes may do to it.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::folder::BLOCK;
use super::*;

fn message(text: &str) -> Message {
    Message::new("db1", "backup.mysql".parse().unwrap(), text)
}

fn texts(spool: &Spool) -> Vec<String> {
    let claim = |name: &OsString| match spool.claim(name).unwrap() {
        Claim::Ours(held) => Some(held.message.text.clone()),
        _ => None,
    };
    spool.waiting().unwrap().iter().filter_map(claim).collect()
}

#[test]
fn keeps_in_order_and_forgets_what_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/spool");
    assert!(Spool::existing(&path).unwrap().is_none());
    let spool = Spool::open(&path).unwrap();
    for (text, at) in [("second", 2), ("first", 1), ("third", 3)] {
        let mut message = message(text);
        message.time = crate::Timestamp(at);
        spool.keep(&message).unwrap();
    }
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(texts(&spool), ["first", "second", "third"]);
    let name = &spool.waiting().unwrap()[0];
    let Claim::Ours(held) = spool.claim(name).unwrap() else { panic!("not claimed") };
    let other = Spool::open(&path).unwrap();
    assert!(matches!(other.claim(name).unwrap(), Claim::Busy));
    held.remove().unwrap();
    assert!(matches!(other.claim(name).unwrap(), Claim::Gone));
    assert_eq!(spool.usage().unwrap().waiting, 2);
}

#[test]
fn what_is_no_message_goes_to_bad_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(&dir.path().join("s")).unwrap();
    spool.keep(&message("whole")).unwrap();
    let new = spool.path().join("new");
    let whole = std::fs::read(new.join(&spool.waiting().unwrap()[0])).unwrap();
    std::fs::write(new.join("empty"), b"").unwrap();
    std::fs::write(new.join("cut\nshort"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(new.join("trailing"), [&whole[..], b"x"].concat()).unwrap();
    std::fs::write(new.join("target"), &whole).unwrap();
    std::fs::hard_link(new.join("target"), dir.path().join("elsewhere")).unwrap();
    std::fs::create_dir(new.join("folder")).unwrap();
    std::fs::create_dir_all(spool.path().join("bad/folder/full")).unwrap();
    symlink("/etc/passwd", new.join("link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, new.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert_eq!(texts(&spool), ["whole"]);
    let usage = spool.usage().unwrap();
    assert_eq!((usage.waiting, usage.bad), (1, 8));
}

#[test]
fn another_users_file_is_not_adopted() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(&dir.path().join("s")).unwrap();
    spool.keep(&message("x")).unwrap();
    let name = spool.waiting().unwrap().remove(0);
    let foreign = Spool { owner: spool.owner + 1, ..Spool::open(spool.path()).unwrap() };
    assert!(matches!(foreign.claim(&name).unwrap(), Claim::Bad(Broken::NotAFile("another user's"))));
}

#[test]
fn a_directory_that_is_not_ours_alone_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().join("real");
    Spool::open(&real).unwrap();
    symlink(&real, dir.path().join("link")).unwrap();
    let error = Spool::open(&dir.path().join("link")).unwrap_err();
    assert!(error.to_string().contains("symlink"), "{error}");
    let error = Spool::owned_by(&real, 12_345_678).unwrap_err();
    assert!(error.to_string().contains("belongs to uid"), "{error}");
    std::fs::set_permissions(&real, PermissionsExt::from_mode(0o777)).unwrap();
    let error = Spool::open(&real).unwrap_err();
    assert!(error.to_string().contains("written by others"), "{error}");
    std::fs::write(dir.path().join("file"), b"").unwrap();
    assert!(Spool::open(&dir.path().join("file")).is_err());
}

#[test]
fn a_full_spool_refuses_the_newest_and_leftovers_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(&dir.path().join("s")).unwrap().with_limit(3 * BLOCK);
    std::fs::create_dir(spool.path().join("tmp")).unwrap();
    std::fs::write(spool.path().join("tmp/left"), vec![0; 10_000]).unwrap();
    for _ in 0..3 {
        spool.keep(&message("x")).unwrap();
    }
    assert!(!spool.path().join("tmp/left").exists());
    let error = spool.keep(&message("one more")).unwrap_err();
    assert!(matches!(error, SpoolError::Full { .. }), "{error}");
    assert_eq!(spool.usage().unwrap().waiting, 3);
}

#[test]
fn a_living_writers_file_is_not_swept() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(&dir.path().join("s")).unwrap();
    std::fs::create_dir(spool.path().join("tmp")).unwrap();
    let writing = File::create(spool.path().join("tmp/draft")).unwrap();
    writing.try_lock().unwrap();
    spool.sweep().unwrap();
    assert!(spool.path().join("tmp/draft").exists());
    drop(writing);
    spool.sweep().unwrap();
    assert!(!spool.path().join("tmp/draft").exists());
}

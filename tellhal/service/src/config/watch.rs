//! Reads the configuration again on SIGHUP and when its files change, and sends the result to the service, which keeps the old
//! configuration if the new one is refused.
//!
//! The files are checked each second with a few `stat` calls: unlike notifications, this works on every file system, through
//! symlinks that are replaced, and with every editor's way of saving.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::last_good::LastGood;
use super::{Configuration, Problems, files, state_dir};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Sends every new version of `path` until `stop` or until the receiver is gone. Keeps the texts of good versions.
pub async fn watch<C: Configuration>(
    path: PathBuf,
    news: mpsc::Sender<Result<C, Problems>>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut changes = Changes::new(&path);
    loop {
        let due = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = hangups.recv() => {
                changes = Changes::new(&path);
                true
            }
            _ = look.tick() => changes.settled(&path),
        };
        if due && news.send(reload(&path)).await.is_err() {
            return Ok(());
        }
    }
}

fn reload<C: Configuration>(path: &Path) -> Result<C, Problems> {
    let texts = files::read(path)?;
    let config = C::from_texts(&texts)?.ready()?;
    if let Some(state_dir) = state_dir::<C>(super::named_state_dir::<C>(&texts).as_deref()) {
        LastGood::of(path, &state_dir).keep(&texts);
    }
    Ok(config)
}

/// The files' metadata, by which a written, replaced, added or removed file is noticed.
#[derive(Debug, PartialEq, Eq)]
struct Look(Vec<(PathBuf, u64, u64, i64, i64)>);

impl Look {
    fn at(path: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        let files = files::list(path).unwrap_or_default().into_iter();
        let seen = files.filter_map(|file| {
            let stat = file.metadata().ok()?;
            Some((file, stat.ino(), stat.size(), stat.mtime(), stat.mtime_nsec()))
        });
        Look(seen.collect())
    }
}

/// Reports a change once the files have been the same for two checks, so that a file is not read half written.
struct Changes {
    read: Look,
    pending: Option<Look>,
}

impl Changes {
    fn new(path: &Path) -> Self {
        Changes { read: Look::at(path), pending: None }
    }

    fn settled(&mut self, path: &Path) -> bool {
        let now = Look::at(path);
        if now == self.read {
            self.pending = None;
            return false;
        }
        if self.pending.as_ref() == Some(&now) {
            self.read = now;
            self.pending = None;
            return true;
        }
        self.pending = Some(now);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::toy::Toy;

    #[test]
    fn a_change_is_told_once_and_only_when_it_lasts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        std::fs::write(&file, "a").unwrap();
        let mut changes = Changes::new(folder.path());
        assert!(!changes.settled(folder.path()));
        std::fs::write(&file, "half").unwrap();
        assert!(!changes.settled(folder.path()));
        std::fs::write(&file, "half and half").unwrap();
        assert!(!changes.settled(folder.path()));
        assert!(changes.settled(folder.path()));
        assert!(!changes.settled(folder.path()));
        std::fs::remove_file(&file).unwrap();
        assert!(!changes.settled(folder.path()));
        assert!(changes.settled(folder.path()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_file_is_told_and_a_good_one_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("relay.toml");
        let good = format!("state_dir = {:?}\nfirst = \"page\"\n", folder.path().join("state"));
        std::fs::write(&file, &good).unwrap();
        let (send, mut news) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let watching = tokio::spawn(watch::<Toy>(file.clone(), send, stop.clone()));
        tokio::task::yield_now().await;

        std::fs::write(&file, "first = \"gone\"\n").unwrap();
        let refused = news.recv().await.unwrap().unwrap_err().to_string();
        assert!(refused.contains("there is no team gone"), "{refused}");
        std::fs::write(&file, &good).unwrap();
        assert_eq!(news.recv().await.unwrap().unwrap().first, "page");
        let kept = files::read(&LastGood::folder(&file, &folder.path().join("state"))).unwrap();
        assert_eq!(kept[0].1, good);
        stop.cancel();
        watching.await.unwrap().unwrap();
    }
    #[tokio::test(start_paused = true)]
    async fn a_hangup_reads_again_even_without_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("relay.toml");
        std::fs::write(&file, "first = \"gone\"\n").unwrap();
        let (send, mut news) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let watching = tokio::spawn(watch::<Toy>(file, send, stop.clone()));
        // The handler is installed when the task first runs.
        tokio::task::yield_now().await;
        let pid = std::process::id().to_string();
        assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
        assert!(news.recv().await.unwrap().is_err());
        stop.cancel();
        watching.await.unwrap().unwrap();
    }
}

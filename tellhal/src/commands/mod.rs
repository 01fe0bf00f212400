//! One file for each command, and the code they share: the runtime, and composing a message.

pub(crate) mod check;
pub(crate) mod flush;
mod group;
pub(crate) mod listen;
pub(crate) mod nkey;
#[cfg(feature = "pages")]
pub(crate) mod print;
pub(crate) mod run;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod status;
mod stop;

use std::future::Future;
use std::path::{Path, PathBuf};

use tellhal::keep::{Kept, NotKept};
use tellhal::message::{Link, Message};
use tellhal::spool::{Spool, SpoolError};
use tellhal::{Publisher, Refusal, Tag};

use crate::cli::About;
use crate::config::{ALL_SPOOLS, Settings, prepare};
use crate::exit::{Exit, Failure};

/// Runs `work` on this thread. Its leftovers, such as an open connection or a thread that still looks up a
/// name, end with the process: shutting them down one by one would only take time.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    if let Some(limit) = tellhal::file::too_few() {
        return Err(Failure::new(Exit::TEMPORARY, limit));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| Failure::new(Exit::TEMPORARY, format!("cannot start: {error}")))?;
    // On the heap: every layer of the runtime would move the future to its own part of the stack.
    Ok(std::mem::ManuallyDrop::new(runtime).block_on(Box::pin(work)))
}

/// A message from this machine. `text` is used as it is: its reader has shortened it already.
fn compose(settings: &Settings, tag: Tag, text: String, about: &About) -> Message {
    let mut message = Message::new(&settings.source, tag, "");
    message.text = text;
    message.host = about.host.clone().or_else(|| Some(settings.host.clone()).filter(|host| !host.is_empty()));
    message.user = user();
    message.severity = about.severity.unwrap_or_default();
    message.title = about.title.as_ref().map(|title| title.split_whitespace().collect::<Vec<_>>().join(" "));
    message.key = about.key.clone();
    message.status = about.status;
    message.fields = about.fields.iter().cloned().collect();
    message.links = about.links.iter().map(|url| Link { url: url.clone(), title: None }).collect();
    message
}

/// The user we run as, without a lookup.
fn user() -> Option<String> {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        return Some("root".into());
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|name| !name.is_empty());
    variable("LOGNAME").or_else(|| variable("USER")).or_else(|| Some(format!("uid {}", uid.as_raw())))
}

/// The reason why a question to JetStream had no receiver, which a message to the log may still have.
fn no_jetstream(publisher: &Publisher) -> String {
    let (server, api) = (publisher.server(), publisher.api());
    let what = format!("no JetStream answers through {server} as {api}");
    format!("{what}; behind a leaf node, name the hub's jetstream_domain in a NATS CLI context")
}

/// The spool at `path`, created when it is missing.
fn open_spool(path: &Path) -> Result<Spool, SpoolError> {
    // A limit on file sizes shall be a write error and not end the process.
    let never = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let _ = signal_hook::flag::register(SIGXFSZ, never);
    prepare(path);
    Spool::open(path)
}

const SIGXFSZ: i32 = 25;

/// Spools a refused message. The line of text says why it was refused and where it is kept.
fn fall_back(settings: &Settings, message: &Message, refusal: Refusal) -> (Result<Kept, NotKept>, String) {
    let first = settings.spool.as_deref().map_err(|what| (PathBuf::from(ALL_SPOOLS), what.clone()));
    let kept = tellhal::keep::spool(message, refusal, || match first {
        Ok(path) => open_spool(path),
        Err((path, what)) => Err(SpoolError::Unsafe { path, what }),
    });
    let (kept, path, instead) = match (kept, &settings.second_spool) {
        // A full spool is bounded on purpose; for any other reason the user's own folder takes the message.
        (Err(NotKept::Both { refusal, spool }), Some(second))
            if !matches!(*spool, SpoolError::Full { .. }) =>
        {
            let kept = tellhal::keep::spool(message, refusal, || open_spool(second));
            (kept, Some(second), format!(" ({spool})"))
        }
        (kept, _) => (kept, settings.spool.as_ref().ok(), String::new()),
    };
    let path = path.map(|path| path.display().to_string()).unwrap_or_default();
    let line = match &kept {
        Ok(Kept::Spooled(refusal)) => format!("{refusal}; kept in {path} and sent later{instead}"),
        Ok(Kept::Acknowledged(_)) => String::new(),
        Err(not_kept) => format!("{not_kept}; the message is not kept"),
    };
    (kept, line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    #[test]
    fn a_spool_that_another_user_took_is_replaced_by_the_users_own() {
        let dir = tempfile::tempdir().unwrap();
        let (taken, own) = (dir.path().join("taken"), dir.path().join("own/spool"));
        std::os::unix::fs::symlink(dir.path(), &taken).unwrap();
        let flags = Flags { config: Some("/dev/null".into()), ..Flags::default() };
        let mut settings = crate::config::load(&flags);
        (settings.spool, settings.second_spool) = (Ok(taken.clone()), Some(own.clone()));
        let message = Message::new("db1", "a".parse().unwrap(), "x");
        let refusal = || Refusal::Full("x".into());
        let (kept, line) = fall_back(&settings, &message, refusal());
        assert_eq!(kept.unwrap(), Kept::Spooled(refusal()));
        let place =
            format!("kept in {} and sent later (spool {}: is a symlink", own.display(), taken.display());
        assert!(line.contains(&place), "{line}");
        assert_eq!(settings.spools().count(), 2);
        assert_eq!(Spool::existing(&own).unwrap().unwrap().usage().unwrap().waiting, 1);

        // An explicit spool has no second.
        settings.second_spool = None;
        assert!(fall_back(&settings, &message, refusal()).0.is_err());
    }
}

//! One file for each command, and the code they share: the runtime, and composing a message.

pub(crate) mod check;
pub(crate) mod flush;
pub(crate) mod listen;
#[cfg(feature = "pages")]
pub(crate) mod print;
pub(crate) mod run;
pub(crate) mod send;
pub(crate) mod status;

use std::future::Future;
use std::path::PathBuf;

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

/// The spool, created when it is missing.
fn open_spool(settings: &Settings) -> Result<Spool, SpoolError> {
    // A limit on file sizes shall be a write error and not end the process.
    let never = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let _ = signal_hook::flag::register(SIGXFSZ, never);
    let path = spool_path(settings)?;
    prepare(&path);
    Spool::open(&path)
}

const SIGXFSZ: i32 = 25;

fn spool_path(settings: &Settings) -> Result<PathBuf, SpoolError> {
    settings.spool.clone().map_err(|what| SpoolError::Unsafe { path: ALL_SPOOLS.into(), what })
}

/// Spools a refused message. The line of text says why it was refused and where it is kept.
fn fall_back(settings: &Settings, message: &Message, refusal: Refusal) -> (Result<Kept, NotKept>, String) {
    let kept = tellhal::keep::spool(message, refusal, || open_spool(settings));
    let line = match &kept {
        Ok(Kept::Spooled(refusal)) => {
            let path = settings.spool.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
            format!("{refusal}; kept in {path} and sent later")
        }
        Ok(Kept::Acknowledged(_)) => String::new(),
        Err(not_kept) => format!("{not_kept}; the message is not kept"),
    };
    (kept, line)
}

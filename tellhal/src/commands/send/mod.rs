//! `tellhal TAG MESSAGE` and `… | tellhal -p TAG`: one message, kept within the time budget.
//! The new message goes first; the rest of the time is for older messages in the spool.

use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use tellhal::flush::Flushed;
use tellhal::keep::Kept;
use tellhal::message::{MAX_TEXT, Message, shorten};
use tellhal::spool::SpoolError;
use tellhal::{Publisher, Refusal, Spool, Tag};
use tokio::time::Instant;

use super::{block_on, compose, fall_back};
use crate::cli::{Send, near_subcommand};
use crate::config::{Flags, Settings, load};
use crate::exit::{Exit, Failure, Outcome, count, say};
use tellhal::text::visible;

mod input;

/// The largest part of the time budget that is reserved for writing to the spool.
const SPOOL_TIME: Duration = Duration::from_millis(100);

pub(crate) fn send(args: Send, flags: &Flags) -> Outcome {
    let (tag, words) = tag_and_words(&args)?;
    let Some(text) = text(&args, &tag, &words)? else { return Ok(Exit::OK) };
    let settings = load(flags);
    let message = compose(&settings, tag, text, &args.about);
    if args.verbose {
        let _ = writeln!(std::io::stdout(), "{}: {}", message.tag, visible(&message.text));
    }
    deliver(&settings, &message, args.require_ack)
}

fn tag_and_words(args: &Send) -> Result<(Tag, Vec<OsString>), Failure> {
    let (tag, words) = match &args.tag {
        Some(tag) => (tag.clone(), args.words.clone()),
        None => {
            let (tag, words) = args.words.split_first().ok_or_else(|| {
                Failure::usage(
                    "no tag and no message; for example: tellhal backup.mysql \"Nightly backup finished\"; tellhal --help shows all",
                )
            })?;
            (tag.to_string_lossy().into_owned(), words.to_vec())
        }
    };
    let tag: Tag = tag.parse().map_err(Failure::usage)?;
    Ok((tag, words))
}

/// The message's text; `None` for an empty input that is allowed to be empty.
fn text(args: &Send, tag: &Tag, words: &[OsString]) -> Result<Option<String>, Failure> {
    if args.pipe {
        return piped(args, tag, words);
    }
    if let Some(path) = &args.file {
        return filed(args, path, tag, words);
    }
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let text = words.join(" ");
    if text.trim().is_empty() && args.about.title.is_none() {
        return Err(Failure::usage(match near_subcommand(tag.as_str(), 2) {
            Some(name) if words.is_empty() => {
                format!("no message for tag {tag}; did you mean tellhal {name}?")
            }
            _ if words.is_empty() => {
                format!("no message for tag {tag}; write tellhal {tag} MESSAGE, or … | tellhal -p {tag}")
            }
            _ => format!("the message for tag {tag} is empty; add some text, or a --title"),
        }));
    }
    Ok(Some(shorten(text)))
}

fn piped(args: &Send, tag: &Tag, words: &[OsString]) -> Result<Option<String>, Failure> {
    let hint = syslog_level(tag).map(|level| format!("; for a severity use -s {level}")).unwrap_or_default();
    if !words.is_empty() {
        let what = "-p reads the message from standard input, but there is a message on the command line too";
        return Err(Failure::usage(format!("{what}{hint}")));
    }
    if !hint.is_empty() {
        say(format!("-p reads standard input and {tag} is the tag{hint}"));
    }
    if std::io::stdin().is_terminal() {
        say("reading the message from the terminal; end it with Ctrl-D");
    }
    let read = input::read(std::io::stdin().lock())
        .map_err(|error| Failure::new(Exit::TEMPORARY, format!("cannot read standard input: {error}")))?;
    take(args, read, "standard input")
}

/// The text of a file, whatever kind of file it is: `logger -f` reads a FIFO too.
fn filed(args: &Send, path: &Path, tag: &Tag, words: &[OsString]) -> Result<Option<String>, Failure> {
    if path == Path::new("-") {
        return piped(args, tag, words);
    }
    if !words.is_empty() {
        let what = "-f reads the message from a file, but there is a message on the command line too";
        return Err(Failure::usage(what));
    }
    let shown = path.display().to_string();
    let read = File::open(path).and_then(input::read);
    let read = read.map_err(|error| Failure::usage(format!("cannot read {shown}: {error}")))?;
    take(args, read, &shown)
}

/// The text that was read from `name`; `None` for an empty one that is allowed to be empty.
fn take(args: &Send, read: input::Input, name: &str) -> Result<Option<String>, Failure> {
    if read.endless {
        say(format!("{name} does not end; sending its first 1 GiB, shortened"));
    }
    debug_assert!(read.text.len() <= MAX_TEXT);
    if !read.text.trim().is_empty() || args.about.title.is_some() {
        return Ok(Some(read.text));
    }
    if args.skip_empty {
        return Ok(None);
    }
    let what = format!("{name} was empty, so nothing was sent");
    Err(Failure::usage(format!("{what}; -e allows that, --title sends a title alone")))
}

/// The level in a tag that looks like an argument of `logger -p`, such as `user.err`.
fn syslog_level(tag: &Tag) -> Option<&str> {
    const FACILITIES: [&str; 13] = [
        "auth", "authpriv", "cron", "daemon", "ftp", "kern", "lpr", "mail", "news", "security", "syslog",
        "user", "uucp",
    ];
    const LEVELS: [&str; 11] =
        ["emerg", "panic", "alert", "crit", "err", "error", "warning", "warn", "notice", "info", "debug"];
    let (facility, level) = tag.as_str().split_once('.')?;
    let local = facility.strip_prefix("local").is_some_and(|n| n.len() == 1 && ("0"..="7").contains(&n));
    ((local || FACILITIES.contains(&facility)) && LEVELS.contains(&level)).then_some(level)
}

fn deliver(settings: &Settings, message: &Message, require_ack: bool) -> Outcome {
    let refusal = match settings.broken() {
        Some(broken) => Refusal::Config(broken),
        None => match block_on(publish(settings, message)) {
            Ok(Ok(())) => return Ok(Exit::OK),
            Ok(Err(refusal)) => refusal,
            Err(failure) => Refusal::Down { server: settings.servers(), what: failure.what },
        },
    };
    let wanted = Exit::of(&refusal);
    let (kept, line) = fall_back(settings, message, refusal);
    match kept {
        Ok(Kept::Spooled(_)) if require_ack => {
            Err(Failure::new(wanted, format!("{line}, but not acknowledged")))
        }
        Ok(_) => {
            say(line);
            Ok(Exit::OK)
        }
        // The exit status is the refusal's: 75 unless trying again is pointless.
        Err(_) => Err(Failure::new(wanted, line)),
    }
}

async fn publish(settings: &Settings, message: &Message) -> Result<(), Refusal> {
    let end = Instant::now() + settings.timeout;
    let deadline = end - SPOOL_TIME.min(settings.timeout / 10);
    let publisher = Publisher::connect(&settings.nats, "tellhal", deadline).await?;
    publisher.publish(message, deadline).await?;
    send_older(settings, &publisher, end).await;
    Ok(())
}

/// Sends the messages in the spool. The new message is safe by now, so a failure is only reported.
async fn send_older(settings: &Settings, publisher: &Publisher, deadline: Instant) {
    for path in settings.spools() {
        match Spool::existing(path) {
            Ok(None) => {}
            Ok(Some(spool)) => match tellhal::flush::flush(publisher, &spool, deadline).await {
                Ok(flushed) => say_about(&flushed, &spool),
                Err(error) => say(error),
            },
            // Of no concern to a message that is safe: `tellhal status` shows it.
            Err(SpoolError::Io { .. }) => {}
            Err(SpoolError::Unsafe { .. }) if settings.second_spool.is_some() => {}
            Err(error) => say(error),
        }
    }
}

/// One line for each problem of a flush.
pub(super) fn say_about(flushed: &Flushed, spool: &Spool) {
    let path = spool.path().display();
    for broken in &flushed.broken {
        say(format!("moved a file of {path} to bad/: {broken}"));
    }
    for refusal in &flushed.refused {
        say(format!("moved a message of {path} to bad/: {refusal}"));
    }
    if let Some(reason) = &flushed.reason {
        say(format!("{} kept in {path}: {reason}", count(flushed.left, "older message")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syslog_priorities_are_noticed() {
        let level = |tag: &str| syslog_level(&tag.parse().unwrap()).map(str::to_owned);
        assert_eq!(level("user.err").as_deref(), Some("err"));
        assert_eq!(level("local3.notice").as_deref(), Some("notice"));
        assert_eq!(level("local9.notice"), None);
        assert_eq!(level("mail.queue"), None);
    }
}

//! The TCP port for old scripts: `tag\ncontents` until the end of the connection or five seconds of silence.
//!
//! The sender gets no answer, as before tellhal. Size, time and number of connections are limited, since the
//! sender is not trusted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tellhal::ends::Ends;
use tellhal::tag::{MAX_TAG, UNTAGGED};
use tellhal::{Message, Tag};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::outbox::Outbox;

/// The source of its messages: `bridge` is the bridge's own voice, in which nobody outside may speak.
const SOURCE: &str = "in-tcp";
const SILENCE: Duration = Duration::from_secs(5);
/// The longest time of a connection, for a sender that is never silent.
const LONGEST: Duration = Duration::from_secs(60);
/// Further connections wait in the kernel's queue.
const CONNECTIONS: usize = 256;
/// The longest first line that is a tag, in bytes. Illegal characters of a tag are replaced, so it may be longer than one.
const FIRST_LINE: usize = 4 * MAX_TAG;

/// Takes connections until `stop`, then finishes those that are open.
pub(crate) async fn serve(listener: TcpListener, outbox: Outbox, stop: CancellationToken) {
    let open = TaskTracker::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = async { (room.clone().acquire_owned().await, listener.accept().await) } => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            (Ok(permit), Ok((stream, peer))) => {
                let outbox = outbox.clone();
                open.spawn(async move {
                    receive(stream, peer, &outbox).await;
                    drop(permit);
                });
            }
            (_, Err(error)) => {
                // Out of file descriptors, most likely: others must close before this can work again.
                tracing::warn!(%error, "cannot take a connection on the TCP port");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            (Err(_), _) => break,
        }
    }
    drop(listener);
    open.close();
    open.wait().await;
}

async fn receive(mut stream: TcpStream, peer: SocketAddr, outbox: &Outbox) {
    if let Some(message) = message(read(&mut stream).await, peer) {
        outbox.publish("tcp", &message).await;
    }
}

/// Reads until the end, a silence or the longest time. Of a long text the two ends are kept.
async fn read(stream: &mut TcpStream) -> Ends {
    let mut ends = Ends::new(FIRST_LINE);
    let until = Instant::now() + LONGEST;
    let mut piece = [0; 8192];
    loop {
        let deadline = until.min(Instant::now() + SILENCE);
        // An error ends the message like a normal end.
        let Ok(Ok(length @ 1..)) = tokio::time::timeout_at(deadline, stream.read(&mut piece)).await else {
            return ends;
        };
        ends.push(&piece[..length]);
    }
}

/// The message in what was read; `None` if that is empty.
fn message(mut ends: Ends, peer: SocketAddr) -> Option<Message> {
    let first_line = ends.first_line().map(|line| String::from_utf8_lossy(&line).trim().to_owned());
    let contents = ends.into_text();
    let contents = contents.trim_end_matches(['\r', '\n', '\0']);
    // One line is a tag if its end was sent, and contents without a tag if not.
    let (first_line, contents) = match (&first_line, contents) {
        (Some(tag), "") => (tag.as_str(), tag.as_str()),
        (Some(tag), contents) => (tag.as_str(), contents),
        (None, contents) => ("", contents),
    };
    if first_line.is_empty() && contents.is_empty() {
        return None;
    }
    let tag = if first_line.is_empty() { Tag::nearest(UNTAGGED) } else { Tag::nearest(first_line) };
    let rewritten = !first_line.is_empty() && tag.as_str() != first_line;
    let mut message = Message::new(SOURCE, tag, contents);
    if rewritten {
        message.fields.insert("tag".into(), first_line.chars().take(4 * MAX_TAG).collect());
    }
    if !peer.ip().is_loopback() {
        message.fields.insert("peer".into(), peer.ip().to_string());
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(bytes: &[u8]) -> Option<Message> {
        from([127, 0, 0, 1], bytes)
    }

    fn from(peer: [u8; 4], bytes: &[u8]) -> Option<Message> {
        let mut ends = Ends::new(FIRST_LINE);
        ends.push(bytes);
        message(ends, (peer, 9).into())
    }

    #[test]
    fn the_first_line_is_the_tag() {
        let cases: [(&[u8], &str, &str, Option<&str>); 8] = [
            (b"backup.mysql\ndone\nin 3 s\n", "backup.mysql", "done\nin 3 s", None),
            (b"backup.mysql\r\ndone\r\n", "backup.mysql", "done", None),
            (b"back up!\ndone", "back_up_", "done", Some("back up!")),
            (b"\nno tag", "untagged", "no tag", None),
            (b"no end of line", "untagged", "no end of line", None),
            (b"deploy.done\n", "deploy.done", "deploy.done", None),
            (b"...\nx", "untagged", "x", Some("...")),
            (b"caf\xe9\nx\xff", "caf_", "x\u{fffd}", Some("caf\u{fffd}")),
        ];
        for (bytes, tag, text, field) in cases {
            let got = local(bytes).unwrap();
            assert_eq!((got.tag.as_str(), got.text.as_str()), (tag, text));
            assert_eq!(got.fields.get("tag").map(String::as_str), field);
            assert_eq!(got.source, "in-tcp");
        }
    }

    #[test]
    fn an_empty_connection_is_no_message() {
        for bytes in [&b""[..], b"\n", b"\r\n\r\n", b"\0"] {
            assert_eq!(local(bytes), None);
        }
    }

    #[test]
    fn a_long_text_keeps_its_end_and_a_remote_peer_is_named() {
        let got =
            from([192, 0, 2, 1], format!("t\nfirst{}\nFATAL: disk full\n", "x".repeat(200_000)).as_bytes());
        let got = got.unwrap();
        assert!(got.text.starts_with("firstxx") && got.text.ends_with("xx\nFATAL: disk full"));
        assert_eq!(got.text.matches("bytes cut").count(), 1);
        assert_eq!((got.tag.as_str(), got.fields["peer"].as_str()), ("t", "192.0.2.1"));
        let bar = local(b"t\n 1%\r 50%\r100%\ndone").unwrap();
        assert_eq!(bar.text, "100%\ndone");
    }
}

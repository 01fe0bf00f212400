//! One connection of a mail listener: lines in, answers out, within its times. A mail is answered with success only when the log or the
//! spool has its messages.

use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::intake::Intake;
use super::letter::{Letter, READ};
use super::lines::{Broken, Lines};
use super::session::{LARGEST, Session, Step};

/// The times of a connection.
#[derive(Clone, Copy)]
pub(super) struct Times {
    /// For the next bytes.
    pub(super) idle: Duration,
    /// For all of it.
    pub(super) whole: Duration,
}

pub(super) const TIMES: Times = Times { idle: Duration::from_secs(60), whole: Duration::from_secs(600) };
/// The time and the bytes for which a client that is still sending is read, so that it gets the last answer.
const LAST: Duration = Duration::from_secs(2);
const LAST_BYTES: usize = 4 << 20;

/// A connection.
struct Talk<'a, S> {
    stream: S,
    lines: Lines,
    piece: Vec<u8>,
    times: Times,
    until: Instant,
    stop: &'a CancellationToken,
}

/// The end of a connection: the last answer, or none for a client that is gone.
struct End(Option<&'static str>);

/// A mail that was read to its end.
struct Read {
    /// The first bytes of it.
    bytes: Vec<u8>,
    size: usize,
}

/// Talks with a client until one of the two ends it.
pub(super) async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: IpAddr,
    intake: &Intake,
    times: Times,
    stop: &CancellationToken,
) {
    let (lines, piece) = (Lines::default(), vec![0; 16 << 10]);
    let mut talk = Talk { stream, lines, piece, times, until: Instant::now() + times.whole, stop };
    if let Err(End(Some(answer))) = talk.converse(peer, intake).await {
        match &answer[..3] {
            // The client tries again with what was not taken.
            "421" => intake.tally.count("closed"),
            "552" => intake.tally.lose("too_large", peer),
            _ => intake.tally.lose("broken_lines", peer),
        }
        talk.last(answer).await;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<'_, S> {
    async fn converse(&mut self, peer: IpAddr, intake: &Intake) -> Result<(), End> {
        let name = intake.settings().domain.clone().unwrap_or_else(|| "hal-bridge".into());
        self.write(&format!("220 {name} ESMTP, for devices; nothing is relayed")).await?;
        let mut session = Session::default();
        // A network that is no longer allowed ends its connections.
        while intake.settings().allow.contain(peer) {
            let line = self.line(true).await?.to_vec();
            match session.step(&line, &intake.settings()) {
                Step::Answer(answer) => {
                    if answer.starts_with("550") {
                        intake.tally.count("no_address");
                    }
                    self.write(&answer).await?;
                }
                Step::Close(answer) => {
                    self.last(&answer).await;
                    return Ok(());
                }
                Step::Mail(answer) => {
                    self.write(&answer).await?;
                    let read = self.mail().await?;
                    let answer = keep(&session, &read, peer, intake).await;
                    session.reset();
                    self.write(answer).await?;
                }
            }
        }
        Err(End(Some("421 4.7.0 this network may no longer send")))
    }

    /// Reads a mail up to the line with a dot.
    async fn mail(&mut self) -> Result<Read, End> {
        let mut read = Read { bytes: Vec::new(), size: 0 };
        loop {
            let line = self.line(false).await?;
            if line == b".\r\n" {
                return Ok(read);
            }
            let line = line.strip_prefix(b".").unwrap_or(line);
            read.size += line.len();
            if read.size > LARGEST {
                return Err(End(Some("552 5.3.4 the mail is too large")));
            }
            let room = READ - read.bytes.len();
            read.bytes.extend_from_slice(&line[..line.len().min(room)]);
        }
    }

    /// The next line. Between mails, the end of the listener ends the connection.
    async fn line(&mut self, is_between: bool) -> Result<&[u8], End> {
        loop {
            match self.lines.is_whole() {
                Ok(true) => return Ok(self.lines.take()),
                Ok(false) => {}
                Err(Broken::Bare) => {
                    return Err(End(Some("554 5.5.2 a line ends with CR LF, and neither stands alone")));
                }
                Err(Broken::Long) => return Err(End(Some("500 5.5.2 the line is too long"))),
            }
            let until = self.until.min(Instant::now() + self.times.idle);
            let length = tokio::select! {
                read = timeout_at(until, self.stream.read(&mut self.piece)) => match read {
                    Ok(Ok(length @ 1..)) => length,
                    Ok(_) => return Err(End(None)),
                    Err(_) => return Err(End(Some("421 4.4.2 too slow"))),
                },
                () = self.stop.cancelled(), if is_between => return Err(End(Some("421 4.3.2 closing; try again"))),
            };
            self.lines.push(&self.piece[..length]);
        }
    }

    async fn write(&mut self, answer: &str) -> Result<(), End> {
        let answer = format!("{answer}\r\n");
        let written =
            timeout_at(Instant::now() + self.times.idle, self.stream.write_all(answer.as_bytes())).await;
        written.map_err(|_| End(None))?.map_err(|_| End(None))
    }

    /// The last answer. What is still being sent is read for a moment: a connection that is closed with unread bytes is reset, and the
    /// client would not see the answer.
    async fn last(&mut self, answer: &str) {
        if self.write(answer).await.is_err() || self.stream.shutdown().await.is_err() {
            return;
        }
        let (until, mut bytes) = (Instant::now() + LAST, 0);
        while let Ok(Ok(length @ 1..)) = timeout_at(until, self.stream.read(&mut self.piece)).await {
            bytes += length;
            if bytes > LAST_BYTES {
                return;
            }
        }
    }
}

/// Keeps the messages of a mail, one for each tag; the answer to its sender.
async fn keep(session: &Session, read: &Read, peer: IpAddr, intake: &Intake) -> &'static str {
    let letter = Letter {
        peer,
        client: session.client.as_deref().unwrap_or_default(),
        sender: session.sender.as_deref().unwrap_or_default(),
        bytes: &read.bytes,
        size: read.size,
    };
    match intake.keep(&letter, &session.recipients).await {
        true => "250 2.0.0 kept",
        false => "451 4.3.0 it cannot be kept now; try again",
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};
    use tokio::time::sleep;

    use super::*;

    const TIMES: Times = Times { idle: Duration::from_millis(200), whole: Duration::from_millis(600) };

    fn talk<'a>(stream: DuplexStream, stop: &'a CancellationToken) -> Talk<'a, DuplexStream> {
        let (lines, piece, until) = (Lines::default(), vec![0; 100], Instant::now() + TIMES.whole);
        Talk { stream, lines, piece, times: TIMES, until, stop }
    }

    #[tokio::test]
    async fn a_silent_or_slow_client_is_given_up() {
        let stop = CancellationToken::new();
        let (_silent, stream) = duplex(100);
        assert!(matches!(talk(stream, &stop).line(true).await, Err(End(Some("421 4.4.2 too slow")))));
        let (mut client, stream) = duplex(100);
        let slow = async move {
            while client.write_all(b"x").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let slow = tokio::spawn(slow);
        let begun = Instant::now();
        assert!(matches!(talk(stream, &stop).mail().await, Err(End(Some("421 4.4.2 too slow")))));
        assert!(begun.elapsed() >= TIMES.whole);
        slow.await.unwrap();
    }

    #[tokio::test]
    async fn the_end_of_the_listener_ends_a_connection_between_mails() {
        let stop = CancellationToken::new();
        stop.cancel();
        let (mut client, stream) = duplex(100);
        let mut talk = talk(stream, &stop);
        assert!(matches!(talk.line(true).await, Err(End(Some("421 4.3.2 closing; try again")))));
        client.write_all(b"..x\r\n.\r\n").await.unwrap();
        let mail = talk.mail().await.ok().unwrap();
        assert_eq!((mail.bytes.as_slice(), mail.size), (&b".x\r\n"[..], 4));
    }
}

//! The NATS protocol by hand, over any blocking stream: the least work to get one message acknowledged by a
//! stream. It is the floor that the real client is compared with.

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// The handshake: with or without a wait for the server's PONG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// Sends all in one write: three round trips with TCP's own.
    AtOnce,
    /// Publishes only after the server has answered CONNECT and PING, as the client libraries do.
    WaitForPong,
}

/// Reads the server's greeting; the server sends no more before the client has sent something.
pub fn greeting(stream: &mut TcpStream) -> io::Result<()> {
    read_until(stream, |text| text.ends_with("\r\n")).map(drop)
}

/// Publishes one message with an id and waits for the stream's acknowledgement.
pub fn publish(
    stream: &mut (impl Read + Write),
    handshake: Handshake,
    subject: &str,
    id: &str,
    payload: &str,
) -> io::Result<()> {
    let connect = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\
                   \"lang\":\"hand\",\"version\":\"0\",\"protocol\":1}\r\nPING\r\n";
    let headers = format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n");
    let message = format!(
        "SUB _INBOX.{id} 1\r\nHPUB {subject} _INBOX.{id} {} {}\r\n{headers}{payload}\r\n",
        headers.len(),
        headers.len() + payload.len()
    );
    match handshake {
        Handshake::AtOnce => stream.write_all(format!("{connect}{message}").as_bytes())?,
        Handshake::WaitForPong => {
            stream.write_all(connect.as_bytes())?;
            read_until(stream, |text| text.contains("PONG\r\n"))?;
            stream.write_all(message.as_bytes())?;
        }
    }
    let answer = read_until(stream, |text| {
        text.split_once("MSG _INBOX.").is_some_and(|(_, rest)| rest.matches("\r\n").count() >= 2)
    })?;
    if answer.contains("\"stream\":") && answer.contains("\"seq\":") {
        Ok(())
    } else {
        Err(io::Error::other(answer))
    }
}

fn read_until(stream: &mut impl Read, done: impl Fn(&str) -> bool) -> io::Result<String> {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::Error::other(text));
        }
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        if text.contains("-ERR") {
            return Err(io::Error::other(text));
        }
        if done(&text) {
            return Ok(text);
        }
    }
}

/// An id that no other run has.
pub fn fresh_id() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", now.as_nanos(), std::process::id())
}

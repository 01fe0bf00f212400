//! An IRC client that has nothing in common with the relay's: plain lines on a TCP connection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::JoinHandle;

use crate::wait::{SOON, wait_until};

/// One PRIVMSG or NOTICE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The speaker's nick.
    pub nick: String,
    /// The channel, or our own nick.
    pub target: String,
    /// What was said; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// A client in one channel that writes down what it hears; gone when dropped.
#[derive(Debug)]
pub struct IrcClient {
    heard: Arc<Mutex<Heard>>,
    write: Arc<AsyncMutex<OwnedWriteHalf>>,
    channel: String,
    reading: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Heard {
    raw: Vec<String>,
    said: Vec<Said>,
}

impl IrcClient {
    /// Connects as `nick` and joins `channel`; returns when it is in.
    pub async fn join(addr: SocketAddr, nick: &str, channel: &str) -> IrcClient {
        let stream = TcpStream::connect(addr).await.expect("the IRC server takes connections");
        let (read, write) = stream.into_split();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let write = Arc::new(AsyncMutex::new(write));
        let reading = tokio::spawn(listen(read, write.clone(), heard.clone()));
        let client = IrcClient { heard, write, channel: channel.into(), reading };
        client.send(&format!("NICK {nick}")).await;
        client.send(&format!("USER {nick} 0 * :{nick}")).await;
        client.expect("001").await;
        client.send(&format!("JOIN {channel}")).await;
        client.expect("366").await;
        client
    }

    /// Sends one line as it is.
    pub async fn send(&self, line: &str) {
        send(&self.write, line).await.expect("the IRC server is there");
    }

    /// Says `text` in the channel.
    pub async fn say(&self, text: &str) {
        self.send(&format!("PRIVMSG {} :{text}", self.channel)).await;
    }

    /// Everything others said so far.
    pub fn said(&self) -> Vec<Said> {
        self.heard.lock().expect("no panic here").said.clone()
    }

    /// The same, only the texts in the channel.
    pub fn texts(&self) -> Vec<String> {
        self.said().into_iter().filter(|said| said.target == self.channel).map(|said| said.text).collect()
    }

    /// Every line of the server so far, as it came.
    pub fn raw(&self) -> Vec<String> {
        self.heard.lock().expect("no panic here").raw.clone()
    }

    /// Waits until somebody has said something that contains `part` in the channel, and returns the whole text.
    pub async fn hears(&self, part: &str) -> String {
        let find = || self.texts().into_iter().find(|text| text.contains(part));
        wait_until(&format!("{part:?} is heard in {}", self.channel), SOON, async || find().is_some()).await;
        find().expect("just heard")
    }

    async fn expect(&self, numeric: &str) {
        let said = |line: &String| line.split(' ').nth(1) == Some(numeric);
        wait_until(&format!("{numeric} from the IRC server"), SOON, async || self.raw().iter().any(said))
            .await;
    }
}

impl Drop for IrcClient {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn listen(read: OwnedReadHalf, write: Arc<AsyncMutex<OwnedWriteHalf>>, heard: Arc<Mutex<Heard>>) {
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    while matches!(read.read_until(b'\n', &mut line).await, Ok(1..)) {
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
        line.clear();
        if let Some(token) = text.strip_prefix("PING ") {
            // When the server is gone there is nobody to answer.
            let _ = send(&write, &format!("PONG {token}")).await;
        }
        let mut heard = heard.lock().expect("no panic here");
        heard.said.extend(parse(&text));
        heard.raw.push(text);
    }
}

async fn send(write: &AsyncMutex<OwnedWriteHalf>, line: &str) -> std::io::Result<()> {
    write.lock().await.write_all(format!("{line}\r\n").as_bytes()).await
}

fn parse(line: &str) -> Option<Said> {
    let line = if line.starts_with('@') { line.split_once(' ')?.1 } else { line };
    let (mask, rest) = line.strip_prefix(':')?.split_once(' ')?;
    let rest = rest.strip_prefix("PRIVMSG ").or_else(|| rest.strip_prefix("NOTICE "))?;
    let (target, text) = rest.split_once(' ')?;
    let (nick, _) = mask.split_once('!')?;
    Some(Said {
        nick: nick.into(),
        target: target.into(),
        text: text.strip_prefix(':').unwrap_or(text).into(),
    })
}

//! An IRC client that shares no code with the relay's: plain lines on a TCP connection.

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
pub struct Line {
    /// The speaker's nick.
    pub nick: String,
    /// The channel, or our own nick.
    pub target: String,
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// A client in one channel that records all lines; it disconnects when dropped.
#[derive(Debug)]
pub struct IrcClient {
    record: Arc<Mutex<Record>>,
    write: Arc<AsyncMutex<OwnedWriteHalf>>,
    channel: String,
    reading: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Record {
    raw: Vec<String>,
    lines: Vec<Line>,
}

/// True if the server at `addr` offers this capability now.
pub async fn offers(addr: SocketAddr, capability: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(addr).await else { return false };
    if stream.write_all(b"CAP LS 302\r\n").await.is_err() {
        return false;
    }
    let mut lines = BufReader::new(stream).lines();
    let offer = async {
        loop {
            match lines.next_line().await {
                Ok(Some(line)) if line.contains(" LS ") => return line.contains(capability),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return false,
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(2), offer).await.unwrap_or(false)
}

impl IrcClient {
    /// Connects as `nick` and joins `channel`; returns when it has joined.
    pub async fn join(addr: SocketAddr, nick: &str, channel: &str) -> IrcClient {
        let stream = TcpStream::connect(addr).await.expect("the IRC server takes connections");
        let (read, write) = stream.into_split();
        let record = Arc::new(Mutex::new(Record::default()));
        let write = Arc::new(AsyncMutex::new(write));
        let reading = tokio::spawn(listen(read, write.clone(), record.clone()));
        let client = IrcClient { record, write, channel: channel.into(), reading };
        client.send(&format!("NICK {nick}")).await;
        client.send(&format!("USER {nick} 0 * :{nick}")).await;
        client.expect("001").await;
        client.send(&format!("JOIN {channel}")).await;
        client.expect("366").await;
        client
    }

    /// Registers our nick with the network's services, which makes us the account of the same name.
    pub async fn register(&self) {
        self.send("PRIVMSG NickServ :REGISTER s3cret-password").await;
        self.expect("900").await;
    }

    /// Sends one line as it is.
    pub async fn send(&self, line: &str) {
        send(&self.write, line).await.expect("the IRC server is there");
    }

    /// Sends `text` to the channel.
    pub async fn say(&self, text: &str) {
        self.send(&format!("PRIVMSG {} :{text}", self.channel)).await;
    }

    /// All lines of others so far.
    pub fn lines(&self) -> Vec<Line> {
        self.record.lock().expect("no panic here").lines.clone()
    }

    /// The texts in the channel so far.
    pub fn texts(&self) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.target == self.channel).map(|line| line.text).collect()
    }

    /// All raw lines of the server so far.
    pub fn raw(&self) -> Vec<String> {
        self.record.lock().expect("no panic here").raw.clone()
    }

    /// Waits for a text in the channel that contains `part`, and returns the whole text.
    pub async fn hears(&self, part: &str) -> String {
        let find = || self.texts().into_iter().find(|text| text.contains(part));
        wait_until(&format!("{part:?} is record in {}", self.channel), SOON, async || find().is_some()).await;
        find().expect("just seen")
    }

    async fn expect(&self, numeric: &str) {
        let is_it = |line: &String| line.split(' ').nth(1) == Some(numeric);
        wait_until(&format!("{numeric} from the IRC server"), SOON, async || self.raw().iter().any(is_it))
            .await;
    }
}

impl Drop for IrcClient {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn listen(read: OwnedReadHalf, write: Arc<AsyncMutex<OwnedWriteHalf>>, record: Arc<Mutex<Record>>) {
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    while matches!(read.read_until(b'\n', &mut line).await, Ok(1..)) {
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
        line.clear();
        if let Some(token) = text.strip_prefix("PING ") {
            // An error means that the server is gone.
            let _ = send(&write, &format!("PONG {token}")).await;
        }
        let mut record = record.lock().expect("no panic here");
        record.lines.extend(parse(&text));
        record.raw.push(text);
    }
}

async fn send(write: &AsyncMutex<OwnedWriteHalf>, line: &str) -> std::io::Result<()> {
    write.lock().await.write_all(format!("{line}\r\n").as_bytes()).await
}

fn parse(line: &str) -> Option<Line> {
    let line = if line.starts_with('@') { line.split_once(' ')?.1 } else { line };
    let (mask, rest) = line.strip_prefix(':')?.split_once(' ')?;
    let rest = rest.strip_prefix("PRIVMSG ").or_else(|| rest.strip_prefix("NOTICE "))?;
    let (target, text) = rest.split_once(' ')?;
    let (nick, _) = mask.split_once('!')?;
    Some(Line {
        nick: nick.into(),
        target: target.into(),
        text: text.strip_prefix(':').unwrap_or(text).into(),
    })
}

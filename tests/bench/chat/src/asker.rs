//! Those who ask: a bare IRC client with an account, and the page's command box. Each waits for its answer before it asks again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use async_nats::{Client, Subscriber};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer that takes longer is a failure of the benchmark.
const LONGEST: Duration = Duration::from_secs(20);

/// An IRC client.
pub(crate) struct Asker {
    stream: BufReader<TcpStream>,
}

impl Asker {
    /// Connects as `nick`, registers it with the network's services, and joins the channels.
    pub(crate) async fn join(addr: SocketAddr, nick: &str, channels: &[&str]) -> anyhow::Result<Asker> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let mut asker = Asker { stream: BufReader::new(stream) };
        asker.send(&format!("NICK {nick}\r\nUSER {nick} 0 * :{nick}")).await?;
        asker.until(|line| line.contains(" 001 ")).await?;
        asker.send("PRIVMSG NickServ :REGISTER s3cret-password").await?;
        asker.until(|line| line.contains(" 900 ")).await?;
        for channel in channels {
            asker.send(&format!("JOIN {channel}")).await?;
            asker.until(|line| line.contains(" 366 ")).await?;
        }
        Ok(asker)
    }

    /// The time from a line in `channel` to a line of `nick` there with `words`.
    pub(crate) async fn ask(
        &mut self,
        channel: &str,
        line: &str,
        nick: &str,
        words: &str,
    ) -> anyhow::Result<Duration> {
        self.rest().await?;
        let (from, to) = (format!(":{nick}!"), format!(" {channel} :"));
        let begun = Instant::now();
        self.send(&format!("PRIVMSG {channel} :{line}")).await?;
        self.until(|line| line.starts_with(&from) && line.contains(&to) && line.contains(words)).await?;
        Ok(begun.elapsed())
    }

    /// Reads the lines of others' rounds.
    async fn rest(&mut self) -> anyhow::Result<()> {
        self.send("PING :rest").await?;
        self.until(|line| line.contains(" PONG ") && line.ends_with("rest")).await
    }

    async fn send(&mut self, line: &str) -> anyhow::Result<()> {
        Ok(self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).await?)
    }

    async fn until(&mut self, is_it: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        let mut line = String::new();
        loop {
            line.clear();
            let read = timeout(LONGEST, self.stream.read_line(&mut line)).await.context("no answer")??;
            anyhow::ensure!(read > 0, "the IRC server has closed the connection");
            let line = line.trim_end();
            if let Some(token) = line.strip_prefix("PING ") {
                self.send(&format!("PONG {token}")).await?;
            }
            if is_it(line) {
                return Ok(());
            }
        }
    }
}

/// The page's command box, as the relay asks for it.
pub(crate) struct Page {
    client: Client,
    inbox: String,
    replies: Subscriber,
    asked: usize,
}

impl Page {
    pub(crate) async fn open(client: Client) -> anyhow::Result<Page> {
        let inbox = client.new_inbox();
        let replies = client.subscribe(format!("{inbox}.*")).await?;
        client.flush().await?;
        Ok(Page { client, inbox, replies, asked: 0 })
    }

    /// The time from a line of the person with this token to the answer, which has `words`.
    pub(crate) async fn ask(&mut self, token: &str, line: &str, words: &str) -> anyhow::Result<Duration> {
        self.asked += 1;
        let reply = format!("{}.{}", self.inbox, self.asked);
        let line = json!({ "v": 1, "id": format!("bench-{}", self.asked), "token": token, "line": line });
        let begun = Instant::now();
        self.client.publish_with_reply("hal.ask.page", reply, line.to_string().into()).await?;
        loop {
            let message = timeout(LONGEST, self.replies.next()).await.context("no answer")?;
            let reply: Value = serde_json::from_slice(&message.context("no connection")?.payload)?;
            // Any number of lines of progress come before it.
            if let Some(answer) = reply["answer"].as_str() {
                anyhow::ensure!(answer.contains(words), "{answer}");
                return Ok(begun.elapsed());
            }
        }
    }
}

//! A reader of server-sent events, one event at a time, as in a browser.

use std::net::SocketAddr;

use anyhow::ensure;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::wait::SOON;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its kind; `message` when the server names none.
    pub kind: String,
    /// The log's sequence, for a message.
    pub id: Option<String>,
    /// Its data.
    pub data: String,
}

/// An open stream of events.
#[derive(Debug)]
pub struct Events {
    lines: BufReader<TcpStream>,
}

impl Events {
    /// Opens `http://addr/path` and waits for the head of its answer, which must be 200.
    pub async fn open(addr: SocketAddr, path: &str) -> anyhow::Result<Events> {
        let mut stream = TcpStream::connect(addr).await?;
        // HTTP/1.0: the answer is not in chunks.
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {addr}\r\n\r\n").as_bytes()).await?;
        let mut events = Events { lines: BufReader::new(stream) };
        let status = events.line().await?;
        ensure!(status.contains(" 200 "), "{status}");
        while !events.line().await?.is_empty() {}
        Ok(events)
    }

    /// The next event.
    pub async fn next(&mut self) -> anyhow::Result<Event> {
        let mut event = Event { kind: "message".into(), ..Event::default() };
        loop {
            let line = self.line().await?;
            match line.split_once(": ") {
                Some(("event", kind)) => event.kind = kind.into(),
                Some(("id", id)) => event.id = Some(id.into()),
                Some(("data", data)) => event.data += data,
                _ if line.is_empty() => return Ok(event),
                _ => {}
            }
        }
    }

    /// The next event for which `wanted` is true. Panics if there is none in time.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let find = async {
            loop {
                let event = self.next().await.unwrap_or_else(|error| panic!("{what}: {error:#}"));
                if wanted(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(SOON, find).await.unwrap_or_else(|_| panic!("waited {SOON:?} in vain: {what}"))
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).await?;
        ensure!(read > 0, "the stream ended");
        line.truncate(line.trim_end_matches(['\r', '\n']).len());
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn events_are_read_as_they_come() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut stream = listener.accept().await.unwrap().0;
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
            let text = "HTTP/1.0 200 OK\r\nA: b\r\n\r\nevent: state\ndata: {}\n\nid: 7\ndata: hello\n\n";
            stream.write_all(text.as_bytes()).await.unwrap();
        });
        let mut events = Events::open(addr, "/").await.unwrap();
        assert_eq!(events.next().await.unwrap().kind, "state");
        let hello = Event { kind: "message".into(), id: Some("7".into()), data: "hello".into() };
        assert_eq!(events.until("hello", |event| event.data == "hello").await, hello);
        assert!(events.next().await.is_err(), "the end is an error");
    }
}

//! The HTTP server of the fakes, written down to the bytes, because it must also misbehave: answer late, never, one byte
//! a second, without end, or with a reset.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const LARGEST_HEAD: usize = 64 * 1024;
const LARGEST_BODY: usize = 16 * 1024 * 1024;

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query as sent.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// True if the sender waits for the end of the connection.
    last: bool,
}

impl Request {
    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// An answer; `Content-Length` is added when it is sent.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// A text.
    pub fn text(status: u16, body: impl Into<String>) -> Reply {
        let headers = vec![("Content-Type".into(), "text/plain; charset=utf-8".into())];
        Reply { status, headers, body: body.into().into_bytes() }
    }

    /// A JSON value.
    pub fn json(status: u16, body: &serde_json::Value) -> Reply {
        let headers = vec![("Content-Type".into(), "application/json; charset=utf-8".into())];
        Reply { status, headers, body: body.to_string().into_bytes() }
    }

    /// The same with one more header.
    pub fn with(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// The reaction of a fake to a request. "Takes" means that the message counts as posted.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Answers like the real service.
    Normal,
    /// Answers like the real service, later.
    After(Duration),
    /// Gives this answer without taking the message.
    Refuse(Reply),
    /// Takes the message, then resets the connection: the sender cannot know.
    TakeThenReset,
    /// Resets the connection after the whole request, without taking the message.
    Reset,
    /// Never answers and takes nothing.
    Never,
    /// Takes the message and answers one byte a second.
    Drip,
    /// Takes the message and answers 200 with a body that never ends.
    Endless,
}

impl Answer {
    /// 429 with this `Retry-After`.
    pub fn retry_after(value: &str) -> Answer {
        Answer::Refuse(Reply::text(429, "rate limited").with("Retry-After", value))
    }

    /// A bare status.
    pub fn status(status: u16) -> Answer {
        Answer::Refuse(Reply::text(status, format!("scripted {status}")))
    }
}

/// The answers to the next requests: first the listed ones in turn, then the standing one.
#[derive(Debug)]
pub(crate) struct Script {
    next: VecDeque<Answer>,
    standing: Answer,
}

/// An HTTP server in the test's own process; gone when dropped.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    script: Arc<Mutex<Script>>,
    requests: Arc<Mutex<Vec<Request>>>,
    accepting: JoinHandle<()>,
}

/// Gives the real service's answer, and records the message if the service would take it.
pub(crate) type Handler = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

impl Server {
    pub(crate) async fn start(handler: Handler) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for a fake");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let script = Arc::new(Mutex::new(Script { next: VecDeque::new(), standing: Answer::Normal }));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (for_script, for_requests) = (script.clone(), requests.clone());
        let accepting = tokio::spawn(async move {
            // The connections end with the set, and the set with the server.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, requests, handler) = (for_script.clone(), for_requests.clone(), handler.clone());
                connections.spawn(async move {
                    // A peer that disconnects early is not an error of the fake.
                    let _ = serve(stream, &script, &requests, &handler).await;
                });
            }
        });
        Server { addr, script, requests, accepting }
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Gives these answers to the next requests, in turn.
    pub fn next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.lock().expect("no test panics here").next.extend(answers);
    }

    /// Gives this answer to every request after the listed answers.
    pub fn always(&self, answer: Answer) {
        self.script.lock().expect("no test panics here").standing = answer;
    }

    /// Every request so far, taken or not.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no test panics here").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    stream: TcpStream,
    script: &Mutex<Script>,
    requests: &Mutex<Vec<Request>>,
    handler: &Handler,
) -> anyhow::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream).await? {
        let answer = {
            let mut script = script.lock().expect("no test panics here");
            script.next.pop_front().unwrap_or_else(|| script.standing.clone())
        };
        requests.lock().expect("no test panics here").push(request.clone());
        match answer {
            Answer::Normal => write_reply(&mut stream, &handler(&request)).await?,
            Answer::After(delay) => {
                tokio::time::sleep(delay).await;
                write_reply(&mut stream, &handler(&request)).await?;
            }
            Answer::Refuse(reply) => write_reply(&mut stream, &reply).await?,
            Answer::TakeThenReset => {
                handler(&request);
                return reset(stream);
            }
            Answer::Reset => return reset(stream),
            Answer::Never => std::future::pending().await,
            Answer::Drip => drip(&mut stream, &handler(&request)).await?,
            Answer::Endless => {
                handler(&request);
                return endless(&mut stream).await;
            }
        }
        if request.last {
            break;
        }
    }
    Ok(())
}

/// The next request; `None` if the peer has closed the connection between two requests.
async fn read_request(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Option<Request>> {
    let Some(first) = read_line(stream).await? else { return Ok(None) };
    let mut words = first.split(' ');
    let (Some(method), Some(path), Some(version)) = (words.next(), words.next(), words.next()) else {
        bail!("not a request line: {first:?}");
    };
    let last = version == "HTTP/1.0";
    let mut request =
        Request { method: method.into(), path: path.into(), headers: Vec::new(), body: Vec::new(), last };
    loop {
        let line = read_line(stream).await?.context("closed inside the headers")?;
        let Some((name, value)) = line.split_once(':') else { break };
        request.headers.push((name.to_ascii_lowercase(), value.trim().into()));
    }
    request.last |= request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    if request.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        request.body = read_chunks(stream).await?;
    } else if let Some(length) = request.header("content-length") {
        let length: usize = length.parse()?;
        anyhow::ensure!(length <= LARGEST_BODY, "a body of {length} bytes");
        request.body = vec![0; length];
        stream.read_exact(&mut request.body).await?;
    }
    Ok(Some(request))
}

async fn read_chunks(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = read_line(stream).await?.context("closed before a chunk")?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
        anyhow::ensure!(body.len() + size <= LARGEST_BODY, "a body above {LARGEST_BODY} bytes");
        let start = body.len();
        body.resize(start + size, 0);
        stream.read_exact(&mut body[start..]).await?;
        read_line(stream).await?;
        if size == 0 {
            return Ok(body);
        }
    }
}

/// One line without its end; `None` at the end of the connection.
async fn read_line(stream: &mut (impl AsyncBufRead + Unpin)) -> anyhow::Result<Option<String>> {
    let mut line = Vec::new();
    stream.take(LARGEST_HEAD as u64).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    anyhow::ensure!(line.ends_with(b"\n"), "a line without end");
    Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()))
}

async fn write_reply(stream: &mut (impl AsyncWrite + Unpin), reply: &Reply) -> anyhow::Result<()> {
    stream.write_all(&bytes(reply)).await?;
    Ok(stream.flush().await?)
}

fn bytes(reply: &Reply) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {} Scripted\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
    for (name, value) in &reply.headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    let mut bytes = text.into_bytes();
    bytes.extend(&reply.body);
    bytes
}

async fn drip(stream: &mut (impl AsyncWrite + Unpin), reply: &Reply) -> anyhow::Result<()> {
    for byte in bytes(reply) {
        stream.write_all(&[byte]).await?;
        stream.flush().await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

async fn endless(stream: &mut (impl AsyncWrite + Unpin)) -> anyhow::Result<()> {
    stream.write_all(b"HTTP/1.1 200 Scripted\r\nContent-Type: text/plain\r\n\r\n").await?;
    loop {
        stream.write_all(&[b'x'; 16 * 1024]).await?;
    }
}

fn reset(stream: BufReader<TcpStream>) -> anyhow::Result<()> {
    Ok(stream.into_inner().set_zero_linger()?)
}

/// Status and body of `GET http://addr/path`, in at most five seconds.
pub async fn get(addr: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    tokio::time::timeout(Duration::from_secs(5), exchange(addr, "GET", path, "", ""))
        .await
        .context("no answer in 5 s")?
}

/// Status and body of a `POST` with a JSON body, in at most five seconds.
pub async fn post(addr: SocketAddr, path: &str, json: &str) -> anyhow::Result<(u16, String)> {
    tokio::time::timeout(Duration::from_secs(5), exchange(addr, "POST", path, "", json))
        .await
        .context("no answer in 5 s")?
}

/// Status and body of a `POST` with a JSON body and a token, in at most five seconds.
pub async fn post_as(addr: SocketAddr, token: &str, path: &str, json: &str) -> anyhow::Result<(u16, String)> {
    let post = request_as(addr, "POST", token, path, json);
    tokio::time::timeout(Duration::from_secs(5), post).await.context("no answer in 5 s")?
}

/// Status and body of a `POST` with these headers, in at most five seconds.
pub async fn post_with(
    addr: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> anyhow::Result<(u16, String)> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    tokio::time::timeout(Duration::from_secs(5), exchange(addr, "POST", path, &headers, body))
        .await
        .context("no answer in 5 s")?
}

/// Status and body of any request with a JSON body and a token, if it is not empty.
pub async fn request_as(
    addr: SocketAddr,
    method: &str,
    token: &str,
    path: &str,
    json: &str,
) -> anyhow::Result<(u16, String)> {
    let token = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    exchange(addr, method, path, &token, json).await
}

async fn exchange(
    addr: SocketAddr,
    method: &str,
    path: &str,
    more: &str,
    body: &str,
) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect(addr).await?;
    // HTTP/1.0: the answer ends with the connection and is never in chunks.
    let json = if more.contains("Content-Type:") { "" } else { "Content-Type: application/json\r\n" };
    let head = format!("{method} {path} HTTP/1.0\r\nHost: {addr}\r\n{json}{more}");
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without end of headers")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, body.into()))
}

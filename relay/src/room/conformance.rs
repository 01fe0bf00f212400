//! The requirements of every room, as one kit that each room's tests call: rendering of hostile texts, backlogs and
//! long messages; and for rooms over HTTP the meaning of each answer, the limits, and that secrets are never shown.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tellhal::message::{Link, Status};
use tellhal::{Message, Severity, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use ::tests::ports::Port;
use service::platform::{Failure, Sent};

use super::{Counted, Post, Room};
use crate::delivery::{Content, Delivery, Id, Place};

/// Texts that try to ping, forge markup, inject a line or confuse a reader.
pub(super) const HOSTILE: [&str; 14] = [
    "<!channel> <@U1> <!here> <#C1>",
    "<https://evil.example|https://bank.example>",
    "@everyone @here @channel",
    "``` break *out* `of` _it_ ~now~ ```",
    "a\r\nQUIT :injected\nPRIVMSG #other :injected",
    "a\0b\x01ACTION c\x01",
    "\x01VERSION\x01",
    "!deploy production",
    "</body><presence/>&amp;&lt;",
    "\x1b]0;owned\x07\x1b[2Jred\x1b[31m",
    "\u{202e}gpj.exe",
    "\x0304,01colour\x02\x1f\x16",
    "{\"ok\":true}\",\"channel\":\"other\"",
    "👨‍👩‍👧‍👦 é\u{301}\u{301} 日本語",
];

pub(super) fn delivery(id: &str, message: Message) -> Delivery {
    Delivery {
        id: Id::of_message(id, "room"),
        room: "room".into(),
        place: Place::default(),
        at: Timestamp(10_801_000),
        routes: vec!["r".into()],
        marks: vec![],
        content: Content::Message(std::sync::Arc::new(message)),
    }
}

pub(super) fn message(text: &str) -> Message {
    Message::new("db1", "backup.mysql".parse().unwrap(), text)
}

/// A post of one message.
pub(super) fn post(text: &str) -> Post {
    Post::single(delivery("m1", message(text)))
}

/// A message with `text` wherever a sender can put one.
fn everywhere(text: &str) -> Message {
    let mut message = message(&format!("first\n{text}\nlast {text}"));
    message.title = Some(text.into());
    message.severity = Severity::Error;
    message.status = Some(Status::Failed);
    message.fields = [("name".into(), text.into()), (text.into(), "value".into())].into();
    message.links = vec![Link { url: format!("https://example.com/{text}"), title: Some(text.into()) }];
    message
}

/// A backlog of as many as the room lists, and more that are counted.
pub(super) fn backlog(listed: usize) -> Post {
    let mut post = post("message number 0");
    post.listed
        .extend((1..listed).map(|n| delivery(&format!("m{n}"), message(&format!("message number {n}")))));
    post.counted = Some(Counted {
        count: 4321,
        first: Timestamp(10_801_000),
        last: Timestamp(10_899_000),
        worst: Severity::Error,
        tags: [("backup.mysql".into(), 4321)].into(),
    });
    post
}

/// Tests `render`: a part has at most `longest` bytes on the wire, and contains no text of `never`.
pub(super) fn renders(room: &dyn Room, longest: usize, never: &[&str]) {
    let finished = post("Nightly backup finished");
    let plain = room.render(&finished);
    assert_eq!(plain.len(), 1);
    assert_eq!(plain[0].shown, "[backup.mysql] db1: Nightly backup finished");
    assert_eq!(room.render(&finished), plain, "rendering is pure");

    let long = format!("{}\n{}", "word & <tag> ".repeat(2_000), "line\n".repeat(6_000));
    let joined = "👨‍👩‍👧‍👦".repeat(2_000);
    for text in HOSTILE.iter().copied().chain([long.as_str(), joined.as_str(), ""]) {
        let mut sent = vec![post(text), Post::single(delivery("m2", everywhere(text)))];
        let mut many = backlog(room.listed());
        many.listed[0] = delivery("m3", everywhere(text));
        sent.push(many);
        for post in sent {
            for part in room.render(&post) {
                assert!(part.wire.len() <= longest, "{} bytes for {:.60}", part.wire.len(), text);
                let bad = |c: char| c.is_control() && c != '\n' && c != '\t';
                assert!(!part.shown.contains(bad) && !part.shown.contains('\u{202e}'), "{:?}", part.shown);
                for never in never {
                    assert!(!part.wire.contains(never), "{never:?} in {:?}", part.wire);
                }
            }
        }
    }
    backlogs(room);
}

fn backlogs(room: &dyn Room) {
    let parts = room.render(&backlog(room.listed()));
    let shown: Vec<&str> = parts.iter().flat_map(|part| part.shown.lines()).collect();
    assert_eq!(shown.len(), room.listed() + 1, "{shown:?}");
    for (n, line) in shown[..room.listed()].iter().enumerate() {
        assert!(line.ends_with(&format!("message number {n}")), "{line}");
    }
    let counted = shown[room.listed()];
    assert_eq!(counted, "… and 4321 more, first 03:00:01Z, last 03:01:39Z, worst error: backup.mysql 4321");
}

/// A decision, as the table has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Decision {
    Sent,
    Later(Option<u64>),
    /// Later, and the room may have taken it.
    Unknown,
    Permanent,
    Auth,
}

pub(super) fn decision(answer: &Result<Sent, Failure>) -> Decision {
    match answer {
        Ok(_) => Decision::Sent,
        Err(Failure::Transient { ambiguous: true, .. }) => Decision::Unknown,
        Err(Failure::Transient { wait, .. }) => Decision::Later(wait.map(|wait| wait.as_secs())),
        Err(Failure::Permanent { .. }) => Decision::Permanent,
        Err(Failure::Auth { .. }) => Decision::Auth,
    }
}

/// A room over HTTP, opened at a server's address. No error may show one of `secrets`. `lost` is the decision if the room may
/// have taken the post: `Unknown`, or `Later` if the platform makes one post of a repeated one.
pub(super) async fn over_http(
    open: impl Fn(&str) -> Box<dyn Room>,
    taken: &str,
    secrets: &[&str],
    lost: Decision,
) {
    statuses(&open, taken, secrets, lost).await;
    tokio::join!(
        bounded(&open, Behaviour::Silence, lost),
        bounded(&open, Behaviour::Drip, lost),
        bounded(&open, Behaviour::CloseAfterRequest, lost),
        refused_connection(&open),
    );
}

/// Ways in which a server may write our secrets.
const ESCAPES: [fn(&str) -> String; 3] = [
    |text| text.bytes().map(|byte| format!("%{byte:02X}")).collect(),
    |text| text.replace('/', "\\/"),
    |text| text.replace('/', " ").replace('-', "\\u002d"),
];

async fn statuses(open: &impl Fn(&str) -> Box<dyn Room>, taken: &str, secrets: &[&str], lost: Decision) {
    use Decision::{Auth, Later, Permanent};
    let table = [
        (301, "Location: http://127.0.0.1:1/\r\n", Auth),
        (400, "", Permanent),
        (401, "", Auth),
        (403, "", Auth),
        (404, "", Auth),
        (408, "", Later(None)),
        (410, "", Auth),
        (413, "", Permanent),
        (425, "", Later(None)),
        (429, "Retry-After: 0\r\n", Later(Some(0))),
        (429, "Retry-After: 30\r\n", Later(Some(30))),
        (429, "Retry-After: 99999\r\n", Later(Some(3600))),
        (429, "Retry-After: soon\r\n", Later(None)),
        (429, "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n", Later(Some(0))),
        (500, "", Later(None)),
        (502, "", lost),
        (503, "Retry-After: 7\r\n", Later(Some(7))),
        (504, "", lost),
    ];
    for (status, headers, wanted) in table {
        let server = Server::start(Behaviour::Repeat { status, headers }).await;
        let answer = send(&*open(&server.url), "hello").await;
        assert_eq!(decision(&answer), wanted, "{status} {headers}: {answer:?}");
        for secret in secrets {
            assert!(!format!("{answer:?}").contains(secret), "{secret} in {answer:?}");
        }
        assert_eq!(server.requests().len(), 1, "one request, never a redirect or a retry");
    }
    for escape in ESCAPES {
        let server = Server::start(Behaviour::Escape(escape)).await;
        let answer = send(&*open(&server.url), "hello").await;
        assert_eq!(decision(&answer), Permanent, "{answer:?}");
        for secret in secrets {
            assert!(
                !answer.as_ref().unwrap_err().to_string().contains(&escape(secret)),
                "{secret} in {answer:?}"
            );
        }
    }
    let server = Server::start(Behaviour::Answer(taken.to_owned())).await;
    let answer = send(&*open(&server.url), "hello").await;
    assert_eq!(decision(&answer), Decision::Sent, "{answer:?}");
    assert!(server.requests()[0].contains("hello"));
}

async fn bounded(open: &impl Fn(&str) -> Box<dyn Room>, behaviour: Behaviour, wanted: Decision) {
    let server = Server::start(behaviour.clone()).await;
    let room = open(&server.url);
    let started = Instant::now();
    let answer = send(&*room, "hello").await;
    assert_eq!(decision(&answer), wanted, "{behaviour:?}: {answer:?}");
    assert!(started.elapsed() < room.timeout(), "{behaviour:?}: ends before the room's timeout");
}

async fn refused_connection(open: &impl Fn(&str) -> Box<dyn Room>) {
    let closed = Port::free();
    let url = format!("http://{}", closed.addr());
    assert_eq!(decision(&send(&*open(&url), "hello").await), Decision::Later(None));
}

pub(super) async fn send(room: &dyn Room, text: &str) -> Result<Sent, Failure> {
    let parts = room.render(&post(text));
    assert_eq!(parts.len(), 1);
    room.send(&parts[0]).await
}

/// The answer of a test server to a request.
#[derive(Clone, Debug)]
pub(super) enum Behaviour {
    /// 200 with this body.
    Answer(String),
    /// This status, with the whole request as the body: a server that repeats our secrets.
    Repeat {
        status: u16,
        headers: &'static str,
    },
    /// 400, with the request's first line escaped.
    Escape(fn(&str) -> String),
    /// This status and body.
    Status(u16, &'static str),
    /// 200 and a body without end.
    Endless,
    Silence,
    /// One byte a second.
    Drip,
    CloseAfterRequest,
}

/// An HTTP server on a port of its own; ends with the test.
pub(super) struct Server {
    pub(super) url: String,
    requests: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) async fn start(behaviour: Behaviour) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, behaviour.clone(), seen.clone()));
            }
        });
        Server { url, requests, task }
    }

    /// The requests so far: head and body.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, behaviour: Behaviour, seen: Arc<Mutex<Vec<String>>>) {
    let Some(request) = read_request(&mut stream).await else { return };
    seen.lock().unwrap().push(request.clone());
    let answer = |status: u16, headers: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status} X\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
    };
    // A client that has read enough hangs up: the rest of an answer may fail.
    match behaviour {
        Behaviour::Answer(body) => drop(stream.write_all(answer(200, "", &body).as_bytes()).await),
        Behaviour::Status(status, body) => drop(stream.write_all(answer(status, "", body).as_bytes()).await),
        Behaviour::Repeat { status, headers } => {
            drop(stream.write_all(answer(status, headers, &request).as_bytes()).await)
        }
        Behaviour::Escape(escape) => {
            let line = escape(request.lines().next().unwrap_or_default());
            drop(stream.write_all(answer(400, "", &line).as_bytes()).await)
        }
        Behaviour::Endless => {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await);
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        }
        Behaviour::Silence => std::future::pending().await,
        Behaviour::Drip => {
            for byte in answer(200, "", "ok").bytes() {
                drop(stream.write_all(&[byte]).await);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Behaviour::CloseAfterRequest => {}
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            if body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0) {
                return Some(text);
            }
        }
    }
}

//! The message, version 1: the format on the bus, and how payloads from the bus are read.
//! Reading never fails: a payload in another format becomes the message's text.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::attached;
use crate::audit::FileEntry;
use crate::body::Body;
use crate::fingerprint::fingerprint;
pub use crate::severity::Severity;
use crate::tag::{Tag, is_token, legal_token};
use crate::timestamp::Timestamp;

/// The version this library writes.
pub const VERSION: u64 = 1;
/// The longest text, in bytes; a longer text keeps its first 16 KiB and its last 48 KiB.
pub const MAX_TEXT: usize = 64 * 1024;
pub(crate) const TEXT_HEAD: usize = 16 * 1024;
/// 48 KiB less the room for the mark, so that a shortened text is not shortened again.
pub(crate) const TEXT_TAIL: usize = 48 * 1024 - 64;
/// The longest title or key, in bytes.
pub const MAX_TITLE: usize = 1024;
/// The longest names and values of all fields together, in bytes; those beyond are left out, in the order of their names.
pub const MAX_FIELDS: usize = 64 * 1024;
/// The most links; those beyond are left out.
pub const MAX_LINKS: usize = 50;
/// The longest address of a link, in bytes; a link with a longer one is left out.
pub const MAX_URL: usize = 4096;
/// The longest id, in bytes; a longer foreign id is hashed.
pub const MAX_ID: usize = 64;
/// A sender's time is shown beside the stream's if they differ by more than this.
pub const CLOCK_SLACK: std::time::Duration = std::time::Duration::from_secs(60);

/// One ops message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Version of this format: 1.
    pub v: u64,
    /// UUIDv7 or 128 random bits; also the `Nats-Msg-Id` header. `[A-Za-z0-9@:._-]{1,64}`.
    pub id: String,
    /// The sender's time. The stream's time counts; this one is shown if it differs by more than a minute.
    pub time: Timestamp,
    /// The sender's time when it left the spool; absent when it was not kept there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flushed: Option<Timestamp>,
    /// The topic, such as `backup.mysql.done`. The subject outranks it.
    pub tag: Tag,
    /// The sender: one token, by default the short host name. The subject outranks it.
    pub source: String,
    /// The full host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The user the sender ran as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The severity; `info` when absent.
    #[serde(default)]
    pub severity: Severity,
    /// A headline of one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The body of the message, at most 64 KiB.
    #[serde(default)]
    pub text: String,
    /// Names the thing the message is about: messages with the same source and key belong together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The state of that thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Additional values by name, at most 64 KiB of names and values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// Links to more information, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// Pictures and other files that the bridge has kept, at most 4.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileEntry>,
    /// The command that `tellhal run` ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
}

/// The state of the thing a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It began.
    Started,
    /// It ended well.
    Succeeded,
    /// It ended badly.
    Failed,
    /// It had failed and is well again.
    Resolved,
}

impl Status {
    /// All states.
    pub const ALL: [Status; 4] = [Status::Started, Status::Succeeded, Status::Failed, Status::Resolved];

    /// The status' name.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Started => "started",
            Status::Succeeded => "succeeded",
            Status::Failed => "failed",
            Status::Resolved => "resolved",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "started" => Status::Started,
            "succeeded" => Status::Succeeded,
            "failed" => Status::Failed,
            "resolved" => Status::Resolved,
            _ => {
                return Err(format!(
                    "status {text:?} is unknown; it is one of started, succeeded, failed, resolved"
                ));
            }
        })
    }
}

/// A link to more information.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// `http://…` or `https://…`, at most 4 KiB.
    pub url: String,
    /// The link's text; the address itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// The result of a command that `tellhal run` ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// The program's name, without its arguments: those may hold secrets.
    pub command: String,
    /// Duration in seconds; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// The exit status, if it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// The number of the signal that ended it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The number of bytes of output that were left out of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<u64>,
}

impl Message {
    /// A new message of severity `info` with a fresh id and the machine's time.
    pub fn new(source: &str, tag: Tag, text: impl Into<String>) -> Self {
        let mut message = Message::empty(uuid::Uuid::now_v7().to_string(), Timestamp::now(), source, tag);
        message.text = shorten(text.into());
        message
    }

    fn empty(id: String, time: Timestamp, source: &str, tag: Tag) -> Self {
        Message {
            v: VERSION,
            id,
            time,
            flushed: None,
            tag,
            source: source.into(),
            host: None,
            user: None,
            severity: Severity::Info,
            title: None,
            text: String::new(),
            key: None,
            status: None,
            fields: BTreeMap::new(),
            links: Vec::new(),
            files: Vec::new(),
            run: None,
        }
    }

    /// The message in one line: its title, else the first line of its text that is not blank.
    pub fn headline(&self) -> &str {
        let text = || self.text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("");
        self.title.as_deref().map(str::trim).filter(|title| !title.is_empty()).unwrap_or_else(text)
    }
}

/// `text` within [`MAX_TEXT`]: a longer text keeps its beginning and its end, with a mark between.
pub fn shorten(text: String) -> String {
    if text.len() <= MAX_TEXT {
        return text;
    }
    let head = text.floor_char_boundary(TEXT_HEAD);
    let tail = text.ceil_char_boundary(text.len() - TEXT_TAIL);
    format!("{}\n[… {} bytes cut …]\n{}", &text[..head], tail - head, &text[tail..])
}

/// A remark for the reader of a message about how it was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The payload was not in the format of messages and became the text.
    Foreign,
    /// The payload was of a newer or older version and became the text.
    UnknownVersion(u64),
    /// The body had another source or tag than the subject, which outranks it.
    BodyDiffers(String),
    /// The subject's tag or source held illegal characters; the original is in `fields.tag`.
    TagRewritten,
    /// Values of the body that were not understood; a severity that was not is read as [`Severity::UNKNOWN`].
    Unclear(String),
    /// The sender's clock is off by more than a minute; its own time.
    SenderTime(Timestamp),
    /// The message waited in its sender's spool, since this time by the stream's clock.
    Waited(Timestamp),
    /// The text was longer than 64 KiB, or another value was longer than its limit.
    Shortened,
    /// The message was for this room, which cannot take it any more.
    ForRoom(String),
    /// Another source had already used this id.
    IdTaken(String),
    /// The throttle had too many different messages to count this one.
    Unthrottled,
}

impl Mark {
    /// The mark's name, as a metric's label.
    pub fn kind(&self) -> &'static str {
        match self {
            Mark::Foreign => "foreign",
            Mark::UnknownVersion(_) => "unknown_version",
            Mark::BodyDiffers(_) => "body_differs",
            Mark::TagRewritten => "tag_rewritten",
            Mark::Unclear(_) => "unclear",
            Mark::SenderTime(_) => "sender_time",
            Mark::Waited(_) => "waited",
            Mark::Shortened => "shortened",
            Mark::ForRoom(_) => "for_room",
            Mark::IdTaken(_) => "id_taken",
            Mark::Unthrottled => "unthrottled",
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Mark::Foreign => f.write_str("plain payload"),
            Mark::UnknownVersion(v) => write!(f, "unknown message version {v}"),
            Mark::BodyDiffers(what) => write!(f, "its body says {what}"),
            Mark::TagRewritten => f.write_str("tag rewritten"),
            Mark::Unclear(values) => write!(f, "not understood: {values}"),
            Mark::SenderTime(at) => write!(f, "sender's clock says {at}"),
            Mark::Waited(since) => write!(f, "waited in the spool since {since}"),
            Mark::Shortened => f.write_str("shortened"),
            Mark::ForRoom(room) => write!(f, "for room {room}"),
            Mark::IdTaken(id) => write!(f, "id {id} is another source's"),
            Mark::Unthrottled => f.write_str("not throttled, too many different messages"),
        }
    }
}

/// A message as it was read from the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// The message; its `time` is the stream's.
    pub message: Message,
    /// Remarks about how it was read.
    pub marks: Vec<Mark>,
}

/// Reads a payload that was published on `hal.ops.<source>.<tag>`. `sequence` and `at` are the stream's.
///
/// A payload is in the format of messages if it is an object with a numeric `v` and a string `text` or
/// `title`. Any other payload gives a message too, with the payload as its text.
pub fn read(source: &str, tag: &str, payload: &[u8], sequence: u64, at: Timestamp) -> Received {
    let mut marks = Vec::new();
    let legal_source = if is_token(source) { source.to_owned() } else { legal_token(source) };
    let legal_tag = tag.parse::<Tag>().unwrap_or_else(|_| Tag::nearest(tag));
    let rewritten = legal_tag.as_str() != tag || legal_source != source;
    let mut message = Message::empty(format!("seq-{sequence}"), at, &legal_source, legal_tag);

    match ours(payload) {
        Some((1, object)) => fill(&mut message, object, &mut marks),
        Some((version, _)) => {
            marks.push(Mark::UnknownVersion(version));
            message.text = String::from_utf8_lossy(payload).into_owned();
        }
        None => {
            marks.push(Mark::Foreign);
            message.text = String::from_utf8_lossy(payload).trim_end_matches(['\n', '\r', '\0']).to_owned();
        }
    }
    if rewritten {
        marks.push(Mark::TagRewritten);
        message.fields.insert("tag".into(), clip(if tag.is_empty() { source } else { tag }, MAX_TITLE));
    }
    if bound(&mut message) {
        marks.push(Mark::Shortened);
    }
    Received { message, marks }
}

/// The version and the object, if the payload is in the format of messages, of any version.
fn ours(payload: &[u8]) -> Option<(u64, Map<String, Value>)> {
    let Ok(Value::Object(object)) = serde_json::from_slice(payload) else { return None };
    let version = object.get("v")?;
    // 1.0 is 1; any other number is a version that is not known.
    let whole = |number: f64| if number == 1.0 { 1 } else { 0 };
    let version = version.as_u64().or_else(|| version.as_f64().map(whole))?;
    let is_text = |name| object.get(name).is_some_and(Value::is_string);
    (is_text("text") || is_text("title")).then_some((version, object))
}

/// Takes the values of `object`. A wrong severity must not lose a text.
fn fill(message: &mut Message, object: Map<String, Value>, marks: &mut Vec<Mark>) {
    let mut body = Body::new(object);
    if let Some(id) = body.text("id").filter(|id| !id.is_empty()) {
        message.id = legal_id(&id);
    }
    let made = body.time("time");
    message.flushed = body.time("flushed");
    // The clock is judged by the moment of sending: a message may have waited in the spool for days.
    if let Some(sent) = message.flushed.or(made)
        && sent.since(message.time).max(message.time.since(sent)) > CLOCK_SLACK
    {
        marks.push(Mark::SenderTime(sent));
    }
    if let (Some(made), Some(flushed)) = (made, message.flushed)
        && flushed.since(made) > CLOCK_SLACK
    {
        marks.push(Mark::Waited(message.time.minus(flushed.since(made))));
    }
    for (name, subject) in [("tag", message.tag.as_str()), ("source", message.source.as_str())] {
        if let Some(in_body) = body.word(name).filter(|in_body| in_body != subject) {
            marks.push(Mark::BodyDiffers(format!("{name} {}", clip(&in_body, MAX_TITLE))));
        }
    }
    message.host = body.word("host");
    message.user = body.word("user");
    message.title = body.word("title");
    message.key = body.word("key");
    message.severity = body.severity();
    message.status = body.one_of("status");
    message.text = body.anything("text").unwrap_or_default();
    message.fields = body.fields();
    message.links = body.links();
    message.files = body.files();
    message.run = body.object("run");
    marks.extend(body.left().map(Mark::Unclear));
}

/// A foreign id: as it is if it matches `[A-Za-z0-9@:._-]{1,64}`, else hashed.
fn legal_id(id: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || "@:._-".contains(c);
    if id.len() <= MAX_ID && id.chars().all(legal) {
        return id.into();
    }
    fingerprint(&[id.as_bytes()])
}

/// Brings every value within its limit, since a message is written again in deliveries, dead letters and posts; true if one was
/// longer.
fn bound(message: &mut Message) -> bool {
    let Message { host, user, title, key, text, fields, links, files, run, .. } = message;
    let command = run.as_mut().map(|run| &mut run.command);
    let lines = [host.as_mut(), user.as_mut(), title.as_mut(), key.as_mut(), command];
    let mut is_long = false;
    for line in lines.into_iter().flatten() {
        is_long |= line.len() > MAX_TITLE;
        line.truncate(line.floor_char_boundary(MAX_TITLE));
    }
    if text.len() > MAX_TEXT {
        is_long = true;
        *text = shorten(std::mem::take(text));
    }
    let (all_fields, mut left) = (fields.len(), MAX_FIELDS);
    fields.retain(|name, value| {
        let size = name.len() + value.len();
        if size > left && name.len() < left {
            is_long = true;
            value.truncate(value.floor_char_boundary(left - name.len()));
        }
        let fits = name.len() + value.len() <= left;
        left -= if fits { name.len() + value.len() } else { 0 };
        fits
    });
    let all_links = links.len();
    links.retain(|link| link.url.len() <= MAX_URL);
    links.truncate(MAX_LINKS);
    for title in links.iter_mut().filter_map(|link| link.title.as_mut()) {
        is_long |= title.len() > MAX_TITLE;
        title.truncate(title.floor_char_boundary(MAX_TITLE));
    }
    // Objects of other names are not for readers of messages.
    files.retain(|file| attached::is_kept_name(&file.object));
    files.truncate(attached::MOST);
    files.iter_mut().for_each(|file| file.name = attached::safe_name(&file.name));
    is_long || fields.len() < all_fields || links.len() < all_links
}

fn clip(text: &str, max: usize) -> String {
    text[..text.floor_char_boundary(max)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT: Timestamp = Timestamp(1_795_000_000_000);

    fn read_at(subject_tag: &str, payload: &[u8]) -> Received {
        read("db1", subject_tag, payload, 7, AT)
    }

    #[test]
    fn what_we_write_we_read_back() {
        let mut message = Message::new("db1", "backup.mysql".parse().unwrap(), "done");
        message.time = AT;
        message.severity = Severity::Error;
        message.title = Some("Backup".into());
        message.key = Some("mysql".into());
        message.status = Some(Status::Failed);
        message.fields.insert("size".into(), "3 GB".into());
        message.links.push(Link { url: "https://example.com".into(), title: None });
        message.run = Some(Run { command: "tar".into(), exit: Some(1), ..Run::default() });
        let json = serde_json::to_vec(&message).unwrap();
        let got = read_at("backup.mysql", &json);
        assert_eq!(got, Received { message, marks: vec![] });
    }

    #[test]
    fn whatever_is_not_ours_is_text() {
        let deep = "[".repeat(10_000);
        let payloads: [&[u8]; 9] = [
            b"plain text",
            b"",
            b"[1,2]",
            b"{\"text\":\"no version\"}",
            b"{\"v\":\"1\",\"text\":\"x\"}",
            b"{\"v\":1e999,\"text\":\"x\"}",
            b"{\"v\":1,\"text\":\"\\ud800\"}",
            b"{\"stream\":\"HAL_OPS\",\"seq\":3}",
            deep.as_bytes(),
        ];
        for payload in payloads {
            let got = read_at("a.b", payload);
            assert_eq!(got.message.text.as_bytes(), payload);
            assert_eq!(got.message.id, "seq-7");
            assert_eq!(got.marks, [Mark::Foreign]);
        }
        assert_eq!(read_at("a", b"caf\xe9").message.text, "caf\u{fffd}");
        let newer = read_at("a", br#"{"v":2,"text":"x"}"#);
        assert_eq!(newer.marks, [Mark::UnknownVersion(2)]);
        assert_eq!(newer.message.text, r#"{"v":2,"text":"x"}"#);
    }

    #[test]
    fn the_subject_outranks_the_body() {
        let got = read_at("backup", br#"{"v":1,"text":"x","tag":"deploy","source":"root"}"#);
        assert_eq!(got.message.tag.as_str(), "backup");
        assert_eq!(got.message.source, "db1");
        assert_eq!(got.message.severity, Severity::Info);
        assert_eq!(
            got.marks,
            [Mark::BodyDiffers("tag deploy".into()), Mark::BodyDiffers("source root".into())]
        );
    }

    #[test]
    fn a_severity_is_understood_or_marked_and_never_silently_info() {
        let read = |severity: &str| {
            let payload = format!(r#"{{"v":1,"text":"x","severity":{severity}}}"#);
            let Received { message, marks } = read_at("a", payload.as_bytes());
            (message.severity, marks.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        };
        let known = [
            ("\"fatal\"", Severity::Critical),
            ("\"ERR\"", Severity::Error),
            ("50", Severity::Error),
            ("50.0", Severity::Error),
            ("\"50\"", Severity::Error),
            ("4", Severity::Warning),
            ("0", Severity::Critical),
            ("null", Severity::Info),
            ("\"\"", Severity::Info),
        ];
        for (severity, want) in known {
            assert_eq!(read(severity), (want, String::new()), "{severity}");
        }
        for severity in ["\"loud\"", "9", "-1", "2.5", "1e300", "true", "[3]", "{\"level\":3}"] {
            let (read_as, marks) = read(severity);
            assert_eq!(read_as, Severity::UNKNOWN, "{severity}");
            assert!(marks.starts_with("not understood: severity "), "{severity}: {marks}");
        }
    }

    #[test]
    fn values_of_another_shape_are_understood_or_marked() {
        let payload = r#"{"v":1.0,"title":"17","text":{"a":[1,2]},"key":7,"host":true,"user":null,"time":1795000000,
            "fields":{"n":3,"list":[1],"none":null},"links":["https://a.b",{"url":"https://c.d","title":"C"}]}"#;
        let Received { message, marks } = read_at("a", payload.as_bytes());
        assert_eq!(marks, []);
        let Message { title, text, key, host, user, fields, links, .. } = message;
        assert_eq!((title.as_deref(), text.as_str()), (Some("17"), r#"{"a":[1,2]}"#));
        assert_eq!((key.as_deref(), host.as_deref(), user), (Some("7"), Some("true"), None));
        assert_eq!((fields.len(), fields["n"].as_str(), fields["list"].as_str()), (2, "3", "[1]"));
        let urls: Vec<&str> = links.iter().map(|link| link.url.as_str()).collect();
        assert_eq!(urls, ["https://a.b", "https://c.d"]);
        let late = read_at("a", br#"{"v":1,"text":"x","time":1794990000000}"#);
        assert_eq!(late.marks, [Mark::SenderTime(Timestamp(1_794_990_000_000))]);

        let table = [
            (r#""id":5"#, "id 5"),
            (r#""time":"yesterday""#, "time \"yesterday\""),
            (r#""time":-5"#, "time -5"),
            (r#""host":{"name":"db1"}"#, "host {\"name\":\"db1\"}"),
            (r#""status":"odd""#, "status \"odd\""),
            (r#""status":1"#, "status 1"),
            (r#""fields":["a"]"#, "fields [\"a\"]"),
            (r#""links":[5,"https://a.b"]"#, "links 5"),
            (r#""run":"tar""#, "run \"tar\""),
            (r#""key":[],"run":[1]"#, "key [], run [1]"),
        ];
        for (part, want) in table {
            let got = read_at("a", format!(r#"{{"v":1,"text":"x",{part}}}"#).as_bytes());
            assert_eq!(got.marks, [Mark::Unclear(want.into())], "{part}");
            assert_eq!((got.message.text.as_str(), got.message.id.as_str()), ("x", "seq-7"));
        }
        let long = read_at("a", format!(r#"{{"v":1,"text":"x","run":"{}"}}"#, "é".repeat(9000)).as_bytes());
        assert!(long.marks[0].to_string().len() < 100);
    }

    #[test]
    fn foreign_tags_ids_and_clocks_are_made_legal_and_marked() {
        let got = read("d:b", "ops.ö", b"x", 1, AT);
        assert_eq!((got.message.source.as_str(), got.message.tag.as_str()), ("d_b", "ops._"));
        assert_eq!(got.message.fields["tag"], "ops.ö");
        let long =
            format!(r#"{{"v":1,"text":"x","id":"{}","time":"9999-12-31T23:59:59Z"}}"#, "i".repeat(5000));
        let got = read_at("a", long.as_bytes());
        assert_eq!(got.message.id.len(), 32);
        assert!(matches!(got.marks[..], [Mark::SenderTime(_)]));
        assert_eq!(got.message.time, AT);
        assert_eq!(read("db1", "", b"x", 1, AT).message.tag.as_str(), "untagged");
    }

    #[test]
    fn a_message_that_waited_in_the_spool_says_so_and_does_not_accuse_the_clock() {
        let marks = |made: i64, flushed: Option<i64>| {
            let at = |offset: i64| Timestamp(AT.0 + offset * 1000);
            let mut message = Message::new("db1", "a".parse().unwrap(), "x");
            (message.time, message.flushed) = (at(made), flushed.map(at));
            read_at("a", &serde_json::to_vec(&message).unwrap()).marks
        };
        let at = |offset: i64| Timestamp(AT.0 + offset * 1000);
        assert_eq!(marks(-7200, Some(-1)), [Mark::Waited(at(-7199))]);
        assert_eq!(marks(-30, Some(0)), []);
        // A clock that is a day fast, and a wait of an hour by it.
        let day = 86_400;
        assert_eq!(marks(day - 3600, Some(day)), [Mark::SenderTime(at(day)), Mark::Waited(at(-3600))]);
        assert_eq!(marks(-7200, None), [Mark::SenderTime(at(-7200))]);
        // A clock that was set back meanwhile tells nothing about the wait.
        assert_eq!(marks(day, Some(0)), []);
    }

    #[test]
    fn a_long_text_keeps_both_ends() {
        let text = format!("first{}last", "é".repeat(70_000));
        let got = shorten(text);
        assert!(got.starts_with("first") && got.ends_with("last") && got.contains("bytes cut"));
        assert!(got.len() <= MAX_TEXT + 40);
    }

    #[test]
    fn every_value_is_bounded() {
        let long = "é".repeat(300_000);
        let links = |count: usize, url: &str| format!("{{\"url\":\"{url}\",\"title\":\"x\"}},").repeat(count);
        let fields: String = (0..9000).map(|n| format!("\"f{n:04}\":\"{}\",", "v".repeat(28))).collect();
        let parts = [
            format!("\"run\":{{\"command\":\"{long}\"}}"),
            format!("\"title\":\"{long}\""),
            format!("\"key\":\"{long}\""),
            format!("\"host\":\"{long}\""),
            format!("\"fields\":{{\"a\":\"kept\",\"b\":\"{long}\",\"c\":\"left out\"}}"),
            format!("\"fields\":{{\"a\":\"kept\",\"{long}\":\"x\"}}"),
            format!("\"fields\":{{{fields}\"a\":\"kept\"}}"),
            format!("\"links\":[{}\"https://a.b\"]", links(5000, "https://c.d")),
            format!("\"links\":[{}\"https://a.b\"]", links(1, &long)),
            format!("\"links\":[{{\"url\":\"https://a.b\",\"title\":\"{long}\"}}]"),
        ];
        for part in parts {
            let Received { message, marks } =
                read_at("a", format!(r#"{{"v":1,"text":"x",{part}}}"#).as_bytes());
            assert_eq!(marks, [Mark::Shortened], "{part:.40}");
            let size = serde_json::to_vec(&message).unwrap().len();
            assert!(size < 100_000 && message.text == "x", "{part:.40}: {size}");
            let first = message.fields.get("a");
            assert!(message.fields.is_empty() || first.is_some_and(|first| first == "kept"), "{part:.40}");
            assert!(message.links.len() <= MAX_LINKS);
        }
        let largest = format!(
            r#"{{"v":1,"text":"x","title":"{0}","run":{{"command":"{0}"}},"fields":{{"f":"{1}"}},"links":["{2}"]}}"#,
            "t".repeat(MAX_TITLE),
            "v".repeat(MAX_FIELDS - 1),
            "l".repeat(MAX_URL)
        );
        assert_eq!(read_at("a", largest.as_bytes()).marks, []);
    }

    proptest! {
        #[test]
        fn reading_never_panics(source in ".{0,20}", tag in ".{0,200}", payload in prop::collection::vec(any::<u8>(), 0..300)) {
            let got = read(&source, &tag, &payload, 1, AT);
            prop_assert!(got.message.text.len() <= MAX_TEXT + 40);
        }
    }
}

//! Chat commands on the bus: a request, which only the bridge makes, and what a handler replies to it.
//!
//! A request is signed by the bridge's nkey. A handler that knows the bridge's public key takes no other request, whatever
//! anybody else can publish. Runs nothing and decides nothing about rights.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use async_nats::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nkeys::KeyPair;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attached::{File, bounded};
use crate::message::shorten;
use crate::tag::is_token;
use crate::timestamp::Timestamp;

/// The version of requests and replies.
pub const VERSION: u32 = 1;
/// The header with the signature of a request's payload: Ed25519, in base64.
pub const SIGNATURE: &str = "Hal-Signature";
/// The header with the public key that belongs to it.
pub const KEY: &str = "Hal-Key";
/// The headers of an error reply, as every NATS service has them (ADR-32).
const ERROR: [&str; 2] = ["Nats-Service-Error", "Nats-Service-Error-Code"];
/// The time after which a request that was not begun is not begun any more.
pub const FRESH: Duration = Duration::from_secs(60);
/// The longest name of a command, in bytes.
pub const LONGEST_NAME: usize = 64;

/// A command that somebody gave in a chat and may give: a request on `hal.cmd.<command>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// Version of the format, 1.
    pub v: u32,
    /// Id of the request. A handler begins each id once.
    pub id: String,
    /// The subject that it is published on. A handler takes no request with another.
    pub subject: String,
    /// Name of the command.
    pub command: String,
    /// The arguments in their order.
    #[serde(default)]
    pub args: Vec<String>,
    /// The same by name, if the bridge's configuration names them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub named: BTreeMap<String, String>,
    /// The person's name in the bridge's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// The person's roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Chat and room, such as `main/#ops`.
    pub room: String,
    /// The time after which the request is not begun any more.
    pub expires: Timestamp,
    /// The time for the answer, in milliseconds. After it the asker waits no longer.
    pub timeout_ms: u64,
    /// The id of an earlier request that is to be ended; there is nothing to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<String>,
}

/// A line about what has happened so far; any number of these come before the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Version of the format, 1.
    pub v: u32,
    /// One line, such as `step 3 of 5`.
    pub progress: String,
}

/// The answer, which is the last reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// Version of the format, 1.
    pub v: u32,
    /// The text for the person.
    pub answer: String,
    /// The command has failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    /// The text is in columns or is a program's output: it is shown in a fixed width.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fixed_width: bool,
    /// The exit status, if a program answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// The machine that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Pictures and other files: at most 4, with 640 KiB together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<File>,
}

/// A handler's words about one of its commands, in the metadata of its endpoint. It is shown in `help`, and decides nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    /// The command with its arguments, such as `deploy TARGET [VERSION]`.
    pub usage: String,
    /// One line about it.
    #[serde(default)]
    pub help: String,
}

impl Answer {
    /// An answer of a command that succeeded.
    pub fn done(answer: impl Into<String>) -> Answer {
        Answer {
            v: VERSION,
            answer: answer.into(),
            failed: false,
            fixed_width: false,
            exit_status: None,
            host: None,
            files: Vec::new(),
        }
    }

    /// An answer of a command that failed.
    pub fn failed(answer: impl Into<String>) -> Answer {
        Answer { failed: true, ..Answer::done(answer) }
    }
}

/// One reply to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The command still runs.
    Progress(String),
    /// The last reply.
    Answer(Answer),
}

impl Reply {
    /// Reads a reply. A payload that is not ours is an answer in plain text, so that a handler needs no more than a NATS client.
    pub fn read(headers: Option<&HeaderMap>, payload: &[u8]) -> Reply {
        let header = |name: &str| headers.and_then(|headers| headers.get(name)).map(|value| value.as_str());
        if ERROR.iter().any(|name| header(name).is_some()) {
            let text =
                if payload.is_empty() { header(ERROR[0]).unwrap_or_default().into() } else { text(payload) };
            return Reply::Answer(Answer::failed(text));
        }
        #[derive(Deserialize)]
        struct Version {
            #[serde(rename = "v")]
            _v: u32,
        }
        let is_ours = payload.first() == Some(&b'{') && serde_json::from_slice::<Version>(payload).is_ok();
        if is_ours && let Ok(mut answer) = serde_json::from_slice::<Answer>(payload) {
            let (files, left_out) = bounded(std::mem::take(&mut answer.files));
            answer.files = files;
            for line in left_out {
                answer.answer += &format!("\n{line}");
            }
            answer.answer = shorten(answer.answer);
            return Reply::Answer(answer);
        }
        if is_ours && let Ok(progress) = serde_json::from_slice::<Progress>(payload) {
            let line = progress.progress.lines().next().unwrap_or_default();
            return Reply::Progress(line.chars().take(200).collect());
        }
        Reply::Answer(Answer::done(text(payload)))
    }
}

fn text(payload: &[u8]) -> String {
    shorten(String::from_utf8_lossy(payload).into_owned())
}

/// The payload and the headers of a request, signed with `key`.
pub fn sign(request: &Request, key: &KeyPair) -> Result<(Vec<u8>, HeaderMap), String> {
    let payload = serde_json::to_vec(request).map_err(|error| error.to_string())?;
    let signature = key.sign(&payload).map_err(|error| format!("the key does not sign: {error}"))?;
    let mut headers = HeaderMap::new();
    headers.insert(SIGNATURE, BASE64.encode(signature));
    headers.insert(KEY, key.public_key());
    Ok((payload, headers))
}

/// True for the name of a command: one word of `a-z 0-9 _ -` that does not begin with `_`. People may type it in any case.
pub fn is_name(name: &str) -> bool {
    let is_lower = !name.contains(|c: char| c.is_ascii_uppercase());
    is_token(name) && is_lower && name.len() <= LONGEST_NAME && !name.starts_with('_')
}

/// True for a public nkey, such as a bridge's.
pub fn is_public_key(text: &str) -> bool {
    KeyPair::from_public_key(text).is_ok()
}

/// The requests that a handler takes.
#[derive(Clone, Debug)]
pub struct Gate {
    keys: Vec<String>,
    /// The ids of the requests that were taken, oldest first, with the times after which they are refused for their age.
    taken: VecDeque<(String, Timestamp)>,
}

/// The number of requests that are remembered; at the bound further ones are refused until the oldest expire.
const TAKEN: usize = 10_000;

impl Gate {
    /// Takes requests that one of `keys` (public nkeys) has signed; without a key those of everybody.
    pub fn new(keys: Vec<String>) -> Gate {
        Gate { keys, taken: VecDeque::new() }
    }

    /// The request in a message on `subject`, if it is to be handled. The error is the reason why not.
    pub fn take(
        &mut self,
        subject: &str,
        headers: Option<&HeaderMap>,
        payload: &[u8],
        now: Timestamp,
    ) -> Result<Request, String> {
        self.check_signature(headers, payload)?;
        let request: Request =
            serde_json::from_slice(payload).map_err(|error| format!("it is no request: {error}"))?;
        if request.v != VERSION {
            return Err(format!("version {} of requests is not known here", request.v));
        }
        if request.subject != subject {
            return Err(format!("it was signed for {}", request.subject));
        }
        if now.since(request.expires) > Duration::ZERO || request.expires.since(now) > FRESH * 2 {
            return Err(format!("it expires at {}, and the time here is {now}", request.expires));
        }
        while self.taken.front().is_some_and(|(_, expires)| now.since(*expires) > Duration::ZERO) {
            self.taken.pop_front();
        }
        if self.taken.iter().any(|(id, _)| *id == request.id) {
            return Err("it came before".into());
        }
        if self.taken.len() >= TAKEN {
            return Err(format!("{TAKEN} requests came within a minute"));
        }
        self.taken.push_back((request.id.clone(), request.expires));
        Ok(request)
    }

    fn check_signature(&self, headers: Option<&HeaderMap>, payload: &[u8]) -> Result<(), String> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let header = |name: &str| headers.and_then(|headers| headers.get(name)).map(|value| value.as_str());
        let (Some(key), Some(signature)) = (header(KEY), header(SIGNATURE)) else {
            return Err("it is not signed".into());
        };
        if !self.keys.iter().any(|known| known == key) {
            return Err(format!(
                "it is signed with another key, {}",
                key.chars().take(60).collect::<String>()
            ));
        }
        let signature = BASE64.decode(signature).map_err(|_| "its signature is not base64")?;
        let key = KeyPair::from_public_key(key).map_err(|_| "its key is no public nkey")?;
        key.verify(payload, &signature).map_err(|_| "its signature is wrong".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: &str) -> Request {
        Request {
            v: 1,
            id: id.into(),
            subject: "hal.cmd.deploy".into(),
            command: "deploy".into(),
            args: vec!["staging".into()],
            named: [("target".to_owned(), "staging".to_owned())].into(),
            person: Some("oncall".into()),
            roles: vec!["operator".into()],
            room: "main/#ops".into(),
            expires: Timestamp::now().plus(FRESH),
            timeout_ms: 60_000,
            cancel: None,
        }
    }

    fn take(gate: &mut Gate, (payload, headers): &(Vec<u8>, HeaderMap)) -> Result<Request, String> {
        gate.take("hal.cmd.deploy", Some(headers), payload, Timestamp::now())
    }

    #[test]
    fn a_signed_request_is_taken_once() {
        let key = KeyPair::new_user();
        let mut gate = Gate::new(vec![KeyPair::new_user().public_key(), key.public_key()]);
        let signed = sign(&request("a"), &key).unwrap();
        assert_eq!(take(&mut gate, &signed).unwrap(), request_like(&signed.0));
        assert_eq!(take(&mut gate, &signed).unwrap_err(), "it came before");
    }

    fn request_like(payload: &[u8]) -> Request {
        serde_json::from_slice(payload).unwrap()
    }

    #[test]
    fn requests_of_others_are_refused() {
        let (key, other) = (KeyPair::new_user(), KeyPair::new_user());
        let mut gate = Gate::new(vec![key.public_key()]);
        let (payload, headers) = sign(&request("a"), &key).unwrap();
        let mut changed = payload.clone();
        let at = changed.windows(7).position(|part| part == b"staging").unwrap();
        changed[at..at + 7].copy_from_slice(b"prodctn");
        assert_eq!(take(&mut gate, &(changed, headers.clone())).unwrap_err(), "its signature is wrong");
        assert_eq!(take(&mut gate, &(payload.clone(), HeaderMap::new())).unwrap_err(), "it is not signed");
        let foreign = sign(&request("a"), &other).unwrap();
        assert!(take(&mut gate, &foreign).unwrap_err().starts_with("it is signed with another key"));
        let mut claims = foreign.1.clone();
        claims.insert(KEY, key.public_key());
        assert_eq!(take(&mut gate, &(foreign.0, claims)).unwrap_err(), "its signature is wrong");
        let elsewhere = gate.take("hal.cmd.reboot", Some(&headers), &payload, Timestamp::now()).unwrap_err();
        assert_eq!(elsewhere, "it was signed for hal.cmd.deploy");
        let late = Timestamp::now().plus(FRESH * 2);
        let expired = gate.take("hal.cmd.deploy", Some(&headers), &payload, late).unwrap_err();
        assert!(expired.starts_with("it expires at "), "{expired}");
        let far = Request { expires: Timestamp::now().plus(FRESH * 10), ..request("a") };
        assert!(take(&mut gate, &sign(&far, &key).unwrap()).unwrap_err().starts_with("it expires at "));
        // None of these counts as a first time.
        assert!(take(&mut gate, &(payload, headers)).is_ok());
    }

    #[test]
    fn every_reply_is_an_answer_unless_it_says_that_it_is_progress() {
        let done = |text: &str| Reply::Answer(Answer::done(text));
        for (payload, want) in [
            (&b"up 3 days"[..], done("up 3 days")),
            (b"{\"v\":1,\"progress\":\"step 1\\nx\"}", Reply::Progress("step 1".into())),
            (b"{\"v\":1,\"answer\":\"ok\"}", done("ok")),
            (b"{\"v\":1,\"answer\":\"no\",\"failed\":true}", Reply::Answer(Answer::failed("no"))),
            (b"{\"answer\":42}", done("{\"answer\":42}")),
            (b"{\"v\":1}", done("{\"v\":1}")),
            (b"", done("")),
            (b"\xff", done("\u{fffd}")),
        ] {
            assert_eq!(Reply::read(None, payload), want);
        }
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Service-Error", "disk full");
        headers.insert("Nats-Service-Error-Code", "500");
        assert_eq!(Reply::read(Some(&headers), b""), Reply::Answer(Answer::failed("disk full")));
        let Reply::Answer(long) = Reply::read(None, &vec![b'x'; 1 << 20]) else { panic!("an answer") };
        assert!(long.answer.len() <= 64 * 1024 && long.answer.contains("bytes cut"));
    }
}

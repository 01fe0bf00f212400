//! A fake Slack: the Web API's `chat.postMessage`, `chat.update`, `auth.test`, `apps.connections.open`, files, and incoming webhooks, with
//! Slack's own refusals, most of which are HTTP 200; and what people say, by Socket Mode or as signed requests. Checked with the
//! official Python SDK.

mod files;
mod said;
mod socket;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};

pub use files::{Picture, TICKET};
pub use said::{SIGNING_SECRET, TEAM, Way, deliver, now, signature};
pub use socket::APP_TOKEN;
use socket::Sockets;

use crate::http::{Reply, Request, Server};

/// The only bot's token that the fake accepts.
pub const TOKEN: &str = "xoxb-1-fake";
/// The path of the fake's only incoming webhook.
pub const WEBHOOK: &str = "/services/T0001/B0001/secretsecret";

const LONGEST_TEXT: usize = 40_000;
const LONGEST_EDIT: usize = 4_000;
const MOST_BLOCKS: usize = 50;
const MOST_ATTACHMENTS: usize = 100;

/// A message Slack took.
#[derive(Clone, Debug)]
pub struct Post {
    /// The channel's id; empty for an incoming webhook.
    pub channel: String,
    /// The text as sent, cut at 40,000 characters as Slack does.
    pub text: String,
    /// All arguments of the call.
    pub body: Map<String, Value>,
    /// Slack's id of the message.
    pub ts: String,
}

#[derive(Debug, Default)]
struct Workspace {
    channels: BTreeMap<String, Channel>,
    posts: Vec<Post>,
    uploads: Vec<files::Upload>,
    pictures: Vec<Picture>,
    /// The bot lacks the scope `files:write`.
    no_files: bool,
}

/// The state of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// The bot may post.
    Open,
    /// The bot is not a member.
    NotMember,
    /// It was archived.
    Archived,
}

/// A running fake; the answers of its Web API are scripted with [`Server::next`] and [`Server::always`].
#[derive(Debug)]
pub struct FakeSlack {
    server: Server,
    workspace: Arc<Mutex<Workspace>>,
    sockets: Sockets,
}

impl Deref for FakeSlack {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl FakeSlack {
    /// A workspace with these channel ids.
    pub async fn start(channels: &[&str]) -> FakeSlack {
        let channels = channels.iter().map(|&id| (id.into(), Channel::Open)).collect();
        let workspace = Arc::new(Mutex::new(Workspace { channels, ..Workspace::default() }));
        let (shared, sockets) = (workspace.clone(), Sockets::start().await);
        let apps = sockets.clone();
        let server = Server::start(Arc::new(move |request| {
            answer(&mut shared.lock().expect("no panic here"), &apps, request)
        }));
        FakeSlack { server: server.await, workspace, sockets }
    }

    /// The Web API's address, for the key `api_url`.
    pub fn api_url(&self) -> String {
        format!("http://{}/api", self.addr())
    }

    /// The incoming webhook's address.
    pub fn webhook_url(&self) -> String {
        format!("http://{}{WEBHOOK}", self.addr())
    }

    /// Changes a channel.
    pub fn set_channel(&self, id: &str, channel: Channel) {
        self.workspace.lock().expect("no panic here").channels.insert(id.into(), channel);
    }

    /// Gives the bot the scope `files:write`, or takes it.
    pub fn permit_files(&self, are_permitted: bool) {
        self.workspace.lock().expect("no panic here").no_files = !are_permitted;
    }

    /// All files that were shared so far, in order.
    pub fn pictures(&self) -> Vec<Picture> {
        self.workspace.lock().expect("no panic here").pictures.clone()
    }

    /// Queues a delivery over Socket Mode, of the type `events_api` or `slash_commands`; it is sent again until it is acknowledged.
    pub fn envelope(&self, kind: &str, payload: &Value) {
        self.sockets.push(kind, payload);
    }

    /// The acknowledgements so far, as they came.
    pub fn acknowledged(&self) -> Vec<Value> {
        self.sockets.acknowledged()
    }

    /// The number of connections of Socket Mode so far.
    pub fn connections(&self) -> usize {
        self.sockets.connections()
    }

    /// Asks all connections of Socket Mode to connect again, and closes them.
    pub fn disconnect(&self) {
        self.sockets.disconnect();
    }

    /// Leaves all connections of Socket Mode open, dead.
    pub fn freeze(&self) {
        self.sockets.freeze();
    }

    /// All messages taken so far, in order.
    pub fn posts(&self) -> Vec<Post> {
        self.workspace.lock().expect("no panic here").posts.clone()
    }
}

fn answer(workspace: &mut Workspace, sockets: &Sockets, request: &Request) -> Reply {
    let path = request.path.split('?').next().unwrap_or_default();
    if path == WEBHOOK {
        return incoming_webhook(workspace, request);
    }
    if path.starts_with(files::UPLOAD) {
        return files::receive(workspace, path, request);
    }
    if path.starts_with("/services/") {
        return Reply::text(404, "no_service");
    }
    let Some(method) = path.strip_prefix("/api/") else { return Reply::text(404, "not found") };
    let result = match token(request) {
        None => Err("not_authed"),
        Some(APP_TOKEN) if method == "apps.connections.open" => Ok(json!({ "url": sockets.url() })),
        Some(TOKEN) if method == "apps.connections.open" => Err("not_allowed_token_type"),
        Some(token) if token != TOKEN => Err("invalid_auth"),
        Some(_) => arguments(request).and_then(|body| match method {
            "auth.test" => Ok(json!({"url": "https://fake.slack.com/", "team": "fake", "user": "hal",
                "team_id": TEAM, "user_id": "U0001", "bot_id": "B0001"})),
            "chat.postMessage" => post_message(workspace, body)
                .inspect(|posted| sockets.push_if_heard("events_api", &said::by_robot(posted))),
            "chat.update" => update(workspace, &body),
            "files.getUploadURLExternal" if is_json(request) => Err("invalid_arguments"),
            "files.getUploadURLExternal" => {
                files::announce(workspace, request.header("host").unwrap_or_default(), &body)
            }
            "files.completeUploadExternal" => files::share(workspace, &body)
                .inspect(|_| sockets.push_if_heard("events_api", &said::of_file(text(&body, "channel_id")))),
            _ => Err("unknown_method"),
        }),
    };
    match result {
        Ok(mut value) => {
            value["ok"] = true.into();
            Reply::json(200, &value)
        }
        Err(error) => Reply::json(200, &json!({"ok": false, "error": error})),
    }
}

fn token(request: &Request) -> Option<&str> {
    request.header("authorization")?.strip_prefix("Bearer ")
}

fn is_json(request: &Request) -> bool {
    request.header("content-type").unwrap_or_default().starts_with("application/json")
}

/// The arguments of a call, sent as JSON or as a form.
fn arguments(request: &Request) -> Result<Map<String, Value>, &'static str> {
    if request.body.is_empty() {
        return Ok(Map::new());
    }
    let kind = request.header("content-type").unwrap_or_default();
    if is_json(request) {
        return match serde_json::from_slice(&request.body) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err("json_not_object"),
            Err(_) => Err("invalid_json"),
        };
    }
    if kind.starts_with("application/x-www-form-urlencoded") {
        let form: Vec<(String, String)> =
            serde_urlencoded::from_bytes(&request.body).map_err(|_| "invalid_form_data")?;
        // In a form, values that are not strings are JSON inside a string.
        let structured = |name: &str| matches!(name, "blocks" | "attachments" | "metadata" | "files");
        let value = |(name, text): (String, String)| {
            let value = structured(&name).then(|| serde_json::from_str(&text).ok()).flatten();
            (name, value.unwrap_or(Value::String(text)))
        };
        return Ok(form.into_iter().map(value).collect());
    }
    Err("invalid_post_type")
}

fn post_message(workspace: &mut Workspace, body: Map<String, Value>) -> Result<Value, &'static str> {
    let channel = text(&body, "channel");
    // A post to a person is one in the conversation with that person, which is there once it is needed.
    let channel = channel.strip_prefix('U').map_or_else(|| channel.to_owned(), |user| format!("D{user}"));
    if channel.starts_with('D') {
        workspace.channels.entry(channel.clone()).or_insert(Channel::Open);
    }
    match workspace.channels.get(&channel) {
        None => return Err("channel_not_found"),
        Some(Channel::NotMember) => return Err("not_in_channel"),
        Some(Channel::Archived) => return Err("is_archived"),
        Some(Channel::Open) => {}
    }
    check_content(&body)?;
    let post = take(workspace, channel, body);
    Ok(json!({"channel": post.channel, "ts": post.ts,
        "message": {"type": "message", "text": post.text, "ts": post.ts,
            "user": "U0001", "bot_id": "B0001"}}))
}

fn update(workspace: &mut Workspace, body: &Map<String, Value>) -> Result<Value, &'static str> {
    let (channel, ts) = (text(body, "channel"), text(body, "ts"));
    check_content(body)?;
    if text(body, "text").chars().count() > LONGEST_EDIT {
        return Err("msg_too_long");
    }
    let mut posts = workspace.posts.iter_mut();
    let post = posts.find(|post| post.channel == channel && post.ts == ts).ok_or("message_not_found")?;
    post.text = text(body, "text").chars().take(LONGEST_TEXT).collect();
    post.body.extend(body.clone());
    Ok(json!({"channel": post.channel, "ts": post.ts, "text": post.text}))
}

fn check_content(body: &Map<String, Value>) -> Result<(), &'static str> {
    let length = |name: &str| body.get(name).and_then(Value::as_array).map_or(0, Vec::len);
    let (blocks, attachments) = (length("blocks"), length("attachments"));
    if text(body, "text").is_empty() && blocks == 0 && attachments == 0 {
        return Err("no_text");
    }
    if blocks > MOST_BLOCKS {
        return Err("invalid_blocks");
    }
    if attachments > MOST_ATTACHMENTS {
        return Err("too_many_attachments");
    }
    Ok(())
}

/// Answers an incoming webhook: with a single word and a status.
fn incoming_webhook(workspace: &mut Workspace, request: &Request) -> Reply {
    let Ok(Value::Object(body)) = serde_json::from_slice(&request.body) else {
        return Reply::text(400, "invalid_payload");
    };
    match check_content(&body) {
        Ok(()) => {
            take(workspace, String::new(), body);
            Reply::text(200, "ok")
        }
        Err("invalid_blocks") => Reply::text(400, "invalid_payload"),
        Err(word) => Reply::text(400, word),
    }
}

fn take(workspace: &mut Workspace, channel: String, body: Map<String, Value>) -> Post {
    let text = text(&body, "text").chars().take(LONGEST_TEXT).collect();
    let ts = format!("{}.{:06}", 1_795_000_000 + workspace.posts.len(), workspace.posts.len());
    let post = Post { channel, text, body, ts };
    workspace.posts.push(post.clone());
    post
}

fn text<'a>(body: &'a Map<String, Value>, name: &str) -> &'a str {
    body.get(name).and_then(Value::as_str).unwrap_or_default()
}

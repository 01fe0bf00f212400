//! Files in the fake: an address for each, the bytes that come there, and the share in a channel, which alone shows anything.

use serde_json::{Map, Value, json};

use super::{Channel, Workspace, text};
use crate::http::{Reply, Request};

/// The beginning of the addresses for uploads.
pub(super) const UPLOAD: &str = "/upload/v1/";
/// A part of every such address: it is as good as a password.
pub const TICKET: &str = "CwABAAAAsecretticket";

/// A file that is announced, and its bytes once they have come.
#[derive(Debug)]
pub(super) struct Upload {
    id: String,
    name: String,
    length: usize,
    bytes: Option<Vec<u8>>,
}

/// A file that was shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The channel's id.
    pub channel: String,
    /// The first post of its thread, if it is in one.
    pub thread: Option<String>,
    pub name: String,
    pub title: String,
    pub bytes: Vec<u8>,
    /// The number of messages that were posted before it.
    pub after: usize,
}

/// `files.getUploadURLExternal`, whose arguments are a form's.
pub(super) fn announce(
    workspace: &mut Workspace,
    host: &str,
    form: &Map<String, Value>,
) -> Result<Value, &'static str> {
    permitted(workspace)?;
    let length = text(form, "length").parse::<usize>().ok().filter(|length| *length > 0);
    let (Some(length), false) = (length, text(form, "filename").is_empty()) else {
        return Err("invalid_arguments");
    };
    let id = format!("F{:04}", workspace.uploads.len() + 1);
    let url = format!("http://{host}{UPLOAD}{TICKET}{id}");
    let name = text(form, "filename").to_owned();
    workspace.uploads.push(Upload { id: id.clone(), name, length, bytes: None });
    Ok(json!({ "upload_url": url, "file_id": id }))
}

/// The bytes of a file. The bot's token has no business here.
pub(super) fn receive(workspace: &mut Workspace, path: &str, request: &Request) -> Reply {
    let id = path.strip_prefix(UPLOAD).and_then(|rest| rest.strip_prefix(TICKET)).unwrap_or_default();
    let upload = workspace.uploads.iter_mut().find(|upload| upload.id == id);
    let Some(upload) = upload.filter(|upload| upload.bytes.is_none()) else {
        return Reply::text(404, "no such upload");
    };
    assert_eq!(request.header("authorization"), None, "the token goes to the Web API alone");
    if upload.length != request.body.len() {
        return Reply::text(400, "not the announced length");
    }
    upload.bytes = Some(request.body.clone());
    Reply::text(200, format!("OK - {}", upload.length))
}

/// `files.completeUploadExternal`.
pub(super) fn share(workspace: &mut Workspace, body: &Map<String, Value>) -> Result<Value, &'static str> {
    permitted(workspace)?;
    let files = body.get("files").and_then(Value::as_array).filter(|files| !files.is_empty());
    let files = files.ok_or("invalid_arguments")?.clone();
    let channel = text(body, "channel_id").to_owned();
    match workspace.channels.get(&channel) {
        None => return Err("channel_not_found"),
        Some(Channel::NotMember) => return Err("not_in_channel"),
        Some(Channel::Archived) => return Err("is_archived"),
        Some(Channel::Open) => {}
    }
    let thread = Some(text(body, "thread_ts").to_owned()).filter(|thread| !thread.is_empty());
    let mut shared = Vec::new();
    for file in &files {
        let upload = workspace.uploads.iter().find(|upload| upload.id == file["id"]);
        let (upload, bytes) =
            upload.and_then(|upload| Some((upload, upload.bytes.clone()?))).ok_or("file_not_found")?;
        let title = file["title"].as_str().unwrap_or(&upload.name).to_owned();
        shared.push(json!({ "id": upload.id, "title": title }));
        let (name, after) = (upload.name.clone(), workspace.posts.len());
        let picture = Picture { channel: channel.clone(), thread: thread.clone(), name, title, bytes, after };
        workspace.pictures.push(picture);
    }
    Ok(json!({ "files": shared }))
}

fn permitted(workspace: &Workspace) -> Result<(), &'static str> {
    if workspace.no_files { Err("missing_scope") } else { Ok(()) }
}

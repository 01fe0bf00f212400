//! A file in a channel, in Slack's three steps: it names an address, the bytes go there, and the file is shared. Only the third step
//! shows anything: a file that is not shared is seen by nobody, and whatever happens before may be done again. The third has no
//! idempotency key, so that one whose answer is lost must not be repeated by a caller who does not want the file twice.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::answer::{is_missing_scope, told};
use super::client::Client;
use super::config::is_id;
use crate::http::{Bounds, Call, Endpoint, address_problem};
use crate::platform::Failure;
use crate::text::one_line;

/// The time without a further file after one that was not taken, unless Slack asks for a longer one.
const PAUSE: Duration = Duration::from_secs(60);
/// The media type of bytes.
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// A file that Slack has and nobody sees yet.
#[derive(Debug)]
pub struct Uploaded {
    id: String,
    /// Its name, as people see it.
    pub title: String,
}

/// The reason why a file is not uploaded.
#[derive(Debug)]
pub struct NotUploaded {
    pub failure: Failure,
    /// The bot lacks the scope `files:write`: no file will be taken.
    pub lacks_scope: bool,
}

impl From<Failure> for NotUploaded {
    fn from(failure: Failure) -> Self {
        NotUploaded { failure, lacks_scope: false }
    }
}

#[derive(Deserialize)]
struct Ticket {
    upload_url: String,
    file_id: String,
}

#[derive(Deserialize)]
struct Completed {}

impl Client {
    /// Uploads a file that nobody sees yet (`files.getUploadURLExternal`, and the address that it names).
    ///
    /// The bot's token does not go to that address, which must be as protected as the Web API's.
    pub async fn upload(&self, name: &str, bytes: &[u8]) -> Result<Uploaded, NotUploaded> {
        let (title, length) = (Some(one_line(name)).filter(|name| !name.is_empty()), bytes.len().to_string());
        let title = title.unwrap_or_else(|| "file".into());
        let form = [("filename", title.as_str()), ("length", &length)];
        let answer = self.form("files.getUploadURLExternal", &form).await?;
        if is_missing_scope(&answer) {
            let failure = self.refusal("slack says missing_scope: the bot needs files:write");
            return Err(NotUploaded { failure, lacks_scope: true });
        }
        let Ticket { upload_url, file_id } = told(&self.endpoint, &answer)?;
        let is_protected = upload_url.starts_with("https:") || !self.api.api_url.starts_with("https:");
        let problem = address_problem("upload_url", &upload_url, self.api.allow_private);
        if !is_protected || problem.is_some() || !is_id(&file_id) {
            return Err(self.refusal("slack names no address to upload to").into());
        }
        let place = Endpoint::new(&upload_url, &self.api.reach());
        let place = place.map_err(|_| self.refusal("slack names no address to upload to"))?;
        let call = Call {
            method: Method::POST,
            path: Vec::new(),
            query: Vec::new(),
            body: bytes.to_vec(),
            media_type: Some(BYTES),
            bounds: Bounds::of_post(),
        };
        place.by_status(&place.call(call).await?)?;
        Ok(Uploaded { id: file_id, title })
    }

    /// Shows an uploaded file in a channel, in the thread below `thread` if there is one (`files.completeUploadExternal`).
    ///
    /// Slack shows it a moment later. A failure is ambiguous if Slack may show it all the same.
    pub async fn share(&self, file: &Uploaded, channel: &str, thread: Option<&str>) -> Result<(), Failure> {
        let files = json!([{ "id": file.id, "title": file.title }]).to_string();
        let mut form = vec![("files", files.as_str()), ("channel_id", channel)];
        form.extend(thread.map(|thread| ("thread_ts", thread)));
        let answer = self.form("files.completeUploadExternal", &form).await?;
        match told::<Completed>(&self.endpoint, &answer) {
            // An answer of success that is not Slack's: nobody knows what has become of the file.
            Err(Failure::Transient { reason, wait, .. }) if answer.status.is_success() => {
                Err(Failure::Transient { reason, wait, ambiguous: true })
            }
            told => told.map(|_| ()),
        }
    }
}

/// The times at which a bot may be given files: not for a while after one that was not taken, and not at all without the permission.
/// Meanwhile messages have links.
#[derive(Debug, Default)]
pub struct Uploads(Mutex<Pause>);

#[derive(Clone, Copy, Debug, Default)]
enum Pause {
    #[default]
    None,
    Until(Instant),
    Forever,
}

impl Uploads {
    /// True if files are taken now, as far as is known.
    pub fn are_open(&self) -> bool {
        match *self.lock() {
            Pause::None => true,
            Pause::Until(end) => Instant::now() >= end,
            Pause::Forever => false,
        }
    }

    /// Notes that a file was not taken, and logs why. `place` is a name of the room or the chat for the log.
    pub fn close(&self, place: &str, why: &NotUploaded) {
        let reason = why.failure.to_string();
        *self.lock() = match why.lacks_scope {
            true => {
                tracing::warn!(place, reason, "no pictures, links from now on, until a restart or a change");
                Pause::Forever
            }
            false => {
                let pause = PAUSE.max(why.failure.wait());
                tracing::warn!(place, reason, ?pause, "a picture is not taken; links for a while");
                Pause::Until(Instant::now() + pause)
            }
        };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pause> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_not_taken_ends_files_for_a_while() {
        let (uploads, limited) = (Uploads::default(), |seconds| {
            let wait = Some(Duration::from_secs(seconds));
            Failure::Transient { reason: "429".into(), wait, ambiguous: false }.into()
        });
        assert!(uploads.are_open());
        for (wait, pause) in [(1, 60), (300, 300)] {
            uploads.close("ops", &limited(wait));
            tokio::time::advance(Duration::from_secs(pause - 1)).await;
            assert!(!uploads.are_open());
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(uploads.are_open());
        }
        let failure = Failure::Auth { reason: "missing_scope".into() };
        uploads.close("ops", &NotUploaded { failure, lacks_scope: true });
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert!(!uploads.are_open());
    }
}

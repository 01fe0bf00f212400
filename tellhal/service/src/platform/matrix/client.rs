//! The calls of the client-server API, and the meaning of each answer. Sends once; retries nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::content::File;
use crate::http::{Answer, Bounds, Call, Endpoint, LONGEST_WAIT, Reach};
use crate::platform::{Failure, Limiter, Sent};
use crate::secret::Secret;
use crate::text::one_line;

/// Homeservers bear about ten events of one user at once; how many a second is theirs to say, by 429.
const EVERY: Duration = Duration::from_secs(1);
const BURST: u32 = 10;
/// The longest time that a file may take.
const UPLOAD: Duration = Duration::from_secs(30);
/// The longest id that a server gives, in bytes.
const LONGEST_ID: usize = 255;

/// A homeserver and an account: users that agree in them share a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    pub(super) homeserver: String,
    pub(super) token: Secret,
    pub(super) tls_ca: Option<PathBuf>,
}

/// An account on a homeserver.
pub struct Client {
    endpoint: Endpoint,
    /// The limit of posts, for all rooms of the account together.
    pub limiter: Arc<Limiter>,
}

/// The body of an error.
#[derive(Deserialize)]
struct Error {
    errcode: String,
    #[serde(default)]
    error: String,
    retry_after_ms: Option<u64>,
}

/// A call without success, and the server's name for the reason, if it gave one.
pub(super) struct Refusal {
    pub(super) code: Option<String>,
    pub(super) failure: Failure,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        refusal.failure
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Refusal { code: None, failure }
    }
}

#[derive(Deserialize)]
struct Taken {
    event_id: String,
}

#[derive(Deserialize)]
struct Joined {
    room_id: String,
}

#[derive(Deserialize)]
struct Account {
    user_id: String,
}

#[derive(Deserialize)]
struct Uploaded {
    content_uri: String,
}

impl Client {
    pub fn open(settings: &Settings) -> anyhow::Result<Self> {
        let reach = Reach { tls_ca: settings.tls_ca.as_deref(), ..Reach::default() };
        let mut endpoint = Endpoint::new(&settings.homeserver, &reach)?;
        endpoint.header("authorization", &Secret::new(format!("Bearer {}", settings.token.reveal())))?;
        Ok(Client { endpoint, limiter: Arc::new(Limiter::new(EVERY, BURST)) })
    }

    /// Joins a room, by id or alias; harmless if we are in it. Returns its id.
    pub async fn join(&self, room: &str) -> Result<String, Failure> {
        Ok(self.join_within(room, Bounds::of_post()).await?)
    }

    pub(super) async fn join_within(&self, room: &str, bounds: Bounds) -> Result<String, Refusal> {
        let call = json(Method::POST, &["join", room], "{}", bounds);
        let (answer, Joined { room_id }) = self.call(call).await?;
        Ok(self.id(&answer, '!', room_id)?)
    }

    /// The account's own user id.
    pub async fn whoami(&self) -> Result<String, Failure> {
        let call = json(Method::GET, &["account", "whoami"], "", Bounds::of_post());
        let (answer, Account { user_id }) = self.call(call).await?;
        self.id(&answer, '@', user_id)
    }

    /// Sends an event to a room that we are in, given by its id. However often the same transaction is sent to a room, it
    /// is one event.
    pub async fn send(&self, room_id: &str, transaction: &str, content: &str) -> Result<Sent, Failure> {
        Ok(self.send_within(room_id, transaction, content, Bounds::of_post()).await?)
    }

    pub(super) async fn send_within(
        &self,
        room_id: &str,
        transaction: &str,
        content: &str,
        bounds: Bounds,
    ) -> Result<Sent, Refusal> {
        // Proxies may decode an escaped slash, or refuse it.
        let transaction = transaction.replace('/', "~");
        let path = ["rooms", room_id, "send", "m.room.message", &transaction];
        let (answer, Taken { event_id }) = self.call(json(Method::PUT, &path, content, bounds)).await?;
        let event_id = self.id(&answer, '$', event_id)?;
        let link = format!("https://matrix.to/#/{room_id}/{event_id}");
        Ok(Sent { link: Some(link), post: Some(event_id), ..self.endpoint.taken(&answer) })
    }

    /// Uploads a file. Returns its address (`mxc://…`), for [`super::Content::file`].
    pub async fn upload(&self, file: &File) -> Result<String, Failure> {
        let media_type = HeaderValue::from_str(&file.media_type)
            .map_err(|_| Failure::Permanent { reason: self.endpoint.reason("not a media type") })?;
        let bounds = Bounds { deadline: Instant::now() + UPLOAD, ..Bounds::of_post() };
        let name = one_line(&file.name);
        let call = Call {
            path: vec!["_matrix", "media", "v3", "upload"],
            query: vec![("filename", &name)],
            body: file.bytes.clone(),
            media_type: Some(media_type),
            ..json(Method::POST, &[], "", bounds)
        };
        let (answer, Uploaded { content_uri }) = self.call(call).await?;
        match content_uri.starts_with("mxc://") && content_uri.len() <= LONGEST_ID {
            true => Ok(content_uri),
            false => Err(self.strange(&answer)),
        }
    }

    /// Makes a call, and reads its answer as JSON.
    async fn call<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<(Answer, T), Refusal> {
        let answer = self.answer(call).await?;
        let body = self.read(&answer)?;
        Ok((answer, body))
    }

    /// Makes a call. The answer has status 2xx; its body may have been cut.
    pub(super) async fn answer(&self, call: Call<'_>) -> Result<Answer, Refusal> {
        let mut answer = self.endpoint.call(call).await.map_err(repeatable)?;
        let error = serde_json::from_str::<Error>(&answer.body).ok().filter(|_| !answer.status.is_success());
        if let Some(Error { errcode, error, retry_after_ms }) = &error {
            answer.body = format!("{errcode}: {error}");
            let wish = retry_after_ms.map(|ms| Duration::from_millis(ms).min(LONGEST_WAIT));
            answer.wait = answer.wait.max(wish);
        }
        let code = error.map(|error| error.errcode);
        match self.endpoint.by_status(&answer) {
            Ok(()) => Ok(answer),
            Err(failure) => Err(Refusal { code, failure: repeatable(failure) }),
        }
    }

    /// Reads the whole body of an answer.
    pub(super) fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, Failure> {
        let body = serde_json::from_str(&answer.body).ok().filter(|_| answer.complete);
        body.ok_or_else(|| self.strange(answer))
    }

    /// A failure to be tried again for a reason of our own.
    pub(super) fn later(&self, reason: &str) -> Failure {
        Failure::transient(self.endpoint.reason(reason))
    }

    /// A page of a proxy, for example. Since nothing can come twice, it is asked again.
    fn strange(&self, answer: &Answer) -> Failure {
        let what = if answer.complete { "which is not Matrix's answer" } else { "and the answer broke off" };
        let body = one_line(&answer.body);
        self.endpoint.later(answer, &format!("answered {}, {what}: {body}", answer.status), false)
    }

    /// An id of the server, unless it is, for example, a repetition of our token.
    fn id(&self, answer: &Answer, sigil: char, id: String) -> Result<String, Failure> {
        let is_id =
            id.starts_with(sigil) && id.len() <= LONGEST_ID && id.bytes().all(|b| b.is_ascii_graphic());
        if is_id { Ok(id) } else { Err(self.strange(answer)) }
    }
}

/// A call of the client-server API with a body of JSON.
pub(super) fn json<'a>(method: Method, path: &[&'a str], body: &str, bounds: Bounds) -> Call<'a> {
    let path = [&["_matrix", "client", "v3"], path].concat();
    Call { method, path, query: Vec::new(), body: body.into(), media_type: None, bounds }
}

/// The failure of a call that may be made again without harm.
fn repeatable(mut failure: Failure) -> Failure {
    if let Failure::Transient { ambiguous, .. } = &mut failure {
        *ambiguous = false;
    }
    failure
}

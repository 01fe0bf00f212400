//! The calls of the Web API. Calls once; retries nothing.

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answer::{Posted, posted, told};
use super::config::{Api, is_id};
use crate::http::{Answer, Bounds, Call, Endpoint};
use crate::platform::Failure;
use crate::secret::Secret;

/// The media type of a form.
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// The bot, as Slack knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Us {
    /// The workspace's id.
    pub team: String,
    pub user: String,
    /// The bot's name, which people see.
    pub name: String,
}

#[derive(Deserialize)]
struct AuthTest {
    team_id: String,
    user_id: String,
    user: String,
}

/// The Web API with one token.
pub struct Client {
    pub(super) endpoint: Endpoint,
    /// The way to the API, which is that to other addresses of Slack too.
    pub(super) api: Api,
}

impl Client {
    /// The API with the bot's token.
    pub fn open(api: &Api) -> anyhow::Result<Client> {
        let missing = || anyhow::anyhow!("token: the token is missing");
        Client::with_token(api, &api.token().read()?.ok_or_else(missing)?)
    }

    pub(super) fn with_token(api: &Api, token: &Secret) -> anyhow::Result<Client> {
        let mut endpoint = Endpoint::new(&api.api_url, &api.reach())?;
        endpoint.header("authorization", &Secret::new(format!("Bearer {}", token.reveal())))?;
        Ok(Client { endpoint, api: api.clone() })
    }

    /// Posts the body of a message (`chat.postMessage`).
    pub async fn post(&self, body: &str) -> Result<Posted, Failure> {
        posted(&self.endpoint, &self.call("chat.postMessage", body, None).await?)
    }

    /// Replaces a post by the body of a message, which names it (`chat.update`).
    pub async fn update(&self, body: &str) -> Result<Posted, Failure> {
        posted(&self.endpoint, &self.call("chat.update", body, None).await?)
    }

    /// The account that the token is of (`auth.test`).
    pub async fn whoami(&self) -> Result<Us, Failure> {
        let AuthTest { team_id: team, user_id: user, user: name } = self.ask("auth.test").await?;
        match is_id(&team) && is_id(&user) {
            true => Ok(Us { team, user, name }),
            false => Err(self.later("slack does not say who we are")),
        }
    }

    /// Asks what `method` tells.
    pub(super) async fn ask<T: DeserializeOwned>(&self, method: &str) -> Result<T, Failure> {
        told(&self.endpoint, &self.call(method, "{}", None).await?)
    }

    /// A failure to be tried again for a reason of our own.
    pub(super) fn later(&self, reason: &str) -> Failure {
        Failure::transient(self.endpoint.reason(reason))
    }

    /// A refusal for a reason of our own.
    pub(super) fn refusal(&self, reason: &str) -> Failure {
        Failure::Permanent { reason: self.endpoint.reason(reason) }
    }

    /// Calls a method that takes its arguments as a form.
    pub(super) async fn form(&self, method: &str, form: &[(&str, &str)]) -> Result<Answer, Failure> {
        let body = serde_urlencoded::to_string(form).unwrap_or_default();
        self.call(method, &body, Some(FORM)).await
    }

    async fn call(
        &self,
        method: &str,
        body: &str,
        media_type: Option<HeaderValue>,
    ) -> Result<Answer, Failure> {
        let call = Call {
            method: Method::POST,
            path: vec![method],
            query: Vec::new(),
            body: body.into(),
            media_type,
            bounds: Bounds::of_post(),
        };
        self.endpoint.call(call).await
    }
}

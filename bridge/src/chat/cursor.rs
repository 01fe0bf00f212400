//! How far a chat has heard, in the bucket `HAL_CLAIMS`: the next bridge goes on there.

use crate::bus::Bus;

/// The place of one chat.
#[derive(Clone)]
pub(crate) struct Cursor {
    bus: Bus,
    key: String,
}

impl Cursor {
    pub(crate) fn new(bus: Bus, chat: &str) -> Cursor {
        Cursor { bus, key: format!("cursor.{chat}") }
    }

    /// The token that was kept last; `None` if there is none, or it is older than the bucket keeps it.
    pub(crate) async fn load(&self) -> anyhow::Result<Option<String>> {
        let token = self.bus.streams().await?.claims.get(&self.key).await?;
        Ok(token.map(|token| String::from_utf8_lossy(&token).into_owned()))
    }

    /// Keeps a token. What cannot be kept is heard again, and claimed already.
    pub(crate) async fn save(&self, token: &str) {
        let kept = async {
            anyhow::Ok(self.bus.streams().await?.claims.put(&self.key, token.to_owned().into()).await?)
        };
        if let Err(error) = kept.await {
            self.bus.forget();
            tracing::warn!(key = self.key, %error, "the place in a chat is not kept");
        }
    }
}

//! The built-in room: what it takes is on the relay's own page already, since the page shows the log. Nothing
//! leaves the process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Failure, Limiter, Part, Post, Room, Sent, TIMEOUT};
use crate::render;

/// A list on our own page costs nobody anything.
const LISTED: usize = 500;

/// The room `page`.
pub(super) struct Page {
    limiter: Arc<Limiter>,
}

impl Page {
    pub(super) fn open() -> Self {
        Page { limiter: Arc::new(Limiter::none()) }
    }
}

#[async_trait]
impl Room for Page {
    fn listed(&self) -> usize {
        LISTED
    }

    fn limiter(&self) -> Arc<Limiter> {
        self.limiter.clone()
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn render(&self, post: &Post) -> Vec<Part> {
        vec![Part { shown: render::lines(post).join("\n"), wire: String::new(), id: post.id.clone() }]
    }

    async fn send(&self, _part: &Part) -> Result<Sent, Failure> {
        Ok(Sent { answer: "shown on the page".into(), ..Sent::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::conformance;

    #[test]
    fn passes_the_kit() {
        conformance::renders(&Page::open(), usize::MAX, &["\n", "\0", "\x01"]);
    }
}

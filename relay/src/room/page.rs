//! The built-in room. Its deliveries are on the relay's own page already, since the page shows the log: the room
//! sends nothing.

use async_trait::async_trait;

use super::{self as room, Part, Post, Room, Shared};
use crate::render;
use service::platform::{Failure, Sent};

/// The page of the relay has no limit of its own.
const LISTED: usize = 500;

/// It has no settings.
pub(super) struct Config;

impl room::Settings for Config {
    fn open(&self, _shared: &Shared) -> anyhow::Result<Box<dyn Room>> {
        Ok(Box::new(Page))
    }
}

/// The room `page`.
struct Page;

#[async_trait]
impl Room for Page {
    fn listed(&self) -> usize {
        LISTED
    }

    fn render(&self, post: &Post) -> Vec<Part> {
        vec![Part {
            shown: render::lines(post).join("\n"),
            wire: String::new(),
            plain: None,
            id: post.id.clone(),
            file: None,
        }]
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
        conformance::renders(&Page, usize::MAX, &["\n", "\0", "\x01"]);
    }
}

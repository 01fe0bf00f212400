//! The rest of the story of messages that say that something failed or started: how it ended, or by when it should.

use std::sync::Arc;

use service::http::problem::Problem;
use tellhal::message::Status;

use crate::index::problems::{Asked, Ending, Story, ends};
use crate::page::Site;
use crate::page::event::Entry;

/// The rest of the story of each entry, and false if some are not known. What ended it may be among the `newest` entries,
/// newest first, which the index does not have yet.
pub(super) async fn stories(
    site: &Site,
    entries: &[Arc<Entry>],
    newest: &[Arc<Entry>],
) -> Result<(Vec<Story>, bool), Problem> {
    let mut stories = vec![Story::default(); entries.len()];
    let asked: Vec<(usize, Asked)> =
        entries.iter().enumerate().filter_map(|(position, entry)| Some((position, asked(entry)?))).collect();
    if asked.is_empty() {
        return Ok((stories, true));
    }
    let mut known = true;
    if let Ok(index) = &site.shared.index {
        let (found, late) = index.stories(asked.iter().map(|(_, asked)| asked.clone()).collect()).await?;
        known = !late;
        for ((position, _), story) in asked.iter().zip(found) {
            stories[*position] = story;
        }
    }
    for (position, asked) in &asked {
        let story = &mut stories[*position];
        if story.over.is_none()
            && let Some(over) = ending(&entries[*position], asked, newest)
        {
            *story = Story { over: Some(over), due: None };
        }
    }
    Ok((stories, known))
}

/// The question for the rest of the story, of a message that says that something failed or started.
fn asked(entry: &Entry) -> Option<Asked> {
    let message = &entry.message;
    message.status.filter(|status| matches!(status, Status::Failed | Status::Started))?;
    Some(Asked { source: message.source.clone(), key: message.key.clone()?, sequence: entry.sequence })
}

/// The first message among the newest that ended it.
fn ending(entry: &Entry, asked: &Asked, newest: &[Arc<Entry>]) -> Option<Ending> {
    let began = entry.message.status?;
    newest.iter().rev().filter(|later| later.sequence > asked.sequence).find_map(|later| {
        let message = &later.message;
        let status = message.status.filter(|status| ends(began, *status))?;
        let same = message.key.as_ref() == Some(&asked.key) && message.source == asked.source;
        same.then_some(Ending { sequence: later.sequence, at: later.at, status })
    })
}

//! Keeps the files of answers in `HAL_FILES`, from where the relay's page shows them, for a while.

use std::time::Duration;

use tellhal::attached::{File, PREFIX};
use tellhal::command::Answer;
use tellhal::{Message, Timestamp};

use super::Commands;
use super::attached::{attach, linked};
use crate::bus::Bus;

/// The age of a file, and the most of them.
const AGE: Duration = Duration::from_secs(30 * 86_400);
const MOST: usize = 500;

impl Commands {
    /// Keeps the files of an answer to the request `id`. One that cannot be kept is told, and goes no further.
    pub(super) async fn keep_files(&self, id: &str, answer: &mut Answer) {
        for (number, mut file) in std::mem::take(&mut answer.files).into_iter().enumerate() {
            let object = format!("{PREFIX}{id}-{number}");
            match self.bus.keep_file(&object, &file).await {
                Ok(()) => {
                    file.object = object;
                    answer.files.push(file);
                }
                Err(error) => {
                    tracing::error!(id, error = format!("{error:#}"), "a file of an answer is not kept");
                    answer.answer += &format!("\nthe file {} is lost: NATS does not keep it", file.name);
                }
            }
        }
        if !answer.files.is_empty() {
            tokio::spawn(remove_old(self.bus.clone()));
        }
    }

    /// Keeps one file as `object`, which says so from then on.
    pub(crate) async fn keep_file(&self, object: String, file: &mut File) -> anyhow::Result<()> {
        self.bus.keep_file(&object, file).await?;
        file.object = object;
        tokio::spawn(remove_old(self.bus.clone()));
        Ok(())
    }

    /// The answer as a chat says it: a file that it does not take is a link.
    pub(crate) fn shown(&self, answer: &Answer, takes_files: bool) -> Answer {
        linked(answer, takes_files, self.policy.borrow().page_url.as_deref())
    }

    /// Gives a message files, which are kept.
    pub(crate) fn attach(&self, message: &mut Message, files: &[File]) {
        attach(message, files, self.policy.borrow().page_url.as_deref());
    }
}

async fn remove_old(bus: Bus) {
    let removed = async {
        let mut kept = bus.kept_files(PREFIX).await?;
        kept.sort_by_key(|(_, at)| std::cmp::Reverse(*at));
        let now = Timestamp::now();
        let is_old = |index: usize, at: Timestamp| index >= MOST || now.since(at) > AGE;
        for (_, (object, _)) in kept.into_iter().enumerate().filter(|(index, (_, at))| is_old(*index, *at)) {
            bus.remove_file(&object).await?;
        }
        anyhow::Ok(())
    };
    if let Err(error) = removed.await {
        tracing::warn!(error = format!("{error:#}"), "old files of answers are not removed");
    }
}

//! The commands that a bridge left when it ended: what the next one says of them. None of them is run again.

use tellhal::Timestamp;
use tellhal::attached::File;
use tellhal::audit::{Entry, FileEntry, Kind};
use tellhal::command::{Answer, VERSION};

use super::Commands;
use super::claims::{Asked, Claim};

impl Commands {
    /// The answers to the commands of a chat that another bridge left, each with the place where it is said.
    pub(crate) async fn left(&self, chat: &str) -> anyhow::Result<Vec<(String, Answer)>> {
        let mut answers = Vec::new();
        for claim in self.claims.left(chat).await? {
            answers.push(self.told(claim).await);
        }
        Ok(answers)
    }

    /// The answer to one command, and the place where it is said.
    pub(crate) async fn told(&self, claim: Claim) -> (String, Answer) {
        let end = match &claim.asked {
            Some(asked) => self.end_of(asked).await,
            None => None,
        };
        if end.is_none() {
            self.audit(&entry(&claim)).await;
        }
        (claim.to.clone(), answer(&claim, end))
    }

    async fn end_of(&self, asked: &Asked) -> Option<Entry> {
        let end = self.bus.end_of(&asked.command, &asked.id, asked.entry).await;
        end.unwrap_or_else(|error| {
            tracing::warn!(id = asked.id, %error, "the audit cannot be searched for the end of a command");
            None
        })
    }
}

/// The answer to a command that was left. `end` is the audit's last entry about it.
fn answer(claim: &Claim, end: Option<Entry>) -> Answer {
    match end {
        Some(end) => {
            let file = |file: FileEntry| File { name: file.name, object: file.object, data: Vec::new() };
            let files = end.files.into_iter().map(file).collect();
            Answer { failed: end.kind != Kind::Done, files, ..Answer::done(end.text) }
        }
        None => Answer::failed(entry(claim).text),
    }
}

/// The entry for the audit about a command whose end it does not have.
fn entry(claim: &Claim) -> Entry {
    let asked = claim.asked.as_ref();
    let command = asked.map_or(&claim.command, |asked| &asked.command);
    let id = asked.map_or(&claim.id, |asked| &asked.id);
    let (kind, text) = match asked {
        Some(_) => (Kind::Unknown, "outcome unknown, the bridge ended meanwhile; it is not run again"),
        None => (Kind::Refused, "not run, the bridge ended before; give it again"),
    };
    Entry {
        v: VERSION,
        id: id.clone(),
        time: Timestamp::now(),
        kind,
        room: claim.room.clone(),
        person: None,
        account: None,
        speaker: String::new(),
        command: command.clone(),
        args: Vec::new(),
        text: format!("{command} ({id}): {text}"),
        files: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(asked: Option<Asked>) -> Claim {
        Claim {
            owner: "one".into(),
            id: "abc".into(),
            command: "approve".into(),
            room: "main/#ops".into(),
            to: "#ops ann".into(),
            at: Timestamp(0),
            asked,
            done: true,
        }
    }

    #[test]
    fn a_command_that_was_left_is_told_by_how_far_it_came() {
        let asked = Asked { id: "xyz".into(), command: "deploy".into(), entry: 7 };
        assert_eq!(
            answer(&claim(None), None).answer,
            "approve (abc): not run, the bridge ended before; give it again"
        );
        let unknown = answer(&claim(Some(asked.clone())), None);
        assert_eq!(
            unknown.answer,
            "deploy (xyz): outcome unknown, the bridge ended meanwhile; it is not run again"
        );
        assert_eq!(entry(&claim(Some(asked.clone()))).kind, Kind::Unknown);
        let end = |kind| Entry { kind, text: "deployed".into(), ..entry(&claim(Some(asked.clone()))) };
        let done = answer(&claim(Some(asked.clone())), Some(end(Kind::Done)));
        assert_eq!((done.answer.as_str(), done.failed), ("deployed", false));
        assert!(answer(&claim(Some(asked.clone())), Some(end(Kind::Failed))).failed);
    }
}

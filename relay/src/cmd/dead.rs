//! `hal-relay dead`: lists dead letters, retries them or gives them up.

use std::collections::BTreeSet;

use anyhow::ensure;
use async_nats::jetstream::consumer::DeliverPolicy;
use clap::Subcommand;
use relay::admin::dead::{self, Letter};
use relay::admin::trace::{NAMED, SHORTEST};
use relay::admin::{Operator, one_line};
use relay::config::Config;
use service::config::Configuration as _;
use service::zone::Zone;
use tellhal::paint::Paint;
use tellhal::{Severity, nearest};

use super::config_path::ConfigPath;
use super::{Usage, print, print_json};

#[derive(clap::Args)]
pub(crate) struct Dead {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List dead letters, oldest first
    List(List),
    /// Ask the relay to deliver dead letters again
    Retry(Chosen),
    /// Give dead letters up
    Drop(Chosen),
}

#[derive(clap::Args)]
struct List {
    /// Only dead letters of this room
    room: Option<String>,
    #[command(flatten)]
    path: ConfigPath,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
struct Chosen {
    /// Ids from `dead list`, or of messages: their dead letters in all rooms; or at least their first 8 characters
    #[arg(group = "which", value_name = "ID")]
    ids: Vec<String>,
    /// All dead letters of this room
    #[arg(long, group = "which")]
    room: Option<String>,
    /// All dead letters
    #[arg(long, group = "which")]
    all: bool,
    #[command(flatten)]
    path: ConfigPath,
}

impl Dead {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.action {
            Action::List(list) => list.run().await,
            Action::Retry(chosen) => {
                let by = operator();
                let retry = async |bus: &Operator, letter: &Letter| dead::retry(bus, letter, &by).await;
                chosen.each("will be tried again", retry).await
            }
            Action::Drop(chosen) => {
                let by = operator();
                let drop = async |bus: &Operator, letter: &Letter| dead::drop(bus, letter, &by).await;
                chosen.each("given up", drop).await
            }
        }
    }
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let config = Config::load(&self.path.config)?;
        let operator = Operator::connect(&config.nats).await?;
        let letters = dead::list(&operator, self.room.as_deref(), DeliverPolicy::All).await?;
        known(&config, self.room.as_deref(), &letters)?;
        if self.json {
            return print_json(&letters);
        }
        let paint = Paint::of(&std::io::stdout());
        Ok(print(&letters.iter().map(|letter| lines(letter, &config.zone, paint)).collect::<String>())?)
    }
}

/// The message of a letter with its time in `zone`, then the reason why it is dead, then its id: a line each.
fn lines(letter: &Letter, zone: &Zone, paint: Paint) -> String {
    let Letter { room, id, tries, repeats, .. } = letter;
    let at = zone.moment(letter.at);
    let severity = letter.severity.map_or("?", Severity::as_str);
    let severity = letter.severity.map_or_else(|| severity.into(), |known| paint.severity(known, severity));
    let (tag, headline) = (one_line(letter.tag.as_deref().unwrap_or("-")), one_line(&letter.headline));
    let repeats = repeats.map_or_else(String::new, |repeats| format!("{repeats} repeats, the last: "));
    let tries = if *tries > 1 { format!(" after {tries} tries") } else { String::new() };
    let reason = one_line(&letter.reason);
    format!(
        "{at}  {room}  {severity} {tag}: {repeats}{headline}\n    {} {reason}{tries}\n    {}\n",
        paint.bad("✗"),
        paint.faint(id)
    )
}

/// Refuses a room that is neither configured nor has a dead letter: a typo must not look like a room without any.
fn known(config: &Config, room: Option<&str>, letters: &[Letter]) -> Result<(), Usage> {
    match room {
        Some(room) if letters.is_empty() && !config.rooms.contains_key(room) => {
            let hint = nearest::hint(room, config.rooms.keys().map(String::as_str));
            Err(Usage(format!("there is no room {}: {hint}", one_line(room))))
        }
        _ => Ok(()),
    }
}

/// The operator's name for the traces. With sudo it is that of the person.
fn operator() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|name| !name.is_empty());
    let name = ["SUDO_USER", "LOGNAME", "USER"].into_iter().find_map(variable);
    let name = name.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    one_line(&name)
}

impl Chosen {
    /// Performs an action on every chosen letter; a failure does not stop the others.
    async fn each(
        self,
        done: &str,
        act: impl AsyncFn(&Operator, &Letter) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let config = Config::load(&self.path.config)?;
        let operator = Operator::connect(&config.nats).await?;
        let letters = dead::list(&operator, self.room.as_deref(), DeliverPolicy::All).await?;
        known(&config, self.room.as_deref(), &letters)?;
        let letters = self.choose(letters)?;
        let mut failed = 0;
        for letter in &letters {
            match act(&operator, letter).await {
                Ok(()) => print(&format!("{done}: {}\n", letter.id))?,
                Err(error) => {
                    eprintln!("hal-relay: {error:#}");
                    failed += 1;
                }
            }
        }
        ensure!(failed == 0, "the action failed for {failed} of {} dead letters", letters.len());
        Ok(())
    }

    /// The letters with the given ids, or ids that begin so. An id without a letter is an error: a typo must not look like
    /// success.
    fn choose(&self, mut letters: Vec<Letter>) -> anyhow::Result<Vec<Letter>> {
        let mut chosen = BTreeSet::new();
        for id in &self.ids {
            chosen.extend(named(&letters, id)?);
        }
        if !self.ids.is_empty() {
            letters.retain(|letter| chosen.contains(&letter.sequence));
        }
        if letters.is_empty() {
            print("no dead letters\n")?;
        }
        Ok(letters)
    }
}

/// The sequences of the letters with this id, else of those whose id begins with it, if they are of one message.
fn named(letters: &[Letter], id: &str) -> anyhow::Result<Vec<u64>> {
    let is_whole = |letter: &&Letter| letter.id == id || letter.message_id() == id;
    let begins = |letter: &&Letter| letter.id.starts_with(id) || letter.message_id().starts_with(id);
    let mut found: Vec<&Letter> = letters.iter().filter(is_whole).collect();
    if found.is_empty() && id.len() >= SHORTEST {
        found = letters.iter().filter(begins).collect();
    }
    let messages: BTreeSet<&str> = found.iter().map(|letter| letter.message_id()).collect();
    let id = one_line(id);
    let hint =
        if id.len() < SHORTEST { format!("; give at least {SHORTEST} characters") } else { String::new() };
    ensure!(!messages.is_empty(), "there is no dead letter {id}{hint}");
    let some: Vec<String> = messages.iter().take(NAMED).map(|message| one_line(message)).collect();
    ensure!(messages.len() == 1, "dead letters of several messages begin with {id}: {}", some.join(", "));
    Ok(found.into_iter().map(|letter| letter.sequence).collect())
}

#[cfg(test)]
mod tests {
    use relay::delivery::Attempts;
    use serde_json::Value;
    use tellhal::Timestamp;

    use super::*;

    fn letter(sequence: u64, id: &str) -> Letter {
        Letter {
            id: id.into(),
            room: "ops".into(),
            reason: "no such\u{1b}[2J channel".into(),
            message: Value::Null,
            severity: Some(Severity::Error),
            tag: Some("backup.mysql".into()),
            headline: "backup failed\nlater".into(),
            repeats: None,
            text: None,
            at: Timestamp(0),
            tries: 3,
            attempts: Attempts::default(),
            sequence,
            delivery: None,
        }
    }

    #[test]
    fn the_list_says_what_a_letter_is_about() {
        let plain = "1970-01-01T00:00:00Z  ops  error backup.mysql: backup failed later\n    \
                     ✗ no such [2J channel after 3 tries\n    01234567-a/ops\n";
        assert_eq!(lines(&letter(1, "01234567-a/ops"), &Zone::default(), Paint::NONE), plain);
        let coloured = lines(&letter(1, "01234567-a/ops"), &Zone::default(), Paint::ALWAYS);
        assert!(coloured.contains("\u{1b}[31merror\u{1b}[0m"), "{coloured}");
        let summary = Letter { repeats: Some(7), ..letter(1, "r/01234567/sum/ops") };
        assert!(
            lines(&summary, &Zone::default(), Paint::NONE)
                .contains("backup.mysql: 7 repeats, the last: backup failed")
        );
    }

    #[test]
    fn an_id_may_be_its_beginning_if_that_names_one_message() {
        let letters = [letter(1, "01234567-a"), letter(2, "01234567-b"), letter(3, "short")];
        assert_eq!(named(&letters, "01234567-a").unwrap(), [1]);
        assert_eq!(named(&letters, "01234567-").unwrap_err().to_string().matches("01234567-").count(), 3);
        assert_eq!(named(&letters[1..], "01234567").unwrap(), [2]);
        assert_eq!(named(&letters, "short").unwrap(), [3]);
        for none in ["sho", "0123456", "", "01234568"] {
            assert!(named(&letters, none).is_err(), "{none:?}");
        }
    }
}

//! `hal-relay dead`: lists dead letters, retries them or gives them up.

use anyhow::ensure;
use async_nats::jetstream::consumer::DeliverPolicy;
use clap::Subcommand;
use relay::admin::dead::{self, Letter};
use relay::admin::{Operator, one_line};
use relay::config::Config;
use service::config::Configuration as _;

use super::config_path::ConfigPath;
use super::{print, print_json};

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
    /// Ids from `dead list`, or ids of messages: their dead letters in all rooms
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
            Action::Retry(chosen) => chosen.each("will be tried again", dead::retry).await,
            Action::Drop(chosen) => chosen.each("given up", dead::drop).await,
        }
    }
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let operator = Operator::connect(&Config::load(&self.path.config)?.nats).await?;
        let letters = dead::list(&operator, self.room.as_deref(), DeliverPolicy::All).await?;
        if self.json {
            return print_json(&letters);
        }
        for letter in letters {
            let (room, reason) = (&letter.room, one_line(&letter.reason));
            print(&format!("{}  {}  {room}: {reason}\n", letter.at, letter.id))?;
        }
        Ok(())
    }
}

impl Chosen {
    /// Performs an action on every chosen letter; a failure does not stop the others.
    async fn each(
        self,
        done: &str,
        act: impl AsyncFn(&Operator, &Letter) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let operator = Operator::connect(&Config::load(&self.path.config)?.nats).await?;
        let letters = self.choose(dead::list(&operator, self.room.as_deref(), DeliverPolicy::All).await?)?;
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

    /// The letters with the given ids. An id without a letter is an error: a typo must not look like success.
    fn choose(&self, mut letters: Vec<Letter>) -> anyhow::Result<Vec<Letter>> {
        let named = |letter: &Letter, id: &String| letter.id == *id || letter.message_id() == id;
        for id in &self.ids {
            ensure!(
                letters.iter().any(|letter| named(letter, id)),
                "there is no dead letter {}",
                one_line(id)
            );
        }
        if !self.ids.is_empty() {
            letters.retain(|letter| self.ids.iter().any(|id| named(letter, id)));
        }
        if letters.is_empty() {
            print("no dead letters\n")?;
        }
        Ok(letters)
    }
}

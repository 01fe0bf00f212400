//! IRC: who speaks is known from the server's `account` tag alone, never from the nick. Without it everybody is unidentified.
//!
//! An answer of one line names the one who asked; in one of several lines each begins with `|`, so that no text of a command stands
//! where another robot looks for its sign.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use service::config::{KeyProblem, PATH};
use service::platform::Failure;
use service::platform::irc::{Channel, Connection, Heard as Said, Server, budget, is_channel_name};
use service::secret::{Pair, Secret};
use service::text::wrap;
use tellhal::command::Answer;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::task::JoinHandle;

use super::cursor::Cursor;
use super::shown::{FAILED, lines, more_lines, without_words};
use super::{Chat, Heard, Settings, is_among};
use crate::command::person::Account;

/// The number of lines of one answer when the configuration does not say it.
const LINES: usize = 10;

/// `[chat.NAME.irc]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Config {
    #[serde(flatten)]
    server: Server,
    /// The channels to listen in, such as `#ops`, or `{ name = "#ops", key = "…" }` for one with a key.
    #[serde(default)]
    channels: Vec<Listened>,
    /// The sign before a command; `!` when absent.
    #[serde(default = "trigger")]
    trigger: String,
    /// The number of lines of one answer that are shown before the rest is counted; 10 when absent.
    #[serde(default = "shown")]
    lines: usize,
}

/// A channel to listen in.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Listened {
    /// Its name.
    Open(String),
    Keyed(Keyed),
}

/// A channel with a key.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Keyed {
    /// Its name, such as `#ops`.
    name: String,
    /// Its key.
    #[serde(default)]
    key: Option<Secret>,
    /// A file with its key.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    key_file: Option<PathBuf>,
}

impl Listened {
    fn name(&self) -> &str {
        match self {
            Listened::Open(name) => name,
            Listened::Keyed(keyed) => &keyed.name,
        }
    }

    fn key(&self) -> Option<Pair<'_>> {
        match self {
            Listened::Open(_) => None,
            Listened::Keyed(Keyed { key, key_file, .. }) => Some(Pair::new("key", "key_file", key, key_file)),
        }
    }
}

fn trigger() -> String {
    "!".into()
}

fn shown() -> usize {
    LINES
}

impl Settings for Config {
    fn problems(&self) -> Vec<KeyProblem> {
        let mut problems = self.server.problems();
        let keys = self.channels.iter().filter_map(Listened::key);
        problems
            .extend(keys.filter_map(|key| key.required()).map(|bad| KeyProblem { key: "channels", ..bad }));
        let names = self.channels.iter().map(Listened::name);
        for channel in names.filter(|channel| !is_channel_name(channel)) {
            let what = format!("{channel:?} is not the name of a channel");
            problems.push(KeyProblem::new(
                "channels",
                what,
                "write its name with the sign before it, such as \"#ops\"",
            ));
        }
        if self.trigger.len() > 8 || self.trigger.contains(char::is_whitespace) {
            let what = format!("{:?} is no sign", self.trigger);
            problems.push(KeyProblem::new(
                "trigger",
                what,
                "such as \"!\"; \"\" for none, if the name is enough",
            ));
        }
        if !(2..=100).contains(&self.lines) {
            problems.push(KeyProblem::new("lines", format!("{} is out of range", self.lines), "2 to 100"));
        }
        problems
    }

    fn secrets(&self) -> Vec<Pair<'_>> {
        self.server.secrets().into_iter().chain(self.channels.iter().filter_map(Listened::key)).collect()
    }

    fn tls_ca(&self) -> Option<&Path> {
        self.server.tls_ca.as_deref()
    }

    fn is_protected(&self) -> bool {
        self.server.is_protected()
    }

    fn trigger(&self) -> &str {
        &self.trigger
    }

    fn open(&self, name: &str, rooms: Option<&[String]>, _: Cursor) -> anyhow::Result<Arc<dyn Chat>> {
        let allowed = |channel: &&Listened| rooms.is_none_or(|rooms| is_among(channel.name(), rooms));
        let channels = self.channels.iter().filter(allowed).map(|channel| {
            let key = channel.key().map_or(Ok(None), |key| key.read())?;
            Ok(Channel { name: channel.name().to_owned(), key })
        });
        let settings = self.server.settings()?.listening(channels.collect::<Result<_, KeyProblem>>()?);
        let (connection, heard) = Connection::listening(settings)?;
        let trouble = Arc::new(Mutex::new(Some("not connected yet".to_owned())));
        let stay = tokio::spawn(stay(connection.clone(), trouble.clone(), name.to_owned()));
        let (chat, nick) = (name.to_owned(), self.server.nick().to_owned());
        Ok(Arc::new(Irc {
            chat,
            nick,
            lines: self.lines,
            connection,
            heard: AsyncMutex::new(heard),
            trouble,
            stay,
        }))
    }
}

async fn stay(connection: Arc<Connection>, trouble: Arc<Mutex<Option<String>>>, chat: String) {
    let told = |state: Result<(), &Failure>| {
        let now = state.err().map(ToString::to_string);
        if let Some(reason) = &now {
            tracing::warn!(chat, reason, "the chat is not heard; connecting again");
        }
        *trouble.lock().unwrap_or_else(PoisonError::into_inner) = now;
    };
    match connection.stay(told).await {}
}

struct Irc {
    chat: String,
    nick: String,
    lines: usize,
    connection: Arc<Connection>,
    heard: AsyncMutex<mpsc::Receiver<Said>>,
    trouble: Arc<Mutex<Option<String>>>,
    stay: JoinHandle<()>,
}

impl Drop for Irc {
    fn drop(&mut self) {
        self.stay.abort();
    }
}

#[async_trait]
impl Chat for Irc {
    async fn next(&self) -> Heard {
        match self.heard.lock().await.recv().await {
            Some(said) => heard(&self.chat, said),
            // The connection has the other end, so it is never closed.
            None => std::future::pending().await,
        }
    }

    async fn reply(&self, to: &str, text: &Answer, _: Option<&str>) -> Result<Option<String>, Failure> {
        let (target, nick) = to.split_once(' ').map_or((to, None), |(target, nick)| (target, Some(nick)));
        let budget = budget("PRIVMSG", target, &self.nick, self.connection.mask());
        for (number, line) in rendered(text, nick, self.lines, budget).into_iter().enumerate() {
            while let Err(wait) = self.connection.limiter.take() {
                tokio::time::sleep(wait).await;
            }
            let id = format!("{}-{number}", fastrand::u64(..));
            self.connection.say(target, None, &id, &format!("PRIVMSG {target} :{line}")).await?;
        }
        Ok(None)
    }

    fn names(&self) -> Vec<String> {
        vec![self.nick.clone()]
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn heard(chat: &str, said: Said) -> Heard {
    // RFC 1459: nicks and accounts are the same in both cases.
    let account = said.account.map(|account| account.to_ascii_lowercase());
    let to =
        said.channel.as_ref().map_or_else(|| said.nick.clone(), |channel| format!("{channel} {}", said.nick));
    Heard {
        room: said.channel.map(|channel| channel.to_lowercase()),
        account: account.map(|account| Account::Irc { chat: chat.to_owned(), account }),
        speaker: said.nick,
        event: said.id,
        text: said.text,
        to,
    }
}

/// The lines of an answer. `nick` is the one who asked, in a channel.
fn rendered(answer: &Answer, nick: Option<&str>, most: usize, budget: usize) -> Vec<String> {
    let (shown, more) = lines(&answer.answer, most);
    let fail = if answer.failed { FAILED } else { "" };
    let wrapped = |before: String, text: &str| -> Vec<String> {
        let pieces = wrap(&text.replace('\t', "    "), budget.saturating_sub(before.len()));
        pieces.into_iter().map(|piece| format!("{before}{piece}")).collect()
    };
    let name = nick.map(|nick| format!("{nick}: ")).unwrap_or_default();
    match shown.as_slice() {
        [] => vec![format!("{name}{fail}{}", without_words(answer))],
        [only] if more == 0 => {
            let pieces = wrapped(format!("{name}{fail}"), only);
            pieces.into_iter().take(most).collect()
        }
        several => {
            let mark = several.iter().enumerate().flat_map(|(number, line)| {
                wrapped(if number == 0 { format!("| {fail}") } else { "| ".to_owned() }, line)
            });
            let mut all: Vec<String> = mark.collect();
            let more = more + all.len().saturating_sub(most);
            if more > 0 {
                all.truncate(most - 1);
                all.push(format!("| {}", more_lines(more)));
            }
            all
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(answer: &Answer, nick: Option<&str>) -> Vec<String> {
        rendered(answer, nick, 4, 60)
    }

    #[test]
    fn one_line_names_the_one_who_asked_and_several_are_marked() {
        assert_eq!(shown(&Answer::done("up 3 days\n"), Some("ann")), ["ann: up 3 days"]);
        assert_eq!(shown(&Answer::done("up 3 days"), None), ["up 3 days"]);
        assert_eq!(shown(&Answer::failed("no"), Some("ann")), ["ann: ✗ no"]);
        assert_eq!(shown(&Answer::done("!a\n!b"), Some("ann")), ["| !a", "| !b"]);
        assert_eq!(
            shown(&Answer::failed("exit status 1\n\tno"), Some("ann")),
            ["| ✗ exit status 1", "|     no"]
        );
        assert_eq!(shown(&Answer::done(""), Some("ann")), ["ann: done"]);
        let many = shown(&Answer::done("1\n2\n3\n4\n5\n6"), None);
        assert_eq!(many, ["| 1", "| 2", "| 3", "| … 3 more lines, which the page shows"]);
    }

    #[test]
    fn no_line_is_longer_than_the_server_passes_on() {
        let long = format!("{}\n{}", "x".repeat(300), "ab ".repeat(100));
        let lines = shown(&Answer::done(long), Some("ann"));
        assert!(lines.len() == 4 && lines.iter().all(|line| line.len() <= 60), "{lines:?}");
        assert_eq!(shown(&Answer::done("a\r\nQUIT\0\x01"), Some("ann")), ["| a", "| QUIT"]);
    }
}

//! The command box of the relay's page: lines come as requests on `hal.ask.page`, and are answered as commands are. A person is
//! known by the name of the token that the page was opened with.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subject};
use async_trait::async_trait;
use futures_util::StreamExt as _;
use tellhal::audit::PageLine;
use tellhal::command::{Answer, Progress, VERSION};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::Bus;
use crate::command::Commands;
use crate::command::line::{Line, Out};
use crate::command::person::Account;

/// The name of this chat in rules, claims and the audit.
const PAGE: &str = "page";
/// Each request is for one of the bridges.
const GROUP: &str = "bridge";
/// The number of commands at once; further ones are refused.
const AT_ONCE: usize = 256;
/// The interval at which the page hears that a command still runs, and that we do.
const ALIVE: Duration = Duration::from_secs(2);

/// Answers the page until `stop`, then finishes what runs.
pub(crate) async fn serve(commands: Commands, stop: CancellationToken) {
    let bus = commands.bus.clone();
    let mut lines = loop {
        match bus.client.queue_subscribe(bus.names.ask_page(), GROUP.into()).await {
            Ok(lines) => break lines,
            Err(error) => tracing::error!(%error, "the page's commands cannot be heard"),
        }
        tokio::select! {
            () = sleep(ALIVE) => {}
            () = stop.cancelled() => return,
        }
    };
    let (room, tasks) = (Arc::new(Semaphore::new(AT_ONCE)), TaskTracker::new());
    loop {
        let message = tokio::select! {
            message = lines.next() => message,
            () = stop.cancelled() => break,
        };
        let Some(message) = message else { break };
        let (commands, bus) = (commands.clone(), bus.clone());
        let permit = room.clone().try_acquire_owned();
        tasks.spawn(async move {
            match permit {
                Ok(_permit) => handle(&commands, bus, message).await,
                Err(_) => refuse(bus, message).await,
            }
        });
    }
    // So that the next request goes to another bridge.
    let _ = lines.unsubscribe().await;
    tasks.close();
    tasks.wait().await;
}

async fn refuse(bus: Bus, message: Message) {
    if let Some(to) = message.reply {
        bus.reply(
            to,
            &Answer::failed(format!("{AT_ONCE} commands of the page run already; try again later")),
        )
        .await;
    }
}

async fn handle(commands: &Commands, bus: Bus, message: Message) {
    let Some(to) = message.reply else { return };
    let out = Page { bus, to, last: Mutex::new(None) };
    match serde_json::from_slice::<PageLine>(&message.payload) {
        Ok(PageLine { v: VERSION, id, token, line }) => {
            let line = Line {
                chat: PAGE.into(),
                kind: PAGE,
                room: "private".into(),
                speaker: token.clone().unwrap_or_else(|| "somebody on the page".into()),
                account: token.map(Account::Page),
                event: Some(id),
                text: line,
                to: String::new(),
            };
            if !commands.handle(line, &out).await {
                out.answer(&Answer::failed(
                    "too many commands at once, or the same one twice; this one is dropped",
                ))
                .await;
            }
        }
        _ => {
            out.answer(&Answer::failed("the bridge does not understand this page: are both of one version?"))
                .await
        }
    }
}

struct Page {
    bus: Bus,
    to: Subject,
    /// The last line of progress, and its time.
    last: Mutex<Option<(String, Instant)>>,
}

#[async_trait]
impl Out for Page {
    async fn progress(&self, _: &str, line: &str) {
        let mut last = self.last.lock().await;
        if last.as_ref().is_none_or(|(told, at)| told != line || at.elapsed() >= ALIVE) {
            *last = Some((line.to_owned(), Instant::now()));
            self.bus.reply(self.to.clone(), &Progress { v: VERSION, progress: line.to_owned() }).await;
        }
    }

    async fn answer(&self, answer: &Answer) {
        // The page asks for the contents of files itself.
        let mut answer = answer.clone();
        answer.files.iter_mut().for_each(|file| file.data.clear());
        self.bus.reply(self.to.clone(), &answer).await;
    }
}

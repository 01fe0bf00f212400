//! `hal-relay rooms`: lists the rooms, and posts a test message. A test goes directly to the room, without bus and relay,
//! but respects the environment `dev`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;
use relay::admin::{Operator, one_line};
use relay::config::Config;
use relay::delivery::{Content, Delivery, Id, Place};
use relay::lead::report;
use relay::room::{self, Part, Post, Room, registry};
use relay::status::{RoomState, State};
use serde::Serialize;
use service::config::Configuration as _;
use service::platform::{Failure, Sent};
use service::zone::Zone;
use tellhal::message::Message;
use tellhal::timestamp::Timestamp;

use super::config_path::ConfigPath;
use super::{Usage, print, print_json};

/// Number of attempts for a part: a new connection may need more time than one attempt may take.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);
/// The longest wait for the rooms' states.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Rooms {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(Subcommand)]
enum Action {
    /// List the rooms
    List(List),
    /// Post a test message into a room, or into every room, and print the platform's answer
    Test(Test),
}

#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    path: ConfigPath,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Test {
    /// Room to test; all rooms if absent
    name: Option<String>,
    #[command(flatten)]
    path: ConfigPath,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Rooms {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.action {
            None => self.list.run().await,
            Some(Action::List(list)) => list.run().await,
            Some(Action::Test(test)) => test.run().await,
        }
    }
}

#[derive(Serialize)]
struct Listed<'a> {
    room: &'a str,
    kind: &'static str,
    /// True for the room of messages that no route takes.
    default: bool,
    /// True for the room of all messages in the environment `dev`.
    dev: bool,
    /// The routes to this room.
    routes: Vec<&'a str>,
    /// Its state as the leading relay told it last; absent if NATS cannot be reached or no relay leads.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    state: Option<RoomState>,
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let config = Config::load(&self.path.config)?;
        let mut states = states(&config).await.unwrap_or_else(|error| {
            eprintln!("hal-relay: the rooms' states are not known: {error:#}");
            BTreeMap::new()
        });
        let rooms: Vec<Listed> = config
            .rooms
            .iter()
            .map(|(name, room)| Listed { state: states.remove(name), ..listed(&config, name, room) })
            .collect();
        if self.json {
            return print_json(&rooms);
        }
        let width = rooms.iter().map(|listed| listed.room.len()).max().unwrap_or(0);
        for Listed { room, kind, default, dev, routes, state } in rooms {
            let mut notes = Vec::from_iter(state.map(|state| words(&state, &config.zone)));
            notes.extend(default.then(|| "default room".to_owned()));
            notes.extend(dev.then(|| "dev room: gets all messages".to_owned()));
            notes.extend((!routes.is_empty()).then(|| format!("by {}", routes.join(", "))));
            let line = format!("{room:width$}  {kind:8} {}", notes.join("; "));
            print(&format!("{}\n", line.trim_end()))?;
        }
        Ok(())
    }
}

/// The states of the rooms, asked of the server within [`PATIENCE`].
async fn states(config: &Config) -> anyhow::Result<BTreeMap<String, RoomState>> {
    let read = async {
        let operator = Operator::connect(&config.nats).await?;
        report::read(&operator.jetstream, &operator.names).await
    };
    tokio::time::timeout(PATIENCE, read).await.context("NATS does not answer")?
}

/// Such as `retrying, 3 waiting since 2026-11-27T08:00:00Z: 503`.
fn words(state: &RoomState, zone: &Zone) -> String {
    let mut words = match state.state {
        State::Unknown => "no post yet".to_owned(),
        State::Ok => "ok".to_owned(),
        State::Retrying => "retrying".to_owned(),
        State::Broken => "broken".to_owned(),
    };
    if let Some(oldest) = state.oldest.filter(|_| state.pending > 0) {
        words += &format!(", {} waiting since {}", state.pending, zone.moment(oldest));
    }
    if let Some(error) = state.last_error.as_ref().filter(|_| state.state != State::Ok) {
        words += &format!(": {}", one_line(error));
    }
    words
}

fn listed<'a>(config: &'a Config, name: &'a str, room: &registry::Config) -> Listed<'a> {
    let routing = &config.routing;
    let leading = routing.routes.iter().filter(|route| route.rooms.iter().any(|room| room == name));
    Listed {
        room: name,
        kind: room.kind(),
        default: routing.default_room == name,
        dev: routing.dev_room.as_deref() == Some(name),
        routes: leading.map(|route| route.name.as_str()).collect(),
        state: None,
    }
}

/// The result of a test.
#[derive(Serialize)]
struct Tested {
    room: String,
    kind: &'static str,
    posted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    post: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Test {
    async fn run(self) -> anyhow::Result<()> {
        let config = Config::load(&self.path.config)?;
        let names = self.names(&config)?;
        let shared = room::Shared::default();
        let mut tested = Vec::new();
        for name in names {
            tested.push(test(&config, &name, &shared).await);
        }
        if self.json {
            print_json(&tested)?;
        } else {
            tested.iter().try_for_each(|tested| print(&(tested.sentence() + "\n")))?;
        }
        let failed = tested.iter().filter(|tested| !tested.posted).count();
        anyhow::ensure!(failed == 0, "{failed} of {} rooms did not take the test message", tested.len());
        Ok(())
    }

    /// The rooms to test. The page is part of the relay's process, and in dev only the dev room gets messages.
    fn names(&self, config: &Config) -> Result<Vec<String>, Usage> {
        let dev = config.routing.dev_room.as_deref();
        let testable = |name: &str| {
            if !config.rooms.contains_key(name) {
                let rooms: Vec<&str> = config.rooms.keys().map(String::as_str).collect();
                return Err(Usage(format!("there is no room {name}; the rooms are {}", rooms.join(", "))));
            }
            if matches!(config.rooms[name], registry::Config::Page) {
                return Err(Usage(
                    "room page is part of hal-relay run: send it a message with tellhal".into(),
                ));
            }
            match dev {
                Some(dev) if dev != name => Err(Usage(format!(
                    "the environment is dev: messages go only to room {dev}, not to room {name}"
                ))),
                _ => Ok(()),
            }
        };
        if let Some(name) = &self.name {
            return testable(name).map(|()| vec![name.clone()]);
        }
        let names: Vec<String> = config.rooms.keys().filter(|name| testable(name).is_ok()).cloned().collect();
        match names.is_empty() {
            true => Err(Usage("there is no room to test".into())),
            false => Ok(names),
        }
    }
}

async fn test(config: &Config, name: &str, shared: &room::Shared) -> Tested {
    let settings = &config.rooms[name];
    let (room, kind) = (name.to_owned(), settings.kind());
    match post(name, settings, shared).await {
        Ok(Sent { post, link, .. }) => Tested { room, kind, posted: true, post, link, reason: None },
        Err(error) => {
            let reason = Some(format!("{error:#}"));
            Tested { room, kind, posted: false, post: None, link: None, reason }
        }
    }
}

async fn post(name: &str, settings: &registry::Config, shared: &room::Shared) -> anyhow::Result<Sent> {
    let room = registry::open(name, settings, shared)?;
    let mut last = Sent::default();
    for part in room.render(&Post::single(delivery(name)?)) {
        last = send(room.as_ref(), &part).await?;
    }
    Ok(last)
}

/// Sends one part. If the room has certainly not taken it, tries again a few times, since it may be connecting.
async fn send(room: &dyn Room, part: &Part) -> anyhow::Result<Sent> {
    for left in (0..TRIES).rev() {
        while let Err(wait) = room.limiter().take() {
            tokio::time::sleep(wait).await;
        }
        let answer = tokio::time::timeout(room.timeout(), room.send(part)).await;
        match answer {
            Ok(Ok(sent)) => return Ok(sent),
            Ok(Err(Failure::Transient { ambiguous: false, wait, .. })) if left > 0 => {
                tokio::time::sleep(wait.unwrap_or(PAUSE).clamp(PAUSE, PAUSE * 20)).await;
            }
            Ok(Err(failure)) => return Err(failure.into()),
            Err(_) => anyhow::bail!("no answer within {}", humantime::format_duration(room.timeout())),
        }
    }
    anyhow::bail!("the room cannot be reached")
}

fn delivery(room: &str) -> anyhow::Result<Delivery> {
    let text = format!("This is a test from hal-relay: room {room} works");
    let message = Message::new("relay", "hal.test".parse().context("the test's tag")?, text);
    Ok(Delivery {
        id: Id::of_message(&message.id, room),
        room: room.to_owned(),
        place: Place::default(),
        at: Timestamp::now(),
        routes: Vec::new(),
        marks: Vec::new(),
        content: Content::Message(std::sync::Arc::new(message)),
    })
}

impl Tested {
    fn sentence(&self) -> String {
        let Tested { room, kind, post, link, reason, .. } = self;
        let about = format!("{room} ({kind})");
        match reason {
            Some(reason) => format!("{about}: not posted: {reason}"),
            None => {
                let more = [post, link].into_iter().flatten().map(|more| format!(", {more}"));
                format!("{about}: posted{}", more.collect::<String>())
            }
        }
    }
}

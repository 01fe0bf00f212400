//! `hal-relay rooms`: lists the rooms, and posts a test message. A test goes directly to the room, without bus and relay,
//! but respects the environment `dev`.

use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;
use relay::admin::rooms::{Known, PATIENCE};
use relay::admin::{Operator, one_line};
use relay::config::Config;
use relay::delivery::{Content, Delivery, Id, Place};
use relay::room::{self, Part, Post, Room, registry};
use relay::status::{RoomState, State};
use serde::Serialize;
use service::config::Configuration as _;
use service::platform::{Failure, Sent};
use service::text::columns;
use service::zone::Zone;
use tellhal::message::Message;
use tellhal::paint::Paint;
use tellhal::timestamp::Timestamp;

use super::config_path::ConfigPath;
use super::{Usage, print, print_json};

/// Number of attempts for a part: a new connection may need more time than one attempt may take.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

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
    /// The number of its dead letters; absent if NATS cannot be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead: Option<u64>,
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let config = Config::load(&self.path.config)?;
        let known = known(&config).await.unwrap_or_else(|error| {
            eprintln!("hal-relay: the rooms' states are not known: {error:#}");
            Known::default()
        });
        let rooms = config.rooms.iter().map(|(name, room)| Listed {
            state: known.states.get(name).cloned(),
            dead: known.dead.as_ref().map(|dead| dead.get(name).copied().unwrap_or_default()),
            ..listed(&config, name, room)
        });
        let rooms: Vec<Listed> = rooms.collect();
        if self.json {
            return print_json(&rooms);
        }
        Ok(print(&table(&rooms, &config.zone, Paint::of(&std::io::stdout())))?)
    }
}

/// The rooms as a table: a line each, and below it the last error.
fn table(rooms: &[Listed], zone: &Zone, paint: Paint) -> String {
    const HEAD: [&str; 6] = ["room", "kind", "state", "waiting", "dead", "last post"];
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(rooms.iter().map(|room| cells(room, zone)));
    let rows = columns(&rows);
    let line = |row: &[String; 6], about: &str, paints: [&dyn Fn(&str) -> String; 6]| {
        let cells: Vec<String> = row.iter().zip(paints).map(|(cell, paint)| paint(cell)).collect();
        format!("{}  {about}", cells.join("  ")).trim_end().to_owned() + "\n"
    };
    let (plain, faint) = (|text: &str| text.to_owned(), |text: &str| paint.faint(text));
    let mut text = line(&rows[0], "", [&faint; 6]);
    for (row, room) in rows[1..].iter().zip(rooms) {
        let state = |text: &str| painted(room.state.as_ref(), paint, text);
        let dead = |text: &str| if room.dead.unwrap_or(0) > 0 { paint.bad(text) } else { text.to_owned() };
        text += &line(row, &notes(room), [&plain, &plain, &state, &plain, &dead, &plain]);
        let error = room.state.as_ref().and_then(|state| Some((state.last_error.as_ref()?, state)));
        if let Some((error, state)) = error {
            let at = state.last_error_at.map_or_else(String::new, |at| format!("at {}: ", zone.moment(at)));
            text += &format!("    last error {at}{}\n", one_line(error));
        }
    }
    text
}

fn cells(room: &Listed, zone: &Zone) -> [String; 6] {
    let state = room.state.as_ref();
    let waiting = match state.map(|state| (state.pending, state.oldest)) {
        Some((pending, Some(oldest))) if pending > 0 => format!("{pending} since {}", zone.moment(oldest)),
        Some((pending, _)) => pending.to_string(),
        None => "?".into(),
    };
    let last_post =
        state.and_then(|state| state.last_success).map_or_else(|| "-".into(), |at| zone.moment(at));
    let dead = room.dead.map_or_else(|| "?".into(), |dead| dead.to_string());
    [room.room.into(), room.kind.into(), words(state), waiting, dead, last_post]
}

/// Such as `retrying, try 3`.
fn words(state: Option<&RoomState>) -> String {
    match state.map(|state| (state.state, state.tries)) {
        None => "?".into(),
        Some((State::Unknown, _)) => "no post yet".into(),
        Some((State::Ok, _)) => "ok".into(),
        Some((State::Retrying, tries)) => format!("retrying, try {tries}"),
        Some((State::Broken, _)) => "broken".into(),
    }
}

fn painted(state: Option<&RoomState>, paint: Paint, text: &str) -> String {
    match state.map(|state| state.state) {
        Some(State::Ok) => paint.good(text),
        Some(State::Retrying) => paint.caution(text),
        Some(State::Broken) => paint.bad(text),
        Some(State::Unknown) | None => text.to_owned(),
    }
}

fn notes(room: &Listed) -> String {
    let mut notes = Vec::from_iter(room.default.then(|| "default room".to_owned()));
    notes.extend(room.dev.then(|| "dev room: gets all messages".to_owned()));
    notes.extend((!room.routes.is_empty()).then(|| format!("by {}", room.routes.join(", "))));
    notes.join("; ")
}

async fn known(config: &Config) -> anyhow::Result<Known> {
    let read = async {
        let operator = Operator::connect(&config.nats).await?;
        Known::read(&operator).await
    };
    tokio::time::timeout(PATIENCE, read).await.context("NATS does not answer")?
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
        dead: None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_the_page_says() {
        let state = RoomState {
            pending: 3,
            oldest: Some(Timestamp(0)),
            state: State::Retrying,
            last_error: Some("503 Service\u{1b}[2J Unavailable".into()),
            last_error_at: Some(Timestamp(1000)),
            tries: 4,
            ..RoomState::default()
        };
        let of = |room, default, state, dead| Listed {
            room,
            kind: "irc",
            default,
            dev: false,
            routes: vec![],
            state,
            dead,
        };
        let rooms = [of("ops", true, Some(state), Some(2)), of("dba", false, None, None)];
        let plain = "\
room  kind  state            waiting                       dead  last post
ops   irc   retrying, try 4  3 since 1970-01-01T00:00:00Z  2     -          default room
    last error at 1970-01-01T00:00:01Z: 503 Service [2J Unavailable
dba   irc   ?                ?                             ?     -
";
        assert_eq!(table(&rooms, &Zone::default(), Paint::NONE), plain);
        let coloured = table(&rooms, &Zone::default(), Paint::ALWAYS);
        assert!(coloured.contains("\u{1b}[33mretrying, try 4\u{1b}[0m"), "{coloured}");
    }
}

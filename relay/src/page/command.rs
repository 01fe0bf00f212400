//! The chat commands that relays answer: `status`, `rooms`, `tags`, `last` and `trace`. They only read, and say what the page says.

use std::collections::BTreeMap;
use std::sync::Arc;

use tellhal::Pattern;
use tellhal::command::{Answer, Gate, Metadata, Request};
use tellhal::handler::{Asked, Handler};
use tellhal::paint::Paint;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::api::{leaders_rooms, now, operator, search};
use super::params::{FILTER, Params};
use super::site::Site;
use crate::admin::one_line;
use crate::admin::timeline::{headline, timeline};
use crate::admin::trace::Search;
use crate::status::{Role, RoomState};

/// The name of the NATS service.
const SERVICE: &str = "hal-relay";
/// The number of tags, and the greatest number of messages, in one answer.
const TAGS: usize = 40;
const LAST: usize = 20;
/// The number of messages without a wish.
const FEW: usize = 5;
/// The pause before serving is tried again.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(5);

const COMMANDS: [(&str, &str, &str); 5] = [
    ("status", "status", "says what is wrong with the relay and its rooms"),
    ("rooms", "rooms", "lists the rooms and what waits for them"),
    ("tags", "tags [PATTERN]", "lists the tags that were used last, such as tags backup.>"),
    ("last", "last [PATTERN] [COUNT]", "shows the last messages"),
    ("trace", "trace ID", "says where a message went"),
];

/// Answers until `shutdown`, if `gate` is given. Every relay does: they share the requests.
pub(super) async fn serve(site: &Arc<Site>, gate: Option<Gate>, shutdown: CancellationToken) {
    let Some(gate) = gate else {
        tracing::info!(
            "chat commands about the relay are not answered: that needs bridge_keys, unless the NATS server is on this machine"
        );
        return;
    };
    tokio::select! {
        () = answer(site, gate) => {}
        () = shutdown.cancelled() => {}
    }
}

async fn answer(site: &Arc<Site>, gate: Gate) {
    let bus = &site.shared.bus;
    let about = |(name, usage, help): &(&str, &str, &str)| {
        ((*name).to_owned(), Metadata { usage: (*usage).to_owned(), help: (*help).to_owned() })
    };
    let commands: Vec<(String, Metadata)> = COMMANDS.iter().map(about).collect();
    let mut handler = loop {
        match Handler::start(&bus.client, &bus.names, (SERVICE, "relay"), &commands, gate.clone()).await {
            Ok(handler) => break handler,
            Err(error) => tracing::debug!(error, "chat commands are not answered yet"),
        }
        tokio::time::sleep(PAUSE).await;
    };
    let tasks = TaskTracker::new();
    while let Some(next) = handler.next().await {
        match next {
            Ok(asked) if asked.request.cancel.is_none() => {
                tasks.spawn(handle(site.clone(), asked));
            }
            Ok(_) => {}
            Err(refused) => tracing::warn!(%refused, "chat command"),
        }
    }
}

async fn handle(site: Arc<Site>, asked: Asked) {
    let words: Vec<&str> = asked.request.args.iter().map(String::as_str).collect();
    let said = match (asked.request.command.as_str(), words.as_slice()) {
        ("status", []) => Ok(now(&site).await.words().join("\n")),
        ("rooms", []) => rooms(&site).await,
        ("tags", []) => tags(&site, ">").await,
        ("tags", [pattern]) => tags(&site, pattern).await,
        ("last", []) => last(&site, ">", FEW).await,
        ("last", [word]) => match word.parse() {
            Ok(count) => last(&site, ">", count).await,
            Err(_) => last(&site, word, FEW).await,
        },
        ("last", [pattern, count]) => match count.parse() {
            Ok(count) => last(&site, pattern, count).await,
            Err(_) => Err(anyhow::anyhow!("{} is no number", one_line(count))),
        },
        ("trace", [id]) => trace(&site, id).await,
        _ => Err(anyhow::anyhow!("it is {}", usage(&asked.request))),
    };
    let answer = match said {
        Ok(text) => Answer { fixed_width: true, ..Answer::done(text) },
        Err(error) => Answer::failed(format!("{error:#}")),
    };
    asked.answer(answer).await;
}

fn usage(request: &Request) -> &'static str {
    COMMANDS.iter().find(|(name, ..)| *name == request.command).map_or("unknown here", |(_, usage, _)| usage)
}

async fn rooms(site: &Site) -> anyhow::Result<String> {
    let now = site.shared.status.get();
    let states: BTreeMap<String, RoomState> =
        if now.role == Role::Leading { now.rooms } else { leaders_rooms(site).await.unwrap_or_default() };
    let served = site.shared.rooms.borrow().clone();
    let width = served.open.keys().map(String::len).max().unwrap_or_default();
    let line = |(name, room): (&String, &_)| {
        let room: &crate::lead::rooms::Open = room;
        let state = states.get(name).cloned().unwrap_or_default();
        let why = state.why(&served.zone).map(|why| format!("; {}", one_line(&why))).unwrap_or_default();
        format!("{name:width$}  {:8} {} waiting{why}", room.kind, state.pending)
    };
    Ok(served.open.iter().map(line).collect::<Vec<_>>().join("\n"))
}

async fn tags(site: &Arc<Site>, pattern: &str) -> anyhow::Result<String> {
    let pattern: Pattern = pattern.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
    let index = site.index().map_err(|problem| anyhow::anyhow!("{}", problem.detail()))?;
    let mut names = index.tags(String::new(), 5000).await?.names;
    names.retain(|name| name.name.parse().is_ok_and(|tag| pattern.matches(&tag)));
    names.sort_by_key(|name| std::cmp::Reverse(name.last));
    let zone = site.shared.rooms.borrow().zone.clone();
    let count = names.len();
    let line = |name: &crate::index::search::Name| format!("{}  {}", zone.moment(name.last), name.name);
    let mut lines: Vec<String> = names.iter().take(TAGS).map(line).collect();
    if count == 0 {
        lines.push("no tag matches".into());
    } else if count > TAGS {
        lines.push(format!("… and {} more", count - TAGS));
    }
    Ok(lines.join("\n"))
}

async fn last(site: &Arc<Site>, pattern: &str, count: usize) -> anyhow::Result<String> {
    let wrong = |problem: service::http::problem::Problem| anyhow::anyhow!("{}", problem.detail());
    let filter = match pattern {
        ">" => Vec::new(),
        pattern => vec![("tag".to_owned(), pattern.to_owned())],
    };
    let filter = Params::new(filter, &[FILTER]).and_then(|params| params.filter()).map_err(wrong)?;
    let found = search(site, filter, None, count.clamp(1, LAST)).await.map_err(wrong)?;
    let zone = site.shared.rooms.borrow().zone.clone();
    let line = |entry: &super::event::Entry| {
        let message = &entry.message;
        let (tag, source) = (&message.tag, &message.source);
        format!(
            "{}  {tag} {} from {source}: {}",
            zone.moment(entry.at),
            message.severity,
            one_line(message.headline())
        )
    };
    let lines: Vec<String> = found.entries().map(line).collect();
    Ok(if lines.is_empty() { "no message matches".into() } else { lines.join("\n") })
}

async fn trace(site: &Site, id: &str) -> anyhow::Result<String> {
    let operator = operator(site);
    let located = match operator.find(id).await? {
        Search::One(located) => *located,
        Search::Several(candidates) => {
            let lines: Vec<String> = candidates.iter().map(|each| headline(each, Paint::NONE)).collect();
            anyhow::bail!("several ids begin with {}:\n{}", one_line(id), lines.join("\n"));
        }
        Search::Nothing => anyhow::bail!("no message {} is in the log", one_line(id)),
    };
    let rules = operator.rules_at(located.sequence).await?;
    let fate = operator.fate(located, rules.as_ref()).await?;
    let states = leaders_rooms(site).await.unwrap_or_default();
    let zone = site.shared.rooms.borrow().zone.clone();
    Ok(timeline(&fate, &states, &zone, Paint::NONE))
}

//! `hal-relay explain`: the rooms that a message would go to, the reasons, and its text in each. It does not connect or
//! send.

use std::collections::BTreeMap;
use std::sync::Arc;

use relay::admin::explain::{self, Explanation, RouteVerdict, Shown, Verdict, Verdicts};
use relay::config::Config;
use relay::delivery::Delivery;
use relay::engine::Rules;
use relay::room::{self, registry};
use serde::Serialize;
use service::config::Configuration as _;
use tellhal::message::{Message, Severity, Status};
use tellhal::paint::Paint;
use tellhal::tag::{Tag, is_token};
use tellhal::timestamp::Timestamp;

use super::config_path::ConfigPath;
use super::{Usage, print, print_json};

/// Number of routes listed that do not match; further ones are counted.
const LISTED: usize = 20;

#[derive(clap::Args)]
pub(crate) struct Explain {
    /// The message's tag, such as backup.mysql.failed
    tag: String,
    /// The message's text
    #[arg(value_name = "MESSAGE", conflicts_with = "text")]
    message: Option<String>,
    /// The message's text
    #[arg(long, value_name = "MESSAGE")]
    text: Option<String>,
    /// Headline of one line
    #[arg(long)]
    title: Option<String>,
    /// debug, info, notice, warning, error or critical
    #[arg(short, long, default_value = "info")]
    severity: Severity,
    /// Additional field; may be repeated
    #[arg(long = "field", value_name = "NAME=VALUE", value_parser = field)]
    fields: Vec<(String, String)>,
    /// The message's source
    #[arg(long, default_value = "host")]
    source: String,
    /// Name of the thing the message is about
    #[arg(long)]
    key: Option<String>,
    /// started, succeeded, failed or resolved
    #[arg(long)]
    status: Option<Status>,
    /// Time of the message, in RFC 3339; now if absent
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    #[command(flatten)]
    path: ConfigPath,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn field(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("a field has the form NAME=VALUE".into()),
    }
}

#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    explanation: &'a Explanation,
    rooms: Vec<Shown>,
}

impl Explain {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let config = Config::load(&self.path.config)?;
        let at = self.at.unwrap_or_else(Timestamp::now);
        let json = self.json;
        let rules = Arc::new(Rules::new(config.routing.clone()));
        let explanation = explain::explain(&rules, self.message(at)?, at);
        let shared = room::Shared::default();
        let rooms = explanation.deliveries.iter().map(|delivery| shown(&config, delivery, &shared)).collect();
        let report = Report { explanation: &explanation, rooms };
        if json {
            print_json(&report)?;
        } else {
            print(&page(&report, Paint::of(&std::io::stdout())))?;
        }
        Ok(())
    }

    fn message(self, at: Timestamp) -> Result<Message, Usage> {
        let tag: Tag = self.tag.parse().map_err(|bad: tellhal::tag::BadTag| Usage(bad.to_string()))?;
        if !is_token(&self.source) {
            return Err(Usage(format!("source {:?} is not one word of A-Z a-z 0-9 _ -", self.source)));
        }
        let mut message = Message::new(&self.source, tag, self.message.or(self.text).unwrap_or_default());
        message.time = at;
        message.severity = self.severity;
        message.title = self.title;
        message.key = self.key;
        message.status = self.status;
        message.fields = BTreeMap::from_iter(self.fields);
        Ok(message)
    }
}

/// The delivery as its room renders it, if the room can be opened here.
fn shown(config: &Config, delivery: &Delivery, shared: &room::Shared) -> Shown {
    let settings = &config.rooms[&delivery.room];
    let room = registry::open(&delivery.room, settings, shared);
    let room = room.as_ref().map(|room| room.as_ref()).map_err(|error| format!("{error:#}"));
    explain::shown(delivery, &config.zone, settings.kind(), room)
}

/// The report as a page for a terminal.
fn page(report: &Report, paint: Paint) -> String {
    let Explanation { message, verdicts, .. } = report.explanation;
    let Verdicts { routes, dropped_by, by_default, instead_of } = verdicts;
    let severity = paint.severity(message.severity, message.severity.as_str());
    let mut out = format!("{severity} {} from {}\n\nroutes\n", message.tag, message.source);
    let mut refusals = 0;
    let listed = routes.iter().filter(|route| {
        // If there are many routes, those for other tags are only counted.
        let near = routes.len() <= LISTED || !route.held.is_empty();
        refusals += usize::from(route.verdict != Verdict::Matches && near);
        route.verdict == Verdict::Matches || (near && refusals <= LISTED)
    });
    let listed: Vec<&RouteVerdict> = listed.collect();
    listed.iter().for_each(|route| out += &route_lines(route, paint));
    match routes.len() - listed.len() {
        0 if routes.is_empty() => out += "  none\n",
        0 => {}
        more => out += &format!("  … and {more} more that do not match\n"),
    }
    out += "\ngoes to\n";
    for name in dropped_by {
        out += &format!("  no room by route {name}, which drops it and counts it\n");
    }
    if *by_default {
        out += "  the default room, because no route takes it\n";
    }
    if let Some(instead) = instead_of {
        let rooms = instead.rooms.join(", ");
        out += &format!("  {} only, because the environment is dev; otherwise {rooms}\n", instead.dev_room);
    }
    for shown in &report.rooms {
        out += &room_page(shown);
    }
    out
}

fn route_lines(route: &RouteVerdict, paint: Paint) -> String {
    let mark = match route.verdict {
        Verdict::Matches => paint.good("✓"),
        Verdict::Refuses => paint.faint("✗"),
        Verdict::NotAsked => paint.faint("-"),
    };
    let mut out = format!("  {mark} {}", route.name);
    if let Some(refused) = &route.refused {
        return out + &format!(": {refused}\n");
    }
    out += &match route.drop {
        true => " drops it\n".to_owned(),
        false => format!(" → {}\n", route.rooms.join(", ")),
    };
    for held in &route.held {
        out += &format!("      {held}\n");
    }
    if let Some(throttle) = &route.throttle {
        out += &format!("      repeats within {} are counted: {}\n", throttle.within, throttle.key);
    }
    if route.stop {
        out += "      stops here: later routes are skipped\n";
    }
    out
}

fn room_page(shown: &Shown) -> String {
    let by =
        if shown.routes.is_empty() { String::new() } else { format!(", by {}", shown.routes.join(", ")) };
    let mut out = format!("  {} ({}{by})\n", shown.room, shown.kind);
    for line in shown.shown.iter().flat_map(|part| part.lines()) {
        out += &format!("      │ {line}\n");
    }
    if let Some(because) = &shown.plain_because {
        out += &format!("      not as {} would show it: {because}\n", shown.kind);
    }
    out
}

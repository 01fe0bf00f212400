//! Cost of one message with 10 against 10,000 routes, through the engine itself: the matcher alone, and
//! the whole fold from bytes to deliveries. No server is needed.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bench::stats::{Table, cell, interleave, ratio, spread};
use relay::engine::entry::{Entry, Raw, read};
use relay::engine::routing::{Route, Routing};
use relay::engine::rule::condition::Conditions;
use relay::engine::rule::condition::severity::Least;
use relay::engine::rule::condition::source::Sources;
use relay::engine::rule::condition::tag::Tags;
use relay::engine::{Engine, Rules, decide};
use tellhal::message::{Message, Severity};
use tellhal::timestamp::Timestamp;
use tellhal::{Names, Tag};

const MESSAGES: usize = 2_000;
const ROUNDS: usize = 100;
const WARM_UP: usize = 10;

/// One set of routes with its messages; each message matches two routes.
struct Case {
    name: &'static str,
    rules: Arc<Rules>,
    engine: Engine,
    messages: Vec<Message>,
}

fn main() -> anyhow::Result<()> {
    let mut cases = [
        Case::new("10 routes by tag", by_tag(10)?, 9)?,
        Case::new("10,000 routes by tag, the same tags", by_tag(10_000)?, 9)?,
        Case::new("10,000 routes by tag, all their tags", by_tag(10_000)?, 9_999)?,
        Case::new("10,000 routes by source, no tag", by_source(10_000)?, 9)?,
    ];
    let results = interleave(cases.len(), WARM_UP, ROUNDS, |number, _| {
        let case = &mut cases[number];
        Ok(Some((case.matching()?, case.folding()?)))
    })?;
    let matching = |number: usize| results[number].iter().map(|r| r.map(|r| r.0)).collect::<Vec<_>>();
    let folding = |number: usize| results[number].iter().map(|r| r.map(|r| r.1)).collect::<Vec<_>>();
    let mut table = Table::new(&["routes", "matcher µs", "× 10 routes", "fold µs", "× 10 routes"]);
    for (number, case) in cases.iter().enumerate() {
        let mut row = vec![case.name.into()];
        for (values, base) in [(matching(number), matching(0)), (folding(number), folding(0))] {
            row.push(spread(values.iter().flatten().copied()).map_or_else(String::new, |s| s.show(2)));
            row.push(cell(ratio(&values, &base).map(|ratio| ratio.median), 2));
        }
        table.row(row);
    }
    println!("{}", table.markdown());
    println!("{MESSAGES} messages per round, {ROUNDS} rounds after {WARM_UP} of warm-up; µs per message");
    Ok(())
}

/// One route for all critical messages, the others for one team's tags each.
fn by_tag(count: usize) -> anyhow::Result<Rules> {
    let routes = (1..count).map(|team| {
        let pattern = format!("team{team}.*.done").parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(Route {
            conditions: Conditions { tag: Tags(vec![pattern]), ..asks(Severity::Notice) },
            ..route(team)
        })
    });
    rules(routes.collect::<anyhow::Result<_>>()?)
}

/// The same routes without a tag, so that they cannot be found by tag.
fn by_source(count: usize) -> anyhow::Result<Rules> {
    let source = |team| Conditions { source: Sources(vec![format!("team{team}")]), ..Conditions::default() };
    rules((1..count).map(|team| Route { conditions: source(team), ..route(team) }).collect())
}

fn asks(least: Severity) -> Conditions {
    Conditions { severity: Least(Some(least)), ..Conditions::default() }
}

fn route(team: usize) -> Route {
    Route { name: format!("team{team}"), rooms: vec![format!("r{}", team % 8)], ..Route::default() }
}

fn rules(mut routes: Vec<Route>) -> anyhow::Result<Rules> {
    routes.push(Route { conditions: asks(Severity::Critical), name: "critical".into(), ..route(0) });
    let rooms = (0..8).map(|room| format!("r{room}")).collect();
    Ok(Rules::new(Routing { default_room: "r0".into(), rooms, routes, dev_room: None }))
}

impl Case {
    fn new(name: &'static str, rules: Rules, teams: usize) -> anyhow::Result<Self> {
        let rules = Arc::new(rules);
        let messages = (0..MESSAGES).map(|number| {
            // A step that shares no factor with the number of teams, so that all are visited out of order.
            let team = 1 + number * 7_919 % teams;
            let tag: Tag =
                format!("team{team}.mysql.done").parse().map_err(|error| anyhow::anyhow!("{error}"))?;
            let mut message = Message::new(&format!("team{team}"), tag, "the nightly backup has finished");
            message.severity = Severity::Critical;
            Ok(message)
        });
        let messages = messages.collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Case { name, engine: Engine::new(rules.clone()), rules, messages })
    }

    /// Microseconds a message for finding its routes.
    fn matching(&self) -> anyhow::Result<f64> {
        let start = Instant::now();
        let routes: usize = self
            .messages
            .iter()
            .map(|message| black_box(decide(&self.rules, message, message.time)).routes().count())
            .sum();
        let time = start.elapsed();
        anyhow::ensure!(routes == 2 * MESSAGES, "{}: {routes} routes for {MESSAGES} messages", self.name);
        Ok(time.as_secs_f64() * 1e6 / MESSAGES as f64)
    }

    /// Microseconds a message from bytes to deliveries.
    fn folding(&mut self) -> anyhow::Result<f64> {
        let names = Names::default();
        let mut entries = Vec::new();
        for message in &self.messages {
            let fresh = Message { id: tellhal_id(entries.len(), self.engine.sequence()), ..message.clone() };
            entries.push((names.ops(&message.source, &message.tag), serde_json::to_vec(&fresh)?));
        }
        let start = Instant::now();
        let mut deliveries = 0;
        for (subject, payload) in &entries {
            let sequence = self.engine.sequence() + 1;
            let at = Timestamp(1_795_000_000_000 + i64::try_from(sequence)?);
            let Raw::Ready(what) = read(&names, subject, payload, None, sequence, at) else { continue };
            deliveries += self.engine.apply(Entry { sequence, at, what }).len();
        }
        let time = start.elapsed();
        anyhow::ensure!(deliveries >= MESSAGES, "{}: {deliveries} deliveries", self.name);
        Ok(time.as_secs_f64() * 1e6 / MESSAGES as f64)
    }
}

fn tellhal_id(number: usize, sequence: u64) -> String {
    format!("{sequence:016x}{number:016x}")
}

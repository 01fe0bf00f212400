//! Which routes ask for a message: a trie over tag patterns, and for routes of every tag a map of sources, find
//! the candidates; whatever else a route asks for is checked on those alone. The cost grows with the tag's
//! length, not with the number of routes.

use std::collections::HashMap;

use regex::Regex;
use tellhal::message::Message;
use tellhal::tag::Tag;

use super::routing::{Route, Routing};

/// The routes of one configuration, ready to be asked.
#[derive(Debug)]
pub struct Matcher {
    conditions: Vec<Conditions>,
    nodes: Vec<Node>,
    /// Routes for every tag that name sources, by source.
    by_source: HashMap<String, Vec<usize>>,
    /// Routes for every tag and every source.
    any: Vec<usize>,
}

#[derive(Debug, Default)]
struct Node {
    words: HashMap<Box<str>, usize>,
    star: Option<usize>,
    /// Routes whose pattern ends here.
    here: Vec<usize>,
    /// Routes whose pattern goes on with `>`.
    rest: Vec<usize>,
}

/// What a route asks for; the first that does not hold refuses a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Tag,
    Severity,
    Source,
    Field,
    Text,
}

#[derive(Debug)]
struct Conditions {
    route: Route,
    text: Option<Regex>,
}

impl Matcher {
    /// Builds the trie. Fails on a regular expression that does not compile.
    pub fn new(routing: &Routing) -> Result<Self, regex::Error> {
        let mut matcher = Matcher {
            conditions: Vec::new(),
            nodes: vec![Node::default()],
            by_source: HashMap::new(),
            any: Vec::new(),
        };
        for (index, route) in routing.routes.iter().enumerate() {
            let text = route.text.as_deref().map(Regex::new).transpose()?;
            matcher.conditions.push(Conditions { route: route.clone(), text });
            if route.tag.is_empty() || route.tag.iter().any(|pattern| pattern.as_str() == ">") {
                matcher.insert_any(&route.source, index);
                continue;
            }
            for pattern in &route.tag {
                matcher.insert(pattern.tokens(), index);
            }
        }
        Ok(matcher)
    }

    /// The routes a message matches, in the order of the configuration, as if none said `stop`.
    pub fn matches(&self, message: &Message) -> Vec<usize> {
        let mut found = self.any.clone();
        found.extend(self.by_source.get(&message.source).into_iter().flatten());
        let tokens: Vec<&str> = message.tag.tokens().collect();
        self.walk(0, &tokens, &mut found);
        found.sort_unstable();
        found.dedup();
        found.retain(|&index| self.conditions[index].refusal_but_tag(message).is_none());
        found
    }

    /// The first condition of the route that does not hold, or `None` when it matches.
    pub fn refusal(&self, index: usize, message: &Message) -> Option<Condition> {
        let conditions = &self.conditions[index];
        if !covers(&conditions.route, &message.tag) {
            return Some(Condition::Tag);
        }
        conditions.refusal_but_tag(message)
    }

    /// The route itself.
    pub fn route(&self, index: usize) -> &Route {
        &self.conditions[index].route
    }

    fn insert_any(&mut self, sources: &[String], index: usize) {
        if sources.is_empty() {
            self.any.push(index);
        }
        for source in sources {
            self.by_source.entry(source.clone()).or_default().push(index);
        }
    }

    fn insert<'a>(&mut self, tokens: impl Iterator<Item = &'a str>, index: usize) {
        let mut at = 0;
        for token in tokens {
            if token == ">" {
                self.nodes[at].rest.push(index);
                return;
            }
            let next =
                if token == "*" { self.nodes[at].star } else { self.nodes[at].words.get(token).copied() };
            at = next.unwrap_or_else(|| self.grow(at, token));
        }
        self.nodes[at].here.push(index);
    }

    fn grow(&mut self, at: usize, token: &str) -> usize {
        let new = self.nodes.len();
        self.nodes.push(Node::default());
        match token {
            "*" => self.nodes[at].star = Some(new),
            word => _ = self.nodes[at].words.insert(word.into(), new),
        }
        new
    }

    fn walk(&self, at: usize, tokens: &[&str], found: &mut Vec<usize>) {
        let node = &self.nodes[at];
        let Some((first, others)) = tokens.split_first() else {
            found.extend(&node.here);
            return;
        };
        found.extend(&node.rest);
        for next in [node.words.get(*first).copied(), node.star].into_iter().flatten() {
            self.walk(next, others, found);
        }
    }
}

impl Conditions {
    fn refusal_but_tag(&self, message: &Message) -> Option<Condition> {
        let route = &self.route;
        if route.severity.is_some_and(|least| message.severity < least) {
            return Some(Condition::Severity);
        }
        if !route.source.is_empty() && !route.source.contains(&message.source) {
            return Some(Condition::Source);
        }
        let field_holds = |(name, values): (&String, &Vec<String>)| {
            message.fields.get(name).is_some_and(|value| values.is_empty() || values.contains(value))
        };
        if !route.fields.iter().all(field_holds) {
            return Some(Condition::Field);
        }
        let found = |text: &Regex| {
            text.is_match(&message.text) || message.title.as_deref().is_some_and(|t| text.is_match(t))
        };
        (!self.text.as_ref().is_none_or(found)).then_some(Condition::Text)
    }
}

fn covers(route: &Route, tag: &Tag) -> bool {
    route.tag.is_empty() || route.tag.iter().any(|pattern| pattern.matches(tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tellhal::message::Severity;

    fn route(tags: &[String]) -> Route {
        Route { tag: tags.iter().map(|tag| tag.parse().unwrap()).collect(), ..Route::default() }
    }

    fn message(tag: &str) -> Message {
        Message::new("db1", tag.parse().unwrap(), "slow query on shard 7")
    }

    #[test]
    fn every_condition_must_hold() {
        let all = Route {
            severity: Some(Severity::Warning),
            source: vec!["db1".into()],
            fields: [("env".to_owned(), vec!["prod".to_owned()]), ("shard".to_owned(), vec![])].into(),
            text: Some("shard \\d".into()),
            ..route(&["backup.>".into()])
        };
        let matcher = Matcher::new(&Routing { routes: vec![all], ..Routing::default() }).unwrap();
        let mut fits = message("backup.mysql");
        fits.severity = Severity::Error;
        fits.fields = [("env".to_owned(), "prod".to_owned()), ("shard".to_owned(), "7".to_owned())].into();
        assert_eq!(matcher.matches(&fits), [0]);

        type Spoil = (Condition, fn(&mut Message));
        let spoil: [Spoil; 5] = [
            (Condition::Tag, |m| m.tag = "deploy".parse().unwrap()),
            (Condition::Severity, |m| m.severity = Severity::Notice),
            (Condition::Source, |m| m.source = "db2".into()),
            (Condition::Field, |m| _ = m.fields.remove("shard")),
            (Condition::Text, |m| m.text = "fine".into()),
        ];
        for (condition, change) in spoil {
            let mut spoiled = fits.clone();
            change(&mut spoiled);
            assert_eq!(matcher.matches(&spoiled), [0; 0]);
            assert_eq!(matcher.refusal(0, &spoiled), Some(condition));
        }
    }

    proptest! {
        #[test]
        fn the_trie_finds_what_trying_every_pattern_finds(
            asked in prop::collection::vec(
                (prop::collection::vec("([ab*]\\.){0,3}[ab*>]", 0..3), prop::collection::vec("db[12]", 0..2)),
                0..20,
            ),
            tag in "([abc]\\.){0,3}[abc]",
        ) {
            let routes: Vec<Route> =
                asked.into_iter().map(|(tags, source)| Route { source, ..route(&tags) }).collect();
            let matcher = Matcher::new(&Routing { routes: routes.clone(), ..Routing::default() }).unwrap();
            let message = message(&tag);
            let slow: Vec<usize> =
                (0..routes.len()).filter(|&i| matcher.refusal(i, &message).is_none()).collect();
            prop_assert_eq!(matcher.matches(&message), slow);
        }
    }
}

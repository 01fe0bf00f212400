//! Finds the routes that may take a message: by a trie over tag patterns, and by a map of sources for routes without a tag.
//! Only these candidates are checked for their other conditions. The cost grows with the length of the tag, not with the
//! number of routes.

use std::collections::HashMap;

use tellhal::message::Message;

use super::routing::{Route, Routing};

/// The routes of one configuration, indexed.
#[derive(Debug)]
pub struct Matcher {
    nodes: Vec<Node>,
    /// Routes without a tag that name sources, by source.
    by_source: HashMap<String, Vec<usize>>,
    /// Routes without a tag and without a source.
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

impl Matcher {
    pub fn new(routing: &Routing) -> Self {
        let mut matcher =
            Matcher { nodes: vec![Node::default()], by_source: HashMap::new(), any: Vec::new() };
        for (index, Route { conditions, .. }) in routing.routes.iter().enumerate() {
            let tags = &conditions.tag.0;
            if tags.is_empty() || tags.iter().any(|pattern| pattern.as_str() == ">") {
                matcher.insert_any(&conditions.source.0, index);
                continue;
            }
            for pattern in tags {
                matcher.insert(pattern.tokens(), index);
            }
        }
        matcher
    }

    /// The routes whose tag covers the message's, in the order of the configuration.
    pub fn candidates(&self, message: &Message) -> Vec<usize> {
        let mut indexes = self.any.clone();
        indexes.extend(self.by_source.get(&message.source).into_iter().flatten());
        let tokens: Vec<&str> = message.tag.tokens().collect();
        self.walk(0, &tokens, &mut indexes);
        indexes.sort_unstable();
        indexes.dedup();
        indexes
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

    fn walk(&self, at: usize, tokens: &[&str], indexes: &mut Vec<usize>) {
        let node = &self.nodes[at];
        let Some((first, others)) = tokens.split_first() else {
            indexes.extend(&node.here);
            return;
        };
        indexes.extend(&node.rest);
        for next in [node.words.get(*first).copied(), node.star].into_iter().flatten() {
            self.walk(next, others, indexes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rules;
    use super::super::condition::source::Sources;
    use super::super::condition::tag::Tags;
    use super::super::condition::{Asked, Conditions};
    use super::super::decide::decide;
    use super::*;
    use proptest::prelude::*;
    use tellhal::timestamp::Timestamp;

    fn route(number: usize, tags: &[String], source: Vec<String>) -> Route {
        let tag = Tags(tags.iter().map(|tag| tag.parse().unwrap()).collect());
        let conditions = Conditions { tag, source: Sources(source), ..Conditions::default() };
        Route { name: number.to_string(), conditions, ..Route::default() }
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
                asked.into_iter().enumerate().map(|(n, (tags, source))| route(n, &tags, source)).collect();
            let rules = Rules::new(Routing { routes: routes.clone(), ..Routing::default() });
            let message = Message::new("db1", tag.parse().unwrap(), "slow query on shard 7");
            let decision = decide(&rules, &message, Timestamp(0));
            let fast: Vec<&str> = decision.routes().map(|route| route.name.as_str()).collect();
            let asked = Asked { message: &message, at: Timestamp(0) };
            let takes = |route: &&Route| route.conditions.refusal(asked).is_none();
            let slow: Vec<&str> = routes.iter().filter(takes).map(|route| route.name.as_str()).collect();
            prop_assert_eq!(fast, slow);
        }
    }
}

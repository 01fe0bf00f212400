//! Warns of routes that can never match, because an earlier one takes all of their messages and stops.

use std::collections::HashMap;

use super::raw::{Checks, Document};
use crate::engine::routing::Route;

/// Routes that stop, by the first word of their patterns, so that a route is compared with a few of ten thousand.
#[derive(Default)]
struct Stops<'r> {
    words: HashMap<&'r str, Vec<usize>>,
    /// Routes with a pattern that begins with `*` or `>`, and routes without a pattern.
    any: Vec<usize>,
}

impl<'r> Stops<'r> {
    fn add(&mut self, index: usize, route: &'r Route) {
        if route.conditions.tag.0.is_empty() {
            self.any.push(index);
        }
        for word in route.conditions.tag.0.iter().filter_map(|pattern| pattern.tokens().next()) {
            match word {
                "*" | ">" => self.any.push(index),
                word => self.words.entry(word).or_default().push(index),
            }
        }
    }

    /// The routes that may cover `route`, in no order.
    fn near(&self, route: &Route) -> impl Iterator<Item = usize> {
        let word = route.conditions.tag.0.first().and_then(|pattern| pattern.tokens().next());
        let same = word.and_then(|word| self.words.get(word)).into_iter().flatten();
        self.any.iter().chain(same).copied()
    }
}

/// Warns of every route behind one that stops and whose conditions cover its own.
pub(super) fn warn(checks: &mut Checks, routes: &[Route], places: &[(&Document, String)]) {
    let mut stops = Stops::default();
    for (i, route) in routes.iter().enumerate() {
        if let Some(by) =
            stops.near(route).filter(|&by| routes[by].conditions.covers(&route.conditions)).min()
        {
            let (document, key) = &places[i];
            let (first, at) = &places[by];
            let (name, earlier) = (&route.name, &routes[by].name);
            let what = format!(
                "route {name} can never match: route {earlier} at {} takes all of its messages and stops",
                first.at(at)
            );
            let hint = format!("put it before route {earlier}, or remove that route's stop");
            checks.problems.push(document.warning(key, what, hint));
        }
        if route.stop {
            stops.add(i, route);
        }
    }
}

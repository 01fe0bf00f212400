//! Says which routes can never match, because an earlier one takes all of their messages and stops.

use std::collections::HashMap;

use tellhal::message::Severity;
use tellhal::tag::Pattern;

use super::{Checks, Document};
use crate::engine::routing::Route;

/// Routes that stop, by the first word of their patterns: of ten thousand only a few must be compared.
#[derive(Default)]
struct Stops<'r> {
    words: HashMap<&'r str, Vec<usize>>,
    /// Those with a pattern that begins with `*` or `>`, or without one.
    any: Vec<usize>,
}

impl<'r> Stops<'r> {
    fn add(&mut self, index: usize, route: &'r Route) {
        if route.tag.is_empty() {
            self.any.push(index);
        }
        for word in route.tag.iter().filter_map(|pattern| pattern.tokens().next()) {
            match word {
                "*" | ">" => self.any.push(index),
                word => self.words.entry(word).or_default().push(index),
            }
        }
    }

    /// The routes that may cover `route`, in no order.
    fn near(&self, route: &Route) -> impl Iterator<Item = usize> {
        let word = route.tag.first().and_then(|pattern| pattern.tokens().next());
        let same = word.and_then(|word| self.words.get(word)).into_iter().flatten();
        self.any.iter().chain(same).copied()
    }
}

/// Warns of every route behind one that stops and asks for no more than it does.
pub(super) fn warn(checks: &mut Checks, routes: &[Route], places: &[(&Document, String)]) {
    let mut stops = Stops::default();
    for (i, route) in routes.iter().enumerate() {
        if let Some(by) = stops.near(route).filter(|&by| asks_no_more(&routes[by], route)).min() {
            let (document, key) = &places[i];
            let (first, at) = &places[by];
            let (name, earlier) = (&route.name, &routes[by].name);
            let what = format!(
                "route {name} can never match: route {earlier} at {} takes all of its messages and stops",
                first.at(at)
            );
            let hint = format!("put it before route {earlier}, or take stop out there");
            checks.problems.push(document.warning(key, what, hint));
        }
        if route.stop {
            stops.add(i, route);
        }
    }
}

/// Whether `wide` takes every message that `narrow` takes.
fn asks_no_more(wide: &Route, narrow: &Route) -> bool {
    let tags = wide.tag.is_empty()
        || (!narrow.tag.is_empty()
            && narrow.tag.iter().all(|narrow| wide.tag.iter().any(|wide| covers(wide, narrow))));
    let sources = wide.source.is_empty()
        || (!narrow.source.is_empty() && narrow.source.iter().all(|source| wide.source.contains(source)));
    let field = |(name, values): (&String, &Vec<String>)| {
        narrow.fields.get(name).is_some_and(|narrow| {
            values.is_empty() || (!narrow.is_empty() && narrow.iter().all(|value| values.contains(value)))
        })
    };
    let severity = wide.severity.unwrap_or(Severity::Debug) <= narrow.severity.unwrap_or(Severity::Debug);
    let text = wide.text.is_none() || wide.text == narrow.text;
    tags && sources && severity && text && wide.fields.iter().all(field)
}

/// Whether `wide` matches every tag that `narrow` matches.
fn covers(wide: &Pattern, narrow: &Pattern) -> bool {
    let mut narrow = narrow.tokens();
    for want in wide.tokens() {
        match (want, narrow.next()) {
            (">", Some(_)) => return true,
            (_, Some(">")) | (_, None) => return false,
            ("*", Some(_)) => {}
            (want, Some(token)) if want == token => {}
            _ => return false,
        }
    }
    narrow.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tellhal::tag::Tag;

    #[test]
    fn a_pattern_covers_what_it_matches_more_of() {
        let cases = [
            (">", "a", true),
            (">", ">", true),
            ("a.>", "a.*.c", true),
            ("a.*", "a.b", true),
            ("a.*", "a.>", false),
            ("a.b", "a.*", false),
            ("*.*", "a.>", false),
            ("a.>", "a", false),
            ("a", "a.b", false),
        ];
        for (wide, narrow, want) in cases {
            assert_eq!(covers(&wide.parse().unwrap(), &narrow.parse().unwrap()), want, "{wide} {narrow}");
        }
    }

    proptest! {
        #[test]
        fn what_a_covered_pattern_matches_its_cover_matches(
            wide in "([ab*]\\.){0,2}[ab*>]", narrow in "([ab*]\\.){0,2}[ab*>]", tag in "([ab]\\.){0,3}[ab]",
        ) {
            let (wide, narrow): (Pattern, Pattern) = (wide.parse().unwrap(), narrow.parse().unwrap());
            let tag: Tag = tag.parse().unwrap();
            if covers(&wide, &narrow) && narrow.matches(&tag) {
                prop_assert!(wide.matches(&tag));
            }
        }
    }
}

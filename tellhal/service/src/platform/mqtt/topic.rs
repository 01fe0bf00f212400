//! Topics and topic filters: their grammar, and what the wildcards of a filter stand for in a topic. Pure.

/// The longest topic and filter, in bytes.
const LONGEST: usize = 65_535;

/// The mistake in a topic filter, if there is one.
pub fn filter_problem(filter: &str) -> Option<String> {
    if let Some(what) = text_problem(filter) {
        return Some(what);
    }
    let levels: Vec<&str> = filter.split('/').collect();
    let last = levels.len() - 1;
    levels.iter().enumerate().find_map(|(at, level)| match *level {
        "+" => None,
        "#" if at == last => None,
        "#" => Some("# stands at its end alone".into()),
        level if level.contains(['+', '#']) => Some(format!("{level:?} mixes a wildcard with text")),
        _ => None,
    })
}

/// The mistake in a topic that is published to, if there is one.
pub fn topic_problem(topic: &str) -> Option<String> {
    if topic.contains(['+', '#']) {
        return Some("a topic to publish to has no wildcards".into());
    }
    if topic.starts_with('$') {
        return Some("topics with $ are the broker's own".into());
    }
    text_problem(topic)
}

fn text_problem(text: &str) -> Option<String> {
    match text {
        "" => Some("it is empty".into()),
        text if text.len() > LONGEST => Some(format!("it is longer than {LONGEST} bytes")),
        text if text.contains(char::is_control) => Some("it has control characters".into()),
        _ => None,
    }
}

/// The parts of `topic` that the filter's wildcards stand for, in their order; `None` if it does not match. A wildcard at the
/// beginning takes no topic that begins with `$`.
pub fn matched<'a>(filter: &str, topic: &'a str) -> Option<Vec<&'a str>> {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return None;
    }
    let (mut parts, mut rest) = (Vec::new(), Some(topic));
    for level in filter.split('/') {
        if level == "#" {
            parts.push(rest.unwrap_or_default());
            return Some(parts);
        }
        let (first, after) = match rest?.split_once('/') {
            Some((first, after)) => (first, Some(after)),
            None => (rest?, None),
        };
        match level {
            "+" => parts.push(first),
            level if level == first => {}
            _ => return None,
        }
        rest = after;
    }
    rest.is_none().then_some(parts)
}

/// True if some topic matches both filters, so that a broker may deliver its messages twice.
pub fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
            (None, Some(_)) | (Some(_), None) | (Some(_), Some(_)) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_levels() {
        for (filter, topic, parts) in [
            ("plant/+/alarm", "plant/oven 7/alarm", Some(vec!["oven 7"])),
            ("plant/+/alarm", "plant//alarm", Some(vec![""])),
            ("plant/+/alarm", "plant/a/b/alarm", None),
            ("plant/+", "plant", None),
            ("plant/#", "plant/a/b.c", Some(vec!["a/b.c"])),
            ("plant/#", "plant", Some(vec![""])),
            ("plant/+/#", "plant/a/b/c", Some(vec!["a", "b/c"])),
            ("#", "a/b", Some(vec!["a/b"])),
            ("#", "$SYS/broker/load", None),
            ("+/broker/load", "$SYS/broker/load", None),
            ("$SYS/#", "$SYS/broker", Some(vec!["broker"])),
            ("a/b", "a/b", Some(vec![])),
            ("a/b", "a/b/", None),
            ("/+", "/x", Some(vec!["x"])),
        ] {
            assert_eq!(matched(filter, topic), parts, "{filter} {topic}");
        }
    }

    #[test]
    fn filters_and_topics_have_their_grammar() {
        for good in ["a", "+", "#", "a/+/b/#", "/", "$SYS/#", "a b/ü"] {
            assert_eq!(filter_problem(good), None, "{good}");
        }
        let long = "x".repeat(LONGEST + 1);
        for bad in ["", "a#", "a/#/b", "a/b+", "a\0", "a\n", &long] {
            assert!(filter_problem(bad).is_some(), "{bad}");
        }
        for bad in ["", "a/+", "#", "$SYS/a", "a\u{1}"] {
            assert!(topic_problem(bad).is_some(), "{bad}");
        }
        assert_eq!(topic_problem("hal/state/db1/disk /var"), None);
    }

    #[test]
    fn overlapping_filters_are_known() {
        for (one, other, wanted) in [
            ("a/#", "a/b", true),
            ("a/#", "a", true),
            ("a/+", "a/b/c", false),
            ("+/b", "a/+", true),
            ("a/b", "a/c", false),
            ("a", "a/b", false),
        ] {
            assert_eq!((overlap(one, other), overlap(other, one)), (wanted, wanted), "{one} {other}");
        }
    }
}

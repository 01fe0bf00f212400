//! Did you mean …?

/// A hint for a word that is none of `known`: the one that is nearly it, else all of them.
pub fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, &known) {
        Some(near) => format!("did you mean {near}?"),
        None if known.is_empty() => "nothing may stand here".into(),
        None => format!("known are {}", known.join(", ")),
    }
}

fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase();
    let score = |other: &str| {
        let other = other.to_lowercase();
        // A plural, a prefix or a longer name is near whatever its length.
        let related =
            word.len() > 2 && other.len() > 2 && (other.starts_with(&word) || word.starts_with(&other));
        strsim::normalized_damerau_levenshtein(&word, &other).max(if related { 0.7 } else { 0.0 })
    };
    let scored = known.iter().map(|other| (score(other), *other));
    scored.filter(|(score, _)| *score >= 0.6).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, near)| near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_near_and_else_everything() {
        assert_eq!(hint("sevrity", ["severity", "source"]), "did you mean severity?");
        assert_eq!(hint("route", ["rooms", "routes"]), "did you mean routes?");
        assert_eq!(hint("zzz", ["a", "b"]), "known are a, b");
    }
}

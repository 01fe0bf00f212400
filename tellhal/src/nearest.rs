//! Hints that name the nearest known word: "did you mean …?"

/// A hint for a word that is not in `allowed`: the most similar of those, or all of them if none is similar.
pub fn hint<'a>(word: &str, allowed: impl IntoIterator<Item = &'a str>) -> String {
    let allowed: Vec<&str> = allowed.into_iter().collect();
    match (nearest(word, &allowed), &allowed[..]) {
        (Some(near), _) => format!("did you mean {near}?"),
        (None, []) => "there is none".into(),
        (None, [only]) => format!("expected {only}"),
        (None, several) => format!("expected one of {}", several.join(", ")),
    }
}

fn nearest<'a>(word: &str, allowed: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let score = |other: &str| {
        let other = other.to_ascii_lowercase();
        // A plural, a prefix or a longer name is near whatever its length.
        let related =
            word.len() > 2 && other.len() > 2 && (other.starts_with(&word) || word.starts_with(&other));
        let longest = word.chars().count().max(other.chars().count()).max(1);
        let same = 1.0 - strsim::damerau_levenshtein(&word, &other) as f64 / longest as f64;
        same.max(if related { 0.7 } else { 0.0 })
    };
    let scored = allowed.iter().map(|other| (score(other), *other));
    scored.filter(|(score, _)| *score >= 0.6).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, near)| near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_near_and_else_everything() {
        assert_eq!(hint("sevrity", ["severity", "source"]), "did you mean severity?");
        assert_eq!(hint("route", ["rooms", "routes"]), "did you mean routes?");
        assert_eq!(hint("zzz", ["a", "b"]), "expected one of a, b");
        assert_eq!(hint("zzz", ["a"]), "expected a");
        assert_eq!(hint("zzz", []), "there is none");
    }
}

//! A command's arguments: which there are, and whether given words fit them.

use regex::Regex;

/// The longest value of an argument, in bytes.
const LONGEST: usize = 1024;
/// The sign in the place of a secret value.
pub(crate) const MASK: &str = "•••";
/// The most words of a command whose arguments are not listed.
const MOST: usize = 64;

/// An argument, by its position.
#[derive(Clone, Debug)]
pub(crate) struct Argument {
    pub(crate) name: String,
    /// The values that it can have; every value if there are none.
    pub(crate) one_of: Vec<String>,
    /// A pattern for the whole value.
    pub(crate) pattern: Option<Pattern>,
    /// The value of an argument that is not given; it must be given if there is none.
    pub(crate) default: Option<String>,
    /// The value is masked wherever it would be shown.
    pub(crate) is_secret: bool,
}

/// A pattern for a whole value.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    text: String,
    whole: Regex,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Result<Pattern, regex::Error> {
        // Read by itself first, so that an error shows it as it is written.
        Regex::new(text)?;
        Ok(Pattern { text: text.into(), whole: Regex::new(&format!(r"\A(?:{text})\z"))? })
    }
}

/// A value with the name of its argument; the name is empty if the arguments are not listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) is_secret: bool,
}

impl Value {
    /// The value as it may be shown.
    pub(crate) fn shown(&self) -> &str {
        if self.is_secret { MASK } else { &self.value }
    }
}

/// Binds `words` to the arguments in their order. The error is a sentence for the person who typed them; it repeats no value of
/// a secret argument.
pub(crate) fn bind(arguments: Option<&[Argument]>, words: &[String]) -> Result<Vec<Value>, String> {
    if let Some(long) = words.iter().find(|word| word.len() > LONGEST) {
        return Err(format!("a word of {} bytes is too long: at most {LONGEST}", long.len()));
    }
    let Some(arguments) = arguments else {
        if words.len() > MOST {
            return Err(format!("{} words are too many: at most {MOST}", words.len()));
        }
        let free = |word: &String| Value { name: String::new(), value: word.clone(), is_secret: false };
        return Ok(words.iter().map(free).collect());
    };
    if let Some(extra) = words.get(arguments.len()) {
        let shown =
            if arguments.iter().any(|argument| argument.is_secret) { "a word" } else { extra.as_str() };
        return Err(format!("{shown} is too much: it takes {}", usage(arguments)));
    }
    let bound = arguments.iter().enumerate().map(|(index, argument)| argument.bind(words.get(index)));
    bound.collect()
}

/// The arguments as they are typed: `TARGET [COUNT]`.
pub(crate) fn usage(arguments: &[Argument]) -> String {
    if arguments.is_empty() {
        return "no arguments".into();
    }
    let shown = |argument: &Argument| match &argument.default {
        Some(_) => format!("[{}]", argument.name.to_uppercase()),
        None => argument.name.to_uppercase(),
    };
    arguments.iter().map(shown).collect::<Vec<_>>().join(" ")
}

impl Argument {
    fn bind(&self, word: Option<&String>) -> Result<Value, String> {
        let Some(value) = word.or(self.default.as_ref()) else {
            return Err(format!("{} is missing{}", self.name, self.choices()));
        };
        if !self.takes(value) {
            let shown = if self.is_secret { "its value".to_owned() } else { format!("{value:?}") };
            return Err(format!("{}: {shown} is not possible{}", self.name, self.choices()));
        }
        Ok(Value { name: self.name.clone(), value: value.clone(), is_secret: self.is_secret })
    }

    pub(crate) fn takes(&self, value: &str) -> bool {
        let is_listed = self.one_of.is_empty() || self.one_of.iter().any(|one| one == value);
        is_listed && self.pattern.as_ref().is_none_or(|pattern| pattern.whole.is_match(value))
    }

    fn choices(&self) -> String {
        match (&self.pattern, self.one_of.as_slice()) {
            (Some(pattern), _) => format!(": it must match {}", pattern.text),
            (None, []) => String::new(),
            (None, one_of) => format!(": it is one of {}", one_of.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(name: &str) -> Argument {
        Argument { name: name.into(), one_of: vec![], pattern: None, default: None, is_secret: false }
    }

    fn bound(arguments: &[Argument], words: &[&str]) -> Result<Vec<String>, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let values = bind(Some(arguments), &words)?;
        Ok(values.iter().map(|value| format!("{}={}", value.name, value.shown())).collect())
    }

    #[test]
    fn words_are_bound_in_their_order() {
        let target = Argument { one_of: vec!["staging".into(), "production".into()], ..argument("target") };
        let count = Argument {
            pattern: Some(Pattern::new("[0-9]{1,3}").unwrap()),
            default: Some("1".into()),
            ..argument("count")
        };
        let both = [target, count];
        assert_eq!(bound(&both, &["staging", "20"]).unwrap(), ["target=staging", "count=20"]);
        assert_eq!(bound(&both, &["staging"]).unwrap(), ["target=staging", "count=1"]);
        for (words, want) in [
            (&[][..], "target is missing: it is one of staging, production"),
            (&["web"], "target: \"web\" is not possible: it is one of staging, production"),
            (&["staging", "2; rm"], "count: \"2; rm\" is not possible: it must match [0-9]{1,3}"),
            (&["staging", "1234"], "count: \"1234\" is not possible: it must match [0-9]{1,3}"),
            (&["staging", "2", "now"], "now is too much: it takes TARGET [COUNT]"),
        ] {
            assert_eq!(bound(&both, words).unwrap_err(), want);
        }
        assert_eq!(bound(&[], &["x"]).unwrap_err(), "x is too much: it takes no arguments");
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Argument {
            pattern: Some(Pattern::new("[a-z]+").unwrap()),
            is_secret: true,
            ..argument("password")
        };
        let all = [secret];
        assert_eq!(bound(&all, &["hunter"]).unwrap(), ["password=•••"]);
        for words in [&["HUNTER2"][..], &["hunter", "HUNTER2"]] {
            let error = bound(&all, words).unwrap_err();
            assert!(!error.to_lowercase().contains("hunter"), "{error}");
        }
    }

    #[test]
    fn a_pattern_is_of_the_whole_value() {
        let either = Argument { pattern: Some(Pattern::new("a|ab").unwrap()), ..argument("x") };
        assert!(either.takes("a") && either.takes("ab"));
        assert!(!either.takes("abc") && !either.takes("xa") && !either.takes("a\n"));
    }
}

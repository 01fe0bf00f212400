//! `[[serve]]`: chat commands that this machine answers, as they are written, and their checks.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;
use tellhal::command::{LONGEST_NAME, is_name};
use tellhal::tag::is_token;

/// One command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Serve {
    /// The name by which it is given in a chat. Required.
    pub(crate) name: String,
    /// The program and its arguments, run without a shell. Required. `{target}` stands for an argument's whole value; arguments that are
    /// named nowhere follow at the end.
    pub(crate) exec: Vec<String>,
    /// One line for `help`.
    pub(crate) help: String,
    /// The program is asked for its arguments and its help, when it begins to be served.
    pub(crate) describe: bool,
    /// The arguments in their order; those that `exec` names, when absent.
    pub(crate) args: Option<Vec<Arg>>,
}

/// One argument.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Arg {
    /// One word of letters, digits, `_` and `-`. Required.
    pub(crate) name: String,
    /// The values that it can have; every value if there are none.
    pub(crate) one_of: Vec<String>,
    /// The value when it is not given; it must be given if there is none.
    pub(crate) default: Option<String>,
    /// Takes a value that begins with `-`, which a program may read as an option.
    pub(crate) dashes: bool,
}

impl Arg {
    /// An argument with this name and any value.
    pub(crate) fn named(name: &str) -> Arg {
        Arg { name: name.into(), ..Arg::default() }
    }

    /// Reads `NAME` or `NAME=ONE|OTHER`, as the command line has it.
    pub(crate) fn parse(text: &str) -> Result<Arg, String> {
        let (name, values) = text.split_once('=').map_or((text, None), |(name, values)| (name, Some(values)));
        let one_of = values.map(|values| values.split('|').map(str::to_owned).collect()).unwrap_or_default();
        let arg = Arg { one_of, ..Arg::named(name) };
        match arg.problem() {
            Some((_, what)) => Err(what),
            None => Ok(arg),
        }
    }

    /// The key that is wrong, and why.
    fn problem(&self) -> Option<(&'static str, String)> {
        if !is_token(&self.name) {
            return Some((
                "name",
                format!("{:?} is not a name, which is one word of A-Z a-z 0-9 _ -", self.name),
            ));
        }
        if self.one_of.iter().any(String::is_empty) {
            return Some(("one_of", format!("{} has a choice without a character", self.name)));
        }
        let default = self.default.as_ref()?;
        let known = self.one_of.is_empty() || self.one_of.contains(default);
        (!known).then(|| ("default", format!("{default:?} is not one of {}", self.one_of.join(", "))))
    }
}

/// The argument that a word of `exec` stands for.
pub(crate) fn placeholder(word: &str) -> Option<&str> {
    word.strip_prefix('{')?.strip_suffix('}').filter(|name| is_token(name))
}

impl Serve {
    /// The arguments in their order.
    pub(crate) fn arguments(&self) -> Vec<Arg> {
        self.args.clone().unwrap_or_else(|| {
            let mut names: Vec<&str> = Vec::new();
            for name in self.exec.iter().filter_map(|word| placeholder(word)) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            names.into_iter().map(Arg::named).collect()
        })
    }

    /// Every mistake: the key it is in, and what is wrong.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        let mut problems: Vec<(String, String)> = Vec::new();
        let mut wrong = |key: &str, what: String| problems.push((key.to_owned(), what));
        if !is_name(&self.name) {
            let right = format!("one word of a-z 0-9 _ -, at most {LONGEST_NAME} long, not beginning with _");
            wrong("name", format!("{:?} is not the name of a command, which is {right}", self.name));
        }
        match self.exec.first().map(String::as_str) {
            None | Some("") => wrong("exec", "there is no program to run".into()),
            Some(program) if placeholder(program).is_some() => {
                wrong("exec", format!("{program} would let the chat choose the program"));
            }
            Some(_) => {}
        }
        let arguments = self.arguments();
        let (mut names, mut optional) = (BTreeSet::new(), false);
        for (i, arg) in arguments.iter().enumerate() {
            if let Some((key, what)) = arg.problem() {
                wrong(&format!("args[{i}].{key}"), what);
            }
            if !names.insert(arg.name.as_str()) {
                wrong(&format!("args[{i}].name"), format!("there are two arguments {}", arg.name));
            }
            if optional && arg.default.is_none() {
                wrong(
                    &format!("args[{i}]"),
                    format!("{} must be given, but comes after one that need not", arg.name),
                );
            }
            optional |= arg.default.is_some();
        }
        for word in &self.exec {
            match placeholder(word) {
                Some(name) if !names.contains(name) => wrong("exec", format!("{word} is not among args")),
                None if names.iter().any(|name| word.contains(&format!("{{{name}}}"))) => {
                    wrong("exec", format!("an argument must be a word of its own, which {word:?} is not"));
                }
                _ => {}
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(toml: &str) -> Vec<String> {
        let serve: Serve = toml::from_str(toml).unwrap();
        serve.problems().into_iter().map(|(key, what)| format!("{key}: {what}")).collect()
    }

    #[test]
    fn a_template_takes_whole_values_in_words_of_their_own() {
        let none: [&str; 0] = [];
        assert_eq!(problems("name = 'deploy'\nexec = ['/bin/deploy', '{target}', '{}', '{a b}']"), none);
        assert_eq!(
            problems(
                "name = 'a b'\nexec = ['{x}', '--to={x}']\nargs = [{ name = 'x', default = 'a' }, { name = 'y' }]"
            ),
            [
                "name: \"a b\" is not the name of a command, which is one word of a-z 0-9 _ -, at most 64 long, not beginning with _",
                "exec: {x} would let the chat choose the program",
                "args[1]: y must be given, but comes after one that need not",
                "exec: an argument must be a word of its own, which \"--to={x}\" is not",
            ]
        );
        assert_eq!(
            problems(
                "name = 'x'\nexec = ['a', '{b}']\nargs = [{ name = 'c' }, { name = 'c', one_of = ['1'], default = '2' }]"
            ),
            [
                "args[1].default: \"2\" is not one of 1",
                "args[1].name: there are two arguments c",
                "exec: {b} is not among args"
            ]
        );
        assert_eq!(problems("name = '_each'\nexec = []").len(), 2);
    }

    #[test]
    fn the_command_line_names_an_argument_and_its_choices() {
        let arg = Arg::parse("target=staging|production").unwrap();
        assert_eq!((arg.name.as_str(), arg.one_of.len()), ("target", 2));
        assert!(Arg::parse("a b").is_err() && Arg::parse("a=").is_err());
    }
}

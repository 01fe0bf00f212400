//! The words of a request as the arguments of a program: each whole, in its place, never read by a shell.

use crate::config::{Arg, Serve, placeholder};

/// The command with its arguments as they are typed: `deploy TARGET [COUNT]`.
pub(super) fn usage(serve: &Serve) -> String {
    let shown = serve.arguments().into_iter().map(|arg| match &arg.default {
        Some(_) => format!("[{}]", arg.name.to_uppercase()),
        None => arg.name.to_uppercase(),
    });
    [serve.name.clone()].into_iter().chain(shown).collect::<Vec<_>>().join(" ")
}

/// The program and its arguments. The error is a sentence for the person who asked.
pub(super) fn argv(serve: &Serve, words: &[String]) -> Result<Vec<String>, String> {
    let arguments = serve.arguments();
    if words.len() > arguments.len() {
        return Err(format!("too many arguments; it is {}", usage(serve)));
    }
    let mut values = Vec::new();
    for (i, arg) in arguments.iter().enumerate() {
        values.push((
            arg.name.as_str(),
            value(arg, words.get(i)).map_err(|what| format!("{what}; it is {}", usage(serve)))?,
        ));
    }
    let valued = |word: &String| match placeholder(word) {
        Some(name) => values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()),
        None => Some(word.clone()),
    };
    let mut argv: Vec<String> = serve.exec.iter().filter_map(valued).collect();
    let is_placed = |name: &str| serve.exec.iter().any(|word| placeholder(word) == Some(name));
    argv.extend(values.iter().filter(|(name, _)| !is_placed(name)).map(|(_, value)| value.clone()));
    Ok(argv)
}

fn value(arg: &Arg, word: Option<&String>) -> Result<String, String> {
    let name = &arg.name;
    let value = word.or(arg.default.as_ref()).ok_or_else(|| format!("{name} is missing"))?;
    if !arg.one_of.is_empty() && !arg.one_of.contains(value) {
        return Err(format!("{name} must be one of {}", arg.one_of.join(", ")));
    }
    if value.starts_with('-') && !arg.dashes && word.is_some() {
        return Err(format!("{name} must not begin with -"));
    }
    if value.contains('\0') {
        return Err(format!("{name} has a NUL character"));
    }
    Ok(value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(toml: &str) -> Serve {
        toml::from_str(toml).unwrap()
    }

    fn run(serve: &Serve, words: &[&str]) -> Result<String, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        argv(serve, &words).map(|argv| argv.join("|"))
    }

    #[test]
    fn values_stand_in_their_places_and_others_at_the_end() {
        let deploy = serve(
            "name = 'deploy'\nexec = ['/bin/deploy', '--to', '{target}']\n\
             args = [{ name = 'target', one_of = ['staging', 'production'] }, { name = 'count', default = '1' }]",
        );
        assert_eq!(usage(&deploy), "deploy TARGET [COUNT]");
        assert_eq!(
            run(&deploy, &["staging", "; rm -rf / $(x)"]).unwrap(),
            "/bin/deploy|--to|staging|; rm -rf / $(x)"
        );
        assert_eq!(run(&deploy, &["production"]).unwrap(), "/bin/deploy|--to|production|1");
        for (words, why) in [
            (&[][..], "target is missing"),
            (&["web"], "target must be one of staging, production"),
            (&["staging", "-rf"], "count must not begin with -"),
            (&["staging", "a\0"], "count has a NUL character"),
            (&["staging", "1", "2"], "too many arguments"),
        ] {
            assert_eq!(run(&deploy, words).unwrap_err(), format!("{why}; it is deploy TARGET [COUNT]"));
        }
    }

    #[test]
    fn without_a_declaration_there_are_no_arguments_but_those_in_the_template() {
        let uptime = serve("name = 'uptime'\nexec = ['uptime']");
        assert_eq!(run(&uptime, &[]).unwrap(), "uptime");
        assert_eq!(run(&uptime, &["-p"]).unwrap_err(), "too many arguments; it is uptime");
        let twice = serve("name = 'x'\nexec = ['x', '{a}', '{b}', '{a}']");
        assert_eq!(run(&twice, &["1", "2"]).unwrap(), "x|1|2|1");
        let dashes = serve("name = 'x'\nexec = ['x']\nargs = [{ name = 'a', dashes = true }]");
        assert_eq!(run(&dashes, &["-1"]).unwrap(), "x|-1");
    }
}

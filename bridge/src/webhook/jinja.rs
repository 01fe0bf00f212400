//! Templates of the kind `json` in minijinja: what JSON pointers cannot say, such as a list or a choice. A value of a request is data and
//! never a template. There is nothing to include, to import or to call; instructions and output are bounded. Pure.

use std::collections::BTreeMap;
use std::io;

use minijinja::value::Serde;
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, context, filters, tests as is,
};

/// The most steps of one template. An instruction is one, and so is each byte that a filter or an operator makes of a long value.
const FUEL: u64 = 500_000;
/// The longest output, in bytes: that of a message's text.
const LARGEST: usize = 64 << 10;
/// The longest template, in bytes.
const LONGEST: usize = 8 << 10;
const FILTERS: [&str; 10] =
    ["default", "first", "join", "last", "length", "lower", "replace", "round", "trim", "upper"];
/// The most that a problem shows of a template, in characters.
const SHOWN: usize = 80;

/// The parts of a message that have such a template, each with its source.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Jinja(BTreeMap<&'static str, String>);

/// The output of the templates for one event.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Rendered {
    pub(crate) parts: BTreeMap<&'static str, String>,
    /// The parts that could not be had, with the reasons.
    pub(crate) problems: Vec<String>,
}

impl Jinja {
    /// The template of a part; the error is its mistake, with the line in the template.
    pub(crate) fn add(&mut self, part: &'static str, source: &str) -> Result<(), String> {
        if source.len() > LONGEST {
            return Err(format!("the template is longer than {LONGEST} bytes"));
        }
        let mut environment = environment();
        let template = environment.template_from_named_str(part, source);
        template.map(drop).map_err(|error| problem(&error, source))?;
        // Names of filters are looked up when they are used: this finds those that are used whatever the request has.
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        if let Err(error) = render(&environment, part, source, context! {})
            && matches!(
                error.kind(),
                ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction
            )
        {
            return Err(problem(&error, source));
        }
        self.0.insert(part, source.to_owned());
        Ok(())
    }

    /// The parts that `item` gives. Its values go by their names, and it is `this` itself.
    pub(crate) fn render(&self, item: &serde_json::Value) -> Rendered {
        let mut rendered = Rendered::default();
        if self.0.is_empty() {
            return rendered;
        }
        let environment = environment();
        let this = Value::from(Serde(item));
        let values = match item.is_object() {
            true => context! { this => this.clone(), ..this },
            false => context! { this => this },
        };
        for (part, source) in &self.0 {
            match render(&environment, part, source, values.clone()) {
                Ok(text) => drop(rendered.parts.insert(part, text)),
                Err(error) => rendered.problems.push(format!("{part}: {}", problem(&error, source))),
            }
        }
        rendered
    }
}

fn render(environment: &Environment<'_>, part: &str, source: &str, values: Value) -> Result<String, Error> {
    let mut output = Bounded(Vec::new());
    environment.template_from_named_str(part, source)?.render_captured_to(values, &mut output)?;
    Ok(String::from_utf8_lossy(&output.0).trim().to_owned())
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_debug(true);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("default", filters::default);
    environment.add_filter("first", filters::first);
    environment.add_filter("join", filters::join);
    environment.add_filter("last", filters::last);
    environment.add_filter("length", filters::length);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("replace", filters::replace);
    environment.add_filter("round", filters::round);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("upper", filters::upper);
    environment.add_test("defined", is::is_defined);
    environment
}

/// A mistake of a template or of what it was given, without any value of the request.
fn problem(error: &Error, source: &str) -> String {
    let line = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
    let at = error.range().and_then(|range| source.get(range)).unwrap_or_default().trim();
    let at: String = at.chars().take(SHOWN).collect();
    match error.kind() {
        ErrorKind::UndefinedError => {
            let name = error.detail().and_then(|detail| detail.strip_suffix(" is undefined")).unwrap_or(&at);
            format!("{name} is not in the request{line}")
        }
        ErrorKind::OutOfFuel => format!("it takes more than {FUEL} steps"),
        ErrorKind::WriteFailure => format!("it gives more than {LARGEST} bytes"),
        ErrorKind::UnknownFilter => {
            format!("there is no filter {at}{line}; there are {}", FILTERS.join(", "))
        }
        ErrorKind::UnknownTest => format!("there is no test {at}{line}; there is \"defined\""),
        ErrorKind::UnknownFunction => format!("there are no functions, such as {at}{line}"),
        ErrorKind::SyntaxError => format!("{}{line}", error.detail().unwrap_or("it cannot be read")),
        kind => format!("{kind}: {at}{line}"),
    }
}

/// Output that may not become too long.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LARGEST {
            return Err(io::Error::other("too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    /// The output of a template for its title, or its problem.
    fn title(source: &str, item: &Json) -> Result<String, String> {
        let mut jinja = Jinja::default();
        jinja.add("title", source)?;
        let mut rendered = jinja.render(item);
        rendered.parts.remove("title").ok_or_else(|| rendered.problems.remove(0))
    }

    #[test]
    fn templates_choose_and_list() {
        let item = json!({"job": {"name": "web <b>", "steps": [{"name": "build", "ok": true}, {"name": "test", "ok": false}]},
            "detail-type": "x", "took": 2.06, "html": "{{ job }}"});
        for (source, want) in [
            ("{{ job.name }}", "web <b>"),
            ("{{ job.name | upper }} took {{ took | round(1) }} s", "WEB <B> took 2.1 s"),
            ("{% for step in job.steps if not step.ok %}{{ step.name }} failed\n{% endfor %}", "test failed"),
            (
                "{{ this['detail-type'] }} {{ job.steps | length }} {{ (job.steps | first).name }}",
                "x 2 build",
            ),
            ("{{ job.owner | default('nobody') }}{% if job.owner is defined %}!{% endif %}", "nobody"),
            ("{{ html }}", "{{ job }}"),
        ] {
            assert_eq!(title(source, &item), Ok(want.to_owned()), "{source}");
        }
        assert_eq!(title("{{ this | length }}", &json!([1, 2])), Ok("2".into()));
    }

    #[test]
    fn what_is_missing_is_named_with_its_template() {
        let item = json!({"job": {"name": "hunter2"}});
        for (source, want) in [
            ("{{ job.nmae }}", "title: `job.nmae` is not in the request in line 1"),
            ("a\n{{ jbo.name }}", "title: `jbo` is not in the request in line 2"),
            ("{{ state }}", "title: `state` is not in the request in line 1"),
            ("{% if state %}x{% endif %}", "title: `state` is not in the request in line 1"),
        ] {
            assert_eq!(title(source, &item), Err(want.to_owned()), "{source}");
        }
        let wrong = title("{{ job.name | round }}", &item).unwrap_err();
        assert!(wrong.starts_with("title: ") && !wrong.contains("hunter2"), "{wrong}");
    }

    #[test]
    fn mistakes_are_found_before_any_request() {
        for (source, part) in [
            ("{{ job.name", "in line 1"),
            ("a\nb {% if x %}", "in line 2"),
            ("{{ a | nothing }}", "no filter nothing in line 1; there are default,"),
            ("{{ a is odd }}", "no test odd"),
            ("{{ range(3) }}", "no functions"),
            ("{% include 'etc/passwd' %}", "in line 1"),
            ("{% extends 'x' %}", "in line 1"),
            ("{% macro a() %}{% endmacro %}", "in line 1"),
        ] {
            let problem = Jinja::default().add("title", source).unwrap_err();
            assert!(problem.contains(part), "{source}: {problem}");
        }
        assert!(Jinja::default().add("title", &"x".repeat(LONGEST + 1)).is_err());
    }

    #[test]
    fn steps_and_output_are_bounded() {
        let long = "a".repeat(500_000);
        let list: Vec<u32> = (0..200_000).collect();
        let item = json!({"long": long, "list": list});
        for source in [
            "{{ long }}",
            "{{ long | replace('a', long) }}",
            "{{ list | join(long) }}",
            "{% for a in list %}{% for b in list %}{% endfor %}{% endfor %}",
            "{% for a in list %}{{ a }}{% endfor %}",
        ] {
            let problem = title(source, &item).unwrap_err();
            assert!(problem.len() < 200, "{source}: {problem}");
        }
    }
}

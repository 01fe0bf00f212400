//! Checks a TOML document against a JSON Schema and collects all problems: unknown keys, wrong types, missing keys. Wrong
//! values are left out of the JSON it returns, so that serde then finds only mistakes that a schema cannot express.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Value};
use tellhal::nearest;
use tellhal::tag::is_token;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::span::{Shown, Spans};

/// Replaces an item of the wrong type in a list, so that the other items keep their indexes.
pub(super) const LEFT_OUT: &str = "\0";

/// A key's path, the problem, a hint, and the place in the text.
pub(super) type Misshapen = (String, String, String, Range<usize>);

/// The JSON Schema format of a key that names a file or a folder.
pub const PATH: &str = "path";

/// The schema that allows any value.
static ANY: Value = Value::Bool(true);

pub(super) struct Shape<'s> {
    schema: &'s Value,
    /// The folder of the file, to which relative paths in it are relative.
    folder: Option<&'s Path>,
    places: BTreeMap<String, Spans>,
    names: BTreeMap<String, Vec<String>>,
    problems: Vec<Misshapen>,
}

/// A document as far as it has the right shape.
pub(super) struct Read {
    pub(super) value: Value,
    /// Every key of the file by its path.
    pub(super) places: BTreeMap<String, Spans>,
    /// The names in each table whose names are free, such as `rooms`.
    pub(super) names: BTreeMap<String, Vec<String>>,
    pub(super) misshapen: Vec<Misshapen>,
}

impl<'s> Shape<'s> {
    pub(super) fn of(schema: &'s Value, folder: Option<&'s Path>) -> Self {
        let (places, names) = (BTreeMap::new(), BTreeMap::new());
        Shape { schema, folder, places, names, problems: Vec::new() }
    }

    pub(super) fn read(mut self, table: &DeTable) -> Read {
        let value = self.table(table, self.schema, "", &(0..0)).unwrap_or(Value::Object(Map::new()));
        Read { value, places: self.places, names: self.names, misshapen: self.problems }
    }

    fn wrong(&mut self, path: &str, what: String, hint: String, span: &Range<usize>) {
        self.problems.push((path.into(), what, hint, span.clone()));
    }

    fn value(&mut self, value: &Spanned<DeValue>, schema: &'s Value, path: &str) -> Option<Value> {
        let span = value.span();
        let alternatives = self.alternatives(schema);
        let is = kind(value.get_ref());
        let fitting: Vec<&'s Value> =
            alternatives.iter().copied().filter(|schema| accepts(schema, is)).collect();
        let Some(&first) = fitting.first() else {
            let mut wanted: Vec<&str> =
                alternatives.iter().copied().filter_map(wanted).map(article).collect();
            wanted.dedup();
            let hint = match (is, wanted.as_slice()) {
                ("integer" | "number" | "boolean", wanted) if wanted.contains(&"a string") => {
                    "put it in quotes".into()
                }
                ("string", ["an integer" | "true or false"]) => "write it without quotes".into(),
                (_, wanted) => format!("write {}", wanted.join(" or ")),
            };
            self.wrong(path, format!("is {}, not {}", article(is), wanted.join(" or ")), hint, &span);
            return None;
        };
        match value.get_ref() {
            DeValue::Table(table) if fitting.len() > 1 || is_tagged(first) => {
                self.tagged(table, &fitting, path, &span)
            }
            DeValue::Table(table) => self.table(table, first, path, &span),
            DeValue::Array(items) => {
                let schema = first.get("items").unwrap_or(&ANY);
                let items = items.iter().enumerate();
                let read = items.map(|(i, item)| {
                    let path = format!("{path}[{i}]");
                    let spans =
                        Spans { key: item.span(), value: item.span(), shown: self.shown(schema, item) };
                    self.places.insert(path.clone(), spans);
                    // The later items keep their indexes, which are part of their paths.
                    self.value(item, schema, &path).unwrap_or_else(|| blank(schema, self))
                });
                Some(Value::Array(read.collect()))
            }
            DeValue::String(text) => self.string(text, &fitting, path, &span),
            DeValue::Integer(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok();
                self.integer(parsed, first, path, &span)
            }
            DeValue::Float(number) => Some(number.as_str().parse::<f64>().ok()?.into()),
            DeValue::Boolean(is) => Some((*is).into()),
            DeValue::Datetime(_) => None,
        }
    }

    fn table(
        &mut self,
        table: &DeTable,
        schema: &'s Value,
        path: &str,
        span: &Range<usize>,
    ) -> Option<Value> {
        let known: BTreeMap<&str, &'s Value> = match schema.get("properties").and_then(Value::as_object) {
            Some(known) => known.iter().map(|(name, schema)| (name.as_str(), schema)).collect(),
            None => BTreeMap::new(),
        };
        let others = schema.get("additionalProperties").filter(|others| !matches!(others, Value::Bool(_)));
        let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
        let mut read = Map::new();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let parent = path;
            let path = joined(parent, name);
            let known_schema = known.get(name).copied().or(others);
            let shown = known_schema.map_or(Shown::Nothing, |schema| self.shown(schema, value));
            self.places.insert(path.clone(), Spans { key: key.span(), value: value.span(), shown });
            if known.is_empty() && others.is_some() {
                self.names.entry(parent.to_owned()).or_default().push(name.to_owned());
            }
            let Some(schema) = known_schema.or((!closed).then_some(&ANY)) else {
                let hint = nearest::hint(name, known.keys().copied());
                self.wrong(&path, "unknown key".into(), hint, &key.span());
                continue;
            };
            if let Some(value) = self.value(value, schema, &path) {
                read.insert(name.into(), self.resolved(schema, value));
            }
        }
        let missing: Vec<&str> =
            strings(schema.get("required")).filter(|name| !read.contains_key(*name)).collect();
        for name in missing.iter().filter(|name| !table.contains_key(**name)) {
            let hint = match known.get(*name).and_then(|key| key.get("description")).and_then(Value::as_str) {
                Some(about) => format!("{name}: {}", first_sentence(about)),
                None => format!("add {name} = …"),
            };
            self.wrong(path, format!("{name} is missing"), hint, span);
        }
        missing.is_empty().then_some(Value::Object(read))
    }

    /// A table that holds one of several tables by its name: `[rooms.ops.irc]`.
    fn tagged(
        &mut self,
        table: &DeTable,
        kinds: &[&'s Value],
        path: &str,
        span: &Range<usize>,
    ) -> Option<Value> {
        let names: Vec<&str> = kinds.iter().flat_map(|kind| strings(kind.get("required"))).collect();
        let mut keys = table.keys();
        let Some(key) = keys.next() else {
            self.wrong(path, "has no kind".into(), format!("it is one of {}", names.join(", ")), span);
            return None;
        };
        if let Some(second) = keys.next() {
            let what = format!("is defined twice, as {} and as {}", key.get_ref(), second.get_ref());
            self.wrong(path, what, "keep one kind, or give the other another name".into(), &second.span());
            return None;
        }
        let name = key.get_ref().as_ref();
        let kind = kinds.iter().find(|kind| strings(kind.get("required")).any(|known| known == name));
        let Some(kind) = kind else {
            let hint = nearest::hint(name, names);
            let path = joined(path, name);
            self.wrong(&path, format!("there is no kind {name}"), hint, &key.span());
            return None;
        };
        self.table(table, kind, path, span)
    }

    fn string(&mut self, text: &str, fitting: &[&Value], path: &str, span: &Range<usize>) -> Option<Value> {
        let known: Vec<&str> = fitting
            .iter()
            .flat_map(|schema| {
                schema.get("const").and_then(Value::as_str).into_iter().chain(strings(schema.get("enum")))
            })
            .collect();
        if known.is_empty() || known.contains(&text) {
            return Some(text.into());
        }
        let what = format!("{text:?} is not one of {}", known.join(", "));
        self.wrong(path, what, nearest::hint(text, known), span);
        None
    }

    fn integer(
        &mut self,
        number: Option<i64>,
        schema: &Value,
        path: &str,
        span: &Range<usize>,
    ) -> Option<Value> {
        let bound = |name| schema.get(name).and_then(Value::as_f64).map(|bound| bound as i64);
        let (least, most) = (bound("minimum"), bound("maximum"));
        let inside =
            number.is_some_and(|n| least.is_none_or(|least| n >= least) && most.is_none_or(|most| n <= most));
        if inside {
            return number.map(Value::from);
        }
        let hint = match (least, most) {
            (Some(least), Some(most)) => format!("from {least} to {most}"),
            (Some(least), None) => format!("{least} or more"),
            _ => "a smaller number".into(),
        };
        self.wrong(path, "is out of range".into(), hint, span);
        None
    }

    /// A relative path is relative to the folder of the file it stands in.
    fn resolved(&self, schema: &'s Value, value: Value) -> Value {
        let is_path =
            || self.alternatives(schema).iter().any(|schema| schema.get("format") == Some(&PATH.into()));
        match (&value, self.folder) {
            (Value::String(path), Some(folder)) if !path.is_empty() && is_path() => {
                folder.join(path).to_string_lossy().into_owned().into()
            }
            _ => value,
        }
    }

    /// The part of a value that an error may show: no secret, and no value that the schema does not know.
    fn shown(&self, schema: &'s Value, value: &Spanned<DeValue>) -> Shown {
        let alternatives = self.alternatives(schema);
        let secret = |schema: &Value| schema.get("writeOnly") == Some(&Value::Bool(true));
        if secret(schema) || alternatives.iter().any(|schema| secret(schema)) {
            return Shown::Nothing;
        }
        let takes = |kinds: &[&str]| {
            alternatives
                .iter()
                .any(|schema| schema.get("type").is_some() && kinds.iter().any(|kind| accepts(schema, kind)))
        };
        match value.get_ref() {
            DeValue::Array(_) if takes(&["array"]) => Shown::Items,
            DeValue::Table(_) if takes(&["object"]) => Shown::Items,
            DeValue::Array(_) | DeValue::Table(_) => Shown::Nothing,
            _ if takes(&["string", "integer", "number", "boolean"]) => Shown::Whole,
            _ => Shown::Nothing,
        }
    }

    /// The schemas that a value may match: through `$ref`, `oneOf` and `anyOf`, without `null`.
    fn alternatives(&self, schema: &'s Value) -> Vec<&'s Value> {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let target = self.schema.pointer(name.trim_start_matches('#')).unwrap_or(&ANY);
            return self.alternatives(target);
        }
        match schema.get("oneOf").or(schema.get("anyOf")).and_then(Value::as_array) {
            Some(several) => several.iter().flat_map(|one| self.alternatives(one)).collect(),
            None if schema.get("type").and_then(Value::as_str) == Some("null") => Vec::new(),
            None => vec![schema],
        }
    }
}

/// The path of a key in a table; a key of more than one word is quoted as in TOML.
pub fn joined(path: &str, name: &str) -> String {
    let name = if is_token(name) { name.to_owned() } else { format!("{name:?}") };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// A stand-in for an item that was left out.
fn blank<'s>(schema: &'s Value, shape: &Shape<'s>) -> Value {
    match shape.alternatives(schema).first().copied().and_then(wanted) {
        Some("object") => Value::Object(Map::new()),
        _ => Value::String(LEFT_OUT.into()),
    }
}

fn kind(value: &DeValue) -> &'static str {
    match value {
        DeValue::String(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Float(_) => "number",
        DeValue::Boolean(_) => "boolean",
        DeValue::Datetime(_) => "datetime",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "object",
    }
}

fn accepts(schema: &Value, is: &str) -> bool {
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(several) => strings(Some(several)).collect(),
        None => return is != "datetime",
    };
    types.iter().any(|wanted| *wanted == is || (*wanted == "number" && is == "integer"))
}

fn wanted(schema: &Value) -> Option<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => Some(one),
        several => strings(several).find(|name| *name != "null"),
    }
}

fn article(kind: &str) -> &'static str {
    match kind {
        "string" => "a string",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "true or false",
        "datetime" => "a date",
        "array" => "a list",
        _ => "a table",
    }
}

fn is_tagged(schema: &Value) -> bool {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.is_some_and(|all| all.len() == 1)
        && strings(schema.get("required")).count() == 1
        && schema.get("additionalProperties") == Some(&Value::Bool(false))
}

fn strings(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn first_sentence(about: &str) -> String {
    let line = about.replace('\n', " ");
    line.split(". ").next().unwrap_or(&line).trim_end_matches('.').to_owned()
}

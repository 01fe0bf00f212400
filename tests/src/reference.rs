//! The reference of a configuration in Markdown, from its JSON Schema: a table of keys for each table of the file.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The reference of the file that `schema` is about. `made_by` is the command that prints the schema.
pub fn reference(schema: &Value, made_by: &str) -> String {
    let title = schema["title"].as_str().unwrap_or("configuration");
    let mut text = format!(
        "# {title}\n\nAll keys, from the schema that `{made_by}` prints. This file is generated: see [CONTRIBUTING.md](../../CONTRIBUTING.md).\n"
    );
    let mut walk = Walk { schema, text: &mut text, seen: BTreeSet::new() };
    walk.table("", &Shape::of(schema, schema), "Top level");
    text
}

/// A value's schema without its references and without the choice of null.
struct Shape<'a> {
    shape: &'a Value,
    description: String,
    name: Option<&'a str>,
}

impl<'a> Shape<'a> {
    fn of(schema: &'a Value, value: &'a Value) -> Shape<'a> {
        let own = value["description"].as_str().unwrap_or_default();
        let choices = value["anyOf"].as_array().into_iter().flatten();
        let chosen: Vec<&Value> = choices.filter(|choice| choice["type"] != "null").collect();
        let inner = if let [only] = chosen.as_slice() { *only } else { value };
        let Some(name) = inner["$ref"].as_str() else {
            return Shape { shape: inner, description: one_line(own), name: None };
        };
        let shape = schema.pointer(name.trim_start_matches('#')).unwrap_or(inner);
        let described = if own.is_empty() { shape["description"].as_str().unwrap_or_default() } else { own };
        Shape { shape, description: one_line(described), name: Some(name) }
    }

    fn properties(&self) -> Option<&'a Map<String, Value>> {
        self.shape["properties"].as_object()
    }

    fn kind(&self) -> &'a str {
        match &self.shape["type"] {
            Value::String(kind) => kind,
            Value::Array(kinds) => {
                kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or_default()
            }
            _ => "",
        }
    }
}

struct Walk<'a, 'b> {
    schema: &'a Value,
    text: &'b mut String,
    /// The shapes that have their table, by where they stand.
    seen: BTreeSet<String>,
}

impl<'a> Walk<'a, '_> {
    /// Writes the table of the keys of `shape`, which stands at `path`, and then those of the tables in it.
    fn table(&mut self, path: &str, shape: &Shape<'a>, heading: &str) {
        if !self.seen.insert(format!("{path} {:?}", shape.name)) || self.seen.len() > 500 {
            return;
        }
        let required: BTreeSet<&str> =
            shape.shape["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        *self.text += &format!("\n## {heading}\n\n");
        // A description may begin with the heading.
        let described = match shape.description.strip_prefix(heading) {
            Some(rest) => capitalized(rest.trim_start_matches(['.', ':', ' '])),
            None => shape.description.clone(),
        };
        if !described.is_empty() {
            *self.text += &format!("{described}\n\n");
        }
        let rows: Vec<(&String, &Value, Shape<'a>)> = shape
            .properties()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key, value, Shape::of(self.schema, value)))
            .collect();
        if !rows.is_empty() {
            *self.text += "| key | value | default | meaning |\n|---|---|---|---|\n";
        }
        for (key, value, inner) in &rows {
            let default = match &value["default"] {
                _ if required.contains(key.as_str()) => "**required**".to_owned(),
                Value::Null => String::new(),
                Value::Array(items) if items.is_empty() => String::new(),
                Value::String(text) if text.is_empty() => String::new(),
                // A table's own keys have theirs.
                Value::Object(_) => String::new(),
                value => format!("`{}`", value.to_string().replace('|', "\\|")),
            };
            *self.text += &format!(
                "| `{key}` | {} | {default} | {} |\n",
                self.value(inner),
                inner.description.replace('|', "\\|")
            );
        }
        for (key, _, inner) in &rows {
            let path = if path.is_empty() { (*key).clone() } else { format!("{path}.{key}") };
            self.inner(&path, inner, false);
        }
    }

    /// The tables in a value: its own, those by name, of a list, or of a choice.
    fn inner(&mut self, path: &str, shape: &Shape<'a>, is_list: bool) {
        let heading = if is_list { format!("`[[{path}]]`") } else { format!("`[{path}]`") };
        if shape.properties().is_some() || shape.shape["additionalProperties"] == false {
            self.table(path, shape, &heading);
        }
        let mapped = &shape.shape["additionalProperties"];
        if mapped.is_object() {
            self.inner(&format!("{path}.NAME"), &Shape::of(self.schema, mapped), false);
        }
        let item = &shape.shape["items"];
        if item.is_object() {
            self.inner(path, &Shape::of(self.schema, item), true);
        }
        for choice in
            ["oneOf", "anyOf"].into_iter().flat_map(|key| shape.shape[key].as_array().into_iter().flatten())
        {
            let choice = Shape::of(self.schema, choice);
            match choice.properties() {
                // A choice with one key is a kind: `[rooms.NAME.irc]`.
                Some(properties) if properties.len() == 1 || shape.properties().is_some() => {
                    for (key, value) in properties {
                        self.inner(&format!("{path}.{key}"), &Shape::of(self.schema, value), false);
                    }
                }
                _ => self.inner(path, &choice, is_list),
            }
        }
    }

    /// The words for a kind of value.
    fn value(&self, shape: &Shape<'a>) -> String {
        if shape.shape["writeOnly"] == true && shape.kind() != "array" {
            return "text, secret".into();
        }
        if let Some(values) = shape.shape["enum"].as_array() {
            let values: Vec<String> =
                values.iter().filter_map(Value::as_str).map(|v| format!("`{v}`")).collect();
            return values.join(", ");
        }
        let choices: Vec<&Value> = ["oneOf", "anyOf"]
            .iter()
            .flat_map(|key| shape.shape[key].as_array().into_iter().flatten())
            .collect();
        let constants: Vec<String> =
            choices.iter().filter_map(|c| c["const"].as_str()).map(|v| format!("`{v}`")).collect();
        if !constants.is_empty() && constants.len() == choices.len() {
            return constants.join(", ");
        }
        match shape.kind() {
            "string" if shape.shape["format"] == "path" => "path".into(),
            "string" => "text".into(),
            "boolean" => "true or false".into(),
            "integer" | "number" => "number".into(),
            "object" => "table".into(),
            "array" => {
                let item = Shape::of(self.schema, &shape.shape["items"]);
                format!(
                    "list of {}",
                    match self.value(&item).as_str() {
                        "text" => "texts".into(),
                        "table" => "tables".into(),
                        other => other.to_owned(),
                    }
                )
            }
            _ if !choices.is_empty() => {
                let mut words: Vec<String> =
                    choices.iter().map(|c| self.value(&Shape::of(self.schema, c))).collect();
                words.dedup();
                words.join(" or ")
            }
            _ => "any".into(),
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

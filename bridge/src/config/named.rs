//! The tables of a section in all files: `[SECTION.NAME]`, each name once.

use std::collections::BTreeMap;

use service::config::{Checks, Document, joined};
use tellhal::tag::is_token;

/// The sections whose names are sources, `in-<name>`.
const SOURCES: [&str; 4] = ["webhooks", "mqtt", "syslog", "mail"];
/// Names whose source is that of a single listener.
const SINGLE: [&str; 2] = ["tcp", "ntfy"];

/// One table.
pub(super) struct Named<'d, F, R> {
    pub(super) document: &'d Document<F>,
    /// Its key in the file, such as `mqtt.plant`.
    pub(super) key: String,
    pub(super) name: String,
    pub(super) raw: &'d R,
}

/// The tables of a section, which `of` finds in one file. Names that are not legal, or that have the source of another section's, are
/// problems.
pub(super) fn named<'d, F, R>(
    checks: &mut Checks<'d, F>,
    section: &str,
    of: impl Fn(&F) -> &BTreeMap<String, R>,
) -> Vec<Named<'d, F, R>> {
    let others = SOURCES.iter().position(|other| *other == section).map(|at| &SOURCES[..at]);
    let mut tables = Vec::<Named<'d, F, R>>::new();
    for document in checks.documents {
        for name in document.names(section) {
            let key = joined(section, &name);
            let Some(raw) = of(&document.raw).get(&name) else { continue };
            if let Some(first) = tables.iter().find(|table| table.name == name) {
                let what = format!("{key} is defined twice, here and at {}", first.document.at(&key));
                checks.problems.push(document.error(&key, what, "give one of them another name"));
                continue;
            }
            if !is_token(&name) || others.is_some() && SINGLE.contains(&name.as_str()) {
                let hint = match others {
                    Some(_) => "one word of A-Z a-z 0-9 _ -, other than tcp and ntfy",
                    None => "one word of A-Z a-z 0-9 _ -",
                };
                checks.problems.push(document.error(&key, format!("{name:?} is not a legal name"), hint));
            }
            let others = others.unwrap_or_default().iter().map(|other| joined(other, &name));
            for other in others.filter(|other| checks.has(other)).collect::<Vec<_>>() {
                let what = format!("{other} has the same source, in-{name}");
                checks.problems.push(document.error(&key, what, "give one of them another name"));
            }
            tables.push(Named { document, key, name, raw });
        }
    }
    tables
}

#[cfg(test)]
mod tests {
    use service::config::Configuration as _;

    use crate::config::Config;

    #[test]
    fn a_name_is_legal_once_and_the_source_of_one_intake() {
        let dir = tempfile::tempdir().unwrap();
        let mail = "allow = \"192.0.2.0/24\"\naddresses = { \"a@b.example\" = \"x\" }\n";
        let syslog = "udp = \"127.0.0.1:5514\"\nallow = \"192.0.2.0/24\"\n";
        let mqtt = "url = \"mqtt://127.0.0.1\"\ntopics = \"a\"\n";
        let first = format!(
            "[http]\nlisten = \"127.0.0.1:1\"\n[mail.plant]\n{mail}[mail.\"a b\"]\n{mail}[syslog.tcp]\n{syslog}[mqtt.plant]\n{mqtt}"
        );
        std::fs::write(dir.path().join("a.toml"), first).unwrap();
        std::fs::write(dir.path().join("b.toml"), format!("[mail.plant]\n{mail}[syslog.lone]\n{syslog}"))
            .unwrap();
        let refused = format!("{:#}", Config::load(dir.path()).unwrap_err());
        for part in [
            "mail.plant: mqtt.plant has the same source, in-plant",
            "mail.plant: mail.plant is defined twice, here and at ",
            "\"a b\" is not a legal name",
            "\"tcp\" is not a legal name",
        ] {
            assert!(refused.contains(part), "{part} in {refused}");
        }
        assert!(!refused.contains("lone") && !refused.contains("mqtt.plant: "), "{refused}");
    }
}

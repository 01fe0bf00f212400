//! A small configuration for this folder's tests: teams that name each other, and secrets of every shape.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use tellhal::nats::NatsConfig;

use super::{Checks, Configuration, PATH, Problem};
use crate::secret::Secret;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    #[schemars(extend("format" = PATH))]
    pub(super) state_dir: Option<PathBuf>,
    pub(super) first: Option<String>,
    pub(super) token: Option<Secret>,
    pub(super) headers: BTreeMap<String, Secret>,
    pub(super) nats: Option<NatsConfig>,
    pub(super) teams: Vec<Team>,
    pub(super) doors: BTreeMap<String, Door>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Team {
    pub(super) name: String,
    pub(super) after: Option<String>,
    pub(super) size: u8,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Door {
    Front(#[expect(dead_code, reason = "only its shape counts")] Lock),
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Lock {
    pub(super) key: Option<Secret>,
    pub(super) colour: Option<String>,
}

#[derive(Debug)]
pub(super) struct Toy {
    pub(super) first: String,
    pub(super) teams: Vec<String>,
    pub(super) warnings: Vec<Problem>,
}

impl Configuration for Toy {
    type File = File;
    const SERVICE: &'static str = "toy";
    const LEAST: &'static str = "first = \"page\"";

    fn check(checks: &mut Checks<'_, File>) -> Self {
        checks.define("team", "page");
        let mut known = BTreeSet::new();
        let documents = checks.documents;
        let teams =
            documents.iter().flat_map(|document| document.raw.teams.iter().map(move |team| (document, team)));
        let teams: Vec<_> = teams.collect();
        for (document, team) in &teams {
            if !known.insert(team.name.clone()) {
                let what = format!("team {} is defined twice", team.name);
                checks.problems.push(document.error("teams", what, "give one of them another name"));
            }
        }
        for (document, team) in &teams {
            if let Some(after) = &team.after {
                checks.defined(document, "teams", "team", after);
            }
        }
        let first = checks.only("first", |raw| raw.first.clone()).unwrap_or_default();
        if let Some(document) = checks.owner("first") {
            checks.defined(document, "first", "team", &first);
        }
        checks.nats(|raw| raw.nats.clone());
        Toy { first, teams: known.into_iter().collect(), warnings: Vec::new() }
    }

    fn warnings(&mut self) -> &mut Vec<Problem> {
        &mut self.warnings
    }

    fn state_dir_of(file: &File) -> Option<&PathBuf> {
        file.state_dir.as_ref()
    }
}

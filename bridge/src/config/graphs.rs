//! Graphs as they are written, and their checks.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use service::config::{Checks, KeyProblem, duration_in};
use service::secret::unresolved;
use tellhal::nearest;

use super::named::{Named, named};
use crate::api::Api;
use crate::graph::question::{OF_GRAFANA, OF_GRAPHITE, may_be_set};
use crate::graph::words::Size;
use crate::graph::{Drawing, Graph as Checked, Target as CheckedTarget};

const DURATION: Duration = Duration::from_secs(86_400);
const LEAST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// The most targets of one graph.
const MOST: usize = 50;

/// A graph that the chat command `graph NAME` draws: `targets` by Graphite, or `dashboard` and `panel` by Grafana.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("additionalProperties" = false))]
pub(super) struct Graph {
    #[serde(flatten)]
    api: Api,
    /// The headline; the graph's name when absent.
    title: Option<String>,
    /// Graphite draws these, in their order.
    targets: Vec<Target>,
    /// The UID of a dashboard of Grafana's.
    dashboard: Option<String>,
    /// The number of a panel of that dashboard.
    panel: Option<u32>,
    /// The time to look back, from a minute to 366 days, such as `8 hours`; a day when absent.
    duration: Option<String>,
    /// The size of the picture; `medium` when absent.
    size: Size,
    /// Further parameters of the render API that say how it draws, such as `{ yMin = 0, areaMode = "stacked" }`.
    parameters: BTreeMap<String, Parameter>,
}

/// A target of Graphite's.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Target {
    /// The target, as Graphite's `target` parameter has it. It may give several series.
    target: Option<String>,
    /// The name of its series in the legend; Graphite's own when absent.
    alias: Option<String>,
    /// It marks deploys: each of its values is a vertical line. The word `nodeploy` leaves it out.
    deploy: bool,
}

/// A value of a parameter.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Parameter {
    Flag(bool),
    Whole(i64),
    Number(f64),
    Text(String),
}

impl Parameter {
    fn text(&self) -> String {
        match self {
            Parameter::Flag(flag) => flag.to_string(),
            Parameter::Whole(number) => number.to_string(),
            Parameter::Number(number) => number.to_string(),
            Parameter::Text(text) => text.clone(),
        }
    }
}

/// Checks the graphs of all files, which `of` finds in one.
pub(super) fn check<F>(
    checks: &mut Checks<'_, F>,
    of: impl Fn(&F) -> &BTreeMap<String, Graph>,
) -> BTreeMap<String, Checked> {
    let mut graphs = BTreeMap::new();
    for Named { document, key, name, raw: graph } in named(checks, "graphs", of) {
        let mut problems = graph.api.problems();
        let checked = graph.checked(&name, &mut problems);
        let unread = unresolved("hal-bridge", &graph.api.secrets(), graph.api.tls_ca());
        checks.take(document, &key, problems, unread);
        graphs.insert(name, checked);
    }
    graphs
}

impl Graph {
    fn checked(&self, name: &str, problems: &mut Vec<KeyProblem>) -> Checked {
        let duration = self.duration.as_deref().map(|text| {
            duration_in(text, LEAST, LONGEST, "from 1 minute to 366 days, such as 8 hours").unwrap_or_else(
                |(what, hint)| {
                    problems.push(KeyProblem::new("duration", what, hint));
                    DURATION
                },
            )
        });
        let drawing = self.drawing(problems);
        self.check_parameters(&drawing, problems);
        let title = self.title.as_deref().map(str::trim).filter(|title| !title.is_empty());
        Checked {
            name: name.to_owned(),
            title: title.map(str::to_owned),
            api: self.api.clone(),
            drawing,
            duration: duration.unwrap_or(DURATION),
            size: self.size,
            parameters: self.parameters.iter().map(|(name, value)| (name.clone(), value.text())).collect(),
        }
    }

    fn drawing(&self, problems: &mut Vec<KeyProblem>) -> Drawing {
        let mut wrong = |key, what: &str, hint: &str| problems.push(KeyProblem::new(key, what, hint));
        match (&self.dashboard, self.panel, self.targets.as_slice()) {
            (None, None, []) => {
                let hint =
                    "targets = [{ target = \"…\" }] of Graphite's, or dashboard and panel of Grafana's";
                wrong("targets", "the graph shows nothing", hint);
            }
            (Some(dashboard), Some(panel), []) => {
                if dashboard.is_empty()
                    || !dashboard.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
                {
                    let hint = "as in the address of the dashboard, /d/UID/…";
                    wrong("dashboard", "it is not the UID of a dashboard", hint);
                }
                return Drawing::Panel { dashboard: dashboard.clone(), panel };
            }
            (_, _, []) => wrong("panel", "a dashboard and a panel belong together", "write both"),
            (None, None, targets) => {
                if targets.iter().all(|target| target.deploy) {
                    wrong("targets", "all of them mark deploys", "add one that is measured");
                }
                if targets.len() > MOST {
                    wrong("targets", "there are too many", "at most 50; one target may give many series");
                }
            }
            _ => wrong(
                "targets",
                "there is a panel of Grafana's too",
                "write either targets, or dashboard and panel",
            ),
        }
        Drawing::Targets(self.targets.iter().map(|target| target.checked(problems)).collect())
    }

    fn check_parameters(&self, drawing: &Drawing, problems: &mut Vec<KeyProblem>) {
        for name in self.parameters.keys().filter(|name| !may_be_set(drawing, name)) {
            let hint = match drawing {
                Drawing::Targets(_) => nearest::hint(name, OF_GRAPHITE),
                Drawing::Panel { .. } => format!("var-NAME, or {}", nearest::hint(name, OF_GRAFANA)),
            };
            problems.push(KeyProblem::new(
                "parameters",
                format!("{name} is not among those that may be set"),
                hint,
            ));
        }
    }
}

impl Target {
    fn checked(&self, problems: &mut Vec<KeyProblem>) -> CheckedTarget {
        let target = self.target.as_deref().unwrap_or_default().trim();
        let mut wrong = |what: String, hint: &str| problems.push(KeyProblem::new("targets", what, hint));
        if target.is_empty() {
            wrong("one of them is empty".into(), "{ target = \"stats.load\", alias = \"load\" }");
        }
        let mut expression = match self.deploy {
            true => format!("drawAsInfinite({target})"),
            false => target.to_owned(),
        };
        if let Some(alias) = &self.alias {
            // Graphite knows no escapes in a quoted text.
            if alias.contains(['"', '\\']) || alias.chars().any(char::is_control) {
                wrong(format!("{alias:?} is no alias"), "one line without \" and \\");
            }
            expression = format!("alias({expression},\"{alias}\")");
        }
        CheckedTarget { expression, is_deploy: self.deploy }
    }
}

#[cfg(test)]
mod tests {
    use service::config::Configuration as _;

    use crate::config::Config;
    use crate::graph::Drawing;

    fn load(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.toml"), text).unwrap();
        let folder = format!("{}/", dir.path().display());
        Config::load(dir.path()).map_err(|problems| problems.to_string().replace(&folder, ""))
    }

    #[test]
    fn targets_have_aliases_and_deploys_are_lines() {
        let text = "[graphs.load]\nurl = \"https://g\"\ntitle = \" Load \"\nduration = \"8 hours\"\nsize = \"big\"\n\
                    targets = [{ target = \"a.*\", alias = \"it's load\" }, { target = \"d\", deploy = true }]\n\
                    parameters = { yMin = 0, areaAlpha = 0.5, hideGrid = true, areaMode = \"all\" }\n";
        let graph = load(text).unwrap().graphs.remove("load").unwrap();
        let Drawing::Targets(targets) = &graph.drawing else { panic!("{graph:?}") };
        let expressions: Vec<&str> = targets.iter().map(|target| target.expression.as_str()).collect();
        assert_eq!(expressions, ["alias(a.*,\"it's load\")", "drawAsInfinite(d)"]);
        assert_eq!((graph.title.as_deref(), graph.duration.as_secs()), (Some("Load"), 28_800));
        let parameters: Vec<String> = graph.parameters.iter().map(|(a, b)| format!("{a}={b}")).collect();
        assert_eq!(parameters, ["areaAlpha=0.5", "areaMode=all", "hideGrid=true", "yMin=0"]);
    }

    #[test]
    fn all_mistakes_are_said_at_once_and_no_secret() {
        let text = "[graphs.a]\nurl = \"ftp://user:s3cret@g/k3y\"\ntoken = \"t0ken\"\npassword = \"pa55\"\nduration = \"3s\"\n\
                    targets = [{ target = \" \" }, { target = \"a\", alias = 'a\"b' }]\nparameters = { fromat = 1, ymin = 0 }\n\
                    [graphs.b]\nurl = \"https://g\"\n[graphs.c]\nurl = \"https://g\"\npanel = 1\nsize = \"huge\"\n\
                    [graphs.d]\nurl = \"https://g\"\npanel = 1\ndashboard = \"../x\"\nparameters = { yMin = 0 }\n\
                    [graphs.\"e f\"]\nurl = \"https://g\"\ntargets = [{ target = \"a\", deploy = true, colour = 1 }]\n";
        let refused = load(text).unwrap_err();
        for part in [
            "graphs.a.url: ftp is not http or https",
            "graphs.a.user: there is a token too",
            "graphs.a.duration: 3s is out of range",
            "graphs.a.targets: one of them is empty",
            "graphs.a.targets: \"a\\\"b\" is no alias",
            "graphs.a.parameters: fromat is not among those that may be set",
            "graphs.a.parameters: ymin is not among those that may be set (did you mean yMin?)",
            "graphs.b.targets: the graph shows nothing",
            "graphs.c.panel: a dashboard and a panel belong together",
            "graphs.c.size:",
            "graphs.d.dashboard: it is not the UID of a dashboard",
            "graphs.d.parameters: yMin is not among those that may be set",
            "\"e f\" is not a legal name",
            "all of them mark deploys",
            "targets[0].colour: unknown key",
        ] {
            assert!(refused.contains(part), "{part} in {refused}");
        }
        for secret in ["s3cret", "k3y", "t0ken", "pa55"] {
            assert!(!refused.contains(secret), "{secret} in {refused}");
        }
    }
}

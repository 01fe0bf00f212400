//! The parameters with which a server is asked for a graph, from the graph and the look that a person wants. Pure.

use super::words::Look;
use super::{Drawing, Graph, Target};

/// The parameters of Graphite's render API that a configuration may set: how it draws, never what or in which format.
pub(crate) const OF_GRAPHITE: [&str; 63] = [
    "areaAlpha",
    "areaMode",
    "bgcolor",
    "colorList",
    "connectedLimit",
    "drawNullAsZero",
    "fgcolor",
    "fontBold",
    "fontItalic",
    "fontName",
    "fontSize",
    "graphOnly",
    "graphType",
    "hideAxes",
    "hideGrid",
    "hideLegend",
    "hideNullFromLegend",
    "hideXAxis",
    "hideYAxis",
    "leftColor",
    "leftDashed",
    "leftWidth",
    "lineMode",
    "lineWidth",
    "logBase",
    "majorGridLineColor",
    "margin",
    "max",
    "min",
    "minXStep",
    "minorGridLineColor",
    "minorY",
    "pieLabels",
    "pieMode",
    "rightColor",
    "rightDashed",
    "rightWidth",
    "template",
    "thickness",
    "tz",
    "uniqueLegend",
    "valueLabels",
    "valueLabelsColor",
    "valueLabelsMin",
    "vtitle",
    "vtitleRight",
    "xFilesFactor",
    "xFormat",
    "yAxisSide",
    "yDivisors",
    "yLimit",
    "yLimitLeft",
    "yLimitRight",
    "yMax",
    "yMaxLeft",
    "yMaxRight",
    "yMin",
    "yMinLeft",
    "yMinRight",
    "yStep",
    "yStepLeft",
    "yStepRight",
    "yUnitSystem",
];
/// The same of Grafana's, beside variables of the dashboard, such as `var-host`.
pub(crate) const OF_GRAFANA: [&str; 3] = ["orgId", "theme", "tz"];

/// Parameters, in their order.
pub(crate) type Pairs = Vec<(String, String)>;

/// True if a configuration may set the parameter.
pub(crate) fn may_be_set(drawing: &Drawing, name: &str) -> bool {
    match drawing {
        Drawing::Targets(_) => OF_GRAPHITE.contains(&name),
        Drawing::Panel { .. } => OF_GRAFANA.contains(&name) || name.len() > 4 && name.starts_with("var-"),
    }
}

/// The questions to Graphite: for the picture, and for the data of the same time in as few points as possible.
#[derive(Debug, PartialEq)]
pub(crate) struct Questions {
    pub(crate) picture: Pairs,
    pub(crate) data: Pairs,
}

pub(crate) fn of_graphite(graph: &Graph, targets: &[Target], look: &Look) -> Questions {
    let seconds = look.duration.unwrap_or(graph.duration).as_secs();
    let drawn = targets.iter().filter(|target| !(look.no_deploy && target.is_deploy));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let target = |target: &Target| pair("target", &target.expression);
    let time = [pair("from", &format!("-{seconds}s")), pair("until", "now")];
    // Deploys are few: that there was none is no lack of data.
    let measured = targets.iter().filter(|target| !target.is_deploy).map(target);
    let few = [pair("format", "json"), pair("maxDataPoints", "1")];
    let data = measured.chain(time.iter().cloned()).chain(few).collect();

    let mut picture: Pairs = drawn.map(target).chain(time).collect();
    picture.push(pair("format", "png"));
    picture.extend(size(graph, look));
    picture.push(pair("title", &title(graph, look)));
    picture.extend(graph.parameters.iter().cloned());
    if look.no_legend {
        set(&mut picture, "hideLegend", "true");
    }
    if look.white {
        set(&mut picture, "bgcolor", "white");
        set(&mut picture, "fgcolor", "black");
    }
    Questions { picture, data }
}

/// The question to Grafana for a panel. The error is one line for the person.
pub(crate) fn of_grafana(graph: &Graph, panel: u32, look: &Look) -> Result<Pairs, String> {
    if let Some(word) =
        [(look.no_legend, "nolegend"), (look.no_deploy, "nodeploy")].iter().find(|(said, _)| *said)
    {
        return Err(format!("{} is not for {}: it is a panel of Grafana", word.1, graph.name));
    }
    let seconds = look.duration.unwrap_or(graph.duration).as_secs();
    let pair = |name: &str, value: String| (name.to_owned(), value);
    let mut pairs = vec![
        pair("panelId", panel.to_string()),
        pair("from", format!("now-{seconds}s")),
        pair("to", "now".into()),
    ];
    pairs.extend(size(graph, look));
    pairs.extend(graph.parameters.iter().cloned());
    if look.white {
        set(&mut pairs, "theme", "light");
    }
    Ok(pairs)
}

/// The words below which a picture is shown, and its own title.
pub(crate) fn title(graph: &Graph, look: &Look) -> String {
    let time = super::words::written(look.duration.unwrap_or(graph.duration));
    format!("{}, the last {time}", graph.heading())
}

fn size(graph: &Graph, look: &Look) -> [(String, String); 2] {
    let (width, height) = look.size.unwrap_or(graph.size).pixels();
    [("width".into(), width.to_string()), ("height".into(), height.to_string())]
}

/// Sets a parameter once: of several with one name, servers take different ones.
fn set(pairs: &mut Pairs, name: &str, value: &str) {
    pairs.retain(|(other, _)| other != name);
    pairs.push((name.to_owned(), value.to_owned()));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::graph::words::Size;

    fn graph(drawing: Drawing) -> Graph {
        Graph {
            name: "load".into(),
            title: Some("Load".into()),
            api: Default::default(),
            drawing,
            duration: Duration::from_secs(86_400),
            size: Size::Medium,
            parameters: vec![("bgcolor".into(), "grey".into()), ("yMin".into(), "0".into())],
        }
    }

    fn asked(pairs: &Pairs) -> String {
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    }

    fn look(words: &str) -> Look {
        Look::read(&words.split_whitespace().collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn words_outrank_the_configuration() {
        let target = |expression: &str, is_deploy| Target { expression: expression.into(), is_deploy };
        let targets = vec![target("a.b", false), target("drawAsInfinite(d)", true)];
        let graph = graph(Drawing::Targets(targets.clone()));
        let usual = of_graphite(&graph, &targets, &look(""));
        assert_eq!(
            asked(&usual.picture),
            "target=a.b&target=drawAsInfinite(d)&from=-86400s&until=now&format=png&width=800&height=400&\
             title=Load, the last 24 hours&bgcolor=grey&yMin=0"
        );
        assert_eq!(asked(&usual.data), "target=a.b&from=-86400s&until=now&format=json&maxDataPoints=1");
        let other = of_graphite(&graph, &targets, &look("big 8 hours nolegend nodeploy white"));
        assert_eq!(
            asked(&other.picture),
            "target=a.b&from=-28800s&until=now&format=png&width=1400&height=700&title=Load, the last 8 hours&\
             yMin=0&hideLegend=true&bgcolor=white&fgcolor=black"
        );
    }

    #[test]
    fn a_panel_takes_the_words_that_it_can() {
        let graph = graph(Drawing::Panel { dashboard: "abc".into(), panel: 4 });
        assert_eq!(
            asked(&of_grafana(&graph, 4, &look("small 2 days white")).unwrap()),
            "panelId=4&from=now-172800s&to=now&width=400&height=200&bgcolor=grey&yMin=0&theme=light"
        );
        for word in ["nolegend", "nodeploy"] {
            let why = of_grafana(&graph, 4, &look(word)).unwrap_err();
            assert_eq!(why, format!("{word} is not for load: it is a panel of Grafana"));
        }
    }

    #[test]
    fn neither_the_target_nor_the_format_can_be_set() {
        let (graphite, panel) =
            (Drawing::Targets(vec![]), Drawing::Panel { dashboard: String::new(), panel: 1 });
        assert!(may_be_set(&graphite, "areaMode") && may_be_set(&panel, "var-host"));
        for name in ["target", "from", "until", "format", "jsonp", "width", "title", "panelId", "var-"] {
            assert!(!may_be_set(&graphite, name) && !may_be_set(&panel, name), "{name}");
        }
        assert!(!may_be_set(&graphite, "var-host") && !may_be_set(&panel, "yMin"));
    }
}

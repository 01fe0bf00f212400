//! Alertmanager (webhook version 4), and whatever posts the same: each alert of a group is an event of its own, since a group is
//! sent again whenever one of its alerts changes.

use serde_json::Value;
use tellhal::message::{Severity, Status};

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::{Reach as _, first_line, id_of, joined, severity_named};

pub(super) const KIND: Kind = Kind {
    name: "alertmanager",
    tag: "alertmanager.{alertname}",
    parts: PARTS,
    proofs: &[Proof::Token],
    read: Read::Own(read),
};

pub(super) const PARTS: &[&str] = &["alertname", "severity", "status", "receiver", "job"];

fn read(request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    let body = request.json()?;
    alerts(&body, alert)
}

/// The events of the alerts in `body`, and one more if the sender left some out.
pub(super) fn alerts(body: &Value, alert: fn(&Value, &Value) -> Event) -> Result<Vec<Event>, Refusal> {
    if body.pointer("/alerts").is_none_or(|alerts| !alerts.is_array()) {
        return Err(Refusal::malformed("there is no list \"alerts\""));
    }
    let mut events: Vec<Event> = body.list("/alerts").iter().map(|one| alert(body, one)).collect();
    let left_out = body.text("/truncatedAlerts");
    if !matches!(left_out.as_str(), "" | "0") {
        let title = format!("{left_out} more alerts of the group were left out by their sender");
        let event = Event::new(title).severity(Severity::Warning).part("alertname", "truncated");
        events.push(event.link("", body.text("/externalURL")));
    }
    Ok(events)
}

/// The event of one alert. Its start and its end have the same key.
pub(super) fn alert(body: &Value, alert: &Value) -> Event {
    let name = alert.first(&["/labels/alertname", "/labels/alert", "/labels/rulename"]);
    let (status, starts) = (alert.text("/status"), alert.text("/startsAt"));
    let labels = alert.entries("/labels");
    let shown: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    // Without a fingerprint, the labels are what makes two alerts the same.
    let thing =
        Some(alert.text("/fingerprint")).filter(|print| !print.is_empty()).unwrap_or_else(|| shown.join(","));
    let summary = alert.first(&["/annotations/summary", "/annotations/message", "/annotations/title"]);
    let description = alert.first(&["/annotations/description", "/annotations/summary"]);
    let bad = severity_named(&alert.text("/labels/severity")).unwrap_or(Severity::Error);
    let instance = alert.text("/labels/instance");
    // Grafana's own alerts about a rule that has no data, or whose data cannot be had.
    let rule = alert.text("/labels/rulename");
    let name_shown = match name.as_str() {
        "DatasourceNoData" if !rule.is_empty() => format!("{rule}: no data"),
        "DatasourceError" if !rule.is_empty() => format!("{rule}: its data cannot be had"),
        _ => name.clone(),
    };
    let title = match first_line(&summary) {
        "" if name.is_empty() => "an alert without a name".to_owned(),
        "" if instance.is_empty() => name_shown,
        "" => format!("{name_shown} on {instance}"),
        summary => joined(&[&name_shown, summary], ": "),
    };
    let is_over = status == "resolved";
    let mut event = Event::new(title)
        .status(if is_over { Status::Resolved } else { Status::Failed }, bad)
        .id(id_of(&[&thing, &starts, &status]))
        .key(thing)
        .text(if description == summary && !summary.contains('\n') { String::new() } else { description })
        .part("alertname", name)
        .part("severity", alert.text("/labels/severity"))
        .part("status", status)
        .part("receiver", body.text("/receiver"))
        .part("job", alert.text("/labels/job"))
        .link("graph", alert.text("/generatorURL"))
        .link("runbook", alert.text("/annotations/runbook_url"));
    for (name, value) in labels {
        event = event.field(&name, value);
    }
    event
}

#[cfg(test)]
mod tests {
    use super::super::testing::posted;
    use super::*;

    const GROUP: &str = r#"{"receiver":"hal","status":"firing","alerts":[
        {"status":"firing","labels":{"alertname":"DiskFull","instance":"db1:9100","job":"node","severity":"page"},
         "annotations":{"summary":"/var is at 99 \u003e 95 %","description":"Clean up.\nSoon.","runbook_url":"https://r.example/disk"},
         "startsAt":"2026-11-28T01:00:00Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://p.example/graph?g0.expr=a\u0026b","fingerprint":"c0ffee"},
        {"status":"resolved","labels":{"alertname":"DiskFull","instance":"db2:9100"},"annotations":{},
         "startsAt":"2026-11-28T00:00:00Z","endsAt":"2026-11-28T01:00:00Z","generatorURL":"","fingerprint":"beef"}],
        "groupLabels":{},"commonLabels":{},"commonAnnotations":{},"externalURL":"http://am.example","version":"4","groupKey":"{}:{}","truncatedAlerts":3}"#;

    #[test]
    fn each_alert_is_an_event_whose_end_has_its_key() {
        let events = posted(&KIND, &[], GROUP).unwrap();
        let (first, second) = (&events[0], &events[1]);
        assert_eq!(first.title, "DiskFull: /var is at 99 > 95 %");
        assert_eq!((first.severity, first.status), (Severity::Critical, Some(Status::Failed)));
        assert_eq!(first.id.as_deref(), Some("c0ffee/2026-11-28T01:00:00Z/firing"));
        assert_eq!((first.key.as_deref(), first.text.as_str()), (Some("c0ffee"), "Clean up.\nSoon."));
        assert_eq!(first.links.len(), 2);
        assert_eq!((first.parts["job"].as_str(), first.fields["instance"].as_str()), ("node", "db1:9100"));
        assert_eq!((second.title.as_str(), second.status), ("DiskFull on db2:9100", Some(Status::Resolved)));
        assert_eq!((second.severity, second.key.as_deref()), (Severity::Error, Some("beef")));
        assert!(events[2].title.starts_with("3 more alerts"));
    }

    #[test]
    fn other_json_is_refused() {
        for body in ["{}", "[]", "7", r#"{"alerts":{}}"#] {
            assert!(matches!(posted(&KIND, &[], body), Err(Refusal::Malformed(_))), "{body}");
        }
        assert_eq!(posted(&KIND, &[], r#"{"alerts":[]}"#).unwrap(), []);
        assert_eq!(posted(&KIND, &[], r#"{"alerts":[7]}"#).unwrap().len(), 1);
    }
}

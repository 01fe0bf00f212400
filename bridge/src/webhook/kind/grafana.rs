//! Grafana's contact point "webhook": Alertmanager's format, with links to the dashboard and values beside it.

use serde_json::Value;

use super::{Event, Kind, Proof, Read, Refusal, Request, alertmanager};
use crate::webhook::event::Reach as _;

pub(super) const KIND: Kind = Kind {
    name: "grafana",
    tag: "grafana.{alertname}",
    parts: alertmanager::PARTS,
    proofs: &[Proof::Hmac { header: "x-grafana-alerting-signature", prefix: "" }, Proof::Token],
    read: Read::Own(|request: &Request<'_>| -> Result<Vec<Event>, Refusal> {
        alertmanager::alerts(&request.json()?, alert)
    }),
};

fn alert(body: &Value, alert: &Value) -> Event {
    let values = alert.pointer("/values").and_then(Value::as_object);
    let values: Vec<String> =
        values.into_iter().flatten().map(|(name, value)| format!("{name}={}", rounded(value))).collect();
    alertmanager::alert(body, alert)
        .link("dashboard", alert.text("/dashboardURL"))
        .link("panel", alert.text("/panelURL"))
        .link("silence", alert.text("/silenceURL"))
        .link("picture", alert.text("/imageURL"))
        .field("values", values.join(" "))
}

/// A measured value as people say it.
fn rounded(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if number.fract() != 0.0 && number.abs() >= 0.001 => {
            format!("{number:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::posted;
    use super::*;

    #[test]
    fn an_alert_links_to_its_dashboard() {
        let body = r#"{"receiver":"My Super Webhook","status":"firing","orgId":1,"alerts":[{"status":"firing",
            "labels":{"alertname":"High memory usage","team":"blue","zone":"us-1"},
            "annotations":{"description":"The system has high memory usage","summary":"This alert was triggered for zone us-1"},
            "startsAt":"2021-10-12T09:51:03.157076+02:00","endsAt":"0001-01-01T00:00:00Z",
            "generatorURL":"https://play.grafana.org/alerting/1afz29v7z/edit","fingerprint":"c6eadffa33fcdf37",
            "silenceURL":"https://play.grafana.org/alerting/silence/new","dashboardURL":"","panelURL":"",
            "values":{"B":44.23943737541908,"C":1}}],"version":"1","title":"[FIRING:1]","state":"alerting"}"#;
        let event = posted(&KIND, &[], body).unwrap().remove(0);
        assert_eq!(event.title, "High memory usage: This alert was triggered for zone us-1");
        assert_eq!(event.fields["values"], "B=44.239 C=1");
        assert_eq!(
            event.links.iter().filter_map(|link| link.title.as_deref()).collect::<Vec<_>>(),
            ["graph", "silence"]
        );
    }
}

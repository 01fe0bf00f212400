//! Uptime Kuma: a monitor that is down, and up again. A heartbeat that is pending is not told.

use tellhal::message::{Severity, Status};

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::{Reach as _, id_of, joined};

pub(super) const KIND: Kind = Kind {
    name: "uptime_kuma",
    tag: "uptime_kuma.{monitor}",
    parts: &["monitor", "type"],
    proofs: &[Proof::Token],
    read: Read::Own(read),
};

fn read(request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    let form = request.is_form().then(|| request.form("data")).flatten();
    let body = match form {
        Some(data) => {
            serde_json::from_str(&data).map_err(|_| Refusal::malformed("the field \"data\" is no JSON"))?
        }
        None => request.json()?,
    };
    let note = body.text("/msg");
    if note.is_empty() && body.pointer("/heartbeat").is_none() {
        return Err(Refusal::malformed("there is neither a \"heartbeat\" nor a \"msg\""));
    }
    let (id, name, beat) = (
        body.first(&["/monitor/id", "/heartbeat/monitorID"]),
        body.text("/monitor/name"),
        body.text("/heartbeat/status"),
    );
    let url = Some(body.text("/monitor/url")).filter(|url| url.starts_with("http")).unwrap_or_default();
    let why = body.first(&["/heartbeat/msg", "/msg"]);
    let event = match beat.as_str() {
        "0" => Event::new(joined(&[&name, "down"], ": ")).status(Status::Failed, Severity::Error).text(why),
        "1" => Event::new(joined(&[&name, "up"], ": ")).status(Status::Resolved, Severity::Error).text(why),
        "2" => return Ok(Vec::new()),
        "3" => Event::new(joined(&[&name, "under maintenance"], ": ")).text(why),
        _ => Event::new(if note.is_empty() { "Uptime Kuma says nothing".into() } else { note }),
    };
    let time = body.text("/heartbeat/time");
    let event = event.id(id_of(&[&id, &time, &beat]));
    let event = event.key(if id.is_empty() { id } else { format!("monitor/{id}") }).link("", url);
    Ok(vec![
        event
            .part("monitor", if name.is_empty() { "test" } else { &name })
            .part("type", body.text("/monitor/type")),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::testing::posted;
    use super::*;

    #[test]
    fn down_and_up_share_a_key() {
        let beat = |status: u8| {
            let body = format!(
                r#"{{"heartbeat":{{"monitorID":3,"status":{status},"time":"2026-11-28 01:0{status}:00","msg":"connect ECONNREFUSED","important":true}},
                "monitor":{{"id":3,"name":"Shop","url":"https://shop.example","type":"http"}},"msg":"[Shop] ..."}}"#
            );
            posted(&KIND, &[("content-type", "application/json")], &body).unwrap()
        };
        let (down, up) = (beat(0).remove(0), beat(1).remove(0));
        assert_eq!((down.title.as_str(), down.status), ("Shop: down", Some(Status::Failed)));
        assert_eq!((up.title.as_str(), up.status, &up.key), ("Shop: up", Some(Status::Resolved), &down.key));
        assert_ne!(up.id, down.id);
        assert_eq!(beat(2), []);
        let test = posted(&KIND, &[], r#"{"heartbeat":null,"monitor":null,"msg":"Shop Testing"}"#)
            .unwrap()
            .remove(0);
        assert_eq!((test.title.as_str(), test.status, test.id), ("Shop Testing", None, None));
        let form = [("content-type", "application/x-www-form-urlencoded")];
        assert_eq!(posted(&KIND, &form, "data=%7B%22msg%22%3A%22a%22%7D").unwrap()[0].title, "a");
        assert!(posted(&KIND, &[], "{}").is_err());
    }
}

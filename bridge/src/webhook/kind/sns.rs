//! Amazon's SNS: notifications of a topic, alarms of CloudWatch and events of EventBridge among them. Which of them are Amazon's own is
//! `webhook/sns`.

use serde_json::Value;
use tellhal::message::{Severity, Status};

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::{Reach as _, first_line, joined};

pub(crate) const KIND: Kind = Kind {
    name: "sns",
    tag: "sns.{topic}",
    parts: &["topic", "event", "account", "region"],
    proofs: &[Proof::Token],
    read: Read::Own(read),
};

fn read(request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    let body = request.json()?;
    let arn = body.text("/TopicArn");
    let words: Vec<&str> = arn.split(':').collect();
    let (region, account, topic) = match words[..] {
        ["arn", _, "sns", region, account, topic] => (region, account, topic),
        _ => return Err(Refusal::malformed("there is no \"TopicArn\" of SNS")),
    };
    let (event, name) = match body.text("/Type").as_str() {
        "Notification" => notification(&body, topic),
        "SubscriptionConfirmation" => (
            Event::new(format!("this bridge is subscribed to {topic}")).severity(Severity::Notice),
            "subscribed",
        ),
        "UnsubscribeConfirmation" => (
            Event::new(format!(
                "this bridge is no longer subscribed to {topic}: nothing of it is told from now on"
            ))
            .severity(Severity::Warning),
            "unsubscribed",
        ),
        _ => return Err(Refusal::malformed("the \"Type\" is none of SNS")),
    };
    let event = event.id(body.text("/MessageId")).field("topic", topic);
    Ok(vec![event.part("topic", topic).part("event", name).part("account", account).part("region", region)])
}

/// The event of a notification, and its name.
fn notification(body: &Value, topic: &str) -> (Event, &'static str) {
    let (subject, text) = (body.text("/Subject"), body.text("/Message"));
    match serde_json::from_str::<Value>(&text) {
        Ok(inner) if !inner.text("/AlarmName").is_empty() => (alarm(&inner), "alarm"),
        Ok(inner) if !inner.text("/detail-type").is_empty() => (of_event_bridge(&inner), "event"),
        _ => {
            let title = if subject.is_empty() { joined(&[topic, first_line(&text)], ": ") } else { subject };
            (Event::new(title).text(text), "notification")
        }
    }
}

/// An alarm of CloudWatch, which is over when its state is OK.
fn alarm(alarm: &Value) -> Event {
    let (name, state) = (alarm.text("/AlarmName"), alarm.text("/NewStateValue"));
    let arn = alarm.text("/AlarmArn");
    let region = arn.split(':').nth(3).unwrap_or_default();
    let said = match state.as_str() {
        "INSUFFICIENT_DATA" => "insufficient data".to_owned(),
        _ => state.clone(),
    };
    let text = joined(&[&alarm.text("/AlarmDescription"), &alarm.text("/NewStateReason")], "\n");
    let event = Event::new(joined(&[&name, &said], ": ")).text(text);
    let event = match state.as_str() {
        "ALARM" => event.status(Status::Failed, Severity::Error),
        "OK" => event.status(Status::Resolved, Severity::Error),
        _ => event.severity(Severity::Warning),
    };
    let link = match region {
        "" => String::new(),
        _ => format!(
            "https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}#alarmsV2:alarm/{}",
            escaped(&name)
        ),
    };
    event.key(if arn.is_empty() { name } else { arn.clone() }).link("", link)
}

fn of_event_bridge(event: &Value) -> Event {
    let (source, kind) = (event.text("/source"), event.text("/detail-type"));
    let of = event.list("/resources").first().and_then(Value::as_str).unwrap_or_default();
    let detail = event.pointer("/detail").map(Value::to_string).unwrap_or_default();
    Event::new(joined(&[&source, &kind], ": ")).text(detail).field("resource", of)
}

/// A name as a part of an address.
fn escaped(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::posted;
    use super::*;

    fn event(more: Value) -> Event {
        let mut body = json!({"Type": "Notification", "MessageId": "m1", "TopicArn": "arn:aws:sns:eu-west-1:123456789012:alarms"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        posted(&KIND, &[("content-type", "text/plain; charset=UTF-8")], &body.to_string()).unwrap().remove(0)
    }

    #[test]
    fn alarms_begin_and_end_under_one_key() {
        let alarm = |state: &str| {
            let inner = json!({"AlarmName": "disk full", "AlarmDescription": "Clean up", "NewStateValue": state, "NewStateReason": "Threshold Crossed",
                "AlarmArn": "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:disk full", "StateChangeTime": "2026-11-28T01:00:00.000+0000"});
            event(
                json!({"Subject": format!("{state}: \"disk full\" in EU (Ireland)"), "Message": inner.to_string()}),
            )
        };
        let (begun, over) = (alarm("ALARM"), alarm("OK"));
        assert_eq!(
            (begun.title.as_str(), begun.text.as_str()),
            ("disk full: ALARM", "Clean up\nThreshold Crossed")
        );
        assert_eq!((begun.status, begun.severity), (Some(Status::Failed), Severity::Error));
        assert_eq!((over.status, &over.key), (Some(Status::Resolved), &begun.key));
        assert_eq!(
            begun.links[0].url,
            "https://eu-west-1.console.aws.amazon.com/cloudwatch/home?region=eu-west-1#alarmsV2:alarm/disk%20full"
        );
        assert_eq!(alarm("INSUFFICIENT_DATA").status, None);
        assert_eq!((begun.parts["topic"].as_str(), begun.parts["event"].as_str()), ("alarms", "alarm"));
    }

    #[test]
    fn other_notifications_are_texts() {
        let plain = event(json!({"Message": "first\nsecond"}));
        assert_eq!((plain.title.as_str(), plain.id.as_deref()), ("alarms: first", Some("m1")));
        assert_eq!(event(json!({"Subject": "Backup done", "Message": "{}"})).title, "Backup done");
        let inner = json!({"detail-type": "EC2 Instance State-change Notification", "source": "aws.ec2", "resources": ["arn:i-1"], "detail": {"state": "stopped"}});
        let event_bridge = event(json!({"Message": inner.to_string()}));
        assert_eq!(event_bridge.title, "aws.ec2: EC2 Instance State-change Notification");
        assert_eq!(
            (event_bridge.text.as_str(), event_bridge.fields["resource"].as_str()),
            (r#"{"state":"stopped"}"#, "arn:i-1")
        );
        let gone = event(
            json!({"Type": "UnsubscribeConfirmation", "SubscribeURL": "https://x.example", "Token": "t"}),
        );
        assert_eq!(
            (gone.severity, gone.links.len()),
            (Severity::Warning, 0),
            "its address would subscribe again"
        );
        for wrong in [
            "{}",
            r#"{"Type":"Notification","TopicArn":"x"}"#,
            r#"{"Type":"Other","TopicArn":"arn:aws:sns:r:1:t"}"#,
        ] {
            assert!(posted(&KIND, &[], wrong).is_err(), "{wrong}");
        }
    }
}

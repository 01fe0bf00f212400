//! MQTT 5.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rumqttc_v5::mqttbytes::v5::{
    ConnectReturnCode, DisconnectReasonCode, Packet, PubAck, PubAckReason, RetainForwardRule,
    SubscribeFilter, SubscribeReasonCode,
};
use rumqttc_v5::mqttbytes::{self, QoS};
use rumqttc_v5::{
    AckMode, AsyncClient, BrokerSessionResumePolicy, ConnectionError, Event as Raw, EventLoop, ManualAck,
    MqttOptions, PublishOptions, PublishResult, StateError,
};

use super::config::Settings;
use super::stream::connect;
use super::wire::{Arrived, Event, Keep, Published, Wire};
use crate::platform::Failure;
use crate::tls;

/// The time between signs of life, in seconds.
const KEEP_ALIVE: u16 = 30;
/// The most bytes of a packet beside topic and payload.
const OVERHEAD: usize = 16;
/// The longest wait for answers before a goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// The packets that are read at once: acknowledgements are sent between two reads.
const BATCH: usize = 1;
/// The time for which the broker keeps the session of a client that is away: a week, in seconds.
const SESSION: u32 = 7 * 24 * 60 * 60;

pub(super) struct Five {
    settings: Settings,
    client: AsyncClient,
    events: EventLoop,
    /// The longest packet that the broker takes, and whether it retains messages.
    largest: Option<u32>,
    retains: bool,
}

impl Five {
    pub(super) fn new(settings: Settings, keep: Keep) -> Five {
        let broker = (settings.host.clone(), settings.port);
        let mut options = MqttOptions::new(settings.client_id.clone(), broker);
        options
            .set_keep_alive(KEEP_ALIVE)
            .set_ack_mode(AckMode::Manual)
            .set_read_batch_size(BATCH)
            .set_clean_start(keep == Keep::Nothing)
            // Another process may have held the session before; the messages that the broker has kept are wanted.
            .set_broker_session_resume_policy(BrokerSessionResumePolicy::AllowBrokerOnly);
        if let Keep::Session { inflight } = keep {
            options.set_session_expiry_interval(Some(SESSION)).set_receive_maximum(Some(inflight));
        }
        // Nothing is refused for its size: the stream below cuts it. The properties above would set the default limit again.
        options.set_unlimited_incoming_packet_size();
        match (&settings.user, &settings.password) {
            (Some(user), Some(password)) => drop(options.set_credentials(user, password.reveal().to_owned())),
            (Some(user), None) => drop(options.set_username(user)),
            (None, _) => {}
        }
        let to = settings.clone();
        options.set_socket_connector(move |_, _| {
            let settings = to.clone();
            async move { connect(&settings).await }
        });
        let (client, events) = AsyncClient::builder(options).unbounded().build();
        Five { settings, client, events, largest: None, retains: true }
    }

    fn failure(&self, error: ConnectionError) -> Failure {
        let settings = &self.settings;
        match error {
            ConnectionError::ConnectionRefused(code)
            | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => self.refused(code),
            ConnectionError::Io(error)
            | ConnectionError::MqttState(
                StateError::Io(error) | StateError::Deserialization(mqttbytes::Error::Io(error)),
            ) => settings.transient(&tls::refusal(&error).unwrap_or_else(|| error.to_string())),
            ConnectionError::MqttState(StateError::ConnectionAborted) => {
                settings.transient("the broker closed the connection")
            }
            ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
                let why = match reason_code {
                    DisconnectReasonCode::SessionTakenOver => {
                        format!("another client came with the id {}", settings.client_id)
                    }
                    code => reason_string.unwrap_or_else(|| format!("{code:?}")),
                };
                settings.transient(&format!("the broker closed the connection: {why}"))
            }
            ConnectionError::MqttState(StateError::AwaitPingResp) | ConnectionError::Timeout(_) => {
                settings.transient("the broker does not answer")
            }
            error => settings.transient(&error.to_string()),
        }
    }

    fn refused(&self, code: ConnectReturnCode) -> Failure {
        use ConnectReturnCode as Code;
        let settings = &self.settings;
        match code {
            Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => {
                settings.refused("it does not speak MQTT 5", true)
            }
            Code::BadClientId | Code::ClientIdentifierNotValid => {
                settings.refused("it does not take the client id", true)
            }
            Code::BadUserNamePassword => settings.refused("wrong user or password", true),
            Code::NotAuthorized => settings.refused("wrong user or password, or no right", true),
            Code::Banned => settings.refused("this client is banned", true),
            Code::BadAuthenticationMethod => settings.refused("it wants another kind of proof", true),
            code => settings.refused(&format!("{code:?}"), false),
        }
    }
}

/// The meaning of an answer to what was published.
fn judged(settings: &Settings, answer: &PubAck) -> Result<(), Failure> {
    let text = answer.properties.as_ref().and_then(|properties| properties.reason_string.as_deref());
    let reason = |words: &str| {
        let more = text.map(|text| format!(" ({text})")).unwrap_or_default();
        settings.reason(&format!("{words}{more}"))
    };
    match answer.reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
        PubAckReason::NotAuthorized => {
            Err(Failure::Auth { reason: reason("no right to publish to the topic") })
        }
        PubAckReason::TopicNameInvalid => {
            Err(Failure::Permanent { reason: reason("the broker does not take the topic") })
        }
        PubAckReason::PayloadFormatInvalid => {
            Err(Failure::Permanent { reason: reason("the broker does not take the payload") })
        }
        PubAckReason::QuotaExceeded => Err(Failure::transient(reason("a quota is used up"))),
        PubAckReason::UnspecifiedError
        | PubAckReason::ImplementationSpecificError
        | PubAckReason::PacketIdentifierInUse => {
            Err(Failure::transient(reason(&format!("the broker refuses it: {:?}", answer.reason))))
        }
    }
}

#[async_trait]
impl Wire for Five {
    async fn next(&mut self) -> Result<Event, Failure> {
        let packet = match self.events.poll().await {
            Ok(Raw::Incoming(packet)) => packet,
            Ok(_) => return Ok(Event::Other),
            Err(error) => return Err(self.failure(error)),
        };
        Ok(match packet {
            Packet::ConnAck(answer) => {
                let limits = answer.properties.as_ref();
                self.largest = limits.and_then(|limits| limits.max_packet_size);
                self.retains = limits.and_then(|limits| limits.retain_available) != Some(0);
                Event::Connected { has_session: answer.session_present }
            }
            Packet::SubAck(answer) => {
                let refused = |code| match code {
                    SubscribeReasonCode::Success(_) => Ok(()),
                    code => Err(format!("the broker refuses it: {code:?}")),
                };
                Event::Subscribed(answer.return_codes.into_iter().map(refused).collect())
            }
            Packet::Publish(publish) => Event::Arrived(Arrived {
                topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                payload: publish.payload,
                is_retained: publish.retain,
                is_repeated: publish.dup,
                packet: (publish.qos != QoS::AtMostOnce).then_some(publish.pkid),
            }),
            _ => Event::Other,
        })
    }

    fn subscribe(&self, filters: &[String], retained: bool) -> Result<(), String> {
        let rule = if retained { RetainForwardRule::OnNewSubscribe } else { RetainForwardRule::Never };
        let filters = filters.iter().map(|filter| SubscribeFilter {
            retain_forward_rule: rule.clone(),
            ..SubscribeFilter::new(filter.clone(), QoS::AtLeastOnce)
        });
        self.client.try_subscribe_many(filters).map_err(|error| error.to_string())
    }

    fn unsubscribe(&self, filters: &[String]) -> Result<(), String> {
        self.client.try_unsubscribe_many(filters.iter().cloned()).map_err(|error| error.to_string())
    }

    fn acknowledge(&self, packet: u16) -> Result<(), String> {
        let ack = ManualAck::PubAck(PubAck::new(packet, None));
        self.client.try_manual_ack(ack).map_err(|error| error.to_string())
    }

    fn publish(&self, topic: &str, payload: Bytes, retain: bool) -> Result<Published, Failure> {
        // The client would end the connection over either.
        let refused = |what: &str| Err(Failure::Permanent { reason: self.settings.reason(what) });
        if retain && !self.retains {
            return refused("the broker retains no messages; write state = \"\"");
        }
        let size = topic.len() + payload.len() + OVERHEAD;
        if self.largest.is_some_and(|largest| size > largest as usize) {
            return refused("the message is longer than the broker takes");
        }
        let options = PublishOptions::new(QoS::AtLeastOnce).retain(retain);
        let notice = self.client.try_publish_tracked(topic, payload, options);
        let notice = notice.map_err(|error| self.settings.transient(&error.to_string()))?;
        let settings = self.settings.clone();
        Ok(Box::pin(async move {
            match notice.wait_async().await {
                Ok(PublishResult::Qos1(answer)) => judged(&settings, &answer),
                Ok(_) => Ok(()),
                Err(_) => Err(settings.lost()),
            }
        }))
    }

    fn disconnect(&self) {
        let _ = self.client.try_disconnect_with_timeout(GOODBYE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::mqtt::Broker;

    #[test]
    fn each_answer_is_permanent_or_temporary() {
        let settings = Broker { url: "mqtt://b".into(), ..Broker::default() }.settings("x").unwrap();
        for (reason, wanted) in [
            (PubAckReason::Success, "sent"),
            (PubAckReason::NoMatchingSubscribers, "sent"),
            (PubAckReason::UnspecifiedError, "transient"),
            (PubAckReason::ImplementationSpecificError, "transient"),
            (PubAckReason::NotAuthorized, "auth"),
            (PubAckReason::TopicNameInvalid, "permanent"),
            (PubAckReason::PacketIdentifierInUse, "transient"),
            (PubAckReason::QuotaExceeded, "transient"),
            (PubAckReason::PayloadFormatInvalid, "permanent"),
        ] {
            let answer = PubAck { reason, ..PubAck::new(1, None) };
            let decision = match judged(&settings, &answer) {
                Ok(()) => "sent",
                Err(Failure::Transient { ambiguous: false, .. }) => "transient",
                Err(Failure::Transient { .. }) => "unknown",
                Err(Failure::Permanent { .. }) => "permanent",
                Err(Failure::Auth { .. }) => "auth",
            };
            assert_eq!(decision, wanted, "{reason:?}");
        }
    }
}

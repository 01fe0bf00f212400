//! MQTT 3.1.1.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rumqttc_v4::mqttbytes;
use rumqttc_v4::mqttbytes::v4::{ConnectReturnCode, PubAck, SubscribeReasonCode};
use rumqttc_v4::{
    AckMode, AsyncClient, ConnectionError, Event as Raw, EventLoop, ManualAck, MqttOptions, Packet,
    PublishOptions, QoS, StateError, SubscribeFilter,
};

use super::config::Settings;
use super::stream::{LARGEST_PACKET, connect};
use super::wire::{Arrived, Event, Keep, Published, Wire};
use crate::platform::Failure;
use crate::tls;

/// The time between signs of life, in seconds.
const KEEP_ALIVE: u16 = 30;
/// The longest wait for answers before a goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// The packets that are read at once: acknowledgements are sent between two reads.
const BATCH: usize = 1;

pub(super) struct Three {
    settings: Settings,
    client: AsyncClient,
    events: EventLoop,
}

impl Three {
    pub(super) fn new(settings: Settings, keep: Keep) -> Three {
        let broker = (settings.host.clone(), settings.port);
        let mut options = MqttOptions::new(settings.client_id.clone(), broker);
        options
            .set_keep_alive(KEEP_ALIVE)
            .set_clean_session(keep == Keep::Nothing)
            .set_ack_mode(AckMode::Manual)
            .set_read_batch_size(BATCH)
            // The head of a packet comes on top.
            .set_max_packet_size(LARGEST_PACKET + 16, usize::MAX);
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
        Three { settings, client, events }
    }

    fn failure(&self, error: ConnectionError) -> Failure {
        let settings = &self.settings;
        match error {
            ConnectionError::ConnectionRefused(code) => match code {
                ConnectReturnCode::RefusedProtocolVersion => {
                    settings.refused("it does not speak MQTT 3.1.1", true)
                }
                ConnectReturnCode::BadClientId => settings.refused("it does not take the client id", true),
                ConnectReturnCode::BadUserNamePassword => settings.refused("wrong user or password", true),
                ConnectReturnCode::NotAuthorized => {
                    settings.refused("wrong user or password, or no right", true)
                }
                ConnectReturnCode::ServiceUnavailable => settings.refused("it is not available", false),
                code => settings.refused(&format!("{code:?}"), false),
            },
            ConnectionError::Io(error)
            | ConnectionError::MqttState(
                StateError::Io(error) | StateError::Deserialization(mqttbytes::Error::Io(error)),
            ) => settings.transient(&tls::refusal(&error).unwrap_or_else(|| error.to_string())),
            ConnectionError::MqttState(StateError::ConnectionAborted) => {
                settings.transient("the broker closed the connection")
            }
            ConnectionError::MqttState(StateError::AwaitPingResp) | ConnectionError::NetworkTimeout => {
                settings.transient("the broker does not answer")
            }
            error => settings.transient(&error.to_string()),
        }
    }
}

#[async_trait]
impl Wire for Three {
    async fn next(&mut self) -> Result<Event, Failure> {
        let packet = match self.events.poll().await {
            Ok(Raw::Incoming(packet)) => packet,
            Ok(_) => return Ok(Event::Other),
            Err(error) => return Err(self.failure(error)),
        };
        Ok(match packet {
            Packet::ConnAck(answer) => Event::Connected { has_session: answer.session_present },
            Packet::SubAck(answer) => {
                let refused = |code| match code {
                    SubscribeReasonCode::Success(_) => Ok(()),
                    SubscribeReasonCode::Failure => Err("the broker refuses it".to_owned()),
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

    /// The broker sends what it has retained in any case.
    fn subscribe(&self, filters: &[String], _retained: bool) -> Result<(), String> {
        let filters =
            filters.iter().map(|filter| SubscribeFilter { path: filter.clone(), qos: QoS::AtLeastOnce });
        self.client.try_subscribe_many(filters).map_err(|error| error.to_string())
    }

    fn unsubscribe(&self, filters: &[String]) -> Result<(), String> {
        self.client.try_unsubscribe_many(filters.iter().cloned()).map_err(|error| error.to_string())
    }

    fn acknowledge(&self, packet: u16) -> Result<(), String> {
        let ack = ManualAck::PubAck(PubAck::new(packet));
        self.client.try_manual_ack(ack).map_err(|error| error.to_string())
    }

    fn publish(&self, topic: &str, payload: Bytes, retain: bool) -> Result<Published, Failure> {
        let options = PublishOptions::new(QoS::AtLeastOnce).retain(retain);
        let notice = self.client.try_publish_tracked(topic, payload, options);
        let notice = notice.map_err(|error| self.settings.transient(&error.to_string()))?;
        let lost = self.settings.lost();
        Ok(Box::pin(async move { notice.wait_async().await.map(drop).map_err(|_| lost) }))
    }

    fn disconnect(&self) {
        let _ = self.client.try_disconnect_with_timeout(GOODBYE);
    }
}

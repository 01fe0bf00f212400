//! Prometheus metrics. Never a label per host or raw tag.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SourceOutcome {
    pub(crate) source: &'static str,
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReloadOutcome {
    pub(crate) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CommandOutcome {
    pub(crate) chat: &'static str,
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct MonitorOutcome {
    pub(crate) kind: &'static str,
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ChatRequest {
    pub(crate) chat: &'static str,
    pub(crate) status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct WebhookRequest {
    pub(crate) kind: &'static str,
    pub(crate) status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DeviceInput {
    pub(crate) kind: &'static str,
    pub(crate) outcome: &'static str,
}

/// Labels of a chat or an intake of MQTT: its kind and its name in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SessionLabel {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct MonitorLabel {
    pub(crate) monitor: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// Labels of a message of MQTT that is not told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct IgnoredMessage {
    pub(crate) reason: &'static str,
}

/// All metrics, behind cheap handles.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// `outcome` is acknowledged, spooled or lost.
    pub(crate) messages: Family<SourceOutcome, Counter>,
    /// Spooled messages that were sent later.
    pub(crate) flushed: Counter,
    pub(crate) spooled: Gauge,
    pub(crate) connected: Gauge,
    /// 1 while this bridge hears the chat or the broker's topics, 0 while it stands by or cannot.
    pub(crate) sessions: Family<SessionLabel, Gauge>,
    /// 1 if the monitor's last look had an answer; only on the bridge that looks.
    pub(crate) monitors: Family<MonitorLabel, Gauge>,
    /// 1 while the files and the configuration in force are the same.
    pub(crate) config_ok: Gauge,
    /// `chat` is the kind of chat; `outcome` the kind of the last entry in the audit, or `dropped` in a flood.
    pub(crate) commands: Family<CommandOutcome, Counter>,
    /// `chat` is the kind of chat; `status` the HTTP status that its platform got.
    pub(crate) chat_requests: Family<ChatRequest, Counter>,
    /// `kind` is the kind of webhook, or `none`; `status` the HTTP status that the sender got.
    pub(crate) webhook_requests: Family<WebhookRequest, Counter>,
    /// `kind` is syslog_udp, syslog_tcp or mail; `outcome` is kept, or the reason why an input became no message.
    pub(crate) device_inputs: Family<DeviceInput, Counter>,
    /// `kind` is the kind of monitor; `outcome` is good, wrong, no_data or failed.
    pub(crate) observations: Family<MonitorOutcome, Counter>,
    /// `reason` is retained or unmatched.
    pub(crate) mqtt_ignored: Family<IgnoredMessage, Counter>,
    /// `kind` is accepted or refused.
    pub(crate) reloads: Family<ReloadOutcome, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("hal_bridge");
        let messages = Family::default();
        let (flushed, spooled, connected) = (Counter::default(), Gauge::default(), Gauge::default());
        registry.register("messages", "Messages by source and outcome", messages.clone());
        registry.register("flushed", "Spooled messages that were sent later", flushed.clone());
        registry.register("spooled_messages", "Messages that wait in the spool", spooled.clone());
        registry.register("connected", "1 while the bus is connected", connected.clone());
        let (config_ok, reloads) = (Gauge::default(), Family::default());
        let help = "1 if the last reload of the configuration succeeded";
        registry.register("config_last_reload_successful", help, config_ok.clone());
        let (sessions, monitors) = (Family::default(), Family::default());
        let help = "1 while this bridge hears the chat or the broker, by kind and name";
        registry.register("session_up", help, sessions.clone());
        let help = "1 if the last look of the monitor had an answer";
        registry.register("monitor_up", help, monitors.clone());
        registry.register("config_reloads", "Changed configurations by outcome", reloads.clone());
        let commands = Family::default();
        registry.register("commands", "Chat commands by kind of chat and outcome", commands.clone());
        let chat_requests = Family::default();
        registry.register(
            "chat_requests",
            "Requests of chats' platforms by kind of chat and the status of the answer",
            chat_requests.clone(),
        );
        let webhook_requests = Family::default();
        registry.register(
            "webhook_requests",
            "Requests of webhooks by their kind and the status of the answer",
            webhook_requests.clone(),
        );
        let device_inputs = Family::default();
        registry.register(
            "device_inputs",
            "Messages of devices by the kind of listener and their outcome",
            device_inputs.clone(),
        );
        let observations = Family::default();
        registry.register("observations", "Looks of monitors by kind and outcome", observations.clone());
        let mqtt_ignored = Family::default();
        registry.register("mqtt_ignored", "Messages of MQTT brokers that are not told", mqtt_ignored.clone());
        let build: Family<Build, Gauge> = Family::default();
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "The bridge's version", build);
        Metrics {
            registry,
            messages,
            flushed,
            spooled,
            connected,
            sessions,
            monitors,
            config_ok,
            reloads,
            commands,
            chat_requests,
            webhook_requests,
            device_inputs,
            observations,
            mqtt_ignored,
        }
    }
}

impl Metrics {
    /// The metrics in Prometheus' text format.
    pub(crate) fn text(&self) -> String {
        service::metrics::encode(&self.registry)
    }
}

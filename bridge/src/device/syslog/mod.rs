//! `[syslog.NAME]`: messages of devices over UDP and TCP. Without TLS, and without an answer: a message that this process has taken
//! from a socket and not yet kept is lost with the process, as with every receiver of syslog.

pub(crate) mod config;
mod frame;
mod intake;
mod line;
mod tcp;
pub(crate) mod tried;
mod udp;

use std::net::SocketAddr;
use std::sync::Arc;

use super::listeners::{Listen, Settings, Sockets};
use super::tally::Tally;
use crate::means::{Means, Running};
use config::Config;
use intake::Intake;

impl Listen for Config {
    const SECTION: &'static str = "syslog";

    fn udp(&self) -> Option<SocketAddr> {
        self.udp
    }

    fn tcp(&self) -> Option<SocketAddr> {
        self.tcp
    }

    fn serve(name: &str, sockets: Sockets, settings: Settings<Self>, means: &Means, running: &Running) {
        let intake = |kind| {
            let tally = Tally::new(kind, format!("syslog.{name}"), &means.metrics);
            let (outbox, stop) = (means.outbox.clone(), running.stop.clone());
            running.tasks.spawn({
                let (tally, outbox) = (tally.clone(), outbox.clone());
                async move { tally.report(&outbox, &stop).await }
            });
            let (source, settings) = (format!("in-{name}"), settings.clone());
            Arc::new(Intake { source, settings, rates: Default::default(), tally, outbox })
        };
        if let Some(socket) = sockets.udp {
            running.tasks.spawn(udp::serve(socket, intake("syslog_udp"), running.stop.clone()));
        }
        if let Some(listener) = sockets.tcp {
            running.tasks.spawn(tcp::serve(listener, intake("syslog_tcp"), running.stop.clone()));
        }
    }
}

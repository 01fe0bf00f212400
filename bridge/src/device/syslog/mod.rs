//! `[syslog.NAME]`: messages of devices over UDP and TCP. Without TLS, and without an answer: a message that this process has taken
//! from a socket and not yet kept is lost with the process, as with every receiver of syslog.

pub(crate) mod config;
mod frame;
mod intake;
mod line;
mod tcp;
pub(crate) mod tried;
mod udp;

use std::sync::Arc;

use super::listeners::{Listen, Port, Settings, Socket};
use super::tally::Tally;
use crate::means::{Means, Running};
use config::Config;
use intake::Intake;

impl Listen for Config {
    const SECTION: &'static str = "syslog";

    fn ports(&self) -> Vec<Port> {
        self.udp.map(Port::Udp).into_iter().chain(self.tcp.map(Port::Tcp)).collect()
    }

    fn serve(name: &str, socket: Socket, settings: Settings<Self>, means: &Means, running: &Running) {
        let intake = |kind| {
            let tally = Tally::new(kind, format!("syslog.{name}"), &means.metrics);
            let (outbox, stop) = (means.outbox.clone(), running.stop.clone());
            running.tasks.spawn({
                let (tally, outbox) = (tally.clone(), outbox.clone());
                async move { tally.report(&outbox, &stop).await }
            });
            let source = format!("in-{name}");
            Arc::new(Intake { source, settings, rates: Default::default(), tally, outbox })
        };
        let stop = running.stop.clone();
        match socket {
            Socket::Udp(socket) => running.tasks.spawn(udp::serve(socket, intake("syslog_udp"), stop)),
            Socket::Tcp(listener) => running.tasks.spawn(tcp::serve(listener, intake("syslog_tcp"), stop)),
        };
    }
}

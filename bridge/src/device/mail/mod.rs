//! `[mail.NAME]`: an SMTP listener for devices that can only mail. It relays nothing, asks for no password, and has no TLS: devices of
//! the networks that may use it are all that it is for.

pub(crate) mod config;
mod intake;
mod letter;
mod lines;
mod session;
mod talk;
pub(crate) mod tried;

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::connections::{Most, Places, accept};
use super::listeners::{Listen, Port, Settings, Socket};
use super::tally::Tally;
use crate::means::{Means, Running};
use crate::once::Once;
use config::Config;
use intake::{Intake, SOURCE};
use talk::{TIMES, talk};

const MOST: Most = Most { all: 64, one_address: 16 };

impl Listen for Config {
    const SECTION: &'static str = "mail";

    fn ports(&self) -> Vec<Port> {
        vec![Port::Tcp(self.listen)]
    }

    fn serve(name: &str, socket: Socket, settings: Settings<Self>, means: &Means, running: &Running) {
        let Socket::Tcp(listener) = socket else { return };
        let tally = Tally::new(SOURCE, format!("mail.{name}"), &means.metrics);
        let (outbox, stop) = (means.outbox.clone(), running.stop.clone());
        let intake = Arc::new(Intake {
            name: name.to_owned(),
            settings,
            tally: tally.clone(),
            outbox: outbox.clone(),
            once: Once::new(&means.bus, SOURCE),
        });
        running.tasks.spawn({
            let stop = stop.clone();
            async move { tally.report(&outbox, &stop).await }
        });
        running.tasks.spawn(serve(listener, intake, stop));
    }
}

/// Takes connections until `stop`.
async fn serve(listener: TcpListener, intake: Arc<Intake>, stop: CancellationToken) {
    let places = Places::new(MOST);
    accept(listener, stop.clone(), |stream, peer| {
        if !intake.admits(peer) {
            refuse(&stream, "554 5.7.1 this network may not send here\r\n");
            return None;
        }
        let Some(place) = places.take(peer) else {
            intake.tally.lose("too_many_connections", peer);
            refuse(&stream, "421 4.7.0 too many connections; try again\r\n");
            return None;
        };
        let (intake, stop) = (intake.clone(), stop.clone());
        Some(async move {
            talk(stream, peer, &intake, TIMES, &stop).await;
            drop(place);
        })
    })
    .await;
}

/// Answers a connection that is not taken, if that can be done without waiting.
fn refuse(stream: &TcpStream, answer: &str) {
    if let Err(error) = stream.try_write(answer.as_bytes()) {
        tracing::debug!(%error, "a refused connection is not told why");
    }
}

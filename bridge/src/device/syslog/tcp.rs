//! Connections with many messages each. The sender waits while a message is being kept, or while its address is over its rate.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::frame::{Frame, Frames};
use super::intake::Intake;
use super::line::Transport;
use crate::device::connections::{Most, Places, accept};

const MOST: Most = Most { all: 256, one_address: 32 };
/// The longest time without a whole message. A sender learns of a closed connection only from its second message on, so that this is long.
const IDLE: Duration = Duration::from_secs(3600);
/// The time in which messages that were on their way are taken when the listener ends.
const LAST: Duration = Duration::from_millis(200);

/// Takes connections until `stop`.
pub(super) async fn serve(listener: TcpListener, intake: Arc<Intake>, stop: CancellationToken) {
    let places = Places::new(MOST);
    accept(listener, stop.clone(), |stream, peer| {
        if !intake.admits(peer) {
            return None;
        }
        let Some(place) = places.take(peer) else {
            intake.tally.lose("too_many_connections", peer);
            return None;
        };
        let (intake, stop) = (intake.clone(), stop.clone());
        Some(async move {
            receive(stream, peer, &intake, &stop).await;
            drop(place);
        })
    })
    .await;
}

async fn receive(mut stream: TcpStream, peer: IpAddr, intake: &Intake, stop: &CancellationToken) {
    let (mut frames, mut piece) = (Frames::default(), vec![0; 16 << 10]);
    let (mut until, mut is_ending) = (Instant::now() + IDLE, false);
    // A network that is no longer allowed ends its connections.
    while intake.settings().allow.contain(peer) {
        let length = tokio::select! {
            read = timeout_at(until, stream.read(&mut piece)) => match read {
                Ok(Ok(length @ 1..)) => length,
                _ => break,
            },
            () = stop.cancelled(), if !is_ending => {
                (until, is_ending) = (Instant::now() + LAST, true);
                continue;
            }
        };
        frames.push(&piece[..length]);
        while let Some(frame) = frames.next() {
            take(frame, peer, intake).await;
            until = if is_ending { until } else { Instant::now() + IDLE };
        }
    }
    if let Some(rest) = frames.end() {
        take(rest, peer, intake).await;
    }
}

async fn take(frame: Frame, peer: IpAddr, intake: &Intake) {
    while let Err(wait) = intake.rates.of(peer, intake.settings().rate).take() {
        sleep(wait).await;
    }
    let Some(mut message) = intake.read(&frame.bytes, Transport::Tcp, peer) else { return };
    if frame.is_cut {
        intake.tally.count("cut");
        message.fields.insert("cut".into(), "the end of this message was not read".into());
    }
    intake.keep(&message, peer).await;
}

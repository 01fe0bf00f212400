//! Tells the user of a listener about its connection: lost, back, and what was missed meanwhile.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use tellhal::Publisher;
use tokio::time::timeout;

use crate::exit::say;

/// A shorter interruption is not told to a listener that misses nothing by it.
const MOMENT: Duration = Duration::from_secs(1);

/// Prints a line when the connection is lost and one when it is back, and never returns. A live listener misses the
/// messages of even a short interruption.
pub(super) async fn report(publisher: &Publisher, live: bool) -> Infallible {
    let (mut link, server) = (publisher.link(), publisher.server());
    let mut lost = link.borrow().lost;
    loop {
        // The sender lives as long as the connection, which is made again without end.
        if link.wait_for(|link| link.lost > lost).await.is_err() {
            return pending().await;
        }
        let short = timeout(MOMENT, link.wait_for(|link| link.up)).await.is_ok();
        if !short {
            say(format!("the connection to {server} is lost; trying to connect again"));
            let _ = link.wait_for(|link| link.up).await;
        }
        let missed = "; messages published meanwhile were missed, which --durable avoids";
        match (short, live) {
            (true, true) => say(format!("the connection to {server} was interrupted{missed}")),
            (false, true) => say(format!("connected again{missed}")),
            (false, false) => say("connected again"),
            (true, false) => {}
        }
        lost = link.borrow().lost;
    }
}

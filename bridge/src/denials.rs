//! Logs the denials of the server: subjects that a connection may not use. A denied question gets no answer, so that without a log
//! line it looks as if the other side were silent.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

/// After this time a denial that comes again is logged again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// The number of different denials that are logged in that time.
const MOST: usize = 32;

/// Logs denials until the connection is dropped, each once a minute: the same one may come with every message.
pub(crate) async fn log(mut denials: Receiver<String>) {
    let mut told = HashSet::new();
    let mut since = Instant::now();
    loop {
        let denial = match denials.recv().await {
            Ok(denial) => denial,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        if since.elapsed() >= AGAIN_AFTER {
            told.clear();
            since = Instant::now();
        }
        if told.len() < MOST && told.insert(denial.clone()) {
            tracing::error!(denial, "the server does not permit it");
        }
    }
}

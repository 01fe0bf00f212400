//! Waits for a condition instead of for a fixed time.

use std::time::{Duration, Instant};

/// Long enough for an expected condition, on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(20);

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until `condition` holds. Panics with `what` if it does not within `timeout`.
pub async fn wait_until(what: &str, timeout: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + timeout;
    while !condition().await {
        assert!(Instant::now() < until, "waited {timeout:?} in vain: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

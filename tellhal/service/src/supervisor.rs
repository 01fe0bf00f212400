//! Notices to systemd, which has started the service: it is ready, it is alive, it is stopping. Elsewhere they go nowhere, and a
//! notice that cannot be sent is no failure.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// The service has its configuration and its ports, and all its parts run. It may still wait for its servers.
pub fn ready() {
    notify(NotifyState::Ready);
}

/// The service takes nothing new and finishes its work.
pub fn stopping() {
    notify(NotifyState::Stopping);
}

/// Sends a sign of life twice in each `WatchdogSec=` until `stop`; returns at once if systemd expects none. It is to run beside the
/// work that it vouches for, on the same thread. While `alive` gives a reason, nothing is sent, so that systemd restarts the service.
pub async fn watchdog(alive: impl Fn() -> Result<(), String>, stop: CancellationToken) {
    let Some(within) = sd_notify::watchdog_enabled() else { return };
    let mut every = tokio::time::interval((within / 2).max(Duration::from_millis(1)));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        match alive() {
            Ok(()) => notify(NotifyState::Watchdog),
            Err(reason) => tracing::error!(reason, "no sign of life is sent to systemd"),
        }
    }
}

fn notify(state: NotifyState) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "systemd could not be notified");
    }
}

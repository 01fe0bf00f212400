//! Alertmanager as a peer: fed by its API, every alert a group of its own without any wait, into the sink.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use bench::process::find;
use bench::servers::{Server, free_address};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::load::{tag, text};

/// Starts it, if it is installed.
pub fn start(folder: &Path, sink: &str) -> anyhow::Result<Option<Server>> {
    let Some(program) = find("prometheus-alertmanager").or_else(|| find("alertmanager")) else {
        return Ok(None);
    };
    let config = folder.join("alertmanager.yml");
    let yaml = format!(
        "route:\n  receiver: sink\n  group_by: ['...']\n  group_wait: 0s\n  group_interval: 1h\n\
         receivers:\n  - name: sink\n    webhook_configs:\n      - url: {sink}/in/r0\n        send_resolved: false\n"
    );
    std::fs::write(&config, yaml)?;
    let address = free_address()?;
    let mut command = Command::new(program);
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.path={}", folder.display()));
    command.arg(format!("--web.listen-address={address}"));
    command.arg("--cluster.listen-address=");
    Ok(Some(Server::start(command, address, &folder.join("alertmanager.log"))?))
}

/// Sends the messages `numbers` as one alert each, `at_once` in flight.
pub async fn feed(
    address: SocketAddr,
    numbers: std::ops::Range<usize>,
    at_once: usize,
    per_second: Option<f64>,
) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let (start, first) = (tokio::time::Instant::now(), numbers.start);
    let send = async |number: usize| -> anyhow::Result<()> {
        if let Some(per_second) = per_second {
            let due = (number - first) as f64 / per_second;
            tokio::time::sleep_until(start + std::time::Duration::from_secs_f64(due)).await;
        }
        let alert = serde_json::json!([{
            "labels": { "alertname": tag(number), "number": number.to_string() },
            "annotations": { "text": text(number) },
        }]);
        let request = client.post(format!("http://{address}/api/v2/alerts")).json(&alert);
        request.send().await?.error_for_status()?;
        Ok(())
    };
    stream::iter(numbers).map(send).buffer_unordered(at_once).try_collect::<()>().await
}

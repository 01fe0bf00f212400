//! A real nats-server for one test: its own port, its own store, gone at the end.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use tellhal::subject::Names;
use tempfile::TempDir;

pub struct Server {
    child: Child,
    folder: TempDir,
    pub url: String,
}

impl Server {
    pub async fn start() -> Server {
        let folder = tempfile::tempdir().unwrap();
        let (child, url) = launch(folder.path(), -1).await;
        Server { child, folder, url }
    }

    /// Kills the server and starts it again on its port, with what it had stored.
    pub async fn restart(&mut self) {
        self.kill();
        let port = self.url.rsplit(':').next().unwrap().parse().unwrap();
        (self.child, self.url) = launch(self.folder.path(), port).await;
    }

    pub async fn jetstream(&self) -> jetstream::Context {
        let options = async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .reconnect_delay_callback(|_| Duration::from_millis(50));
        jetstream::new(options.connect(&self.url).await.unwrap())
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn launch(folder: &Path, port: i32) -> (Child, String) {
    let child = Command::new(program())
        .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
        .arg(folder.join("store"))
        .arg("--ports_file_dir")
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ports = folder.join(format!("nats-server_{}.ports", child.id()));
    let address = wait_for("nats-server to listen", || {
        let ports: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&ports).ok()?).ok()?;
        Some(ports["nats"][0].as_str()?.to_owned())
    });
    let url = address.await;
    (child, url)
}

/// What `probe` finds, looked for until it is there.
pub async fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1000 {
        if let Some(found) = probe() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited 10 s for {what}");
}

fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("NATS_SERVER") {
        return named.into();
    }
    let pinned = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/venv/bin/nats-server");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("nats-server"));
    let found = on_path.chain([pinned]).find(|program| program.is_file());
    found.expect("no nats-server: tests/run installs one, or set NATS_SERVER to its path")
}

/// The log as the relay makes it, as far as these tests care.
pub async fn make_log(jetstream: &jetstream::Context, names: &Names) {
    make(jetstream, names.ops_stream(), vec![names.all_ops(), names.all_ctl()]).await;
}

pub async fn make(jetstream: &jetstream::Context, name: String, subjects: Vec<String>) {
    let config = stream::Config { name, subjects, allow_direct: true, ..stream::Config::default() };
    jetstream.create_stream(config).await.unwrap();
}

/// Publishes and waits for the stream to have it.
pub async fn publish(jetstream: &jetstream::Context, subject: String, payload: impl Into<String>) -> u64 {
    let payload = payload.into().into();
    jetstream.publish(subject, payload).await.unwrap().await.unwrap().sequence
}

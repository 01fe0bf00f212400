//! A cluster of real nats-servers with JetStream, on loopback.

use crate::nats::{NatsOptions, NatsServer};
use crate::ports::Port;
use crate::wait::{SOON, wait_until};
use async_nats::jetstream::stream::Config;

/// Running servers of one cluster.
#[derive(Debug)]
pub struct NatsCluster {
    /// The servers, each to pause, kill or restart.
    pub servers: Vec<NatsServer>,
    /// The ports of the routes between them, kept while the servers are down.
    _routes: Vec<Port>,
}

impl NatsCluster {
    /// Starts `count` servers, and waits until they take streams with as many replicas. `extra` is part of each configuration.
    pub async fn start(count: usize, options: &NatsOptions) -> NatsCluster {
        let routes: Vec<Port> = (0..count).map(|_| Port::free()).collect();
        let addresses: Vec<String> =
            routes.iter().map(|port| format!("\"nats://{}\"", port.addr())).collect();
        let addresses = addresses.join(", ");
        let mut servers = Vec::new();
        for (number, port) in routes.iter().enumerate() {
            let cluster = format!(
                "server_name: n{number}\ncluster {{ name: test, listen: \"{}\", routes: [{addresses}] }}\n",
                port.addr()
            );
            let extra = options.extra.clone() + if count > 1 { &cluster } else { "" };
            servers.push(NatsServer::with(NatsOptions { extra, ..options.clone() }).await);
        }
        let cluster = NatsCluster { servers, _routes: routes };
        let js = cluster.servers[0].jetstream().await;
        let config = Config { name: "READY".into(), num_replicas: count, ..Config::default() };
        wait_until("the cluster takes streams", 3 * SOON, async || js.create_stream(&config).await.is_ok())
            .await;
        js.delete_stream("READY").await.expect("the stream is there");
        cluster
    }

    /// The addresses of all servers, as a list in TOML.
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(NatsServer::url).collect()
    }
}

//! The handlers that are alive: NATS services with an endpoint under our prefix, found by the services' own discovery.
//!
//! A handler's words about itself are shown, cut to what fits, and decide nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::Client;
use futures_util::StreamExt as _;
use serde::Deserialize;
use service::text::{cut, one_line};
use tellhal::Names;
use tellhal::command::LONGEST_NAME;
use tokio::time::{Instant, timeout_at};

/// The subject on which all NATS services tell their endpoints (ADR-32).
const INFO: &str = "$SRV.INFO";
/// The wait for the first reply, and for each further one.
const FIRST: Duration = Duration::from_millis(1000);
const NEXT: Duration = Duration::from_millis(150);
/// The most replies that are read.
const MOST: usize = 2000;
/// The longest text of a handler that is shown, in bytes.
const TEXT: usize = 160;

/// A command that somebody serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Served {
    /// The command with its arguments.
    pub(crate) usage: String,
    pub(crate) help: String,
    /// The machines that serve it, as they call themselves.
    pub(crate) hosts: BTreeSet<String>,
    pub(crate) instances: usize,
}

/// The commands that are served now, by name.
pub(crate) async fn alive(client: &Client, names: &Names) -> BTreeMap<String, Served> {
    let mut served = BTreeMap::new();
    let inbox = client.new_inbox();
    let Ok(mut replies) = client.subscribe(inbox.clone()).await else { return served };
    if client.publish_with_reply(INFO, inbox, "".into()).await.is_err() {
        return served;
    }
    let mut wait = FIRST;
    for _ in 0..MOST {
        let Ok(Some(reply)) = timeout_at(Instant::now() + wait, replies.next()).await else { break };
        // Without any service the server itself replies, with a status.
        if reply.status.is_some() {
            break;
        }
        wait = NEXT;
        if let Ok(info) = serde_json::from_slice::<Info>(&reply.payload) {
            info.add(names, &mut served);
        }
    }
    served
}

#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
    #[serde(default)]
    endpoints: Option<Vec<Endpoint>>,
}

#[derive(Deserialize)]
struct Endpoint {
    subject: String,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
}

impl Info {
    fn add(self, names: &Names, served: &mut BTreeMap<String, Served>) {
        let host = self.metadata.as_ref().and_then(|metadata| metadata.get("host"));
        let host = host.map(|host| cut(&one_line(host), TEXT));
        for endpoint in self.endpoints.unwrap_or_default() {
            let Some(name) = names.command(&endpoint.subject).filter(|name| name.len() <= LONGEST_NAME)
            else {
                continue;
            };
            let metadata = endpoint.metadata.unwrap_or_default();
            let text = |key: &str| cut(&one_line(metadata.get(key).map_or("", String::as_str)), TEXT);
            let entry = served.entry(name.to_owned()).or_default();
            entry.instances += 1;
            entry.hosts.extend(host.clone());
            if entry.usage.is_empty() {
                let usage = text("usage");
                let is_its_own = usage.split(' ').next() == Some(name);
                (entry.usage, entry.help) = (if is_its_own { usage } else { name.to_owned() }, text("help"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(served: &mut BTreeMap<String, Served>, json: &str) {
        serde_json::from_str::<Info>(json).unwrap().add(&Names::default(), served);
    }

    #[test]
    fn only_endpoints_under_our_prefix_are_commands() {
        let mut served = BTreeMap::new();
        add(
            &mut served,
            r#"{"name":"x","metadata":{"host":"web1"},"endpoints":[
            {"name":"deploy","subject":"hal.cmd.deploy","metadata":{"usage":"deploy TARGET","help":"two\nlines"}},
            {"name":"deploy_each","subject":"hal.cmd._each.deploy"},
            {"name":"a","subject":"other.cmd.a"},{"name":"b","subject":"hal.ops.b"},{"name":"c","subject":"hal.cmd.c.d"}]}"#,
        );
        add(&mut served, r#"{"endpoints":[{"name":"deploy","subject":"hal.cmd.deploy"}]}"#);
        add(
            &mut served,
            r#"{"endpoints":[{"subject":"hal.cmd.up","metadata":{"usage":"deploy me instead"}}]}"#,
        );
        add(&mut served, r#"{"endpoints":null}"#);
        assert_eq!(served.keys().collect::<Vec<_>>(), ["deploy", "up"]);
        let deploy = &served["deploy"];
        assert_eq!(
            (deploy.usage.as_str(), deploy.help.as_str(), deploy.instances),
            ("deploy TARGET", "two lines", 2)
        );
        assert_eq!(deploy.hosts.iter().collect::<Vec<_>>(), ["web1"]);
        // A handler cannot call its command by the name of another.
        assert_eq!(served["up"].usage, "up");
    }
}

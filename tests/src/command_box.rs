//! The page's command box, without a page: a line as the relay passes it on, and its answer.

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::nats::NatsServer;
use crate::wait::SOON;

/// The answer to a line of the person with this token, and whether it is one of failure.
pub async fn ask(nats: &NatsServer, token: &str, line: &str) -> (String, bool) {
    let client = nats.client().await;
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(inbox.clone()).await.expect("the server takes a subscription");
    let id = format!("{:x}", fastrand::u64(..));
    let asked = json!({ "v": 1, "id": id, "token": token, "line": line });
    let sent = client.publish_with_reply("hal.ask.page", inbox, asked.to_string().into()).await;
    sent.expect("the server takes a request");
    loop {
        let reply = timeout(SOON, replies.next()).await.unwrap_or_else(|_| panic!("no answer to {line}"));
        let reply = reply.expect("the connection lasts");
        let reply: Value = serde_json::from_slice(&reply.payload).expect("a reply is JSON");
        if let Some(answer) = reply["answer"].as_str() {
            return (answer.to_owned(), reply["failed"] == true);
        }
    }
}

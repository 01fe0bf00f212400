//! Messages from tellhal into a room on a real XMPP server, read there by an independent client: hostile texts, a kick, and a
//! restart of the server.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::process::{Command, Output};

use serde_json::Value;
use tests::prosody::{ROOMS, password};
use tests::wait::SOON;
use tests::{NatsServer, Prosody, Relay, XmppClient, tellhal, wait_until};

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

struct Scene {
    nats: NatsServer,
    prosody: Prosody,
    relay: Relay,
    home: tempfile::TempDir,
}

impl Scene {
    /// A relay whose room `ops` is on the server, over TLS.
    async fn start() -> Scene {
        let (nats, prosody) = (NatsServer::start().await, Prosody::start(&["hal", "alice"]).await);
        let home = tempfile::tempdir().unwrap();
        let password_file = home.path().join("password");
        std::fs::write(&password_file, password("hal") + "\n").unwrap();
        let configuration = format!(
            "default_room = \"ops\"\n[rooms.ops.xmpp]\njid = \"hal@localhost\"\npassword_file = {password_file:?}\n\
             server = \"{}\"\ntls_ca = {:?}\nroom = \"{}\"\nmessage_every = \"1ms\"\n",
            prosody.addr(),
            prosody.ca(),
            room(),
        );
        let relay = Relay::start(&nats.url(), &configuration).await;
        Scene { nats, prosody, relay, home }
    }

    async fn tell(&self, text: &str) {
        let mut command = tellhal(&self.nats.url(), self.home.path());
        command.env("TELLHAL_SOURCE", "db1").args(["backup.mysql", text]);
        let sent = output(command).await;
        assert!(sent.status.success() && sent.stderr.is_empty(), "{sent:?}");
    }

    /// Waits until all messages have their receipts.
    async fn through(&self) {
        wait_until("all is posted", SOON * 2, async || self.nats.is_through("ops").await).await;
    }

    async fn last_receipt(&self) -> Value {
        let sent = self.nats.jetstream().await.get_stream("HAL_SENT").await.unwrap();
        let receipt = sent.direct_get_last_for_subject("hal.sent.ops").await.unwrap();
        serde_json::from_slice(&receipt.payload).unwrap()
    }
}

fn room() -> String {
    format!("ops@{ROOMS}")
}

async fn reads(client: &XmppClient, text: &str) {
    let wanted = format!("[backup.mysql] db1: {text}");
    client.until(text, |stanza| stanza.type_ == "groupchat" && stanza.body == wanted).await;
}

#[tokio::test]
async fn messages_are_read_in_the_room_whatever_they_contain_and_whatever_happens() {
    let mut scene = Scene::start().await;
    // The relay makes the room and unlocks it.
    scene.tell("first").await;
    scene.through().await;
    let receipt = scene.last_receipt().await;
    assert!(receipt["post"].as_str().is_some_and(|id| !id.is_empty()), "the room's id of it: {receipt}");
    let mut alice = scene.prosody.client("alice").await;
    alice.join(&room(), "alice").await;
    reads(&alice, "first").await;

    // Neither characters that XML does not know nor markup harms the stream or the text.
    let markup = "</body><presence/>&amp;<![CDATA[x]]>\u{1f600}";
    scene.tell(&format!("a\u{1}b\u{b}c\u{7}\u{fffe}{markup}")).await;
    scene.tell("after").await;
    let read = alice.until("the hostile message", |stanza| stanza.body.ends_with(markup)).await;
    assert!(!read.body.contains(['\u{1}', '\u{b}', '\u{7}', '\u{fffe}']), "{read:?}");
    reads(&alice, "after").await;
    let occupant = format!("{}/hal", room());
    let gone = |stanza: &tests::prosody::Received| stanza.from == occupant && stanza.type_ == "unavailable";
    assert!(!alice.received().iter().any(gone), "the connection was never lost");

    // A kick.
    let kick = "<query xmlns='http://jabber.org/protocol/muc#admin'><item nick='hal' role='none'/></query>";
    alice.send(&format!("<iq type='set' id='kick' to='{}'>{kick}</iq>", room()));
    alice.until("hal is kicked", |stanza| gone(stanza) && stanza.codes.contains(&307)).await;
    scene.tell("after the kick").await;
    reads(&alice, "after the kick").await;

    // The server dies, and comes back without the room.
    scene.prosody.kill();
    scene.tell("while it is down").await;
    scene.prosody.restart().await;
    scene.tell("after the restart").await;
    scene.through().await;
    let mut alice = scene.prosody.client("alice").await;
    alice.join(&room(), "alice").await;
    reads(&alice, "while it is down").await;
    reads(&alice, "after the restart").await;

    let explained = output(scene.relay.command(&["explain", "backup.mysql", "--source", "db1"])).await;
    let explained = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.contains("[backup.mysql] db1:"), "{explained}");
    assert!(!scene.relay.log().contains(&password("hal")));
}

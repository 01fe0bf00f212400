//! Hearing and speaking in rooms of a real XMPP server, with independent clients as people.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::Arc;

use service::platform::Failure;
use service::platform::xmpp::{Account, Connection, Connections, Heard, Listener, Message, Muc};
use tests::prosody::{HIDDEN, ROOMS, password};
use tests::wait::SOON;
use tests::{Prosody, XmppClient, wait_until};
use tokio::sync::mpsc;

fn connection(prosody: &Prosody) -> Arc<Connection> {
    let toml = format!(
        "jid = 'hal@localhost'\npassword = '{}'\nserver = '{}'\ntls = false",
        password("hal"),
        prosody.addr()
    );
    let account: Account = toml::from_str(&toml).unwrap();
    assert!(account.problems().is_empty());
    Connections::default().get(account.settings().unwrap()).unwrap()
}

fn text(text: &str) -> Message<'_> {
    Message { id: text, text, replaces: None }
}

/// A listener that hears all the time.
fn listen(connection: &Arc<Connection>, rooms: &[&str]) -> mpsc::UnboundedReceiver<Heard> {
    let rooms = rooms.iter().map(|room| Muc::new(room, None).unwrap()).collect();
    let mut listener = Listener::new(connection.clone(), rooms);
    let (heard, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move { while heard.send(listener.next().await).is_ok() {} });
    receiver
}

/// The next message that is heard, as room, nick, person and text.
async fn next(heard: &mut mpsc::UnboundedReceiver<Heard>) -> Heard {
    tokio::time::timeout(SOON * 2, heard.recv()).await.expect("something is heard").unwrap()
}

/// Posts until it is taken: the room may have to be entered again.
async fn post(connection: &Connection, room: &str, message: Message<'_>) {
    let muc = Muc::new(room, None).unwrap();
    let what = format!("{} is posted", message.text);
    wait_until(&what, SOON * 2, async || connection.post(&muc, message).await.is_ok()).await;
}

async fn leaves(client: &mut XmppClient, watcher: &XmppClient, occupant: &str) {
    client.send(&format!("<presence type='unavailable' to='{occupant}'/>"));
    watcher
        .until("an occupant leaves", |stanza| stanza.from == occupant && stanza.type_ == "unavailable")
        .await;
}

#[tokio::test]
async fn people_are_heard_as_who_they_are_and_answered() {
    let mut prosody = Prosody::start(&["hal", "alice", "mallory"]).await;
    let (ops, hidden) = (format!("ops@{ROOMS}"), format!("ops@{HIDDEN}"));
    let (mut alice, mut mallory) = (prosody.client("alice").await, prosody.client("mallory").await);
    // The one that makes a room sees who is who in it: here alice does not let us.
    alice.join(&hidden, "alice").await;
    let connection = connection(&prosody);
    let mut heard = listen(&connection, &[&ops, &hidden]);
    post(&connection, &ops, text("hello")).await;
    post(&connection, &hidden, text("hello")).await;
    alice.join(&ops, "alice").await;
    mallory.join(&ops, "Alice").await;
    assert_eq!(alice.texts(&ops), ["hello"], "history");

    // A nick that looks like another's makes nobody that person; the room's own ids tell messages apart.
    alice.say(&ops, "!status");
    let said = next(&mut heard).await;
    assert_eq!((said.nick.as_str(), said.person.as_deref()), ("alice", Some("alice@localhost")));
    assert_eq!(
        (said.text.as_str(), said.is_private, said.room.as_deref()),
        ("!status", false, Some(ops.as_str()))
    );
    let first = said.event.unwrap();
    mallory.send(&format!(
        "<message to='{ops}' type='groupchat'><body>!deploy</body>\
         <stanza-id xmlns='urn:xmpp:sid:0' by='{ops}' id='{first}'/></message>"
    ));
    let said = next(&mut heard).await;
    assert_eq!((said.nick.as_str(), said.person.as_deref()), ("Alice", Some("mallory@localhost")));
    assert!(said.event.is_some_and(|event| event != first), "a forged id is not taken");

    // Corrections, our own messages, and stanzas made to break a reader are not heard; what comes after them is.
    alice.send(&format!(
        "<message to='{ops}' type='groupchat' id='c'><body>!rm</body>\
         <replace xmlns='urn:xmpp:message-correct:0' id='!status'/></message>"
    ));
    post(&connection, &ops, text("!own")).await;
    let deep = format!("{}{}", "<a xmlns='x'>".repeat(2_000), "</a>".repeat(2_000));
    mallory.send(&format!("<message to='{ops}' type='groupchat'><body>!deep</body>{deep}</message>"));
    alice.say(&ops, "!after");
    assert_eq!(next(&mut heard).await.text, "!after");

    // The nick of somebody who left is anybody's.
    leaves(&mut alice, &mallory, &format!("{ops}/alice")).await;
    mallory.join(&ops, "alice").await;
    mallory.say(&ops, "!deploy");
    let said = next(&mut heard).await;
    assert_eq!((said.nick.as_str(), said.person.as_deref()), ("alice", Some("mallory@localhost")));

    // A room that does not show who is who.
    alice.say(&hidden, "!hidden");
    let said = next(&mut heard).await;
    assert_eq!(
        (said.nick.as_str(), said.person, said.room.as_deref()),
        ("alice", None, Some(hidden.as_str()))
    );

    // In private: to our own address, and through the room; answers and corrections reach the speaker.
    mallory.send("<message to='hal@localhost' type='chat'><body>!direct</body></message>");
    let said = next(&mut heard).await;
    assert_eq!((said.person.as_deref(), said.is_private, said.room), (Some("mallory@localhost"), true, None));
    connection.tell(&said.reply_to, text("answer")).await.unwrap();
    let correction = Message { id: "second", text: "better", replaces: Some("answer") };
    connection.tell(&said.reply_to, correction).await.unwrap();
    mallory.until("the correction", |stanza| stanza.replaces == "answer" && stanza.body == "better").await;
    mallory.send(&format!("<message to='{ops}/hal' type='chat'><body>!aside</body></message>"));
    let said = next(&mut heard).await;
    assert_eq!((said.reply_to, said.is_private), (format!("{ops}/alice"), true));
    let nobody = connection.tell("nobody@localhost", text("x")).await;
    assert!(matches!(nobody, Err(Failure::Permanent { .. })), "{nobody:?}");
    let correction = Message { id: "third", text: "hello again", replaces: Some("hello") };
    post(&connection, &ops, correction).await;
    mallory.until("the correction", |stanza| stanza.replaces == "hello" && stanza.type_ == "groupchat").await;

    // The server dies, and comes back: the listener does too.
    prosody.restart().await;
    post(&connection, &ops, text("back")).await;
    let mut alice = prosody.client("alice").await;
    alice.join(&ops, "alice").await;
    alice.say(&ops, "!again");
    let said = next(&mut heard).await;
    assert_eq!((said.person.as_deref(), said.text.as_str()), (Some("alice@localhost"), "!again"));
}

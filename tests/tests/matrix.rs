//! Matrix on a real homeserver, in both directions: ops messages that people read in their rooms, and what a listener hears
//! of them. The people are users of the homeserver who share no code with the product.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use service::platform::matrix::{Client, Clients, Content, File, Heard, Listener, Message, Server};
use service::secret::Secret;
use tests::synapse::SERVER_NAME;
use tests::wait::SOON;
use tests::{Fault, MatrixUser, NatsServer, Proxy, Relay, Synapse, tellhal, wait_until};

#[tokio::test]
async fn a_homeserver_takes_posts_and_is_listened_to() {
    let synapse = Synapse::start().await;
    tokio::join!(posts(&synapse), listens(&synapse));
}

/// A relay that posts as `@hal`, through a proxy, into a room that has invited it by its alias, one that anybody may join,
/// and one that is closed.
struct Scene {
    nats: NatsServer,
    relay: Relay,
    proxy: Proxy,
    home: tempfile::TempDir,
    hal: MatrixUser,
    alice: MatrixUser,
    ops: String,
    open: String,
}

impl Scene {
    async fn start(synapse: &Synapse) -> Scene {
        let (nats, proxy) = (NatsServer::start().await, Proxy::to(synapse.port()).await);
        let (hal, alice) = (synapse.user("hal").await, synapse.user("alice").await);
        let invited = json!({ "preset": "private_chat", "room_alias_name": "ops", "invite": [hal.id] });
        let ops = alice.create_room(invited).await;
        let open = alice.create_room(json!({ "preset": "public_chat" })).await;
        let closed = alice.create_room(json!({ "preset": "private_chat" })).await;
        let home = tempfile::tempdir().unwrap();
        let token = home.path().join("token");
        std::fs::write(&token, format!("{}\n", hal.token)).unwrap();
        let mut configuration = "default_room = \"page\"\nroutes = [\n".to_owned();
        for room in ["ops", "open", "closed"] {
            configuration += &format!("{{ name = \"{room}\", tag = \"{room}.>\", rooms = [\"{room}\"] }},\n");
        }
        configuration += "]\n";
        for (name, room) in
            [("ops", format!("#ops:{SERVER_NAME}")), ("open", open.clone()), ("closed", closed)]
        {
            configuration += &format!(
                "[rooms.{name}.matrix]\nhomeserver = \"http://{}\"\ntoken_file = {token:?}\nroom = \"{room}\"\n",
                proxy.addr()
            );
        }
        let relay = Relay::start(&nats.url(), &configuration).await;
        Scene { nats, relay, proxy, home, hal, alice, ops, open }
    }

    async fn tell(&self, arguments: &[&str]) {
        let mut command = tellhal(&self.nats.url(), self.home.path());
        command.env("TELLHAL_SOURCE", "db1").args(arguments);
        let sent = output(command).await;
        assert!(sent.status.success() && sent.stderr.is_empty(), "{sent:?}");
    }

    /// The messages that alice reads in a room, once there are so many.
    async fn read(&self, room: &str, count: usize) -> Vec<Value> {
        wait_until(&format!("{count} messages"), SOON, async || {
            self.alice.messages(room).await.len() >= count
        })
        .await;
        self.alice.messages(room).await
    }

    /// The last receipt of a room, once it has the id of this event.
    async fn receipt(&self, room: &str, event: &Value) -> Value {
        let sent = self.nats.jetstream().await.get_stream("HAL_SENT").await.unwrap();
        let mut last = Value::Null;
        let condition = async || {
            let receipt = sent.direct_get_last_for_subject(format!("hal.sent.{room}")).await;
            last = receipt.map_or(Value::Null, |receipt| serde_json::from_slice(&receipt.payload).unwrap());
            last["post"] == event["event_id"]
        };
        wait_until("the receipt of the event", SOON, condition).await;
        last
    }

    async fn metrics(&self) -> String {
        self.relay.get("/metrics").await.1
    }

    /// Asserts that a room's attempts had failures that were tried again, and none of another kind.
    async fn was_tried_again(&self, room: &str) {
        let (metrics, attempts) = (self.metrics().await, "hal_relay_attempts_total");
        let has =
            |outcome: &str| metrics.contains(&format!("{attempts}{{room=\"{room}\",outcome=\"{outcome}\"}}"));
        assert!(has("transient") && !has("auth") && !has("permanent"), "{metrics}");
    }
}

/// Runs a command without blocking the proxy, which is in this process.
async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

async fn posts(synapse: &Synapse) {
    let scene = Scene::start(synapse).await;
    harmless(&scene).await;
    rooms_to_join(&scene).await;
    once(synapse, &scene).await;
    patient(&scene).await;
    let (log, metrics) = (scene.relay.log(), scene.metrics().await);
    assert!(!log.contains(&scene.hal.token) && !metrics.contains(&scene.hal.token), "{log}");
}

/// Markup and mentions are shown as they are, and ring no bell.
async fn harmless(scene: &Scene) {
    let hostile = format!(
        "@room {} <b>bold</b>\n</body><a href=\"https://matrix.to/#/{0}\">{0}</a> <mx-reply>x</mx-reply> & @room",
        scene.alice.id
    );
    scene.tell(&["-t", "ops.mysql", "-s", "error", &hostile]).await;
    let read = scene.read(&scene.ops, 1).await;
    let (event, content) = (&read[0], &read[0]["content"]);
    assert_eq!(event["sender"], scene.hal.id.as_str());
    assert_eq!(content["body"], format!("ERROR [ops.mysql] db1: {hostile}"));
    assert_eq!((&content["msgtype"], &content["m.mentions"]), (&json!("m.text"), &json!({})));
    let html = content["formatted_body"].as_str().unwrap();
    let ours = "<strong><span data-mx-color=\"#d00000\">ERROR</span></strong> [ops.mysql] db1: @room ";
    let rest = html.strip_prefix(ours).unwrap().replacen("<br>", "", 1);
    assert!(!rest.contains(['<', '>', '"']) && rest.contains("&lt;/body&gt;"), "{html}");
    let link = format!("https://matrix.to/#/{}/{}", scene.ops, event["event_id"].as_str().unwrap());
    assert_eq!(scene.receipt("ops", event).await["link"], link);
    assert_eq!(scene.alice.mentions(&scene.ops).await, 0);
    // The same words with a mention ring it.
    let mention =
        json!({ "msgtype": "m.text", "body": hostile, "m.mentions": { "user_ids": [scene.alice.id] } });
    scene.hal.send(&scene.ops, mention).await;
    wait_until("a mention rings", SOON, async || scene.alice.mentions(&scene.ops).await == 1).await;

    scene.tell(&["-t", "ops.disks", "disks\nName   Used\n/a     10 %\n/b     20 %"]).await;
    let read = scene.read(&scene.ops, 3).await;
    let table = "[ops.disks] db1: disks<pre><code>disks\nName   Used\n/a     10 %\n/b     20 %</code></pre>";
    assert_eq!(read[2]["content"]["formatted_body"], table);
}

/// A room that anybody may join is joined by the first post; a closed one refuses it for good.
async fn rooms_to_join(scene: &Scene) {
    scene.tell(&["open.door", "come in"]).await;
    let read = scene.read(&scene.open, 1).await;
    assert_eq!(read[0]["content"]["body"], "[open.door] db1: come in");
    scene.receipt("open", &read[0]).await;
    scene.was_tried_again("open").await;

    scene.tell(&["closed.door", "nobody reads this"]).await;
    let listed = async || output(scene.relay.command(&["dead", "list", "--json"])).await;
    let is_dead = async || String::from_utf8_lossy(&listed().await.stdout).contains("nobody reads this");
    wait_until("there is a dead letter", SOON, is_dead).await;
    let dead: Value = serde_json::from_slice(&listed().await.stdout).unwrap();
    let reason = dead[0]["reason"].as_str().unwrap();
    assert!(reason.contains("403") && reason.contains("M_FORBIDDEN"), "{reason}");
}

/// A post whose answer is lost is sent again, and is one event.
async fn once(synapse: &Synapse, scene: &Scene) {
    // Request and answer together take longer than the relay waits.
    scene.proxy.set(Fault::Delay(Duration::from_secs(2)));
    scene.tell(&["ops.slow", "told once"]).await;
    let read = scene.read(&scene.ops, 4).await;
    scene.proxy.set(Fault::None);
    let receipt = scene.receipt("ops", &read[3]).await;
    scene.was_tried_again("ops").await;
    assert_eq!(receipt["possible_duplicate"], Value::Null, "{receipt}");

    let client = client(&synapse.url(), &scene.hal);
    let transaction = receipt["ids"][0].as_str().unwrap();
    let other = Content::text("something else", None).to_string();
    let sent = client.send(&scene.ops, transaction, &other).await.unwrap();
    assert_eq!(json!(sent.post), read[3]["event_id"], "the transaction is the delivery's id");
    let bodies = |read: &[Value]| -> Vec<Value> {
        read.iter().map(|event| event["content"]["body"].clone()).collect()
    };
    assert_eq!(bodies(&scene.read(&scene.ops, 4).await), bodies(&read));
}

/// The server's own limit is kept. The relay meets it at once, unless the server forgives us in the meantime.
async fn patient(scene: &Scene) {
    for count in 1..20 {
        exhaust(scene, count).await;
        scene.tell(&["open.later", &format!("later {count}")]).await;
        let read = scene.read(&scene.open, 1 + count).await;
        assert_eq!(read.len(), 1 + count);
        assert_eq!(read[count]["content"]["body"], format!("[open.later] db1: later {count}"));
        let answers = scene.receipt("open", &read[count]).await["attempts"].to_string();
        if answers.contains("429") {
            assert!(answers.contains("M_LIMIT_EXCEEDED"), "{answers}");
            return;
        }
    }
    panic!("the relay has never met the limit");
}

/// Sends as the relay's user until the server takes no more.
async fn exhaust(scene: &Scene, round: usize) {
    for number in 0..100 {
        let path = format!("rooms/{}/send/m.room.message/burst{round}.{number}", scene.ops);
        let content = json!({ "msgtype": "m.text", "body": "burst" });
        if scene.hal.request("PUT", &path, &content).await.0 == 429 {
            return;
        }
    }
    panic!("the server has no limit");
}

fn client(url: &str, user: &MatrixUser) -> Arc<Client> {
    let server =
        Server { homeserver: url.into(), token: Some(Secret::new(&user.token)), ..Server::default() };
    Clients::default().get(server.settings().unwrap()).unwrap()
}

/// A listener, and the last token it gave.
struct Ears {
    listener: Listener,
    token: Option<String>,
}

impl Ears {
    fn open(client: &Arc<Client>, token: Option<String>) -> Ears {
        Ears { listener: Listener::new(client.clone(), token.clone()), token }
    }

    /// The next that is heard, failures left out.
    async fn next(&mut self) -> Heard {
        let next = async {
            loop {
                if let Ok(heard) = self.listener.next().await {
                    return heard;
                }
            }
        };
        let heard = tokio::time::timeout(SOON, next).await.expect("something is heard in time");
        if let Heard::Through(token) = &heard {
            self.token = Some(token.clone());
        }
        heard
    }

    /// The next but tokens.
    async fn event(&mut self) -> Heard {
        loop {
            match self.next().await {
                Heard::Through(_) => {}
                heard => return heard,
            }
        }
    }

    async fn message(&mut self) -> Message {
        match self.event().await {
            Heard::Message(message) => message,
            other => panic!("no message: {other:?}"),
        }
    }

    /// Reads on until the answer ends.
    async fn through(&mut self) {
        while !matches!(self.next().await, Heard::Through(_)) {}
    }
}

async fn listens(synapse: &Synapse) {
    let (bot, bob, carol) =
        (synapse.user("bot").await, synapse.user("bob").await, synapse.user("carol").await);
    let room = bob.create_room(json!({ "preset": "public_chat" })).await;
    for user in [&bot, &carol] {
        user.join(&room).await;
    }
    bob.say(&room, "!history").await;
    let proxy = Proxy::to(synapse.port()).await;
    let client = client(&format!("http://{}", proxy.addr()), &bot);
    let mut ears = Ears::open(&client, None);
    ears.through().await;

    let command = commands(&mut ears, &bot, &bob, &carol, &room).await;
    answers(&client, &bob, &command).await;
    private(&mut ears, &client, &bot, &bob).await;

    // Words that come while nobody listens are heard later, once; and so are those that come while the line is cut.
    ears.through().await;
    let token = ears.token.clone();
    drop(ears);
    carol.say(&room, "!one").await;
    carol.say(&room, "!two").await;
    let mut ears = Ears::open(&client, token);
    assert_eq!([ears.message().await.text, ears.message().await.text], ["!one", "!two"]);
    let interruption = async {
        proxy.set(Fault::Reset);
        carol.say(&room, "!three").await;
        proxy.set(Fault::None);
    };
    assert_eq!(tokio::join!(ears.message(), interruption).0.text, "!three");
}

/// Of all that is written, the listener hears texts of others. Returns the last, which is in a thread.
async fn commands(
    ears: &mut Ears,
    bot: &MatrixUser,
    bob: &MatrixUser,
    carol: &MatrixUser,
    room: &str,
) -> Message {
    let status = bob.say(room, "!status").await;
    let edit = json!({
        "msgtype": "m.text", "body": "* !edited", "m.new_content": { "msgtype": "m.text", "body": "!edited" },
        "m.relates_to": { "rel_type": "m.replace", "event_id": status },
    });
    bob.send(room, edit).await;
    carol.send(room, json!({ "msgtype": "m.notice", "body": "!notice" })).await;
    bot.say(room, "!own").await;
    let thread = json!({ "rel_type": "m.thread", "event_id": status });
    carol.send(room, json!({ "msgtype": "m.text", "body": "!help", "m.relates_to": thread })).await;
    let heard = [ears.message().await, ears.message().await];
    let texts =
        heard.iter().map(|heard| (heard.sender.as_str(), heard.text.as_str(), heard.thread.as_deref()));
    let wanted = [(bob.id.as_str(), "!status", None), (carol.id.as_str(), "!help", Some(status.as_str()))];
    assert!(texts.eq(wanted), "{heard:?}");
    assert_eq!((heard[0].event_id.as_str(), heard[0].room.as_str()), (status.as_str(), room));
    assert!(!heard[0].is_private, "three are in the room");
    let [_, last] = heard;
    last
}

/// An answer in the command's thread, its edit, and a picture.
async fn answers(client: &Client, bob: &MatrixUser, command: &Message) {
    let Message { event_id: asked, room, thread, .. } = command;
    let running = Content::text("running", None).in_thread(thread.as_ref().unwrap(), asked).to_string();
    let running = client.send(room, "answer/1", &running).await.unwrap().post.unwrap();
    let done = Content::text("done @room", None).replacing(&running).to_string();
    client.send(room, "answer/2", &done).await.unwrap();
    let file = File::new("graph.png", "image/png", vec![7; 9]);
    let uri = client.upload(&file).await.unwrap();
    let picture = Content::file(&file, &uri).replying_to(asked).to_string();
    client.send(room, "answer/3", &picture).await.unwrap();

    let messages = bob.messages(room).await;
    let [answer, edit, picture] = &messages[messages.len() - 3..] else { panic!("{messages:?}") };
    assert_eq!(answer["content"]["m.relates_to"]["rel_type"], "m.thread");
    assert_eq!(edit["content"]["m.new_content"]["body"], "done @room");
    let latest = &answer["unsigned"]["m.relations"]["m.replace"]["event_id"];
    assert_eq!(latest, &edit["event_id"], "the server takes it for an edit: {answer}");
    assert_eq!(picture["content"]["msgtype"], "m.image");
    let media = picture["content"]["url"].as_str().unwrap().strip_prefix("mxc://").unwrap();
    let path = format!("/_matrix/client/v1/media/download/{media}");
    let (status, body) = tests::http::request_as(bob.addr(), "GET", &bob.token, &path, "").await.unwrap();
    assert_eq!((status, body.as_bytes()), (200, &[7; 9][..]));
}

/// A conversation of two, after an invitation that is accepted only when the caller does.
async fn private(ears: &mut Ears, client: &Client, bot: &MatrixUser, bob: &MatrixUser) {
    let direct = json!({ "preset": "private_chat", "is_direct": true, "invite": [bot.id] });
    let room = bob.create_room(direct).await;
    assert_eq!(ears.event().await, Heard::Invite { room: room.clone(), by: bob.id.clone() });
    bob.say(&room, "before").await;
    assert_eq!(client.join(&room).await.unwrap(), room);
    bob.say(&room, "hello").await;
    let heard = ears.message().await;
    assert_eq!((heard.text.as_str(), heard.is_private), ("hello", true));
}

//! Chat commands as people type them in real chats, and the answers as they read them there.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tests::http::get;
use tests::process::Signal;
use tests::prosody::{ROOMS, password};
use tests::synapse::SERVER_NAME;
use tests::wait::SOON;
use tests::{
    Bridge, IrcClient, IrcNetwork, NatsOptions, NatsServer, Nio, Prosody, Served, Synapse, wait_until,
};

const PEOPLE: &str = r##"
[[people]]
name = "ann"
roles = ["operator"]
irc = "ann"

[[people]]
name = "bob"
roles = ["operator"]
irc = "bob"

[[people]]
name = "dev"
roles = ["developer"]
irc = "dev"

[[commands]]
name = "deploy"
rooms = "main/#ops"
allow = ["operator"]
approve = "second-person"

[[commands]]
name = "*"
allow = ["operator"]
"##;

fn irc(addr: SocketAddr, channels: &str) -> String {
    format!(
        "[chat.main.irc]\nserver = \"{addr}\"\ntls = false\nnick = \"halbot\"\nchannels = {channels}\nburst = 100\nline_every = \"1ms\"\n"
    )
}

/// True if `/readyz` says this; false while the bridge starts.
async fn says(bridge: &Bridge, words: &str) -> bool {
    get(bridge.http(), "/readyz").await.is_ok_and(|(_, text)| text.contains(words))
}

async fn is_heard(bridge: &Bridge) -> bool {
    says(bridge, "chat main: heard").await
}

#[tokio::test]
async fn commands_are_typed_and_answered_on_irc() {
    let (nats, network) = (NatsServer::start().await, IrcNetwork::start().await);
    nats.create_log().await;
    let chat = irc(network.addr(), "[\"#ops\", \"#chat\"]");
    let page = "page_url = \"https://hal.example.com\"\n";
    let mut bridge = Bridge::start(&nats.url(), &format!("{page}{PEOPLE}{chat}")).await;
    let mut served = Served::default();
    let uptime = served.program("uptime", "echo up 3 days");
    let list = served.program("list", "printf 'web1 \\033[31m81 %%\\033[0m\\n!deploy\\nweb2 12 %%\\n'");
    let config = served.path("serve.toml");
    std::fs::write(
        &config,
        format!(
            "bridge_keys = [\"{}\"]\n[nats]\nurl = \"{}\"\n[[serve]]\nname = \"uptime\"\nexec = [\"{uptime}\"]\nhelp = \"since when it runs\"\n\
             [[serve]]\nname = \"list\"\nexec = [\"{list}\"]\n\
             [[serve]]\nname = \"deploy\"\nexec = [\"echo\", \"deployed\", \"{{target}}\"]\n",
            bridge.key(),
            nats.url_as("handler")
        ),
    )
    .unwrap();
    let mut command = tests::tellhal(&nats.url_as("handler"), served.dir());
    command.args(["serve", "--config"]).arg(&config);
    served.spawn(command).await;

    let join = |nick: &'static str| IrcClient::join(network.addr(), nick, "#ops");
    let (ann, dev, eve) = (join("ann").await, join("dev").await, join("bob").await);
    ann.register().await;
    dev.register().await;
    wait_until("the bridge is in the channel", SOON, async || is_heard(&bridge).await).await;

    let graph = served.program("graph", "echo x > \"$TELLHAL_FILES/load.txt\"; echo load of web1");
    served.serve(&nats.url(), &bridge, &["graph", "--exec", &graph]).await;
    ann.say("!graph").await;
    ann.hears("| load.txt: https://hal.example.com/api/files/answer-").await;
    ann.say("what is up?").await;
    ann.say("!uptime").await;
    assert_eq!(ann.hears("ann: ").await, "ann: up 3 days");
    dev.say("halbot: uptime").await;
    assert_eq!(
        dev.hears("dev: ").await,
        "dev: ✗ you may not give uptime: only a person with the role operator may"
    );
    // A nick equal to an operator's is not that person.
    eve.say("!uptime").await;
    let denied = "bob: ✗ you may not give uptime: only a person with the role operator may, and this account is nobody's";
    assert_eq!(eve.hears("bob: ").await, denied);
    // No line of an answer can be another robot's command, and no colour of a program gets through.
    ann.say("@halbot list").await;
    ann.hears("| web2").await;
    assert!(
        ann.texts().windows(3).any(|lines| lines == ["| web1 81 %", "| !deploy", "| web2 12 %"]),
        "{:?}",
        ann.texts()
    );
    ann.send("PRIVMSG halbot :whoami").await;
    let private = || ann.lines().into_iter().find(|line| line.nick == "halbot" && line.target == "ann");
    wait_until("an answer in private", SOON, async || private().is_some()).await;
    assert_eq!(private().unwrap().text, "ann, irc main/ann, with the roles operator");
    // CTCP and notices are no commands.
    ann.send("PRIVMSG #ops :\x01ACTION !uptime\x01").await;
    ann.send("NOTICE #ops :!uptime").await;

    let (bob, elsewhere) = (join("rob").await, IrcClient::join(network.addr(), "ann2", "#chat").await);
    drop(eve);
    wait_until("the nick is free", SOON, async || {
        bob.send("NICK bob").await;
        bob.raw().iter().any(|line| line.contains(" NICK ") && line.contains("bob"))
    })
    .await;
    bob.register().await;
    ann.say("!deploy production").await;
    let asked = ann.hears("needs another person").await;
    let id = asked.split("approve ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    ann.say(&format!("!approve {id}")).await;
    ann.hears("not the one who asked").await;
    bob.say(&format!("!approve {id}")).await;
    bob.hears("| deployed production").await;
    // Approved elsewhere, it is answered where it was asked too.
    ann.say("!deploy moon").await;
    let asked = ann.hears("deploy moon needs another person").await;
    let id = asked.split("approve ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    bob.send(&format!("PRIVMSG halbot :approve {id}")).await;
    ann.hears("| deploy moon, approved by bob:").await;
    ann.hears("| deployed moon").await;
    let private =
        || bob.lines().into_iter().any(|line| line.target == "bob" && line.text.contains("deployed moon"));
    wait_until("the answer in private", SOON, async || private()).await;
    elsewhere.say("!deploy x").await;
    elsewhere.hears("you may not give deploy").await;

    // Rights change at once, without a new connection.
    let joins = |client: &IrcClient| {
        client.raw().iter().filter(|line| line.contains("halbot") && line.contains(" JOIN ")).count()
    };
    let before = joins(&elsewhere);
    let without = PEOPLE.replace("roles = [\"operator\"]\nirc = \"ann\"", "roles = []\nirc = \"ann\"");
    bridge.reload(&nats.url(), &format!("{without}{chat}"));
    wait_until("the rules are in force", SOON, async || bridge.log().contains("configuration reloaded"))
        .await;
    ann.say("!uptime").await;
    ann.hears("ann: ✗ you may not give uptime").await;
    assert_eq!(joins(&elsewhere), before);
    assert_eq!(ann.texts().iter().filter(|text| *text == "ann: up 3 days").count(), 1);
}

#[tokio::test]
async fn a_bridge_that_is_stopped_says_the_answers_of_commands_that_run() {
    let (nats, network) = (NatsServer::start().await, IrcNetwork::start().await);
    nats.create_log().await;
    let mut bridge =
        Bridge::start(&nats.url(), &format!("{PEOPLE}{}", irc(network.addr(), "[\"#ops\"]"))).await;
    let ann = IrcClient::join(network.addr(), "ann", "#ops").await;
    ann.register().await;
    wait_until("the bridge is in the channel", SOON, async || is_heard(&bridge).await).await;
    let mut served = Served::default();
    let (begun, go) = (served.path("begun"), served.path("go"));
    let script =
        format!("touch {}; while [ ! -e {} ]; do sleep 0.05; done; echo done", begun.display(), go.display());
    let slow = served.program("slow", &script);
    served.serve(&nats.url(), &bridge, &["slow", "--exec", &slow]).await;
    ann.say("!slow").await;
    wait_until("the command runs", SOON, async || begun.exists()).await;
    bridge.process().signal(Signal::TERM);
    wait_until("the bridge stops", SOON, async || bridge.log().contains("stopping")).await;
    std::fs::write(&go, "").unwrap();
    assert_eq!(ann.hears("ann: ").await, "ann: done");
    assert_eq!(bridge.process().ended(SOON).await.code(), Some(0), "{}", bridge.log());
    let texts = ann.texts();
    assert_eq!(texts.iter().filter(|text| text.contains("done")).count(), 1, "{texts:?}");
}

#[tokio::test]
async fn of_two_bridges_one_speaks_and_the_other_takes_over() {
    let (nats, mut network) = (NatsServer::start().await, IrcNetwork::start().await);
    nats.create_log().await;
    let configuration = format!("{PEOPLE}{}", irc(network.addr(), "[\"#ops\"]"));
    let mut one = Bridge::start(&nats.url(), &configuration).await;
    wait_until("one has the chat", SOON, async || is_heard(&one).await).await;
    let mut two = Bridge::start(&nats.url(), &configuration).await;
    let ann = IrcClient::join(network.addr(), "ann", "#ops").await;
    let answers = || {
        ann.texts()
            .iter()
            .filter(|text| text.contains("which is no person's") || text.contains("nobody that the rules"))
            .count()
    };
    ann.say("!whoami").await;
    wait_until("an answer", SOON, async || answers() == 1).await;
    one.kill();
    wait_until("the other has it", SOON, async || is_heard(&two).await).await;
    ann.say("!whoami").await;
    wait_until("another answer", SOON, async || answers() == 2).await;
    one.respawn();
    // A paused bridge loses the chat, and does not speak beside the other when it wakes up.
    two.process().signal(Signal::STOP);
    wait_until("the first has it again", SOON, async || is_heard(&one).await).await;
    ann.say("!whoami").await;
    wait_until("a third answer", SOON, async || answers() == 3).await;
    two.process().signal(Signal::CONT);
    wait_until("the second stands by", SOON, async || says(&two, "another bridge has it").await).await;
    ann.say("!whoami").await;
    wait_until("a fourth answer", SOON, async || answers() >= 4).await;
    // A server that goes away is connected again.
    network.server().kill();
    wait_until("it is noticed", SOON, async || one.get("/readyz").await.1.contains("chat main: not heard"))
        .await;
    assert_eq!(answers(), 4);
}

#[tokio::test]
async fn a_command_whose_bridge_is_killed_has_an_unknown_outcome_and_runs_once() {
    let (nats, network) = (NatsServer::start().await, IrcNetwork::start().await);
    nats.create_log().await;
    let configuration = format!("{PEOPLE}{}", irc(network.addr(), "[\"#ops\"]"));
    let mut one = Bridge::start(&nats.url(), &configuration).await;
    wait_until("one has the chat", SOON, async || is_heard(&one).await).await;
    let _two = Bridge::start(&nats.url(), &configuration).await;
    let mut served = Served::default();
    let ran = served.path("ran");
    let slow = served.program("slow", &format!("echo x >> {}; sleep 3", ran.display()));
    served.serve(&nats.url(), &one, &["slow", "--exec", &slow]).await;
    let ann = IrcClient::join(network.addr(), "ann", "#ops").await;
    ann.register().await;
    ann.say("!slow").await;
    wait_until("it runs", SOON, async || ran.exists()).await;
    one.kill();
    let told = ann.hears("outcome unknown").await;
    assert!(told.starts_with("ann: ✗ slow (") && told.ends_with("it is not run again"), "{told}");
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "x\n");
}

#[tokio::test]
async fn a_bridge_under_development_hears_its_own_rooms_and_its_own_handlers_alone() {
    // Production and development share no user in an account; here both may do everything.
    let open = NatsOptions { open: true, ..NatsOptions::default() };
    let (nats, network) = (NatsServer::with(open).await, IrcNetwork::start().await);
    nats.create_log().await;
    let log = async_nats::jetstream::stream::Config {
        name: "DEV_OPS".into(),
        subjects: vec!["dev.ops.>".into()],
        ..Default::default()
    };
    nats.jetstream().await.create_stream(log).await.unwrap();
    let chat = irc(network.addr(), "[\"#ops\", \"#dev\"]");
    let dev = format!(
        "environment = \"dev\"\ndev_rooms = \"main/#dev\"\n{PEOPLE}{}",
        chat.replace("halbot", "devbot")
    );
    let (production, dev) = (
        Bridge::start(&nats.url(), &format!("{PEOPLE}{chat}")).await,
        Bridge::start(&nats.url(), &dev).await,
    );
    let mut served = Served::default();
    let mut command = tests::tellhal(&nats.url(), served.dir());
    let config = served.path("dev.toml");
    std::fs::write(&config, format!("[nats]\nprefix = \"dev\"\nurl = \"{}\"\n", nats.url())).unwrap();
    command.args(["serve", "hello", "--exec", "echo hello from development", "--config"]).arg(&config);
    served.spawn(command).await;
    let (ops, devs) = (
        IrcClient::join(network.addr(), "ann", "#ops").await,
        IrcClient::join(network.addr(), "ann2", "#dev").await,
    );
    ops.register().await;
    wait_until("both are there", SOON, async || is_heard(&production).await && is_heard(&dev).await).await;
    ops.say("!hello").await;
    // The handler under development is not asked from a main room.
    assert!(ops.hears("ann: ").await.contains("nobody answers hello now"));
    ops.send("JOIN #dev").await;
    ops.send("PRIVMSG #dev :devbot: hello").await;
    devs.hears("ann: hello from development").await;
    // Neither by name nor in private does it answer elsewhere.
    ops.say("devbot: hello").await;
    ops.send("PRIVMSG devbot :hello").await;
    ops.send("PRIVMSG #dev :devbot: whoami").await;
    devs.hears("ann, irc main/ann").await;
    assert!(!ops.texts().iter().any(|text| text.contains("development")), "{:?}", ops.texts());
    assert!(
        !ops.lines().iter().any(|line| line.nick == "devbot" && line.target == "ann"),
        "{:?}",
        ops.lines()
    );
    let names = || devs.raw().iter().any(|line| line.contains("devbot"));
    assert!(names() && !ops.raw().iter().any(|line| line.contains("devbot") && line.contains("#ops")));
}

#[tokio::test]
async fn a_channel_with_a_key_is_joined_with_it() {
    let (nats, network) = (NatsServer::start().await, IrcNetwork::start().await);
    nats.create_log().await;
    let ann = IrcClient::join(network.addr(), "ann", "#vault").await;
    ann.register().await;
    ann.send("MODE #vault +k sesame").await;
    wait_until("it has a key", SOON, async || ann.raw().iter().any(|line| line.contains("+k"))).await;
    let chat = irc(network.addr(), "[\"#ops\", { name = \"#vault\", key_file = \"vault.key\" }]");
    let mut bridge = Bridge::spawn(&nats.url(), &format!("{PEOPLE}{chat}"));
    std::fs::write(bridge.dir().join("vault.key"), "sesame\n").unwrap();
    bridge.restart().await;
    wait_until("the chat is heard", SOON, async || is_heard(&bridge).await).await;
    ann.say("!whoami").await;
    ann.hears("irc main/ann").await;
    assert!(!bridge.log().contains("sesame"), "{}", bridge.log());
}

#[tokio::test]
async fn commands_are_typed_and_answered_on_matrix() {
    let (nats, synapse) = (NatsServer::start().await, Synapse::without_limits().await);
    nats.create_log().await;
    let (hal, ann, eve) = (synapse.user("hal").await, synapse.user("ann").await, synapse.user("eve").await);
    let open = json!({ "preset": "public_chat", "room_alias_name": "ops", "invite": [hal.id, eve.id] });
    let room = ann.create_room(open).await;
    eve.join(&room).await;
    // A display name equal to an operator's is not that person.
    let name = format!("profile/{}/displayname", eve.id);
    eve.ask("PUT", &name, &json!({ "displayname": ann.id })).await;
    let people = format!(
        "[[people]]\nname = \"ann\"\nroles = [\"operator\"]\nmatrix = \"{}\"\n[[commands]]\nname = \"*\"\nallow = [\"operator\"]\n\
         rooms = \"main/#ops:{SERVER_NAME}\"\n",
        ann.id
    );
    let chat = format!(
        "[chat.main.matrix]\nhomeserver = \"{}\"\ntoken = \"{}\"\nrooms = \"#ops:{SERVER_NAME}\"\n",
        synapse.url(),
        hal.token
    );
    let mut bridge = Bridge::start(&nats.url(), &format!("{people}{chat}")).await;
    let mut served = Served::default();
    let table = served.program("table", "printf 'web1  <b>81</b> %%\\nweb2  12 %%\\n'");
    let build = served.program("build", "echo step 1; sleep 7; echo over");
    served.serve(&nats.url(), &bridge, &["table", "--exec", &table]).await;
    served.serve(&nats.url(), &bridge, &["build", "--exec", &build]).await;
    let ran = served.path("ran");
    let count = served.program("count", &format!("echo x >> {}; echo counted", ran.display()));
    served.serve(&nats.url(), &bridge, &["count", "--exec", &count]).await;
    let graph = served
        .program("graph", "printf '\\211PNG\\r\\n\\032\\n' > \"$TELLHAL_FILES/load.png\"; echo load of web1");
    served.serve(&nats.url(), &bridge, &["graph", "--exec", &graph]).await;
    wait_until("it is heard", SOON, async || is_heard(&bridge).await).await;
    let joined = async || {
        let members = ann.ask("GET", &format!("rooms/{room}/joined_members"), &Value::Null).await;
        members["joined"].get(&hal.id).is_some()
    };
    wait_until("it has joined", SOON, joined).await;

    // The last answer to an event, as a person reads it: with its edits.
    let answer = async |asked: &str| {
        let messages = ann.messages(&room).await;
        let is_answer = |message: &&Value| {
            message["sender"] == hal.id.as_str()
                && message["content"]["m.relates_to"]["m.in_reply_to"]["event_id"] == asked
        };
        let first = messages.iter().find(is_answer)?;
        let mut edits = messages
            .iter()
            .filter(|message| message["content"]["m.relates_to"]["event_id"] == first["event_id"]);
        let edit = edits.next_back().map(|edit| edit["content"]["m.new_content"].clone());
        Some((first["content"].clone(), edit))
    };
    let answered = async |asked: &str| {
        wait_until("an answer", SOON, async || answer(asked).await.is_some()).await;
        answer(asked).await.unwrap().0
    };
    let asked = ann.say(&room, "!table").await;
    let content = answered(&asked).await;
    assert_eq!(content["body"], "web1  <b>81</b> %\nweb2  12 %");
    assert_eq!(
        content["formatted_body"],
        "<pre><code>web1  &lt;b&gt;81&lt;/b&gt; %\nweb2  12 %</code></pre>"
    );
    assert_eq!(content["msgtype"], "m.notice");
    let asked = eve.say(&room, "hal: table").await;
    let denied =
        "✗ you may not give table: only a person with the role operator may, and this account is nobody's";
    assert_eq!(answered(&asked).await["body"], denied);
    // An edit is no command.
    let edited = json!({
        "msgtype": "m.text", "body": "* !count", "m.new_content": { "msgtype": "m.text", "body": "!count" },
        "m.relates_to": { "rel_type": "m.replace", "event_id": asked },
    });
    ann.send(&room, edited).await;
    // Progress is an edit of one post.
    let asked = ann.say(&room, "!build").await;
    wait_until("it is over", SOON, async || {
        answer(&asked)
            .await
            .and_then(|(_, edit)| edit)
            .is_some_and(|edit| edit["body"].as_str().is_some_and(|body| body.ends_with("over")))
    })
    .await;
    let (first, _) = answer(&asked).await.unwrap();
    assert!(first["body"].as_str().unwrap().contains("step 1"), "{first}");
    assert!(!ran.exists());

    // An independent client reads the same.
    let mut nio = Nio::start(&ann, &room).await;
    nio.say("!table");
    let table = nio.until("the answer", |message| message.body.contains("web2")).await;
    let read = (table.sender.as_str(), table.body.as_str(), table.type_.as_str());
    assert_eq!(read, (hal.id.as_str(), "web1  <b>81</b> %\nweb2  12 %", "m.notice"));
    nio.say("!build");
    nio.until("progress", |message| message.body.contains("step 1 (cancel ")).await;
    nio.until("the end", |message| message.body.ends_with("over")).await;
    nio.say("!graph");
    nio.until("a picture", |message| message.type_ == "m.image").await;

    // A picture is uploaded.
    let asked = ann.say(&room, "!graph").await;
    assert_eq!(answered(&asked).await["body"], "load of web1");
    let picture = async || {
        let messages = ann.messages(&room).await;
        messages.into_iter().find(|message| message["content"]["msgtype"] == "m.image")
    };
    wait_until("a picture", SOON, async || picture().await.is_some()).await;
    let content = picture().await.unwrap()["content"].clone();
    assert_eq!((&content["body"], &content["info"]["mimetype"]), (&json!("load.png"), &json!("image/png")));
    assert!(content["url"].as_str().unwrap().starts_with("mxc://"), "{content}");

    // A line that is said while no bridge listens is answered by the next one, once.
    bridge.kill();
    let asked = ann.say(&room, "!count").await;
    bridge.respawn();
    assert_eq!(answered(&asked).await["body"], "counted");
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "x\n");
}

#[tokio::test]
async fn commands_are_typed_and_answered_on_xmpp() {
    let (nats, prosody) = (NatsServer::start().await, Prosody::start(&["hal", "ann", "eve"]).await);
    nats.create_log().await;
    let room = format!("ops@{ROOMS}");
    let people = "[[people]]\nname = \"ann\"\nroles = [\"operator\"]\nxmpp = \"ann@localhost\"\n[[commands]]\nname = \"*\"\nallow = [\"operator\"]\n";
    let chat = format!(
        "[chat.main.xmpp]\njid = \"hal@localhost\"\npassword = \"{}\"\nserver = \"{}\"\ntls_ca = {:?}\nnick = \"halbot\"\nrooms = \"{room}\"\n\
         message_every = \"1ms\"\n",
        password("hal"),
        prosody.addr(),
        prosody.ca(),
    );
    let mut bridge = Bridge::start(&nats.url(), &format!("{people}{chat}")).await;
    let mut served = Served::default();
    let list = served.program("list", "printf 'web1 81 %%\\n</body>!deploy\\n'");
    let build = served.program("build", "echo step 1; sleep 7; echo over");
    served.serve(&nats.url(), &bridge, &["list", "--exec", &list]).await;
    served.serve(&nats.url(), &bridge, &["build", "--exec", &build]).await;
    wait_until("it is heard", SOON, async || is_heard(&bridge).await).await;
    let (mut ann, mut eve) = (prosody.client("ann").await, prosody.client("eve").await);
    ann.join(&room, "ann").await;
    // A nick like an operator's is not that person.
    eve.join(&room, "Ann").await;
    ann.until("the bridge is there", |stanza| stanza.from == format!("{room}/halbot")).await;
    ann.say(&room, "!list");
    ann.until("the answer", |stanza| stanza.body == "ann:\n| web1 81 %\n| </body>!deploy").await;
    eve.say(&room, "halbot: list");
    let denied = "Ann: ✗ you may not give list: only a person with the role operator may, and this account is nobody's";
    eve.until("a denial", |stanza| stanza.body == denied).await;
    // Progress is a correction of one message.
    ann.say(&room, "!build");
    ann.until("progress", |stanza| {
        stanza.body.starts_with("ann: running, ") && stanza.body.contains(": step 1 (cancel ")
    })
    .await;
    ann.until("the end", |stanza| stanza.body == "ann:\n| step 1\n| over").await;
    let answers = || ann.texts(&room).iter().filter(|text| text.starts_with("ann:\n| web1")).count();
    assert_eq!(answers(), 1);
    // A line that was said while no bridge listened is answered by the next one, if the room keeps it.
    bridge.kill();
    ann.say(&room, "!list and more");
    ann.until("it was said", |stanza| stanza.body == "!list and more").await;
    bridge.respawn();
    let late = "ann: ✗ too many arguments";
    ann.until("a late answer", |stanza| stanza.body.starts_with(late)).await;
    let answers = || ann.texts(&room).iter().filter(|text| text.starts_with("ann:\n| web1")).count();
    assert_eq!(answers(), 1);
}

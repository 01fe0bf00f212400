//! Chat commands as people type them in real chats, and the answers as they read them there.

use std::net::SocketAddr;

use tests::http::get;
use tests::process::Signal;
use tests::wait::SOON;
use tests::{Bridge, IrcClient, IrcNetwork, NatsServer, Served, wait_until};

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
    let mut bridge = Bridge::start(&nats.url(), &format!("{PEOPLE}{chat}")).await;
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
            nats.url()
        ),
    )
    .unwrap();
    let mut command = tests::tellhal(&nats.url(), served.dir());
    command.args(["serve", "--config"]).arg(&config);
    served.spawn(command).await;

    let join = |nick: &'static str| IrcClient::join(network.addr(), nick, "#ops");
    let (ann, dev, eve) = (join("ann").await, join("dev").await, join("bob").await);
    ann.register().await;
    dev.register().await;
    wait_until("the bridge is in the channel", SOON, async || is_heard(&bridge).await).await;

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
async fn a_bridge_under_development_hears_its_own_rooms_and_its_own_handlers_alone() {
    let (nats, network) = (NatsServer::start().await, IrcNetwork::start().await);
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

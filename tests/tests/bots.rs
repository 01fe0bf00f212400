//! Other programs and bots: the examples in `neighbours/` answer the bridge's commands in Python, Node and shell, take no request but
//! the bridge's, and bring ops messages into the rooms of a Hubot and an Errbot on a real IRC server.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::process::Command;

use async_nats::jetstream::{self, consumer};
use async_nats::{Client, HeaderMap};
use futures_util::StreamExt as _;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tellhal::command::{FRESH, KEY, Request, sign};
use tellhal::{Message, Names, Timestamp};
use tests::wait::SOON;
use tests::{
    Bridge, Inspircd, IrcClient, NatsOptions, NatsServer, Neighbour, Served, find, tellhal, wait_until,
};
use tokio::time::timeout;

const RULES: &str = "[[people]]\nname = \"ann\"\nroles = [\"operator\"]\npage = \"ann\"\n\
                     [[commands]]\nname = \"*\"\nallow = [\"operator\"]\n";

struct Scene {
    nats: NatsServer,
    client: Client,
    bridge: Bridge,
    /// A second key that the examples take requests of, so that the test can sign some as a bridge does.
    key: KeyPair,
}

impl Scene {
    async fn start() -> Scene {
        // A bot listens to tags and answers commands over one connection, so its user needs both parts.
        let nats = NatsServer::with(NatsOptions { open: true, ..NatsOptions::default() }).await;
        nats.create_log().await;
        let bridge = Bridge::start(&nats.url(), RULES).await;
        let client = nats.client().await;
        Scene { nats, client, bridge, key: KeyPair::new_user() }
    }

    /// The environment of an example.
    fn env(&self) -> Vec<(&'static str, String)> {
        let keys = format!("{},{}", self.bridge.key(), self.key.public_key());
        vec![("TELLHAL_URL", self.nats.url()), ("TELLHAL_BRIDGE_KEY", keys)]
    }

    /// All replies to a request, up to the answer.
    async fn replies(&self, subject: &str, headers: HeaderMap, payload: Vec<u8>) -> Vec<Value> {
        let client = &self.client;
        let inbox = client.new_inbox();
        let mut replies = client.subscribe(inbox.clone()).await.unwrap();
        client
            .publish_with_reply_and_headers(subject.to_owned(), inbox, headers, payload.into())
            .await
            .unwrap();
        let mut all = Vec::new();
        loop {
            let reply =
                timeout(SOON, replies.next()).await.unwrap_or_else(|_| panic!("no answer on {subject}"));
            let reply: Value = serde_json::from_slice(&reply.unwrap().payload).unwrap();
            let is_last = reply.get("answer").is_some();
            all.push(reply);
            if is_last {
                return all;
            }
        }
    }

    /// All replies to a line that ann types on the page.
    async fn asked(&self, line: &str) -> Vec<Value> {
        let line = json!({ "v": 1, "id": format!("{:x}", fastrand::u64(..)), "token": "ann", "line": line });
        self.replies("hal.ask.page", HeaderMap::new(), line.to_string().into()).await
    }

    /// The answer to a line, and whether it is one of failure.
    async fn ask(&self, line: &str) -> (String, bool) {
        text(&self.asked(line).await)
    }

    /// A request on `hal.cmd.<command>` is refused unless a known key has signed it for this subject, now and for the first time.
    async fn refuses_forgeries(&self, command: &str, args: &[&str], want: &str) {
        let subject = format!("hal.cmd.{command}");
        let request = Request {
            v: 1,
            id: "first".into(),
            subject: subject.clone(),
            command: command.into(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            named: [].into(),
            person: Some("ann".into()),
            roles: vec!["operator".into()],
            room: "main/#ops".into(),
            expires: Timestamp::now().plus(FRESH),
            timeout_ms: 60_000,
            cancel: None,
        };
        let signed = |request: &Request| sign(request, &self.key).unwrap();
        let (payload, headers) = signed(&request);
        let (_, stranger) = sign(&request, &KeyPair::new_user()).unwrap();
        let mut claims = stranger.clone();
        claims.insert(KEY, self.key.public_key());
        let mut short = headers.clone();
        short.insert("Hal-Signature", "AAAA");
        let changed = String::from_utf8(payload.clone()).unwrap().replace("\"ann\"", "\"eve\"");
        let old = signed(&Request { expires: Timestamp::now().minus(FRESH), ..request.clone() });
        let far = signed(&Request { expires: Timestamp::now().plus(FRESH * 10), ..request.clone() });
        let other = signed(&Request { subject: "hal.cmd.reboot".into(), ..request.clone() });
        for (headers, payload, why) in [
            (HeaderMap::new(), payload.clone(), "it is not signed"),
            (stranger, payload.clone(), "another key"),
            (claims, payload.clone(), "its signature is wrong"),
            (short, payload.clone(), "its signature is wrong"),
            (headers.clone(), changed.into(), "its signature is wrong"),
            (old.1, old.0, "it expires at"),
            (far.1, far.0, "it expires at"),
            (other.1, other.0, "it was signed for hal.cmd.reboot"),
        ] {
            let replies = self.replies(&subject, headers, payload).await;
            let (answer, failed) = text(&replies);
            assert!(failed && answer.contains("refuses the request: ") && answer.contains(why), "{answer}");
            assert_eq!(replies.len(), 1, "{replies:?}");
        }
        // None of these counted as the first time.
        let (answer, failed) = text(&self.replies(&subject, headers.clone(), payload.clone()).await);
        assert_eq!((last_line(&answer), failed), (want, false));
        let again = self.replies(&subject, headers, payload).await;
        assert!(text(&again).0.contains("refuses the request: it came before"), "{again:?}");
    }

    fn jetstream(&self) -> jetstream::Context {
        jetstream::new(self.client.clone())
    }

    /// Publishes an ops message of db1.
    async fn tell(&self, tag: &str, words: &str) {
        let message = Message::new("db1", tag.parse().unwrap(), words);
        let payload = serde_json::to_vec(&message).unwrap();
        let subject = Names::default().ops("db1", &message.tag);
        self.jetstream().publish(subject, payload.into()).await.unwrap().await.unwrap();
    }

    /// This durable consumer of the log, if it is there.
    async fn consumer(&self, durable: &str) -> Option<consumer::Info> {
        let log = self.jetstream().get_stream("HAL_OPS").await.unwrap();
        log.consumer_info(durable).await.ok()
    }

    /// True if all that the consumer was given is acknowledged.
    async fn has_read_all(&self, durable: &str) -> bool {
        let consumer = self.consumer(durable).await;
        consumer.is_some_and(|info| info.num_pending == 0 && info.num_ack_pending == 0)
    }
}

/// The answer among replies, and whether it is one of failure.
fn text(replies: &[Value]) -> (String, bool) {
    let answer = replies.last().unwrap();
    (answer["answer"].as_str().unwrap().to_owned(), answer["failed"] == true)
}

/// The end of an answer; a script's has all its output.
fn last_line(answer: &str) -> &str {
    answer.lines().last().unwrap_or_default()
}

async fn a_handler_answers(scene: &Scene, failure: &str) {
    let (answer, failed) = scene.ask("deploy staging").await;
    assert_eq!((last_line(&answer), failed), ("staging is deployed for ann", false));
    let (answer, failed) = scene.ask("deploy moon").await;
    assert!(failed && answer.contains(failure), "{answer}");
    let help = scene.ask("help deploy").await.0;
    assert!(help.starts_with("deploy TARGET") && help.contains("deploys the web servers"), "{help}");
    let each = scene.ask("deploy --each production").await;
    assert!(each.0.ends_with("production is deployed for ann") && !each.1, "{each:?}");
    scene.refuses_forgeries("deploy", &["staging"], "staging is deployed for ann").await;
}

fn tells_how_far_it_is(replies: &[Value]) -> bool {
    replies.iter().any(|reply| reply["progress"] == "copying to staging")
}

#[tokio::test]
async fn a_handler_in_python() {
    let scene = Scene::start().await;
    let mut command = Command::new(find::in_venv("errbot", "python3"));
    command.arg("handler.py");
    let files = [("hal.py", "hal.py"), ("handler.py", "handler.py")];
    let mut handler = Neighbour::start(&files, &[], command, &scene.env());
    handler.says("serves deploy").await;
    a_handler_answers(&scene, "it is deploy staging or deploy production").await;
    assert!(tells_how_far_it_is(&scene.asked("deploy staging").await));
}

#[tokio::test]
async fn a_handler_in_node() {
    let scene = Scene::start().await;
    let mut command = Command::new("node");
    command.arg("handler.mjs");
    let files = [("hal.mjs", "hal.mjs"), ("handler.mjs", "handler.mjs")];
    let mut handler = Neighbour::start(&files, &[], command, &scene.env());
    handler.says("serves deploy").await;
    a_handler_answers(&scene, "it is deploy staging or deploy production").await;
    assert!(tells_how_far_it_is(&scene.asked("deploy staging").await));
}

#[tokio::test]
async fn a_handler_in_shell() {
    let scene = Scene::start().await;
    let mut served = Served::default();
    let script = find::repository().join("tests/neighbours/handler.sh");
    let mut command = tellhal(&scene.nats.url(), served.dir());
    command.args(["serve", "deploy", "--about", "deploys the web servers"]);
    command.args(["--arg", "target=staging|production", "--exec"]).arg(script);
    for key in [scene.bridge.key(), scene.key.public_key()] {
        command.args(["--bridge-key", &key]);
    }
    served.spawn(command).await;
    a_handler_answers(&scene, "target must be one of staging, production").await;
}

/// A bot in the room #bots, as a Hubot or an Errbot.
struct Bot<'a> {
    nick: &'a str,
    /// The line that gives it a note.
    note: &'a str,
    durable: &'a str,
    start: &'a dyn Fn() -> Neighbour,
}

impl Bot<'_> {
    async fn takes_part(&self, scene: &Scene, irc: &Inspircd) {
        let ann = IrcClient::join(irc.addr(), "ann", "#bots").await;
        let heard = |text: &str| {
            ann.lines()
                .iter()
                .filter(|line| line.nick == self.nick && line.text.trim_end_matches('\x03') == text)
                .count()
        };
        let mut bot = (self.start)();
        let ready = async || scene.has_read_all(self.durable).await;
        bot.process().ready("it listens", ready).await;
        scene.tell("deploy.web", "not its tag").await;
        scene.tell("backup.mysql", "*Nightly* <b> `backup_of_db1`\nfinished").await;
        ann.hears("backup.mysql: *Nightly* <b> `backup_of_db1`").await;
        // A message that is told while it is down is told when it is back, once.
        wait_until("it has acknowledged", SOON, async || scene.has_read_all(self.durable).await).await;
        bot.process().kill();
        // Until the server knows, it would give the next message to the one that is gone, and again only after 30 s.
        let is_gone = async || scene.consumer(self.durable).await.is_some_and(|info| info.num_waiting == 0);
        wait_until("the server knows", SOON, is_gone).await;
        scene.tell("backup.mysql", "while it was down").await;
        let mut bot = (self.start)();
        ann.hears("backup.mysql: while it was down").await;
        bot.process().ready("it listens again", ready).await;
        let told =
            (heard("backup.mysql: *Nightly* <b> `backup_of_db1`"), heard("backup.mysql: while it was down"));
        assert_eq!(told, (1, 1), "{:?}", ann.texts());
        assert!(!ann.texts().iter().any(|text| text.contains("not its tag")));
        // A note in its own room is shown by a command of the bridge.
        assert_eq!(scene.ask("note").await, ("there is no note".into(), false));
        ann.say(self.note).await;
        ann.hears("noted").await;
        assert_eq!(scene.ask("note").await, ("release at five".into(), false));
        scene.refuses_forgeries("note", &[], "release at five").await;
    }
}

#[tokio::test]
async fn a_hubot_listens_to_tags_and_answers_a_command() {
    let (scene, irc) = (Scene::start().await, Inspircd::start().await);
    let start = || {
        let files = [
            ("hal.mjs", "hal.mjs"),
            ("hubot/irc.mjs", "irc.mjs"),
            ("hubot/tellhal.mjs", "scripts/tellhal.mjs"),
        ];
        let mut env = scene.env();
        env.extend([
            ("TELLHAL_TAG", "backup.>".into()),
            ("TELLHAL_ROOM", "#bots".into()),
            ("HUBOT_IRC_SERVER", irc.addr().ip().to_string()),
            ("HUBOT_IRC_PORT", irc.addr().port().to_string()),
            ("HUBOT_IRC_TLS", "false".into()),
            ("HUBOT_IRC_ROOMS", "#bots".into()),
        ]);
        let mut command = Command::new("node");
        command.arg(find::node_packages("hubot").join("hubot/bin/Hubot.mjs"));
        command.args(["--file", "./irc.mjs", "--name", "hubot", "--disable-httpd"]);
        Neighbour::start(&files, &[], command, &env)
    };
    let bot = Bot {
        nick: "hubot",
        note: "hubot note release at five",
        durable: "listen-hubot-room",
        start: &start,
    };
    bot.takes_part(&scene, &irc).await;
}

#[tokio::test]
async fn an_errbot_listens_to_tags_and_answers_a_command() {
    let (scene, irc) = (Scene::start().await, Inspircd::start().await);
    let config = format!(
        "BACKEND = 'IRC'\nBOT_IDENTITY = {{'nickname': 'errbot', 'server': '127.0.0.1', 'port': {}}}\n\
         CHATROOM_PRESENCE = ('#bots',)\nBOT_ADMINS = ('root!*@*',)\nBOT_EXTRA_PLUGIN_DIR = 'plugins'\nBOT_DATA_DIR = '.'\n\
         BOT_LOG_FILE = None\nBOT_LOG_LEVEL = 20\nCORE_PLUGINS = ('ChatRoom',)\nAUTOINSTALL_DEPS = False\nSTORAGE = 'Memory'\n",
        irc.addr().port()
    );
    let start = || {
        let files = [
            ("hal.py", "plugins/hal.py"),
            ("errbot/tellhal.plug", "plugins/tellhal.plug"),
            ("errbot/tellhal.py", "plugins/tellhal.py"),
            ("errbot/requirements.txt", "plugins/requirements.txt"),
        ];
        let mut env = scene.env();
        env.extend([("TELLHAL_TAG", "backup.>".into()), ("TELLHAL_ROOM", "#bots".into())]);
        let mut command = Command::new(find::in_venv("errbot", "errbot"));
        command.args(["--config", "config.py"]);
        Neighbour::start(&files, &[("config.py", config.clone())], command, &env)
    };
    let bot =
        Bot { nick: "errbot", note: "!note release at five", durable: "listen-errbot-room", start: &start };
    bot.takes_part(&scene, &irc).await;
}

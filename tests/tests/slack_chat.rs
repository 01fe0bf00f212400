//! Chat commands as people type them on Slack, over Socket Mode and as signed requests. The fake is one that the official SDK takes
//! for Slack (`fakes.rs`).
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::graphite::png;
use tests::http::{get, post_with};
use tests::slack::{APP_TOKEN, Post, SIGNING_SECRET, TICKET, TOKEN, Way, deliver, now};
use tests::wait::SOON;
use tests::{Answer, Bridge, FakeGraphite, FakeSlack, NatsServer, Reply, Served, wait_until};

const OPS: &str = "C0123456789";
const ANN: &str = "U0002";
const EVE: &str = "U0666";
const DENIED: &str =
    "✗ you may not give say: only a person with the role operator may, and this account is nobody's";

const PEOPLE: &str = r#"
[[people]]
name = "ann"
roles = ["operator"]
slack = "T0001/U0002"

[[commands]]
name = "*"
allow = ["operator"]
"#;

fn configuration(slack: &FakeSlack, way_in: &str) -> String {
    let api = slack.api_url();
    format!("{PEOPLE}\n[chat.main.slack]\ntoken = \"{TOKEN}\"\napi_url = \"{api}\"\n{way_in}\n")
}

async fn start() -> (NatsServer, FakeSlack) {
    let (nats, slack) = (NatsServer::start().await, FakeSlack::start(&[OPS, "D0002"]).await);
    nats.create_log().await;
    (nats, slack)
}

async fn heard(bridge: &Bridge) {
    let is_heard =
        async || get(bridge.http(), "/readyz").await.is_ok_and(|(_, text)| text.contains("chat main: heard"));
    wait_until("the chat is heard", SOON, is_heard).await;
}

/// Two bridges to which requests may be sent.
async fn bridges(nats: &NatsServer, slack: &FakeSlack) -> (Bridge, Bridge) {
    let configuration = configuration(slack, &format!("signing_secret = \"{SIGNING_SECRET}\""));
    let one = Bridge::start(&nats.url(), &configuration).await;
    let key = one.dir().join("state/signing.nk");
    let handlers = format!("[handlers]\nsigning_key_file = {key:?}\n");
    let two = Bridge::start(&nats.url(), &format!("{configuration}{handlers}")).await;
    heard(&one).await;
    heard(&two).await;
    (one, two)
}

/// The same event with other values.
fn with(mut payload: Value, event: Value) -> Value {
    let fields = payload["event"].as_object_mut().unwrap();
    fields.extend(event.as_object().unwrap().clone());
    payload
}

async fn posted(slack: &FakeSlack, text: &str) -> Post {
    let find = || slack.posts().into_iter().find(|post| post.text == text);
    wait_until(text, SOON, async || find().is_some()).await;
    find().unwrap()
}

fn assert_no_secret(bridge: &Bridge, slack: &FakeSlack) {
    let texts: Vec<String> = slack.posts().into_iter().map(|post| post.text).collect();
    for secret in [TOKEN, APP_TOKEN, SIGNING_SECRET, "secret-ticket"] {
        let shown = format!("{}{texts:?}", bridge.log());
        assert!(!shown.contains(secret), "a secret is shown: {shown}");
    }
}

#[tokio::test]
async fn commands_are_typed_and_answered_over_socket_mode() {
    let (nats, slack) = start().await;
    let way_in = format!("app_token = \"{APP_TOKEN}\"");
    let bridge = Bridge::start(&nats.url(), &configuration(&slack, &way_in)).await;
    let mut served = Served::default();
    let say = served.program("say", "echo \"$1\"");
    let build = served.program("build", "echo step_1; sleep 7; echo over");
    served.serve(&nats.url(), &bridge, &["say", "--exec", &say, "--arg", "text"]).await;
    served.serve(&nats.url(), &bridge, &["build", "--exec", &build]).await;
    heard(&bridge).await;

    let said = |user: &str, text: &str| slack.message(user, OPS, text);
    slack.envelope("events_api", &said(ANN, "!build"));
    // A display name equal to an operator's is not that person, nor is the same id in another workspace.
    let named_ann =
        json!({ "user_profile": { "display_name": "ann", "real_name": "ann" }, "username": "ann" });
    let mut foreign = said(ANN, "!say foreign");
    foreign["team_id"] = "T0666".into();
    let edit =
        json!({ "subtype": "message_changed", "message": said(ANN, "!say edited")["event"], "user": null });
    for event in [
        said(ANN, "what is up?"),
        with(said(ANN, "!say old"), edit),
        with(said(ANN, "!say edited"), json!({ "edited": { "user": ANN, "ts": "1.1" } })),
        with(said(ANN, "!say robot"), json!({ "bot_id": "B0002" })),
        with(said(ANN, "!say robot"), json!({ "subtype": "bot_message", "username": "ann", "user": null })),
        with(said(ANN, "!say backlog"), json!({ "ts": format!("{}.000001", now() - 3600) })),
        foreign,
        said(ANN, "!say “; rm -rf / $(id)”"),
        said(ANN, "<@U0001> say '&lt;!channel&gt; &amp; &lt;@U1&gt; *b*'"),
        said(ANN, "!say <http://x.example|x.example>"),
        with(said(EVE, "!say x"), named_ann),
        with(said(ANN, "!say x"), json!({ "user_team": "T0666" })),
        said(ANN, "!say a\u{200b}b"),
        with(said(ANN, "hal: say threaded"), json!({ "thread_ts": "1795000000.000100" })),
        slack.message(ANN, "D0002", "whoami"),
    ] {
        slack.envelope("events_api", &event);
    }
    slack.envelope("slash_commands", &slack.command(ANN, OPS, "say slash"));
    // The bot is not in this channel, so the answer is for the one who asked.
    slack.envelope("slash_commands", &slack.command(ANN, "C0FFEE", "say elsewhere"));

    let mut answers = vec![
        (OPS, "; rm -rf / $(id)"),
        (OPS, "&lt;!channel&gt; &amp; &lt;@U1&gt; *b*"),
        (OPS, "x.example"),
        (OPS, DENIED),
        (OPS, DENIED),
        (OPS, "✗ there is a hidden character (\\u{200b}) after \"say a\"; type the command again"),
        (OPS, "threaded"),
        ("D0002", "ann, slack T0001/U0002, with the roles operator"),
        (OPS, "slash"),
        ("D0002", "elsewhere"),
        (OPS, "step_1\nover"),
    ];
    answers.sort();
    // Progress is an edit of one post, and so is the answer.
    let progress = async || {
        slack.posts().iter().any(|post| post.text.contains("step_1") && post.text.contains("running, "))
    };
    wait_until("progress", SOON, progress).await;
    posted(&slack, "```\nstep_1\nover\n```").await;
    let is_over = |post: &Post| !post.text.contains("running, ");
    let are_over = async || slack.posts().len() >= answers.len() && slack.posts().iter().all(is_over);
    wait_until("all answers", SOON, are_over).await;
    let posts = slack.posts();
    // On a slow machine any answer may be an edit, and stand in a code block.
    let mut texts: Vec<(&str, &str)> = posts
        .iter()
        .map(|post| (post.channel.as_str(), post.text.trim_start_matches("```\n").trim_end_matches("\n```")))
        .collect();
    texts.sort();
    assert_eq!(texts, answers);
    for post in &posts {
        let thread = post.text.contains("threaded").then_some("1795000000.000100");
        assert_eq!(post.body.get("thread_ts").and_then(Value::as_str), thread, "{post:?}");
    }
    // Everything is acknowledged, the bot's own posts too, and a slash command is shown in its room.
    wait_until("acknowledgements", SOON, async || slack.acknowledged().len() >= 18 + posts.len()).await;
    let shown = |ack: &&Value| ack["payload"] == json!({ "response_type": "in_channel" });
    assert_eq!(slack.acknowledged().iter().filter(shown).count(), 2);
    assert_no_secret(&bridge, &slack);
}

#[tokio::test]
async fn a_closed_and_a_dead_connection_are_replaced() {
    let (nats, slack) = start().await;
    let way_in = format!("app_token = \"{APP_TOKEN}\"\nchannels = \"{OPS}\"");
    let bridge = Bridge::start(&nats.url(), &configuration(&slack, &way_in)).await;
    heard(&bridge).await;
    let ask = |channel: &str, text: &str| slack.envelope("events_api", &slack.message(ANN, channel, text));
    let answers = |count: usize| {
        let slack = &slack;
        async move { wait_until("an answer", SOON, async || slack.posts().len() >= count).await }
    };
    // Slack's wish is kept.
    slack.next([Answer::retry_after("2")]);
    let asked_at = Instant::now();
    ask(OPS, "!whoami");
    answers(1).await;
    assert!(asked_at.elapsed() >= Duration::from_secs(2));
    slack.disconnect();
    ask("C0OTHER", "!whoami");
    ask(OPS, "!whoami");
    answers(2).await;
    assert_eq!(slack.connections(), 2);
    slack.freeze();
    ask(OPS, "!whoami");
    answers(3).await;
    assert_eq!((slack.connections(), slack.posts().len()), (3, 3));
    assert!(bridge.log().contains("the connection is silent"), "{}", bridge.log());
    heard(&bridge).await;
    assert_no_secret(&bridge, &slack);
}

#[tokio::test]
async fn requests_are_answered_by_any_bridge_and_run_once() {
    let (nats, slack) = start().await;
    let (one, two) = bridges(&nats, &slack).await;
    let mut served = Served::default();
    let ran = served.path("ran");
    let count = served.program("count", &format!("echo \"$1\" >> {}; echo \"counted $1\"", ran.display()));
    served.serve(&nats.url(), &one, &["count", "--exec", &count, "--arg", "word"]).await;

    let send = async |bridge: &Bridge, way: Way, payload: &Value| {
        deliver(bridge.http(), way, SIGNING_SECRET, now(), &way.body(payload)).await
    };
    let challenge = json!({ "type": "url_verification", "token": "x", "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P" });
    let answered = send(&one, Way::Event, &challenge).await;
    assert_eq!(answered, (200, challenge["challenge"].as_str().unwrap().to_owned()));
    assert_eq!(send(&one, Way::Command, &json!({ "ssl_check": 1, "token": "x" })).await.0, 200);

    // The same line as an event of another kind, again by Slack, and to the other bridge.
    let event = slack.message(ANN, OPS, "<@U0001> count event");
    let mention = with(event.clone(), json!({ "type": "app_mention", "channel_type": null }));
    for (bridge, payload) in [(&one, &event), (&two, &mention), (&two, &event), (&one, &event)] {
        assert_eq!(send(bridge, Way::Event, payload).await, (200, String::new()));
    }
    // A slash command and its replay, signature and all.
    let (at, body) = (now(), Way::Command.body(&slack.command(ANN, OPS, "count slash")));
    for bridge in [&two, &two, &one] {
        let (status, answer) = deliver(bridge.http(), Way::Command, SIGNING_SECRET, at, &body).await;
        assert_eq!((status, answer.as_str()), (200, "{\"response_type\":\"in_channel\"}"));
    }

    // A request that is not Slack's, or not of our workspace, is refused and does nothing.
    let bad = Way::Command.body(&slack.command(ANN, OPS, "count bad"));
    let mut foreign = slack.command(ANN, OPS, "count foreign");
    foreign["team_id"] = "T0666".into();
    let mut event = slack.message(ANN, OPS, "!count foreign");
    event["team_id"] = "T0666".into();
    let signed = async |secret, at, body: &str| deliver(one.http(), Way::Command, secret, at, body).await.0;
    assert_eq!(signed("another app's secret", now(), &bad).await, 401);
    assert_eq!(signed(SIGNING_SECRET, now() - 301, &bad).await, 401);
    assert_eq!(signed(SIGNING_SECRET, now() + 302, &bad).await, 401);
    assert_eq!(send(&one, Way::Command, &foreign).await.0, 401);
    assert_eq!(send(&one, Way::Event, &event).await.0, 401);
    let wrong = deliver(one.http(), Way::Event, "another app's secret", now(), &challenge.to_string()).await;
    assert_eq!(wrong, (401, String::new()));
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(post_with(one.http(), "/slack/main", &[form], &bad).await.unwrap().0, 401);
    assert_eq!(post_with(one.http(), "/slack/other", &[form], &bad).await.unwrap().0, 404);
    assert_eq!(post_with(one.http(), "/slack/main", &[form], &"x".repeat(300_000)).await.unwrap().0, 413);
    let (_, metrics) = one.get("/metrics").await;
    assert!(metrics.contains("hal_bridge_chat_requests_total{chat=\"slack\",status=\"401\"} 7"), "{metrics}");
    // An edited command is no command.
    let edited = with(slack.message(ANN, OPS, "!count edited"), json!({ "subtype": "message_changed" }));
    assert_eq!(send(&one, Way::Event, &edited).await.0, 200);

    let last = slack.message(ANN, OPS, "!count last");
    assert_eq!(send(&two, Way::Event, &last).await.0, 200);
    for word in ["event", "slash", "last"] {
        posted(&slack, &format!("counted {word}")).await;
    }
    let mut lines: Vec<String> = std::fs::read_to_string(&ran).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!((lines, slack.posts().len()), (vec!["event".into(), "last".into(), "slash".into()], 3));
    // The address that a request names for its answer is not used.
    assert!(slack.requests().iter().all(|request| request.path.starts_with("/api/")));
    assert_no_secret(&one, &slack);
    assert_no_secret(&two, &slack);
}

#[tokio::test]
async fn a_command_whose_bridge_dies_is_told_by_another_and_not_run_again() {
    let (nats, slack) = start().await;
    let (mut one, two) = bridges(&nats, &slack).await;
    let mut served = Served::default();
    let ran = served.path("ran");
    let slow = served.program("slow", &format!("echo x >> {}; sleep 60", ran.display()));
    served.serve(&nats.url(), &one, &["slow", "--exec", &slow]).await;
    served.serve(&nats.url(), &two, &["long", "--exec", "sleep 20"]).await;
    let slow = Way::Command.body(&slack.command(ANN, OPS, "slow"));
    let long = Way::Command.body(&slack.command(ANN, OPS, "long"));
    for (bridge, body) in [(&one, &slow), (&two, &long)] {
        assert_eq!(deliver(bridge.http(), Way::Command, SIGNING_SECRET, now(), body).await.0, 200);
    }
    wait_until("it runs", SOON, async || ran.exists()).await;
    one.kill();
    let unknown = || slack.posts().iter().filter(|post| post.text.contains("outcome unknown")).count();
    wait_until("its outcome is told", 2 * SOON, async || unknown() == 1).await;
    assert_eq!(deliver(two.http(), Way::Command, SIGNING_SECRET, now(), &slow).await.0, 200);
    // A command that takes long is not taken for one of a dead bridge.
    posted(&slack, "done").await;
    assert_eq!((unknown(), std::fs::read_to_string(&ran).unwrap().as_str()), (1, "x\n"));
}

/// A bridge with a graph.
async fn with_graph(nats: &NatsServer, slack: &FakeSlack) -> (FakeGraphite, Bridge) {
    let graphite = FakeGraphite::start().await;
    graphite.set("a.b", &[Some(1.0)]);
    let graph =
        format!("[graphs.load]\nurl = \"http://{}\"\ntargets = [{{ target = \"a.b\" }}]\n", graphite.addr());
    let chat = configuration(slack, &format!("app_token = \"{APP_TOKEN}\""));
    let text = format!("page_url = \"https://hal.example.com\"\n{graph}{chat}");
    let bridge = Bridge::start(&nats.url(), &text).await;
    heard(&bridge).await;
    (graphite, bridge)
}

fn ask(slack: &FakeSlack, thread: &str) {
    let asked = with(slack.message(ANN, OPS, "!graph load small"), json!({ "thread_ts": thread }));
    slack.envelope("events_api", &asked);
}

/// The posts in a thread, once there are so many.
async fn answers(slack: &FakeSlack, thread: &str, count: usize) -> Vec<Post> {
    let find = || -> Vec<Post> {
        slack.posts().into_iter().filter(|post| post.body["thread_ts"] == thread).collect()
    };
    wait_until("answers in the thread", SOON, async || find().len() >= count).await;
    find()
}

#[tokio::test]
async fn a_graph_is_a_picture_in_the_thread_of_its_command_or_a_link() {
    let (nats, slack) = start().await;
    let (_graphite, bridge) = with_graph(&nats, &slack).await;
    ask(&slack, "1795000000.000100");
    let answer = answers(&slack, "1795000000.000100", 1).await.remove(0);
    assert_eq!(answer.text, "load, the last 24 hours");
    wait_until("a picture", SOON, async || slack.pictures().len() == 1).await;
    let picture = slack.pictures().remove(0);
    assert_eq!((picture.thread.as_deref(), picture.after), (Some("1795000000.000100"), 1));
    assert_eq!((picture.name.as_str(), picture.bytes), ("load.png", png(400, 200)));

    // The bot has heard of its own picture, and has answered nothing.
    slack.permit_files(false);
    for thread in ["1795000000.000200", "1795000000.000300"] {
        ask(&slack, thread);
        let answer = answers(&slack, thread, 1).await.remove(0);
        assert!(answer.text.contains("\nload.png: https://hal.example.com/api/files/answer-"), "{answer:?}");
    }
    assert_eq!((slack.posts().len(), slack.pictures().len()), (3, 1));
    let log = bridge.log();
    assert_eq!(log.matches("slack says missing_scope: the bot needs files:write").count(), 1, "{log}");
    assert!(!log.contains(TICKET), "{log}");
}

#[tokio::test]
async fn an_answer_whose_picture_is_refused_says_so_and_is_said_once() {
    let (nats, slack) = start().await;
    let (_graphite, _bridge) = with_graph(&nats, &slack).await;
    let refused = Answer::Refuse(Reply::json(200, &json!({ "ok": false, "error": "file_not_found" })));
    // The address, the bytes, the text, and the share.
    slack.next([Answer::Normal, Answer::Normal, Answer::Normal, refused]);
    ask(&slack, "1795000000.000100");
    let texts: Vec<String> =
        answers(&slack, "1795000000.000100", 2).await.into_iter().map(|post| post.text).collect();
    assert_eq!(texts, ["load, the last 24 hours", "load.png: not taken by Slack; the page has it"]);
    // For a while there are links.
    ask(&slack, "1795000000.000200");
    let answer = answers(&slack, "1795000000.000200", 1).await.remove(0);
    assert!(answer.text.contains("load.png: https://hal.example.com/api/files/answer-"), "{answer:?}");
    assert_eq!((slack.posts().len(), slack.pictures().len()), (3, 0));
}

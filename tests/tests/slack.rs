//! Messages from tellhal into Slack, by the Web API and by an incoming webhook: the posts, hostile texts, and messages that
//! Slack refuses. No secret is shown anywhere.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use async_nats::jetstream::object_store::ObjectMetadata;
use serde_json::{Value, json};
use tellhal::Message;
use tellhal::audit::FileEntry;
use tests::graphite::png;
use tests::slack::{Channel, Post, TICKET, TOKEN, WEBHOOK};
use tests::wait::SOON;
use tests::{Answer, Events, FakeSlack, NatsServer, Relay, Reply, tellhal, wait_until};

const CHANNEL: &str = "C0123456789";

struct Scene {
    nats: NatsServer,
    slack: FakeSlack,
    relay: Relay,
    home: tempfile::TempDir,
}

impl Scene {
    /// A relay with room `api` for `backup.>` and room `hook` for `hook.>`.
    async fn start() -> Scene {
        let (nats, slack) = (NatsServer::start().await, FakeSlack::start(&[CHANNEL]).await);
        let home = tempfile::tempdir().unwrap();
        let (token, webhook) = (home.path().join("token"), home.path().join("webhook"));
        std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
        std::fs::write(&webhook, slack.webhook_url()).unwrap();
        let configuration = format!(
            "default_room = \"page\"\nfailing_after = \"1s\"\n\
             routes = [{{ name = \"backups\", tag = \"backup.>\", rooms = [\"api\"] }}, {{ name = \"hooks\", tag = \"hook.>\", rooms = [\"hook\"] }}]\n\
             [rooms.api.slack]\ntoken_file = {token:?}\nchannel = \"{CHANNEL}\"\napi_url = \"{}\"\n\
             [rooms.hook.slack]\nwebhook_url_file = {webhook:?}\n",
            slack.api_url()
        );
        let relay = Relay::start(&nats.url(), &configuration).await;
        Scene { nats, slack, relay, home }
    }

    async fn tell(&self, arguments: &[&str]) {
        let mut command = tellhal(&self.nats.url(), self.home.path());
        command.env("TELLHAL_SOURCE", "db1").args(arguments);
        let sent = output(command).await;
        assert!(sent.status.success() && sent.stderr.is_empty(), "{sent:?}");
    }

    /// Tells a message with a picture, as the bridge does.
    async fn show(&self, text: &str) {
        let (jetstream, bytes) = (self.nats.jetstream().await, png(8, 4));
        let object = format!("answer-{}-0", fastrand::u64(..));
        let files = jetstream.get_object_store("HAL_FILES").await.unwrap();
        let about = ObjectMetadata {
            name: object.clone(),
            description: Some("load.png".into()),
            ..Default::default()
        };
        files.put(about, &mut bytes.as_slice()).await.unwrap();
        let mut message = Message::new("bridge", "backup.graph".parse().unwrap(), text);
        message.files =
            vec![FileEntry { name: "load.png".into(), object, bytes: bytes.len(), picture: true }];
        let payload = serde_json::to_vec(&message).unwrap().into();
        jetstream.publish("hal.ops.bridge.backup.graph", payload).await.unwrap().await.unwrap();
    }

    /// The texts of all posts, once there are so many.
    async fn texts(&self, count: usize) -> Vec<String> {
        let texts: Vec<String> = self.posts(count).await.into_iter().map(|post| post.text).collect();
        assert_eq!(texts.len(), count, "{texts:#?}");
        texts
    }

    /// The number of requests to upload something.
    fn uploads(&self) -> usize {
        let requests = self.slack.requests();
        requests.iter().filter(|request| request.path.ends_with("files.getUploadURLExternal")).count()
    }

    async fn posts(&self, count: usize) -> Vec<Post> {
        wait_until(&format!("{count} posts"), SOON, async || self.slack.posts().len() >= count).await;
        self.slack.posts()
    }

    async fn dead(&self) -> Vec<Value> {
        let listed = output(self.relay.command(&["dead", "list", "--json"])).await;
        serde_json::from_slice(&listed.stdout).unwrap_or_else(|_| panic!("{listed:?}"))
    }

    async fn died(&self) -> Vec<Value> {
        wait_until("there is a dead letter", SOON, async || !self.dead().await.is_empty()).await;
        self.dead().await
    }

    /// Waits until the metrics have this line.
    async fn counts(&self, line: &str) {
        let has = async || self.relay.get("/metrics").await.1.lines().any(|metric| metric == line);
        wait_until(line, SOON, has).await;
    }

    /// Asserts that API, logs, streams and commands do not show the token or the webhook's address.
    async fn assert_no_secret(&self) {
        let mut events = Events::open(self.relay.http(), "/api/stream?after=0").await.unwrap();
        let mut page = String::new();
        while !page.contains("event live") {
            let event = events.next().await.unwrap();
            page += &format!("event {} {}\n", event.kind, event.data);
        }
        let rooms = output(self.relay.command(&["rooms", "list", "--json"])).await;
        let places = [
            ("the log", self.relay.log()),
            ("/metrics", self.relay.get("/metrics").await.1),
            ("/readyz", self.relay.get("/readyz").await.1),
            ("the page", self.relay.get("/").await.1),
            ("its stream", page),
            ("dead letters", format!("{:?}", self.dead().await)),
            ("rooms list", format!("{rooms:?}")),
        ];
        for (name, text) in places {
            assert!(!text.is_empty(), "{name} says nothing");
            for secret in [TOKEN, WEBHOOK, "secretsecret", TICKET] {
                assert!(!text.contains(secret), "{name} shows a secret: {text}");
            }
        }
    }
}

/// Runs a command without blocking the fakes, which are in this process.
async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

#[tokio::test]
async fn both_ways_post_the_text_without_interpreting_markup() {
    let scene = Scene::start().await;
    let hostile = "<!channel> & <@U1>\n<https://evil.example|our wiki> *bold* `code` @everyone #ops";
    for (tag, more) in [("backup.mysql", ["-s", "error"]), ("hook.mysql", ["--field", "host=web1"])] {
        scene.tell(&["-t", tag, more[0], more[1], hostile]).await;
    }
    let posts = scene.posts(2).await;
    let by = |channel: &str| posts.iter().find(|post| post.channel == channel).unwrap();
    let (api, hook) = (by(CHANNEL), by(""));
    assert_eq!(api.text, "ERROR [backup.mysql] db1: &lt;!channel&gt; &amp; &lt;@U1&gt;");
    assert_eq!(hook.text, "[hook.mysql] db1: &lt;!channel&gt; &amp; &lt;@U1&gt;");
    let below = "&lt;https://evil.example|our wiki&gt; *bold* `code` @everyone #ops";
    assert_eq!(api.body["attachments"][0]["text"], below);
    assert_eq!(api.body["attachments"][0]["color"], "danger");
    assert_eq!(hook.body["attachments"][0]["text"], format!("{below}\nhost=web1"));
    for post in [api, hook] {
        for switch in ["mrkdwn", "link_names", "unfurl_links", "unfurl_media"] {
            assert_eq!(post.body[switch], json!(false), "{switch} in {:?}", post.body);
        }
        assert_eq!(post.body["attachments"][0]["mrkdwn_in"], json!([]), "{:?}", post.body);
    }
    let requests = scene.slack.requests();
    let tokens = requests.iter().filter_map(|request| request.header("authorization"));
    assert_eq!(tokens.collect::<Vec<_>>(), [format!("Bearer {TOKEN}")], "only the Web API gets the token");
    scene.assert_no_secret().await;
}

#[tokio::test]
async fn slacks_own_pace_is_kept_and_one_post_comes_of_it() {
    let scene = Scene::start().await;
    for (n, tag) in ["backup.mysql", "hook.mysql"].into_iter().enumerate() {
        let limited = Reply::json(429, &json!({"ok": false, "error": "ratelimited"}));
        scene.slack.next([Answer::Refuse(limited.with("Retry-After", "1"))]);
        let asked = scene.slack.requests().len();
        let start = Instant::now();
        scene.tell(&[tag, "slowly"]).await;
        scene.posts(n + 1).await;
        assert!(start.elapsed() >= Duration::from_secs(1), "Retry-After was one second");
        assert_eq!(scene.slack.requests().len(), asked + 2, "one refusal, one post");
    }
    scene.tell(&["backup.mysql", "the next"]).await;
    let texts: Vec<String> = scene.posts(3).await.into_iter().map(|post| post.text).collect();
    assert_eq!(
        texts,
        ["[backup.mysql] db1: slowly", "[hook.mysql] db1: slowly", "[backup.mysql] db1: the next"]
    );
}

#[tokio::test]
async fn a_channel_without_us_makes_a_dead_letter_that_can_be_sent_later() {
    let scene = Scene::start().await;
    scene.slack.set_channel(CHANNEL, Channel::NotMember);
    scene.tell(&["backup.mysql", "nobody reads this"]).await;
    let dead = scene.died().await;
    assert_eq!((dead.len(), dead[0]["room"].as_str()), (1, Some("api")), "{dead:?}");
    assert_eq!(dead[0]["reason"], "127.0.0.1: slack says not_in_channel");
    assert_eq!(dead[0]["message"]["text"], "nobody reads this");
    scene.counts("hal_relay_attempts_total{room=\"api\",outcome=\"auth\"} 1").await;
    let mut page = Events::open(scene.relay.http(), "/api/stream?after=0").await.unwrap();
    let marked = page.until("the room is marked", |event| event.data.contains("room.api")).await;
    assert!(marked.data.contains("has taken no message for ") && marked.data.contains("not_in_channel"));

    scene.slack.set_channel(CHANNEL, Channel::Open);
    let retried = output(scene.relay.command(&["dead", "retry", "--room", "api"])).await;
    assert!(retried.status.success(), "{retried:?}");
    let posts = scene.posts(1).await;
    assert_eq!(posts[0].text, "[backup.mysql] db1: nobody reads this");
    assert_eq!(scene.dead().await.len(), 0);
    page.until("the mark is taken off", |event| event.data.contains("room api takes messages again")).await;
    scene.assert_no_secret().await;
}

#[tokio::test]
async fn an_answer_that_repeats_our_secrets_is_shown_without_them() {
    let scene = Scene::start().await;
    for (tag, secret) in [("backup.mysql", TOKEN), ("hook.mysql", WEBHOOK)] {
        let refuse = |status| Answer::Refuse(Reply::text(status, format!("bad request with {secret}")));
        scene.slack.next([refuse(500), refuse(400)]);
        scene.tell(&[tag, "refused"]).await;
        let dead = async || scene.dead().await.iter().any(|letter| letter["message"]["tag"] == tag);
        wait_until("it is a dead letter", SOON, dead).await;
    }
    assert!(scene.relay.log().contains("bad request with …"), "the answer is shown: {}", scene.relay.log());
    scene.assert_no_secret().await;
}

#[tokio::test]
async fn a_picture_follows_its_message_once() {
    let scene = Scene::start().await;
    scene.show("first").await;
    let shown = async |count| {
        wait_until(&format!("{count} pictures"), SOON, async || scene.slack.pictures().len() >= count).await;
        scene.slack.pictures()
    };
    let picture = shown(1).await.remove(0);
    assert_eq!((picture.channel.as_str(), picture.title.as_str()), (CHANNEL, "load.png"));
    assert_eq!((picture.bytes, picture.after, picture.thread), (png(8, 4), 1, None));

    // Slack shows the file, and its answer is lost.
    let normal = || Answer::Normal;
    scene.slack.next([normal(), normal(), normal(), Answer::TakeThenReset]);
    scene.show("second").await;
    let sent = scene.nats.jetstream().await.get_stream("HAL_SENT").await.unwrap();
    let is_doubtful = async || {
        let receipt = sent.direct_get_last_for_subject("hal.sent.api").await;
        let receipt = receipt.map(|receipt| String::from_utf8_lossy(&receipt.payload).into_owned());
        receipt.is_ok_and(|receipt| receipt.contains("nobody knows that the file is shown: "))
    };
    wait_until("the doubt is on the receipt", SOON, is_doubtful).await;
    assert_eq!(scene.slack.pictures().len(), 2);

    // Slack has no time for a file: the message and the next ones do not wait for it.
    scene.slack.next([normal(), Answer::retry_after("30")]);
    scene.show("third").await;
    assert_eq!(scene.texts(4).await[3], "load.png: not taken by Slack");
    let asked = scene.uploads();
    scene.show("fourth").await;
    let texts = scene.texts(5).await;
    assert!(texts[4].ends_with("fourth"), "{texts:#?}");
    assert_eq!((scene.uploads(), scene.slack.pictures().len()), (asked, 2));
    scene.assert_no_secret().await;
}

#[tokio::test]
async fn a_bot_that_may_not_upload_says_so_once() {
    let scene = Scene::start().await;
    scene.slack.permit_files(false);
    for (text, posts) in [("first", 2), ("second", 3), ("third", 4)] {
        scene.show(text).await;
        scene.posts(posts).await;
    }
    let texts = scene.texts(4).await;
    assert_eq!(texts[1], "load.png: not taken by Slack", "{texts:#?}");
    assert_eq!((scene.uploads(), scene.slack.pictures().len()), (1, 0));
    let log = scene.relay.log();
    assert_eq!(log.matches("slack says missing_scope: the bot needs files:write").count(), 1, "{log}");
    assert!(texts[3].ends_with("third"), "{texts:#?}");
}

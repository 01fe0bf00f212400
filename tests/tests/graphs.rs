//! Graphs end to end: drawn by a real Graphite, asked for in a chat and by a schedule, uploaded where the room takes pictures, linked
//! elsewhere, shown on the page; and servers whose answer is no picture.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::process::Output;

use async_nats::jetstream::object_store::ObjectMetadata;
use serde_json::{Value, json};
use tellhal::Message;
use tellhal::audit::FileEntry;
use tests::graphite::png;
use tests::synapse::{LARGEST_UPLOAD, SERVER_NAME};
use tests::wait::SOON;
use tests::{
    Answer, Bridge, FakeSlack, GraphiteWeb, MatrixUser, NatsServer, Relay, Reply, Synapse, WebhookSink, ask,
    wait_until,
};

const CHANNEL: &str = "C0123456789";

/// Width and height of a picture.
fn pixels(png: &[u8]) -> (u32, u32) {
    assert!(png.starts_with(b"\x89PNG"), "{:?}", &png[..png.len().min(40)]);
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

/// Runs a command without blocking the servers in this process.
async fn output(bridge: &Bridge, arguments: &[&str]) -> Output {
    let mut command = bridge.command(arguments);
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

/// Tells a message with a picture, as the bridge does.
async fn show(nats: &NatsServer, tag: &str, bytes: &[u8]) {
    let jetstream = nats.jetstream().await;
    let files = jetstream.get_object_store("HAL_FILES").await.unwrap();
    let about = ObjectMetadata {
        name: "answer-large-0".into(),
        description: Some("large.png".into()),
        ..Default::default()
    };
    files.put(about, &mut &*bytes).await.unwrap();
    let mut message = Message::new("bridge", tag.parse().unwrap(), "look");
    let entry = FileEntry {
        name: "large.png".into(),
        object: "answer-large-0".into(),
        bytes: bytes.len(),
        picture: true,
    };
    message.files = vec![entry];
    let (subject, payload) = (format!("hal.ops.bridge.{tag}"), serde_json::to_vec(&message).unwrap());
    jetstream.publish(subject, payload.into()).await.unwrap().await.unwrap();
}

/// The pictures in a Matrix room.
async fn images(user: &MatrixUser, room: &str) -> Vec<Value> {
    let messages = user.messages(room).await.into_iter().map(|message| message["content"].clone());
    messages.filter(|content| content["msgtype"] == "m.image").collect()
}

#[tokio::test]
async fn a_graph_is_uploaded_linked_and_shown_as_each_room_takes_it() {
    let (nats, slack) = (NatsServer::start().await, FakeSlack::start(&[CHANNEL]).await);
    let (graphite, synapse) = tokio::join!(GraphiteWeb::start(), Synapse::without_limits());
    let (hal, ann) = (synapse.user("hal").await, synapse.user("ann").await);
    let room = ann.create_room(json!({ "preset": "public_chat", "room_alias_name": "ops" })).await;
    for (host, base) in [("web1", 3.0), ("web2", 5.0)] {
        let wave = |age: u32| (age, base + (f64::from(age) / 20.0).sin());
        graphite.write(&format!("servers.{host}.load"), &(1..280).map(wave).collect::<Vec<_>>());
    }
    graphite.write("events.deploy", &[(90, 1.0), (200, 1.0)]);

    let matrix = format!("homeserver = \"{}\"\ntoken = \"{}\"\n", synapse.url(), hal.token);
    let rooms = format!(
        "default_room = \"page\"\nroutes = [{{ name = \"reports\", tag = \"report.>\", rooms = [\"ops\", \"text\"] }}]\n\
         [rooms.ops.matrix]\n{matrix}room = \"#ops:{SERVER_NAME}\"\n\
         [rooms.text.slack]\ntoken = \"xoxb-test-token\"\nchannel = \"{CHANNEL}\"\napi_url = \"{}\"\n",
        slack.api_url()
    );
    let rooms = rooms.replace("xoxb-test-token", tests::slack::TOKEN);
    let relay = Relay::start(&nats.url(), &rooms).await;
    let page = format!("http://{}", relay.http());
    let config = format!(
        "page_url = \"{page}\"\n[[people]]\nname = \"ann\"\nroles = [\"operator\"]\nmatrix = \"{}\"\npage = \"ann\"\nschedule = \"morning\"\n\
         [[commands]]\nname = \"*\"\nallow = [\"operator\"]\n\
         [[schedules]]\nname = \"morning\"\nat = \"08:00\"\ndate = \"2099-12-24\"\ncommand = \"graph load big\"\ntag = \"report.load\"\n\
         [graphs.load]\nurl = \"{}\"\ntitle = \"Load of the web servers\"\nduration = \"5 minutes\"\n\
         targets = [{{ target = \"servers.web1.load\", alias = \"first\" }}, {{ target = \"servers.web2.load\" }}, \
         {{ target = \"events.deploy\", alias = \"deploys\", deploy = true }}]\nparameters = {{ yMin = 0 }}\n\
         [chat.main.matrix]\n{matrix}rooms = \"#ops:{SERVER_NAME}\"\n",
        ann.id,
        graphite.url()
    );
    let bridge = Bridge::start(&nats.url(), &config).await;

    // Listed, and refused with what is known.
    assert_eq!(ask(&nats, "ann", "graph").await, ("load  5 minutes  Load of the web servers".into(), false));
    let (refused, failed) = ask(&nats, "ann", "graph load huge").await;
    assert!(
        failed && refused.contains("\"huge\" is not known: the words are small, medium, big"),
        "{refused}"
    );
    let unknown = ("there is no graph lod; did you mean load?".to_owned(), true);
    assert_eq!(ask(&nats, "ann", "graph lod").await, unknown);
    assert!(ask(&nats, "ann", "help").await.0.contains("graph [NAME] [WORDS]"));
    assert!(ask(&nats, "eve", "graph load").await.0.contains("you may not give graph"));

    // On the command line.
    let file = bridge.dir().join("load.png");
    let arguments =
        ["graphs", "test", "load", "white", "small", "nodeploy", "--output", file.to_str().unwrap()];
    let drawn = output(&bridge, &arguments).await;
    let told = String::from_utf8(drawn.stdout).unwrap();
    assert!(told.starts_with("load: a PNG picture of 400 × 200 pixels, "), "{told} {:?}", drawn.stderr);
    assert!(told.ends_with(" bytes, the last 5 minutes, 2 series with data\n"), "{told}");
    assert_eq!(pixels(&std::fs::read(&file).unwrap()), (400, 200));
    let listed = output(&bridge, &["graphs"]).await.stdout;
    assert_eq!(String::from_utf8(listed).unwrap(), "load  5 minutes  Load of the web servers\n");

    // In a chat that takes pictures.
    let joined = async || {
        let members = ann.ask("GET", &format!("rooms/{room}/joined_members"), &Value::Null).await;
        members["joined"].get(&hal.id).is_some()
    };
    wait_until("the bridge has joined", SOON * 2, joined).await;
    ann.say(&room, "!graph load 2 minutes").await;
    wait_until("a picture", SOON * 2, async || images(&ann, &room).await.len() == 1).await;
    let image = images(&ann, &room).await.remove(0);
    assert_eq!((&image["body"], &image["info"]["mimetype"]), (&json!("load.png"), &json!("image/png")));

    let size = |image: &Value| (image["info"]["w"].as_u64(), image["info"]["h"].as_u64());
    assert_eq!(size(&image), (Some(800), Some(400)));

    // By a schedule, whose message is routed.
    assert_eq!(ask(&nats, "ann", "run-job morning").await, ("morning is due now".into(), false));
    wait_until("a picture of the relay", SOON * 2, async || images(&ann, &room).await.len() == 2).await;
    let image = images(&ann, &room).await.remove(1);
    assert_eq!((&image["body"], &image["info"]["mimetype"]), (&json!("load.png"), &json!("image/png")));
    let found = relay.get("/api/messages?tag=report.load").await.1;
    let found: Value = serde_json::from_str(&found).unwrap();
    let message = &found["messages"][0]["message"];
    assert_eq!(message["text"], "Load of the web servers, the last 5 minutes");
    let kept = &message["files"][0];
    assert_eq!((&kept["name"], &kept["picture"]), (&json!("load.png"), &json!(true)), "{message}");
    let name = kept["object"].as_str().unwrap();
    let bytes = nats.file(name).await;
    assert_eq!((pixels(&bytes), kept["bytes"].as_u64()), ((1400, 700), Some(bytes.len() as u64)));
    assert_eq!(image["info"]["size"].as_u64(), Some(bytes.len() as u64));
    assert_eq!(size(&image), (Some(1400), Some(700)));
    let (status, shown) = relay.get(&format!("/api/files/{name}")).await;
    assert!(status == 200 && shown.contains("PNG"), "{status}");
    let link = format!("load.png: {page}/api/files/{name}");
    wait_until("a post without a picture", SOON, async || !slack.posts().is_empty()).await;
    let post = slack.posts().remove(0);
    assert!(json!(post.body).to_string().contains(&link), "{link} in {:?}", post.body);

    // A picture that the homeserver does not take is a line behind its message, which does not come again.
    show(&nats, "report.large", &[png(8, 4), vec![0; LARGEST_UPLOAD]].concat()).await;
    let bodies = async || -> Vec<Value> {
        let messages = ann.messages(&room).await.into_iter();
        messages.map(|message| message["content"]["body"].clone()).collect()
    };
    let line = json!("large.png: not taken by this homeserver");
    wait_until("a line about the picture", SOON, async || bodies().await.contains(&line)).await;
    let bodies = bodies().await;
    assert_eq!(bodies.last(), Some(&line), "{bodies:#?}");
    let about = |body: &&Value| body.as_str().unwrap().starts_with("[report.large] bridge: look");
    assert_eq!(bodies.iter().filter(about).count(), 1, "{bodies:#?}");
    assert_eq!(images(&ann, &room).await.len(), 2);
    let sent = nats.jetstream().await.get_stream("HAL_SENT").await.unwrap();
    let receipt = async || {
        let receipt = sent.direct_get_last_for_subject("hal.sent.ops").await.unwrap();
        String::from_utf8_lossy(&receipt.payload).into_owned()
    };
    wait_until("the reason is on the receipt", SOON, async || receipt().await.contains("M_TOO_LARGE")).await;

    // A graph that is gone is no command any more, without a restart.
    if let Some(folder) = std::env::var_os("TELLHAL_KEEP") {
        std::fs::write(std::path::Path::new(&folder).join("big.png"), &bytes).unwrap();
        std::fs::copy(&file, std::path::Path::new(&folder).join("small.png")).unwrap();
    }
    let mut bridge = bridge;
    bridge.reload(&nats.url(), config.split("[graphs.load]").next().unwrap());
    let is_gone = async || ask(&nats, "ann", "graph load").await.0.starts_with("nobody answers graph now");
    wait_until("the command is gone", SOON, is_gone).await;
}

const SECRETS: [&str; 4] = ["us3r-name", "s3cret-word", "k3y-in-path", "q5-token"];

/// A bridge with a graph of a server that listens at `addr`, whose address has all kinds of secrets.
async fn bridge_of(nats: &NatsServer, addr: &str) -> Bridge {
    let [user, password, path, token] = SECRETS;
    let config = format!(
        "[graphs.load]\nurl = \"http://{user}:{password}@{addr}/{path}?key={token}\"\ntargets = [{{ target = \"a.b\" }}]\n\
         [graphs.panel]\nurl = \"http://{addr}\"\ntoken = \"{token}\"\ndashboard = \"aBc-1\"\npanel = 4\nparameters = {{ var-host = \"web1\" }}\n"
    );
    Bridge::start(&nats.url(), &config).await
}

/// The one line of a graph that is not drawn.
async fn refusal(bridge: &Bridge) -> String {
    let output = output(bridge, &["graphs", "test", "load"]).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{told}");
    assert_eq!(told.trim_end().lines().count(), 1, "{told}");
    for secret in SECRETS {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
    told
}

#[tokio::test]
async fn an_answer_that_is_no_picture_is_one_line_without_a_secret() {
    let (nats, server, slow) =
        (NatsServer::start().await, WebhookSink::start().await, WebhookSink::start().await);
    nats.create_log().await;
    let bridge = bridge_of(&nats, &server.addr().to_string()).await;
    let dripping = bridge_of(&nats, &slow.addr().to_string()).await;
    let nowhere = bridge_of(&nats, "127.0.0.1:1").await;
    let html = |status: u16, body: &str| {
        Answer::Refuse(Reply {
            headers: vec![("Content-Type".into(), "text/html".into())],
            ..Reply::text(status, body)
        })
    };
    let series =
        |points: Value| Answer::Refuse(Reply::json(200, &json!([{ "target": "a.b", "datapoints": points }])));
    let data = || series(json!([[1.5, 1_795_751_600]]));
    let picture = |body: Vec<u8>| Answer::Refuse(Reply { body, ..Reply::text(200, "") });
    let whole = png(800, 400);
    let invalid = "Invalid parameters (Received request for unknown function: nosuchfn); targets: [q5-token]";
    let login = "<html><title>Log in</title><body><h1>Sign in</h1> to &quot;k3y-in-path&quot; as us3r-name</body></html>";
    let table = [
        (
            vec![html(400, invalid)],
            "answered 400 Bad Request: Invalid parameters (Received request for unknown function",
        ),
        (
            vec![html(500, "<h1>Server Error</h1><pre>s3cret-word</pre>")],
            "answered 500 Internal Server Error: Server Error",
        ),
        (vec![html(200, login)], "answered no data of Graphite's: Sign in to"),
        (vec![data(), html(200, login)], "answered no PNG picture: Sign in to"),
        (vec![html(302, "")], "answered 302 Found, perhaps to a page for logging in"),
        (vec![Answer::Refuse(Reply::json(200, &json!([])))], "no series is of the graph's targets"),
        (vec![series(json!([[null, 1_795_751_600]]))], "the graph's series have no data in that time"),
        (vec![Answer::Reset], "127.0.0.1: "),
        (vec![data(), Answer::Endless], "larger than 640 KiB"),
        (vec![data(), picture([whole.clone(), vec![0; 700 * 1024]].concat())], "larger than 640 KiB"),
        (
            vec![data(), picture(png(65_535, 65_535))],
            "a picture of 65535 × 65535 pixels, more than 8 million",
        ),
        (vec![data(), picture(whole[..40].to_vec())], "a PNG picture that breaks off"),
        (vec![data(), picture(b"GIF89a".to_vec())], "answered no PNG picture"),
    ];
    slow.next([data(), Answer::Drip]);
    let hostile = async {
        for (answers, want) in table {
            server.next(answers);
            let told = refusal(&bridge).await;
            assert!(told.contains(want), "{want} in {told}");
        }
        let told = refusal(&nowhere).await;
        assert!(told.contains("refused"), "{told}");
    };
    let drip = async {
        let told = refusal(&dripping).await;
        assert!(told.contains("no answer in time"), "{told}");
    };
    tokio::join!(hostile, drip);

    // Grafana is asked for a panel with its token.
    server.next([picture(whole)]);
    let drawn = output(&bridge, &["graphs", "test", "panel", "white", "8", "hours", "--json"]).await;
    let drawn: Value = serde_json::from_slice(&drawn.stdout).unwrap_or_else(|_| panic!("{drawn:?}"));
    assert_eq!((&drawn["width"], &drawn["series"]), (&json!(800), &Value::Null));
    let asked = server.requests().pop().unwrap();
    assert_eq!(
        asked.path,
        "/render/d-solo/aBc-1/graph?panelId=4&from=now-28800s&to=now&width=800&height=400&var-host=web1&theme=light"
    );
    assert_eq!(asked.header("authorization"), Some("Bearer q5-token"));
}

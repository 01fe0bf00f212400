//! The page over a real nats-server: the live list shows every message once, also after interruptions.
#![allow(clippy::unwrap_used, reason = "tests")]

mod log;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::stream;
use log::{make_log, publish};
use relay::bus::Bus;
use relay::config::Config;
use relay::engine::Rules;
use relay::lead::rooms::Rooms;
use relay::page::{Shared, bind, serve};
use relay::status::metrics::Metrics;
use relay::status::{Role, Status};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use service::config::Configuration as _;
use tellhal::subject::Names;
use tests::NatsServer;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(20);

const CONFIG: &str = "default_room = \"page\"\n";

struct Page {
    address: SocketAddr,
    status: Arc<Status>,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
    http: Client,
}

impl Page {
    /// The page alone, without a relay that leads and without an index.
    async fn serve(server: &NatsServer) -> Page {
        Page::with(server, CONFIG).await
    }

    async fn with(server: &NatsServer, config: &str) -> Page {
        // Fails when another test of this process was first, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let status = Arc::new(Status::default());
        status.change(|now| now.role = Role::Leading);
        let config = Config::from_texts(&[("relay.toml".into(), config.to_owned())]).unwrap();
        let nats = toml::from_str(&format!("url = \"{}\"", server.url_as("relay"))).unwrap();
        let rules = Arc::new(Rules::new(config.routing.clone()));
        let (stranded_after, failing_after) = (config.stranded_after, config.failing_after);
        let max_waiting = config.max_waiting;
        let rooms = Rooms {
            open: BTreeMap::new(),
            default_room: "page".into(),
            zone: config.zone,
            stranded_after,
            failing_after,
            max_waiting,
        };
        let shared = Shared {
            config: config.page,
            bus: Bus::connect(&nats, "test").await.unwrap(),
            status: status.clone(),
            metrics: Arc::new(Metrics::default()),
            rules: watch::channel(rules).1,
            rooms: watch::channel(Arc::new(rooms)).1,
            index: Err("a test needs none".into()),
        };
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(listener, shared, None, shutdown.clone()));
        // Redirects are not followed: the tests check them.
        let http = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Page { address, status, shutdown, task, http }
    }

    async fn get(&self, path: &str) -> Response {
        self.http.get(format!("http://{}{path}", self.address)).send().await.unwrap()
    }

    async fn asked(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let request = self.http.get(format!("http://{}{path}", self.address));
        headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value))
            .send()
            .await
            .unwrap()
    }

    async fn open(&self, seen: Option<u64>) -> Reader {
        let mut request = self.http.get(format!("http://{}/api/stream", self.address));
        if let Some(seen) = seen {
            request = request.header("last-event-id", seen);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Reader { response, text: String::new() }
    }
}

/// One event as a browser would see it.
#[derive(Debug, Default)]
struct Event {
    id: Option<u64>,
    kind: String,
    data: Value,
}

struct Reader {
    response: Response,
    text: String,
}

impl Reader {
    /// The next event, or `None` when the connection ended.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let rest = self.text.split_off(end + 2);
                let block = std::mem::replace(&mut self.text, rest);
                let mut event = Event::default();
                for line in block.lines().filter(|line| !line.is_empty()) {
                    match line.split_once(": ").unwrap() {
                        ("id", id) => event.id = Some(id.parse().unwrap()),
                        ("event", kind) => event.kind = kind.into(),
                        ("data", data) => event.data = serde_json::from_str(data).unwrap(),
                        other => panic!("{other:?} is no field of an event"),
                    }
                }
                return Some(event);
            }
            let chunk = tokio::time::timeout(SOON, self.response.chunk()).await.expect("an event in time");
            self.text += std::str::from_utf8(&chunk.ok()??).unwrap();
        }
    }

    /// The events until one of this kind, which comes last.
    async fn until(&mut self, kind: &str) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        let reading = async {
            while events.last().is_none_or(|event| event.kind != kind) {
                events.push(self.next().await.expect("still connected"));
            }
        };
        tokio::time::timeout(SOON, reading).await.unwrap_or_else(|_| panic!("no event {kind:?} in time"));
        events
    }

    /// Reads until the connection ends.
    async fn end(&mut self) {
        let reading = async { while self.next().await.is_some() {} };
        tokio::time::timeout(SOON, reading).await.expect("the connection to end in time");
    }

    /// The sequence and text of the next message.
    async fn message(&mut self) -> (u64, String) {
        let event = self.until("").await.pop().unwrap();
        (event.id.unwrap(), event.data["message"]["text"].as_str().unwrap().to_owned())
    }
}

fn ids(events: &[Event]) -> Vec<u64> {
    events.iter().filter_map(|event| event.id).collect()
}

#[tokio::test]
async fn a_page_sees_the_last_messages_and_what_comes_and_resumes_without_a_gap() {
    let server = NatsServer::start().await;
    let (bus, names) = (server.jetstream().await, Names::default());
    make_log(&bus, &names).await;
    let mut messages = Vec::new();
    for n in 0..300 {
        messages.push(publish(&bus, "hal.ops.db1.backup.mysql".into(), format!("<b>{n}</b>")).await);
        // Entries that are not messages are not shown, and do not reduce the number of messages shown.
        for _ in 0..3 {
            publish(&bus, names.ctl("tick"), "").await;
        }
    }
    let page = Page::serve(&server).await;

    // Wait until the page knows the log's end: only then is a first load complete.
    let mut resumed = page.open(Some(messages[4])).await;
    let missed = resumed.until("live").await;
    assert_eq!(ids(&missed), &messages[5..], "older than what is kept is read from the log");

    let mut reader = page.open(None).await;
    let first = reader.until("live").await;
    assert_eq!(ids(&first), &messages[100..]);
    let shown = first.iter().find(|event| event.id.is_some()).unwrap();
    assert_eq!(shown.data["message"]["text"], "<b>100</b>");
    assert_eq!(shown.data["message"]["source"], "db1");
    assert_eq!(shown.data["sequence"], messages[100]);
    assert_eq!(shown.data["marks"][0], "plain payload");

    let sequence = publish(&bus, "hal.ops.db1.x".into(), r#"{"v":1,"text":"live","severity":"error"}"#).await;
    assert_eq!(reader.message().await, (sequence, "live".into()));
    assert_eq!(resumed.message().await, (sequence, "live".into()));

    let recent = page.open(Some(messages[298])).await.until("live").await;
    assert_eq!(ids(&recent), [messages[299], sequence]);
    let nothing = page.open(Some(sequence)).await.until("live").await;
    assert!(ids(&nothing).is_empty());
    let mut anew = Reader {
        response: page.get(&format!("/api/stream?after={}", messages[299])).await,
        text: String::new(),
    };
    assert_eq!(ids(&anew.until("live").await), [sequence]);
}

#[tokio::test]
async fn a_page_is_there_before_the_log_and_says_what_is_wrong() {
    let server = NatsServer::start().await;
    let bus = server.jetstream().await;
    let page = Page::serve(&server).await;
    page.status.change(|now| now.problem = Some("no stream HAL_OPS".into()));
    let mut reader = page.open(None).await;
    let problem =
        async |reader: &mut Reader| reader.until("state").await.pop().unwrap().data["problem"].clone();
    while problem(&mut reader).await != "no stream HAL_OPS" {}
    make_log(&bus, &Names::default()).await;
    page.status.change(|now| now.problem = None);
    while problem(&mut reader).await != Value::Null {}
    let sequence = publish(&bus, "hal.ops.db1.x".into(), "first").await;
    assert_eq!(reader.message().await, (sequence, "first".into()));
}

#[tokio::test]
async fn a_page_outlives_a_killed_server_and_a_log_that_was_made_anew() {
    let mut server = NatsServer::start().await;
    let (bus, names) = (server.jetstream().await, Names::default());
    make_log(&bus, &names).await;
    for n in 0..5 {
        publish(&bus, "hal.ops.db1.x".into(), format!("{n}")).await;
    }
    let page = Page::serve(&server).await;
    let mut reader = page.open(None).await;
    while reader.message().await.0 < 5 {}
    server.restart().await;
    let fresh = server.jetstream().await;
    let sequence = publish(&fresh, "hal.ops.db1.x".into(), "after the kill").await;
    assert_eq!(reader.message().await, (sequence, "after the kill".into()));

    fresh.delete_stream(names.ops_stream()).await.unwrap();
    make_log(&fresh, &names).await;
    let first = publish(&fresh, "hal.ops.db1.x".into(), "a new log").await;
    // The open page is cut off and comes back with an id that the new log has not reached.
    reader.end().await;
    let mut again = page.open(Some(sequence)).await;
    assert_eq!(again.until("anew").await.len(), 2, "the state, then that what was seen says nothing here");
    assert_eq!(again.message().await, (first, "a new log".into()));
}

/// Without it a proxy would end the connection, and a quiet log would look like a dead connection.
#[tokio::test]
async fn a_reader_of_little_on_a_busy_log_hears_that_it_is_alive() {
    let server = NatsServer::start().await;
    let bus = server.jetstream().await;
    make_log(&bus, &Names::default()).await;
    let page = Page::serve(&server).await;
    let response = page.get("/api/stream?severity=critical").await;
    let mut reader = Reader { response, text: String::new() };
    reader.until("live").await;
    let busy = async {
        loop {
            publish(&bus, "hal.ops.db1.x".into(), "not for this reader").await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        _ = reader.until("alive") => {}
        () = busy => {}
    }
}

#[tokio::test]
async fn dead_letters_are_paged_to_the_first_however_far_apart_they_are() {
    let server = NatsServer::start().await;
    let (bus, names) = (server.jetstream().await, Names::default());
    make_log(&bus, &names).await;
    let subjects = vec![names.dead("*")];
    bus.create_stream(stream::Config { name: names.dead_stream(), subjects, ..stream::Config::default() })
        .await
        .unwrap();
    let mut of_ops = Vec::new();
    for (room, number) in [("ops", 30), ("dba", 700), ("ops", 25)] {
        for _ in 0..number {
            let sequence = publish(&bus, names.dead(room), "x").await;
            if room == "ops" {
                of_ops.push(sequence);
            }
        }
    }
    let page = Page::serve(&server).await;
    let (mut sequences, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = page.get(&format!("/api/dead?room=ops&limit=10{cursor}")).await;
        let answer: Value = answer.json().await.unwrap();
        sequences.extend(
            answer["letters"].as_array().unwrap().iter().map(|each| each["sequence"].as_u64().unwrap()),
        );
        match answer["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    of_ops.reverse();
    assert_eq!(sequences, of_ops);
}

#[tokio::test]
async fn while_the_log_cannot_be_reached_a_search_says_so() {
    let mut server = NatsServer::start().await;
    server.kill();
    let page = Page::serve(&server).await;
    for path in ["/api/messages", "/api/timeline", "/api/messages/seq-1"] {
        let answer = page.get(path).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
}

#[tokio::test]
async fn a_reader_that_stalls_is_cut_off_and_misses_nothing() {
    const MANY: u64 = 6000;
    let server = NatsServer::start().await;
    let (bus, names) = (server.jetstream().await, Names::default());
    make_log(&bus, &names).await;
    let page = Page::serve(&server).await;
    let mut stalled = page.open(None).await;
    stalled.until("live").await;
    let text = "x".repeat(8 * 1024);
    for _ in 0..MANY / 1000 {
        let mut acks = Vec::new();
        for _ in 0..1000 {
            acks.push(bus.publish("hal.ops.db1.x", text.clone().into()).await.unwrap());
        }
        for ack in acks {
            ack.await.unwrap();
        }
    }

    let mut last = 0;
    let mut cut = 0;
    while last < MANY {
        match stalled.next().await {
            Some(Event { id: Some(id), .. }) => {
                assert_eq!(id, last + 1);
                last = id;
            }
            Some(_) => {}
            None => {
                cut += 1;
                stalled = page.open(Some(last)).await;
            }
        }
    }
    assert!(cut > 0, "the stalled reader was never cut off");
}

#[tokio::test]
async fn health_metrics_and_refusals() {
    let server = NatsServer::start().await;
    let page = Page::serve(&server).await;
    assert_eq!(page.get("/healthz").await.status(), StatusCode::OK);
    let long_ago = std::time::Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
    page.status.change(|now| now.beat = Some(long_ago));
    let stuck = page.get("/healthz").await;
    assert_eq!(stuck.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(stuck.text().await.unwrap().contains("the relay has been stuck for 60 s"));
    page.status.change(|now| (now.beat, now.turn) = (None, Some(long_ago)));
    let stuck = page.get("/healthz").await;
    assert!(stuck.text().await.unwrap().contains("the reading of the log has been stuck for 60 s"));
    page.status.change(|now| now.turn = None);
    assert_eq!(page.get("/readyz").await.text().await.unwrap(), "leading\n");
    page.status.change(|now| now.role = Role::StandingBy);
    assert_eq!(page.get("/readyz").await.text().await.unwrap(), "standing by\n");
    page.status.change(|now| now.problem = Some("no connection to NATS".into()));
    let refused = page.get("/readyz").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    assert_eq!(refused.json::<Value>().await.unwrap()["detail"], "no connection to NATS");
    let metrics = page.get("/metrics").await;
    assert!(metrics.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    assert!(metrics.text().await.unwrap().contains("hal_relay_build_info"));

    let front = page.get("/").await.text().await.unwrap();
    let script = front.split('"').find(|part| part.ends_with("/messages.js")).unwrap().to_owned();
    let style = front.split('"').find(|part| part.ends_with("/page.css")).unwrap().to_owned();
    for (path, kind) in [("/", "text/html"), (&script, "text/javascript"), (&style, "text/css")] {
        let file = page.get(path).await;
        assert!(file.headers()["content-type"].to_str().unwrap().starts_with(kind), "{path}");
        let policy = file.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }
    for (path, status) in
        [("/nothing", StatusCode::NOT_FOUND), ("/api/stream?after=x", StatusCode::BAD_REQUEST)]
    {
        let refused = page.get(path).await;
        assert_eq!(refused.status(), status);
        assert_eq!(refused.headers()["content-type"], "application/problem+json");
    }
    // The page's own addresses are as strict as those of the API.
    for (path, wanted) in [
        ("/?statsu=failed", "unknown parameter &quot;statsu&quot;: did you mean status?"),
        ("/?since=1h&since=2h", "since is given twice"),
        ("/rooms?rom=ops", "unknown parameter &quot;rom&quot;: did you mean room?"),
        ("/explain?tagg=a", "unknown parameter &quot;tagg&quot;: did you mean tag?"),
        ("/messages/seq-1?x=1", "unknown parameter &quot;x&quot;"),
        ("/sources?tag=a", "unknown parameter &quot;tag&quot;"),
    ] {
        let refused = page.get(path).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{path}");
        let text = refused.text().await.unwrap();
        assert!(text.contains(wanted) && !text.contains("messages.js"), "{path}: {text}");
    }
    for path in ["/?tag=&severity=&source=&text=", "/?status=!failed&key=a+b&host=h", "/rooms?room=ops"] {
        assert_eq!(page.get(path).await.status(), StatusCode::OK, "{path}");
    }
    let request = page.http.get(format!("http://{}/api/stream", page.address)).header("host", "evil.example");
    assert_eq!(request.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);

    let taken = format!("{:#}", bind(page.address).unwrap_err());
    assert!(taken.contains("page.listen") && taken.contains(&page.address.to_string()), "{taken}");
}

#[tokio::test]
async fn where_a_token_is_asked_for_nobody_gets_in_without() {
    const TOKENS: &str = r#"
        [page]
        loopback = "none"
        [[page.tokens]]
        name = "wall"
        role = "viewer"
        token = "wall-0123456789abcdef"
        [page.proxy]
        addresses = "127.0.0.1"
        user_header = "X-Forwarded-User"
    "#;
    let server = NatsServer::start().await;
    make_log(&server.jetstream().await, &Names::default()).await;
    let page = Page::with(&server, &(CONFIG.to_owned() + TOKENS)).await;
    for path in ["/api/messages", "/api/stream", "/api/rooms", "/metrics", "/rooms"] {
        let refused = page.asked(path, &[]).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(refused.headers()["www-authenticate"], "Bearer");
        assert_eq!(refused.headers()["content-type"], "application/problem+json");
        let wrong = page.asked(path, &[("authorization", "Bearer wall-0123456789abcdeX")]).await;
        assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED, "{path}");
        let right = page.asked(path, &[("authorization", "Bearer wall-0123456789abcdef")]).await;
        assert_eq!(right.status(), StatusCode::OK, "{path}");
        let proxied = page.asked(path, &[("x-forwarded-user", "alice")]).await;
        assert_eq!(proxied.status(), StatusCode::OK, "{path}");
        let twice = [("x-forwarded-user", "alice"), ("x-forwarded-user", "bob"), ("accept", "text/html")];
        assert_eq!(page.asked(path, &twice).await.status(), StatusCode::BAD_REQUEST, "{path}");
    }
    let person = page.asked("/messages/seq-1?x=1", &[("accept", "text/html,*/*")]).await;
    assert_eq!(person.status(), StatusCode::SEE_OTHER);
    assert_eq!(person.headers()["location"], "/login?next=%2Fmessages%2Fseq-1%3Fx%3D1");
    for open in ["/login", "/healthz", "/readyz", "/api/openapi.json"] {
        assert_eq!(page.asked(open, &[]).await.status(), StatusCode::OK, "{open}");
    }
    let front = page.asked("/", &[("x-forwarded-user", "<b>alice</b>")]).await.text().await.unwrap();
    assert!(front.contains("&lt;b&gt;alice&lt;/b&gt;") && !front.contains("<b>alice"), "{front}");

    let login = |body: &'static str, origin: &str| {
        let request = page.http.post(format!("http://{}/login", page.address)).body(body);
        request.header("content-type", "application/x-www-form-urlencoded").header("origin", origin).send()
    };
    let ours = format!("http://{}", page.address);
    let wrong = login("token=nonsense&next=/rooms", &ours).await.unwrap();
    assert!(wrong.status() == StatusCode::UNAUTHORIZED && wrong.headers().get("set-cookie").is_none());
    let elsewhere = login("token=wall-0123456789abcdef", "https://evil.example").await.unwrap();
    assert_eq!(elsewhere.status(), StatusCode::FORBIDDEN);
    let right = login("token=wall-0123456789abcdef&next=//evil.example", &ours).await.unwrap();
    assert_eq!(
        (right.status(), &right.headers()["location"]),
        (StatusCode::SEE_OTHER, &"/".parse().unwrap())
    );
    let cookie = right.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(page.asked("/api/rooms", &[("cookie", &cookie)]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn files_are_kept_by_browsers_for_as_long_as_they_stay_the_same() {
    let server = NatsServer::start().await;
    let page = Page::serve(&server).await;
    let front = page.get("/").await.text().await.unwrap();
    let script = front.split('"').find(|part| part.ends_with("/messages.js")).unwrap().to_owned();
    let kept = page.asked(&script, &[("accept-encoding", "gzip")]).await;
    assert_eq!(kept.headers()["content-encoding"], "gzip");
    assert!(kept.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    let other = page.get("/assets/another-version/messages.js").await;
    assert_eq!(
        (other.status(), &other.headers()["cache-control"]),
        (StatusCode::OK, &"no-store".parse().unwrap())
    );
    assert_eq!(page.get("/assets/x/../../Cargo.toml").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(page.get(&script.replace("messages.js", "none.js")).await.status(), StatusCode::NOT_FOUND);
    let stream = page.asked("/api/stream", &[("accept-encoding", "gzip")]).await;
    assert!(stream.headers().get("content-encoding").is_none(), "what is compressed comes late");
}

#[tokio::test]
async fn an_open_page_does_not_hold_up_the_relay() {
    let server = NatsServer::start().await;
    let bus = server.jetstream().await;
    make_log(&bus, &Names::default()).await;
    let page = Page::serve(&server).await;
    let mut reader = page.open(None).await;
    reader.until("live").await;
    page.shutdown.cancel();
    page.task.await.unwrap().unwrap();
    // The answer in progress still arrives, then the connection ends.
    reader.end().await;
}

#[test]
fn the_committed_openapi_document_is_current() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let document = serde_json::to_string_pretty(&relay::page::openapi()).unwrap() + "\n";
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(file, &document).unwrap();
    }
    let committed = std::fs::read_to_string(file).unwrap();
    assert!(committed == document, "BLESS=1 cargo test rewrites openapi.json");
}

//! The harness itself: guards that clean up, servers that restart, fakes that misbehave as set.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::json;
use tests::http::{get, post};
use tests::wait::SOON;
use tests::{
    Answer, Certificates, Fault, Flaw, Inspircd, IrcClient, NatsOptions, NatsServer, Ngircd, Port, Proxy,
    WebhookSink, wait_until,
};

#[tokio::test]
async fn nats_keeps_port_and_data_over_kill_and_restart() {
    let mut server = NatsServer::start().await;
    let url = server.url();
    let jetstream = server.jetstream().await;
    let config = async_nats::jetstream::stream::Config {
        name: "KEPT".into(),
        subjects: vec!["kept.>".into()],
        ..Default::default()
    };
    jetstream.create_stream(config).await.unwrap();
    jetstream.publish("kept.one", "1".into()).await.unwrap().await.unwrap();
    server.kill();
    assert!(async_nats::connect(&url).await.is_err());
    server.restart().await;
    assert_eq!(server.url(), url);
    let mut stream = server.jetstream().await.get_stream("KEPT").await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.messages, 1);
}

#[tokio::test]
async fn a_stopped_server_answers_nobody_until_it_goes_on() {
    let mut server = NatsServer::start().await;
    let client = server.client().await;
    server.process().pause().await;
    let flushed = tokio::time::timeout(Duration::from_millis(300), client.flush()).await;
    let asked = tokio::time::timeout(Duration::from_millis(300), client.request("nobody", "".into())).await;
    assert!(asked.is_err(), "a stopped server answered: {flushed:?} {asked:?}");
    server.process().resume();
    // The server's answer is "no responders".
    assert!(tokio::time::timeout(SOON, client.request("nobody", "".into())).await.is_ok());
}

#[tokio::test]
async fn nats_options_are_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let good = Certificates::create(dir.path(), Flaw::None);
    let options = NatsOptions {
        max_payload: Some(2048),
        tls: Some(good.clone()),
        extra: "authorization { users: [ { user: a, password: b, permissions: { publish: \"ok.>\" } } ] }"
            .into(),
        ..Default::default()
    };
    let server = NatsServer::with(options).await;
    let connect = |ca: std::path::PathBuf| {
        let options = async_nats::ConnectOptions::with_user_and_password("a".into(), "b".into());
        options.add_root_certificates(ca).require_tls(true).connect(server.url())
    };
    let client = connect(good.ca.clone()).await.unwrap();
    assert_eq!(client.server_info().max_payload, 2048);
    let other = tempfile::tempdir().unwrap();
    let unknown = Certificates::create(other.path(), Flaw::None);
    assert!(connect(unknown.ca).await.is_err());
}

#[tokio::test]
async fn flawed_certificates_are_refused() {
    for flaw in [Flaw::Expired, Flaw::OtherHost] {
        let dir = tempfile::tempdir().unwrap();
        let certificates = Certificates::create(dir.path(), flaw);
        let ca = certificates.ca.clone();
        let server = NatsServer::with(NatsOptions { tls: Some(certificates), ..Default::default() }).await;
        let options = async_nats::ConnectOptions::new().add_root_certificates(ca).require_tls(true);
        assert!(options.connect(server.url()).await.is_err(), "{flaw:?}");
    }
}

#[tokio::test]
async fn nothing_outlives_its_guard() {
    let mut server = NatsServer::start().await;
    let (pid, dir) = (server.process().pid(), server.dir());
    server.process().pause().await;
    drop(server);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(!dir.exists());
}

#[test]
fn ports_are_nobody_elses() {
    let ports: Vec<Port> = (0..50).map(|_| Port::free()).collect();
    let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 50);
}

#[tokio::test]
async fn irc_clients_hear_each_other_on_both_servers() {
    let mut ngircd = Ngircd::start().await;
    let inspircd = Inspircd::start().await;
    for addr in [ngircd.addr(), inspircd.addr()] {
        let listener = IrcClient::join(addr, "reader", "#ops").await;
        let speaker = IrcClient::join(addr, "speaker", "#ops").await;
        speaker.say("hello there").await;
        assert_eq!(listener.hears("hello").await, "hello there");
        assert_eq!(listener.lines()[0].nick, "speaker");
        assert!(speaker.texts().is_empty());
    }
    ngircd.restart().await;
    IrcClient::join(ngircd.addr(), "reader", "#ops").await;
}

#[tokio::test]
async fn inspircd_offers_what_the_relay_asks_for() {
    let server = Inspircd::start().await;
    let client = IrcClient::join(server.addr(), "reader", "#ops").await;
    client.send("CAP LS 302").await;
    let offered = || client.raw().into_iter().find(|line| line.contains(" LS ")).unwrap_or_default();
    wait_until("CAP LS is answered", SOON, async || !offered().is_empty()).await;
    for capability in
        ["echo-message", "account-tag", "server-time", "labeled-response", "batch", "message-tags"]
    {
        assert!(offered().contains(capability), "{capability} in {}", offered());
    }
}

#[tokio::test]
async fn ngircd_speaks_tls() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(dir.path(), Flaw::None);
    let server = Ngircd::with_tls(&certificates).await;
    let addr = server.tls_addr();
    wait_until("the TLS port listens", SOON, async || tokio::net::TcpStream::connect(addr).await.is_ok())
        .await;
}

#[tokio::test]
async fn a_sink_answers_by_its_script() {
    let sink = WebhookSink::start().await;
    let body = json!({"v": 1, "room": "hook", "messages": [{"id": "1", "text": "one"}]}).to_string();
    sink.next([Answer::retry_after("30"), Answer::status(500), Answer::Reset, Answer::TakeThenReset]);
    assert_eq!(post(sink.addr(), "/in", &body).await.unwrap().0, 429);
    assert_eq!(post(sink.addr(), "/in", &body).await.unwrap().0, 500);
    assert!(post(sink.addr(), "/in", &body).await.is_err());
    assert!(sink.deliveries().is_empty());
    assert!(post(sink.addr(), "/in", &body).await.is_err());
    assert_eq!(post(sink.addr(), "/in", &body).await.unwrap(), (200, "ok".into()));
    assert_eq!(sink.texts(), ["one", "one"]);
    assert_eq!(sink.requests().len(), 5);
    sink.always(Answer::Never);
    let asked = tokio::time::timeout(Duration::from_millis(200), get(sink.addr(), "/")).await;
    assert!(asked.is_err());
}

#[tokio::test]
async fn an_endless_body_does_not_end() {
    let sink = WebhookSink::start().await;
    sink.always(Answer::Endless);
    let mut stream = tokio::net::TcpStream::connect(sink.addr()).await.unwrap();
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut first_megabyte = vec![0; 1 << 20];
    stream.read_exact(&mut first_megabyte).await.unwrap();
}

#[tokio::test]
async fn a_proxy_misbehaves_as_told() {
    let server = NatsServer::start().await;
    let proxy = Proxy::to(server.port()).await;
    let client = tests::nats::login("admin").connect(proxy.nats_url()).await.unwrap();
    let direct = server.client().await;
    let mut messages = direct.subscribe("x").await.unwrap();
    // The answer to a request proves that the server has read the subscription before it; flush() does not.
    let _ = direct.request("nobody", "".into()).await;
    let mut hear = async || tokio::time::timeout(SOON, messages.next()).await.unwrap().unwrap().payload;

    client.publish("x", "1".into()).await.unwrap();
    assert_eq!(hear().await, "1");

    proxy.set(Fault::Delay(Duration::from_millis(200)));
    let sent = Instant::now();
    client.publish("x", "2".into()).await.unwrap();
    assert_eq!(hear().await, "2");
    assert!(sent.elapsed() >= Duration::from_millis(200));

    proxy.set(Fault::BlackHole);
    client.publish("x", "3".into()).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(200), hear()).await.is_err());
    proxy.set(Fault::None);
    assert_eq!(hear().await, "3");

    proxy.set(Fault::Reset);
    wait_until("the client notices", SOON, async || {
        client.connection_state() != async_nats::connection::State::Connected
    })
    .await;
    proxy.set(Fault::None);
    wait_until("the client is back", SOON, async || {
        client.connection_state() == async_nats::connection::State::Connected
    })
    .await;
}

#[tokio::test]
async fn a_proxy_drips_and_half_closes() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let sink = WebhookSink::start().await;
    let proxy = Proxy::to(sink.addr().port()).await;
    proxy.set(Fault::Drip);
    let mut stream = tokio::net::TcpStream::connect(proxy.addr()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut byte = [0];
    assert!(tokio::time::timeout(Duration::from_millis(500), stream.read(&mut byte)).await.is_err());
    proxy.set(Fault::None);
    stream.read_exact(&mut byte).await.unwrap();

    let mut stream = tokio::net::TcpStream::connect(proxy.addr()).await.unwrap();
    proxy.set(Fault::HalfClose);
    assert_eq!(stream.read(&mut byte).await.unwrap(), 0);
    let before = sink.requests().len();
    stream.write_all(b"GET /after HTTP/1.1\r\n\r\n").await.unwrap();
    wait_until("what the client still sends arrives", SOON, async || sink.requests().len() > before).await;
}

//! Limits and hostile input on the way from a sender into a room: a full log, a small disk, large or nasty texts, and wrong
//! configurations are refused, shortened or survived.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use tests::process::Signal;
use tests::wait::SOON;
use tests::{
    FakeSlack, NatsOptions, NatsServer, Relay, WebhookSink, find, largest_message, tellhal, wait_until,
};

fn hook(sink: &WebhookSink) -> String {
    format!("default_room = \"hook\"\n[rooms.hook.webhook]\nurl = \"{}\"\nallow_private = true\n", sink.url())
}

/// Runs a command with `input` on its standard input, without blocking the fakes.
async fn output(mut command: Command, input: String) -> Output {
    let run = move || {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn spooled(home: &Path) -> usize {
    std::fs::read_dir(home.join("spool/new")).map_or(0, Iterator::count)
}

/// The log as an operator may create it before the first relay.
fn log(max_bytes: i64) -> Config {
    Config {
        name: "HAL_OPS".into(),
        subjects: vec!["hal.ops.>".into(), "hal.ctl.>".into()],
        discard: DiscardPolicy::New,
        duplicate_window: Duration::from_secs(3600),
        allow_direct: true,
        max_bytes,
        ..Config::default()
    }
}

#[tokio::test]
async fn when_the_log_is_full_senders_spool_until_there_is_room() {
    let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
    let js = nats.jetstream().await;
    js.create_stream(log(60_000)).await.unwrap();
    let mut relay = Relay::start(&nats.url(), &hook(&sink)).await;
    let home = tempfile::tempdir().unwrap();
    let mut sent = Vec::new();
    while spooled(home.path()) < 2 {
        assert!(sent.len() < 40, "the log is never full");
        let text = format!("{} {}", sent.len(), "x".repeat(8_000));
        let mut command = tellhal(&nats.url(), home.path());
        command.args(["disk.report", &text]);
        let sent_output = output(command, String::new()).await;
        assert_eq!(sent_output.status.code(), Some(0), "{sent_output:?}");
        let kept = spooled(home.path()) > 0;
        assert_eq!(stderr(&sent_output).contains("the stream is full"), kept, "{}", stderr(&sent_output));
        assert_eq!(stderr(&sent_output).contains("sent later"), kept, "{}", stderr(&sent_output));
        sent.push(text);
    }
    let taken = sent.len() - 2;
    wait_until("what was taken arrives", SOON, async || sink.texts() == sent[..taken]).await;
    // A relay that is killed between a post and its receipt would rightly post again.
    wait_until("its receipts are kept", SOON, async || nats.is_through("hook").await).await;
    // A relay that starts while the log is full leads as usual.
    relay.restart().await;

    js.update_stream(log(-1)).await.unwrap();
    let mut flush = tellhal(&nats.url(), home.path());
    flush.arg("flush");
    let flushed = output(flush, String::new()).await;
    assert_eq!((flushed.status.code(), spooled(home.path())), (Some(0), 0), "{flushed:?}");
    wait_until("all arrive, each once, in order", SOON, async || sink.texts() == sent).await;
}

#[tokio::test]
async fn a_relay_with_a_changed_configuration_leads_when_the_log_is_full_of_what_nobody_has_read() {
    let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
    let js = nats.jetstream().await;
    js.create_stream(log(60_000)).await.unwrap();
    let mut first = Relay::start(&nats.url(), &hook(&sink)).await;
    first.process().terminate(SOON).await;
    let mut taken = 0;
    let text = "x".repeat(500);
    while js.publish("hal.ops.db1.disk", format!("{taken} {text}").into()).await.unwrap().await.is_ok() {
        taken += 1;
    }
    let changed = format!(
        "{}[labels]
team = \"db\"\n",
        hook(&sink)
    );
    let _ = &changed;
    let configuration = hook(&sink).replace(
        "default_room",
        "routes = [{ name = \"other\", tag = \"other.>\", rooms = [\"hook\"] }]\ndefault_room",
    );
    let second = Relay::start(&nats.url(), &configuration).await;
    let counted =
        async || sink.deliveries().iter().map(|post| post.message_ids().len()).sum::<usize>() == taken;
    wait_until("all arrive", SOON, counted).await;
    let in_force = async || second.log().contains("configuration put in force");
    wait_until("then the configuration is put in force", SOON, in_force).await;
    assert!(second.log().contains("reaches_back_to"), "{}", second.log());
    js.publish("hal.ops.db1.disk", "there is room".into()).await.unwrap().await.unwrap();
}

#[tokio::test]
async fn when_the_log_is_nearly_full_the_oldest_waiting_deliveries_become_dead_letters_with_their_text() {
    let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
    let js = nats.jetstream().await;
    js.create_stream(log(1 << 19)).await.unwrap();
    sink.always(tests::Answer::status(503));
    let relay = Relay::start(&nats.url(), &hook(&sink)).await;
    let mut told = 0;
    let text = |n: u32| format!("{n} {}", "x".repeat(8_000));
    // The log has space for 63 of these.
    while told < 90 {
        if js.publish("hal.ops.db1.disk", text(told).into()).await.unwrap().await.is_ok() {
            told += 1;
        } else {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    sink.always(tests::Answer::Normal);
    let newest = async || sink.texts().last().is_some_and(|last| last.starts_with("89 "));
    wait_until("the newest are posted", Duration::from_secs(60), newest).await;
    let dead = js.get_stream("HAL_DEAD").await.unwrap();
    let letters = dead.get_info().await.unwrap().state.messages;
    let posted: u64 = sink.deliveries().iter().map(|post| post.message_ids().len() as u64).sum();
    assert_eq!(letters + posted, 90, "each is posted or dead: {}", relay.log());
    let first = dead.direct_get_first_for_subject("hal.dead.hook").await.unwrap();
    let letter: serde_json::Value = serde_json::from_slice(&first.payload).unwrap();
    assert_eq!(letter["delivery"]["content"]["message"]["text"], text(0));
    assert!(letter["reason"].as_str().unwrap().contains("the log is full"), "{letter}");
}

#[tokio::test]
async fn on_a_small_disk_the_streams_are_smaller() {
    let (options, sink) =
        (NatsOptions { max_store: Some("2GB".into()), ..NatsOptions::default() }, WebhookSink::start().await);
    let nats = NatsServer::with(options).await;
    let _relay = Relay::start(&nats.url(), &hook(&sink)).await;
    let js = nats.jetstream().await;
    js.publish("hal.ops.db1.a", "it fits".into()).await.unwrap().await.unwrap();
    wait_until("it arrives", SOON, async || sink.texts() == ["it fits"]).await;
}

#[tokio::test]
async fn a_long_text_is_shortened_with_a_mark_and_a_payload_beyond_the_server_is_refused() {
    let options = NatsOptions { max_payload: Some(100_000), ..NatsOptions::default() };
    let (nats, sink) = (NatsServer::with(options).await, WebhookSink::start().await);
    let _relay = Relay::start(&nats.url(), &hook(&sink)).await;
    let home = tempfile::tempdir().unwrap();
    let piped = |text: String| {
        let mut command = tellhal(&nats.url(), home.path());
        command.args(["-p", "disk.report"]);
        output(command, text)
    };
    let sent_output = piped(format!("begin {} end", "long ".repeat(50_000))).await;
    assert_eq!((sent_output.status.code(), stderr(&sent_output).as_str()), (Some(0), ""), "{sent_output:?}");
    // A delivery is larger than its message: here it is larger than the server allows.
    let js = nats.jetstream().await;
    js.publish("hal.ops.db1.quotes", "\"".repeat(60_000).into()).await.unwrap().await.unwrap();
    // Quotes take two bytes in JSON: 64 KiB of them are more than the server allows.
    let sent_output = piped("\"".repeat(64 * 1024)).await;
    assert_eq!(sent_output.status.code(), Some(65), "{sent_output:?}");
    assert!(stderr(&sent_output).contains("takes at most 100000"), "{sent_output:?}");
    assert_eq!(spooled(home.path()), 0, "it would be tried for ever");
    assert!(piped("the next".into()).await.status.success());
    wait_until("three arrive", SOON, async || sink.texts().len() == 3).await;
    let texts = sink.texts();
    assert!(texts[0].len() <= 64 * 1024 && texts[0].contains(" bytes cut"), "{} bytes", texts[0].len());
    assert!(texts[0].starts_with("begin ") && texts[0].ends_with(" end"));
    assert!(texts[1].starts_with("\"\"\"") && texts[2] == "the next");
}

/// Payloads that have broken renderers, parsers and limits of other programs.
fn nasty() -> Vec<Vec<u8>> {
    let fields: String = (0..26_200).map(|n| format!("\"f{n:05}\":\"{}\",", "v".repeat(28))).collect();
    let links = "{\"url\":\"javascript:alert(1)\"},".repeat(5_000);
    let texts = [
        "[".repeat(10_000) + &"]".repeat(10_000),
        format!("{{\"v\":1,\"text\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000)),
        format!("{{\"v\":1,\"text\":\"t\",\"fields\":{{{fields}\"z\":\"z\"}}}}"),
        largest_message("t"),
        format!("{{\"v\":1,\"text\":\"t\",\"run\":{{\"command\":\"{}\"}}}}", "A".repeat(1_048_500)),
        format!("{{\"v\":1,\"text\":\"t\",\"links\":[{links}{{}}]}}"),
        "{\"v\":1,\"text\":\"\\ud800\",\"title\":\"\\udfff\"}".into(),
        "{\"v\":1e999,\"text\":\"t\"}".into(),
        "{\"v\":-1,\"text\":\"t\"}".into(),
        "{\"v\":18446744073709551615,\"text\":\"t\"}".into(),
        "{\"v\":1,\"text\":\"t\",\"time\":\"9999-12-31T23:59:59.999999999Z\"}".into(),
        "{\"v\":1,\"text\":\"t\",\"run\":{\"command\":\"\",\"duration\":1e308,\"exit\":-1,\"cut\":-5}}"
            .into(),
        "{\"v\":1,\"text\":\"t\",\"run\":{\"command\":\"c\",\"duration\":-1e308,\"signal\":99999}}".into(),
        "{\"v\":1,\"title\":\"\",\"text\":\"\"}".into(),
        format!("{{\"v\":1,\"text\":\"t\",\"id\":\"{}\"}}", "i".repeat(5_000)),
        "{\"stream\":\"HAL_OPS\",\"seq\":1}".into(),
        "{{ 7 * 7 }}{% for x in range(1000000000) %}x{% endfor %}{% include '/etc/passwd' %}".into(),
        "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}".repeat(20_000),
        "a\u{300}".repeat(50_000) + &"\u{202e}\u{2066}\u{feff}\u{200b}".repeat(5_000),
        "\r\n".repeat(200_000),
        " ".repeat(100_000),
        "\u{1}".repeat(1_000_000),
        "\"\\".repeat(500_000),
        "x".repeat(1_048_000),
        String::new(),
    ];
    let mut payloads: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    payloads.push(vec![0; 1_000]);
    payloads.push(vec![0xff; 1_048_000]);
    payloads
}

#[tokio::test]
async fn no_payload_blocks_the_next_message() {
    let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
    let slack = FakeSlack::start(&["C1"]).await;
    let rooms = format!(
        "default_room = \"page\"\n\
         routes = [{{ name = \"all\", tag = \">\", rooms = [\"hook\", \"chat\", \"terminal\"] }}]\n\
         [rooms.terminal.console]\n[rooms.hook.webhook]\nurl = \"{}\"\nallow_private = true\n\
         [rooms.chat.slack]\nchannel = \"C1\"\ntoken = \"{}\"\napi_url = \"{}\"\n",
        sink.url(),
        tests::slack::TOKEN,
        slack.api_url()
    );
    let relay = Relay::start(&nats.url(), &rooms).await;
    let js = nats.jetstream().await;
    let payloads = nasty();
    let count = payloads.len() as u64;
    for payload in payloads {
        js.publish("hal.ops.db1.nasty", payload.into()).await.unwrap().await.unwrap();
    }
    let posted = || {
        let posts = sink.deliveries();
        let counted = posts.iter().filter_map(|post| post.body["counted"]["count"].as_u64());
        posts.iter().map(|post| post.message_ids().len() as u64).sum::<u64>() + counted.sum::<u64>()
    };
    let all_through = async || {
        nats.is_through("hook").await && nats.is_through("chat").await && nats.is_through("terminal").await
    };
    let through = async || posted() >= count && all_through().await;
    wait_until("all of it is listed or counted", SOON, through).await;
    js.publish("hal.ops.db1.nice", "the last".into()).await.unwrap().await.unwrap();
    let arrived = async || {
        let slack = slack.posts().iter().any(|post| post.text == "[nice] db1: the last");
        slack && sink.texts().last().is_some_and(|text| text == "the last")
    };
    wait_until("the last arrives in every room", SOON, arrived).await;
    let dead = js.get_stream("HAL_DEAD").await.unwrap().get_info().await.unwrap();
    assert_eq!(dead.state.messages, 0, "{}", relay.log());
    assert_eq!(posted(), count + 1, "each once");
    assert!(!relay.log().contains("panicked"), "{}", relay.log());
}

#[tokio::test]
async fn a_dead_letter_of_the_largest_message_is_kept_shortened() {
    let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
    let _relay = Relay::start(&nats.url(), &hook(&sink)).await;
    let js = nats.jetstream().await;
    sink.next([tests::Answer::status(400)]);
    js.publish("hal.ops.db1.large", largest_message("large").into()).await.unwrap().await.unwrap();
    js.publish("hal.ops.db1.nice", "the next".into()).await.unwrap().await.unwrap();
    wait_until("the next arrives", SOON, async || sink.texts() == ["the next"]).await;
    let dead = js.get_stream("HAL_DEAD").await.unwrap();
    let letter = dead.direct_get_first_for_subject("hal.dead.hook").await.unwrap();
    let letter: serde_json::Value = serde_json::from_slice(&letter.payload).unwrap();
    assert_eq!(letter["delivery"]["content"]["message"]["text"], "large");
    assert!(letter["delivery"]["marks"].to_string().contains("shortened"), "{}", letter["delivery"]["marks"]);
}

/// The refused configurations of the relay's own tests, with the first problem of each.
fn refused() -> Vec<(String, String)> {
    let folder = find::repository().join("relay/tests/config/invalid");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let wrong = files.filter(|path| path.extension().is_some_and(|end| end == "toml"));
    let read = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path.with_extension("stderr")).unwrap();
        // `invalid/typos.toml:3:1: error: …` without the file's name, which is another one here.
        let (first, _) = text.split_once('\n').unwrap();
        (std::fs::read_to_string(&path).unwrap(), first.split_once(".toml:").unwrap().1.to_owned())
    };
    wrong.map(read).collect()
}

#[tokio::test]
async fn no_refused_configuration_replaces_the_one_in_force() {
    let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
    let mut relay = Relay::start(&nats.url(), &hook(&sink)).await;
    let js = nats.jetstream().await;
    let wrong = refused();
    assert!(wrong.len() >= 10);
    for (number, (text, problem)) in wrong.iter().enumerate() {
        let before = relay.log().len();
        std::fs::write(relay.dir().join("config.toml"), text).unwrap();
        relay.process().signal(Signal::HUP);
        let named = async || {
            let news = relay.log()[before..].to_owned();
            let lines = news.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let problems: Vec<String> =
                lines.filter_map(|line| line["problems"].as_str().map(str::to_owned)).collect();
            problems.iter().any(|text| text.contains("config.toml:") && text.contains(problem))
        };
        wait_until(&format!("the log says {problem}"), SOON, named).await;
        let metrics = relay.get("/metrics").await.1;
        assert!(metrics.contains("\nhal_relay_config_last_reload_successful 0\n"), "{metrics}");
        js.publish("hal.ops.db1.still", format!("{number}").into()).await.unwrap().await.unwrap();
    }
    let want: Vec<String> = (0..wrong.len()).map(|number| number.to_string()).collect();
    let by_old_rules = async || {
        let texts = sink.texts();
        texts.iter().filter(|text| want.contains(text)).eq(&want)
    };
    wait_until("every message goes by the old rules", SOON, by_old_rules).await;
    assert_eq!(relay.get("/readyz").await.0, 200);
    let notices = sink.texts().iter().filter(|text| text.contains("the old one stays in force")).count();
    assert!(notices > 0, "the default room gets a notice");

    let fresh = WebhookSink::start().await;
    relay.reload(&nats.url(), &hook(&fresh));
    // The help of the metric begins with a 1 too.
    let accepted =
        async || relay.get("/metrics").await.1.contains("\nhal_relay_config_last_reload_successful 1\n");
    wait_until("a good one is taken", SOON, accepted).await;
    js.publish("hal.ops.db1.new", "by the new rules".into()).await.unwrap().await.unwrap();
    wait_until("and is in force", SOON, async || fresh.texts().contains(&"by the new rules".into())).await;
}

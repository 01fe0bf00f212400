//! `tellhal listen`: printing, commands, and messages that come again.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Place, ended, line, status, stderr, stdout};
use tests::{NatsOptions, Port};

/// A listener that is killed with its guard.
struct Listener(Child);

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Listener {
    /// The next line of its standard output.
    fn line(&mut self) -> String {
        line(self.0.stdout.as_mut().unwrap())
    }

    /// The next line of its standard error.
    fn complaint(&mut self) -> String {
        line(self.0.stderr.as_mut().unwrap())
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap().success());
    }
}

fn listen(place: &Place, args: &[&str]) -> Listener {
    let mut command = place.tellhal(&["listen"]);
    Listener(command.args(args).stdout(Stdio::piped()).spawn().unwrap())
}

/// A listener whose standard error is read too.
fn observed(place: &Place, args: &[&str]) -> Listener {
    let mut command = place.tellhal(&["listen"]);
    Listener(command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

fn sent(place: &Place, tag: &str, text: &str) {
    assert_eq!(ended(&mut place.tellhal(&["--require-ack", tag, text])), (0, String::new()));
}

/// True if there is something to read on its standard output.
fn has_output(listener: &Listener) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(listener.0.stdout.as_ref().unwrap(), PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 100_000_000 })).unwrap() > 0
}

/// Waits until a process has ended.
fn gone(pid: &str) {
    let start = Instant::now();
    // A process that nobody waits for yet is a zombie.
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat"));
    while stat().is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(start.elapsed() < Duration::from_secs(30), "process {pid} still runs");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_past_is_printed_as_lines_or_json() {
    let place = Place::new();
    for (tag, text) in [("backup.mysql", "done"), ("deploy", "no"), ("backup.files", "two\nlines")] {
        assert_eq!(ended(&mut place.tellhal(&[tag, text])).0, 0);
    }
    let mut listener = listen(&place, &["backup.>", "--since", "1h"]);
    let out = listener.0.stdout.as_mut().unwrap();
    assert!(line(out).ends_with(" db1 backup.mysql info done"));
    assert!(line(out).ends_with(" db1 backup.files info"));
    assert_eq!((line(out).as_str(), line(out).as_str()), ("  two", "  lines"));
    let mut listener = listen(&place, &["backup.*", "--since", "1h", "--json"]);
    let body: serde_json::Value = serde_json::from_str(&line(listener.0.stdout.as_mut().unwrap())).unwrap();
    assert_eq!((&body["tag"], &body["text"]), (&"backup.mysql".into(), &"done".into()));
}

#[test]
fn a_durable_listener_misses_nothing_and_a_failed_command_gets_it_again() {
    let place = Place::new();
    assert_eq!(ended(&mut place.tellhal(&["a", "$(touch pwned) `id`"])).0, 0);
    // Fails the first time.
    let script = "cat >body; echo \"$TELLHAL_TAG $TELLHAL_FROM $TELLHAL_SEVERITY $TELLHAL_TEXT\"; test -e again || { touch again; exit 1; }";
    let args = [">", "--durable", "lights", "--since", "1h", "--exec", script];
    {
        let mut listener = Listener(
            place
                .tellhal(&["listen"])
                .args(args)
                .current_dir(place.dir.path())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        let out = listener.0.stdout.as_mut().unwrap();
        let want = "a db1 info $(touch pwned) `id`";
        assert_eq!((line(out).as_str(), line(out).as_str()), (want, want));
        // The next message comes only when the first is acknowledged or waits.
        assert_eq!(ended(&mut place.tellhal(&["b", "second"])).0, 0);
        assert_eq!(line(out), "b db1 info second");
    }
    assert!(!place.path("pwned").exists());
    let body: serde_json::Value =
        serde_json::from_slice(&std::fs::read(place.path("body")).unwrap()).unwrap();
    assert_eq!(body["v"], 1);
    assert_eq!(ended(&mut place.tellhal(&["c", "while down"])).0, 0);
    let mut listener = listen(&place, &[">", "--durable", "lights", "--since", "1h"]);
    let printed = line(listener.0.stdout.as_mut().unwrap());
    assert!(printed.ends_with("while down") || printed.ends_with("second"), "{printed}");
}

#[test]
fn missing_permissions_and_wrong_arguments_are_reported() {
    let mut place = Place::bare(
        r#"authorization { users = [
            { user: all, password: all }
            { user: host, password: pw, permissions: { publish: ["hal.ops.db1.>"], subscribe: ["_INBOX.>"] } }
        ] }"#,
    );
    place.login = "all:all".into();
    place.make_stream("HAL_OPS", -1);
    let url = format!("nats://host:pw@127.0.0.1:{}", place.server.port());
    for args in [&["listen", ">"][..], &["listen", ">", "--since", "1h"], &["listen", ">", "--durable", "x"]]
    {
        let (status, stderr) = ended(place.tellhal(args).env("TELLHAL_URL", &url));
        assert_eq!(status, 77, "{args:?}: {stderr}");
        assert!(
            stderr.contains("listener's credentials") && stderr.contains("Permissions Violation"),
            "{stderr}"
        );
    }
    assert_eq!(ended(&mut Place::bare("").tellhal(&["listen", ">", "--since", "1h"])).0, 78);
    for bad in [&["listen", "a..b"][..], &["listen", ">", "--durable", "a.b"], &["listen"]] {
        assert_eq!(ended(&mut place.tellhal(bad)).0, 64, "{bad:?}");
    }
}

#[test]
fn a_leaf_nodes_listener_reads_the_hubs_log_through_the_domain_of_a_context() {
    let port = Port::free();
    let hub = Place::with(NatsOptions {
        domain: Some("hub".into()),
        open: true,
        extra: format!("leafnodes {{ listen: \"{}\" }}", port.addr()),
        ..NatsOptions::default()
    });
    hub.make_stream("HAL_OPS", -1);
    let remotes = format!("leafnodes {{ remotes: [ {{ url: \"nats://{}\" }} ] }}", port.addr());
    let leaf = Place::with(NatsOptions { without_jetstream: true, extra: remotes, ..NatsOptions::default() });
    let folder = leaf.path(".config/nats/context");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("hub.json"), r#"{"jetstream_domain":"hub"}"#).unwrap();

    // The leaf node connects to its hub in its own time.
    let sent = || ended(&mut leaf.tellhal(&["--require-ack", "a", "one"])).0 == 0;
    let start = Instant::now();
    while !sent() {
        assert!(start.elapsed() < Duration::from_secs(30), "the leaf node did not connect");
    }
    let durable = ["listen", ">", "--durable", "x", "--since", "1h", "--context", "hub"];
    let through_leaf = || Listener(leaf.tellhal(&durable).stdout(Stdio::piped()).spawn().unwrap());
    {
        let mut listener = through_leaf();
        let first = line(listener.0.stdout.as_mut().unwrap());
        assert!(first.contains(" a info one"), "{first}");
        assert_eq!(ended(&mut leaf.tellhal(&["a", "two"])).0, 0);
        // The first message is acknowledged before the next one is asked for. An attempt before the leaf node had connected has
        // left a copy of it in the spool, which has been sent since.
        while !line(listener.0.stdout.as_mut().unwrap()).ends_with(" a info two") {}
    }
    assert_eq!(ended(&mut leaf.tellhal(&["a", "three"])).0, 0);
    let mut listener = through_leaf();
    let next = line(listener.0.stdout.as_mut().unwrap());
    assert!(next.ends_with(" a info two") || next.ends_with(" a info three"), "{next}");
    for args in [&["listen", ">", "--since", "1h"][..], &["status"]] {
        let output = leaf.tellhal(args).output().unwrap();
        assert_eq!(status(&output), 78);
        let both = stdout(&output) + &stderr(&output);
        assert!(both.contains("jetstream_domain in a NATS CLI context"), "{both}");
    }
}

#[test]
fn a_durable_listener_keeps_its_pattern_until_it_is_removed() {
    let place = Place::new();
    let mut running = listen(&place, &["ls.two", "--durable", "x", "--since", "1h"]);
    sent(&place, "ls.two", "first");
    assert!(running.line().ends_with("first"));
    for since in [&[][..], &["--since", "1h"]] {
        let (code, stderr) =
            ended(place.tellhal(&["listen", "ls.other", "--durable", "x", "--count", "1"]).args(since));
        assert_eq!(code, 64, "{stderr}");
        assert!(stderr.contains("listens to 'ls.two'") && stderr.contains("--remove x"), "{stderr}");
    }
    sent(&place, "ls.two", "second");
    assert!(running.line().ends_with("second"));
    drop(running);
    assert_eq!(ended(&mut place.tellhal(&["listen", "--remove", "x"])), (0, String::new()));
    let (code, stderr) = ended(&mut place.tellhal(&["listen", "--remove", "x"]));
    assert_eq!(code, 64, "{stderr}");
    assert!(stderr.contains("no durable listener x"), "{stderr}");
    sent(&place, "ls.other", "third");
    let output = place
        .tellhal(&["listen", "ls.*", "--durable", "x", "--since", "1h", "--count", "3"])
        .output()
        .unwrap();
    assert_eq!((status(&output), stdout(&output).lines().count()), (0, 3), "{output:?}");
}

#[test]
fn durable_listeners_are_listed_with_what_they_have_not_read() {
    let place = Place::new();
    assert_eq!(stdout(&place.tellhal(&["listen", "--list"]).output().unwrap()), "");
    for text in ["one", "two", "three"] {
        sent(&place, "a.b", text);
    }
    let args = ["listen", "a.>", "--durable", "lights", "--since", "1h", "--count", "1"];
    let output = place.tellhal(&args).output().unwrap();
    assert!(status(&output) == 0 && stdout(&output).ends_with(" one\n"), "{output:?}");
    let _passing = listen(&place, &["a.>", "--since", "1h"]).line();
    let output = place.tellhal(&["listen", "--list", "--json"]).output().unwrap();
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let (entries, first) = (list.as_array().unwrap(), &list[0]);
    assert_eq!((entries.len(), &first["name"], &first["pattern"]), (1, &"lights".into(), &"a.>".into()));
    assert_eq!((&first["unread"], &first["unhandled"]), (&2.into(), &0.into()), "{list}");
    let shown = stdout(&place.tellhal(&["listen", "--list"]).output().unwrap());
    assert!(shown.starts_with("lights 'a.>': 2 unread, 0 unhandled messages, last message 2"), "{shown}");
    // The message before the end was acknowledged: the next run goes on behind it.
    let output = place.tellhal(&args).output().unwrap();
    assert!(stdout(&output).ends_with(" two\n"), "{output:?}");
    for bad in [&["--list", "a.>"][..], &["--remove", "x", "a.>"], &["a.>", "--count", "0"]] {
        assert_eq!(ended(place.tellhal(&["listen"]).args(bad)).0, 64, "{bad:?}");
    }
}

#[test]
fn a_live_listener_ends_after_its_count() {
    let place = Place::new();
    let mut listener = listen(&place, &["a", "--count", "2"]);
    let start = Instant::now();
    while listener.0.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(30), "it did not end");
        sent(&place, "a", "x");
    }
    assert_eq!(listener.0.wait().unwrap().code(), Some(0));
    assert!(listener.line().ends_with(" x") && listener.line().ends_with(" x") && listener.line().is_empty());
}

#[test]
fn a_signal_ends_the_command_and_all_it_started_and_its_message_comes_again() {
    let place = Place::new();
    sent(&place, "a", "x");
    let script = "trap 'echo told' TERM; sleep 300 & echo $! $$; wait; wait";
    let args = [">", "--durable", "x", "--since", "1h", "--exec", script];
    for signal in ["-TERM", "-INT", "-HUP"] {
        let mut listener = observed(&place, &args);
        let pids = listener.line();
        listener.signal(signal);
        assert_eq!(listener.0.wait().unwrap().code(), Some(0), "{signal}");
        assert!(listener.complaint().contains("comes again to the next listener"));
        pids.split(' ').for_each(gone);
        assert_eq!(listener.line(), "told");
    }
    // A command that takes no notice is killed when the sender of the signal insists.
    let stubborn = "trap '' TERM; echo $$; while :; do sleep 1; done";
    let mut listener = observed(&place, &[">", "--since", "1h", "--exec", stubborn]);
    let pid = listener.line();
    listener.signal("-TERM");
    listener.signal("-TERM");
    assert_eq!(listener.0.wait().unwrap().code(), Some(0));
    gone(&pid);
}

#[test]
fn a_command_that_takes_too_long_is_ended_and_has_failed() {
    let place = Place::new();
    sent(&place, "a", "x");
    let args = [">", "--since", "1h", "--exec", "echo $$; sleep 300; :", "--exec-timeout", "300ms"];
    let mut listener = observed(&place, &args);
    let pid = listener.line();
    let complaint = listener.complaint();
    assert!(
        complaint.contains("did not end within 300ms") && complaint.contains("comes again in 5s"),
        "{complaint}"
    );
    gone(&pid);
    assert_eq!(ended(&mut place.tellhal(&["listen", ">", "--exec-timeout", "1s"])).0, 64);
}

#[test]
fn a_server_that_is_gone_is_reported_and_so_is_its_return() {
    let mut place = Place::new();
    let mut durable = observed(&place, &[">", "--durable", "x"]);
    let mut live = observed(&place, &[">"]);
    // Neither listens from the start of its process on.
    for listener in [&mut durable, &mut live] {
        while !has_output(listener) {
            sent(&place, "a", "ready");
        }
    }
    place.server.kill();
    for listener in [&mut durable, &mut live] {
        let complaint = listener.complaint();
        assert!(
            complaint.contains("connection to nats://127.0.0.1") && complaint.contains("is lost"),
            "{complaint}"
        );
    }
    place.restart_server();
    assert_eq!(durable.complaint(), "tellhal: connected again");
    assert!(live.complaint().contains("messages published meanwhile were missed"));
    sent(&place, "a", "after");
    for listener in [&mut durable, &mut live] {
        while !listener.line().ends_with(" after") {}
    }
}

/// Publishes a message with these bytes as its headers and in its subject, which no client library would send.
fn publish_raw(place: &Place, subject: &[u8], headers: &[u8], text: &str) {
    let mut server = TcpStream::connect(("127.0.0.1", place.server.port())).unwrap();
    let (user, password) = place.login.split_once(':').unwrap_or_default();
    let connect = format!(
        "CONNECT {{\"verbose\":false,\"headers\":true,\"user\":\"{user}\",\"pass\":\"{password}\"}}\r\nHPUB "
    );
    let sizes = format!(" {} {}\r\n", headers.len(), headers.len() + text.len());
    let parts = [connect.as_bytes(), subject, sizes.as_bytes(), headers, text.as_bytes(), b"\r\nPING\r\n"];
    server.write_all(&parts.concat()).unwrap();
    let mut answer = String::new();
    while answer != "PONG" {
        answer = line(&mut server).trim_end().to_owned();
        assert!(!answer.starts_with("-ERR") && !answer.is_empty(), "{answer}");
    }
}

const PLAIN: &[u8] = b"hal.ops.db1.raw";
const ODD: [(&[u8], &[u8]); 7] = [
    (PLAIN, b"garbage!"),
    (PLAIN, b"\r\n"),
    (PLAIN, b"HTTP/1.1\r\nX: y\r\n\r\n"),
    (PLAIN, b"NATS/1.0\r\nX: caf\xe9\r\n\r\n"),
    (PLAIN, b"NATS/1.0\r\nno colon\r\n\r\n"),
    // It is readable, but as an answer of the server.
    (PLAIN, b"NATS/1.0 408 Request Timeout\r\n\r\n"),
    (b"hal.ops.db1.caf\xe9", b"NATS/1.0\r\n\r\n"),
];

#[test]
fn messages_that_the_client_cannot_read_are_requested_by_themselves_and_nothing_else_waits() {
    let place = Place::new();
    let count = (2 * ODD.len()).to_string();
    let mut running = observed(&place, &[">", "--durable", "running", "--since", "1h", "--count", &count]);
    let mut want = Vec::new();
    for (n, (subject, headers)) in ODD.iter().enumerate() {
        publish_raw(&place, subject, headers, &format!("odd-{n}"));
        sent(&place, "a", &format!("good-{n}"));
        want.extend([format!("odd-{n}"), format!("good-{n}")]);
    }
    let mut late = observed(&place, &[">", "--since", "1h", "--count", &count]);
    let start = Instant::now();
    for listener in [&mut running, &mut late] {
        let last_word = |line: String| line.rsplit(' ').next().unwrap().to_owned();
        let got: Vec<String> = want.iter().map(|_| last_word(listener.line())).collect();
        assert_eq!(got, want);
        assert_eq!(listener.0.wait().unwrap().code(), Some(0));
        assert_eq!(listener.complaint(), "");
    }
    assert!(start.elapsed() < Duration::from_secs(20), "one of them waited for an acknowledgement time");
    let output = place.tellhal(&["listen", "--list", "--json"]).output().unwrap();
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&list[0]["unread"], &list[0]["unhandled"]), (&0.into(), &0.into()), "{list}");
}

#[test]
fn an_unreadable_message_comes_again_to_a_command_that_failed_and_to_the_next_listener() {
    let place = Place::new();
    publish_raw(&place, PLAIN, b"garbage!", "odd");
    // Fails the first time; the second time it is ended together with the listener.
    let script = "echo $TELLHAL_TEXT; test -e again || { touch again; exit 1; }; sleep 300";
    let args = [">", "--durable", "x", "--since", "1h", "--exec", script];
    let mut command = place.tellhal(&["listen"]);
    command.args(args).current_dir(place.dir.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut listener = Listener(command.spawn().unwrap());
    assert_eq!(listener.line(), "odd");
    assert!(listener.complaint().contains("comes again in 5s"));
    assert_eq!(listener.line(), "odd");
    listener.signal("-TERM");
    listener.0.wait().unwrap();
    let mut next = listen(&place, &[">", "--durable", "x", "--count", "1"]);
    assert!(next.line().ends_with(" odd"));
    assert_eq!(next.0.wait().unwrap().code(), Some(0));
}

#[test]
fn an_unreadable_message_is_skipped_with_a_line_if_it_may_not_be_requested() {
    let mut place = Place::bare(
        r#"authorization { users = [
            { user: all, password: all }
            { user: ears, password: pw, permissions: { publish: ["$JS.API.CONSUMER.CREATE.HAL_OPS.>", "$JS.API.CONSUMER.INFO.HAL_OPS.>", "$JS.API.CONSUMER.MSG.NEXT.HAL_OPS.>", "$JS.ACK.HAL_OPS.>"], subscribe: ["_INBOX.>"] } }
        ] }"#,
    );
    place.login = "all:all".into();
    place.make_stream("HAL_OPS", -1);
    let all = format!("nats://all:all@127.0.0.1:{}", place.server.port());
    let ears = format!("nats://ears:pw@127.0.0.1:{}", place.server.port());
    for n in 0..3 {
        publish_raw(&place, PLAIN, b"garbage!", "odd");
        let output =
            place.tellhal(&["--require-ack", "a", &format!("good {n}")]).env("TELLHAL_URL", &all).output();
        assert_eq!(status(&output.unwrap()), 0);
    }
    for args in [&["--durable", "x"][..], &[]] {
        let mut command = place.tellhal(&["listen", ">", "--since", "1h"]);
        command.args(args).env("TELLHAL_URL", &ears).stdout(Stdio::piped()).stderr(Stdio::piped());
        let start = Instant::now();
        let mut listener = Listener(command.spawn().unwrap());
        for n in 0..3 {
            assert!(listener.line().ends_with(&format!(" a info good {n}")));
        }
        for n in [1, 3, 5] {
            let complaint = listener.complaint();
            assert!(complaint.contains(&format!("skipped message {n} of HAL_OPS")), "{complaint}");
            assert!(complaint.contains("permission for $JS.API.STREAM.MSG.GET.HAL_OPS"), "{complaint}");
        }
        assert!(start.elapsed() < Duration::from_secs(20), "it waited for an acknowledgement time");
    }
}

#[test]
fn a_live_listener_goes_on_after_a_message_that_cannot_be_read() {
    let place = Place::new();
    let mut live = observed(&place, &[">"]);
    while !has_output(&live) {
        sent(&place, "a", "ready");
    }
    publish_raw(&place, PLAIN, b"garbage!", "odd");
    assert!(live.complaint().contains("messages published meanwhile were missed"));
    sent(&place, "a", "after");
    while !live.line().ends_with(" after") {}
}

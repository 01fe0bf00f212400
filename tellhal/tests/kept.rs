//! A server that is down, stopped, without the log, refusing or full: the job continues, the message is
//! kept, the reason is one line, and the kept message arrives once, under its own id.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Place, ended, line, status, stderr, stdout};

const TWO_USERS: &str = r#"
authorization { users = [
  { user: all, password: all }
  { user: host, password: pw, permissions: { publish: ["hal.ops.db1.>"], subscribe: ["_INBOX_db1.>"] } }
  { user: other, password: pw, permissions: { publish: ["hal.ops.other.>"], subscribe: ["_INBOX.>"] } }
] }
"#;

/// Asserts one message in the spool and exactly one line of output, which has `reason`.
fn assert_kept(place: &Place, (status, stderr): (i32, String), reason: &str) {
    assert_eq!(status, 0, "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(reason) && stderr.contains("kept in"), "{stderr}");
    assert_eq!(place.spooled("new").len(), 1);
}

/// Asserts that the kept message arrives, once.
fn assert_flushed(place: &Place) {
    let (status, stderr) = ended(&mut place.tellhal(&["flush"]));
    assert_eq!(status, 0, "{stderr}");
    assert_eq!(place.texts(), ["x"]);
    assert!(place.spooled("new").is_empty());
}

#[test]
fn down() {
    let mut place = Place::new();
    place.server.kill();
    assert_kept(&place, ended(&mut place.tellhal(&["a", "x"])), "cannot reach nats://127.0.0.1");
    let (status, stderr) = ended(&mut place.tellhal(&["flush"]));
    assert_eq!(status, 75, "{stderr}");
    assert_eq!(ended(&mut place.tellhal(&["--require-ack", "a", "y"])).0, 75);
    assert_eq!(place.spooled("new").len(), 2);
    std::fs::remove_file(&place.spooled("new")[1]).unwrap();
    place.restart_server();
    assert_flushed(&place);
}

#[test]
fn a_flush_that_waits_ends_when_the_server_is_back() {
    let mut place = Place::new();
    place.server.kill();
    assert_kept(&place, ended(&mut place.tellhal(&["a", "x"])), "cannot reach");
    let log = place.path("log");
    let output = std::fs::File::create(&log).unwrap();
    let mut flush = place.tellhal(&["flush", "--wait"]).stderr(output).spawn().unwrap();
    let reasons = || std::fs::read_to_string(&log).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while !reasons().contains("1 message kept in the spool: cannot reach nats://127.0.0.1") {
        assert!(Instant::now() < until, "{}", reasons());
        std::thread::sleep(Duration::from_millis(10));
    }
    place.restart_server();
    assert_eq!(flush.wait().unwrap().code(), Some(0), "{}", reasons());
    assert_eq!(place.texts(), ["x"]);
    assert!(place.spooled("new").is_empty());
    assert_eq!(reasons().matches("cannot reach").count(), 1, "a reason that stays is said once");
    // A file that is no message is set aside, so that nothing waits for it.
    std::fs::write(place.spool().join("new/junk"), "junk").unwrap();
    assert_eq!(ended(&mut place.tellhal(&["flush", "--wait"])).0, 0);
    assert_eq!(place.spooled("bad").len(), 1);
}

#[test]
fn a_message_that_waited_says_so() {
    let place = Place::new();
    let mut message = tellhal::Message::new("db1", "a".parse().unwrap(), "x");
    let made = message.time.minus(Duration::from_secs(7200));
    message.time = made;
    tellhal::Spool::open(&place.spool()).unwrap().keep(&message).unwrap();
    assert_flushed(&place);
    let now = tellhal::Timestamp::now();
    let read = tellhal::message::read("db1", "a", place.bodies()[0].to_string().as_bytes(), 1, now);
    let [tellhal::message::Mark::Waited(since)] = read.marks[..] else { panic!("{:?}", read.marks) };
    assert!(since.since(made) < Duration::from_secs(60), "{since}");
    assert!(read.marks[0].to_string().starts_with("waited in the spool since 20"));
}

#[test]
fn another_program_on_the_port() {
    let place = Place::bare("");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let result = ended(place.tellhal(&["a", "x"]).env("TELLHAL_URL", url));
    assert_kept(&place, result, "closed without a greeting; is this a NATS server?");
}

#[test]
fn stopped() {
    let mut place = Place::new();
    place.pause_server();
    let start = Instant::now();
    let result = ended(&mut place.tellhal(&["--timeout", "300ms", "a", "x"]));
    // Far from the budget, and farther from any default of the client.
    assert!(start.elapsed() < Duration::from_secs(4));
    assert_kept(&place, result, "did not answer within");
    place.server.process().resume();
    assert_flushed(&place);
}

#[test]
fn without_the_log() {
    let place = Place::bare("");
    assert_kept(
        &place,
        ended(&mut place.tellhal(&["a", "x"])),
        "no stream on the server takes hal.ops.db1.a",
    );
    assert_eq!(ended(&mut place.tellhal(&["--require-ack", "a", "y"])).0, 78);
    std::fs::remove_file(&place.spooled("new")[1]).unwrap();
    place.make_stream("HAL_OPS", -1);
    assert_flushed(&place);
}

#[test]
fn in_another_stream() {
    let place = Place::bare("");
    place.make_stream("OTHER", -1);
    assert_kept(&place, ended(&mut place.tellhal(&["a", "x"])), "stream OTHER took hal.ops.db1.a");
    place.delete_stream("OTHER");
    place.make_stream("HAL_OPS", -1);
    assert_flushed(&place);
}

#[test]
fn full() {
    let place = Place::bare("");
    place.make_stream("HAL_OPS", 100);
    assert_kept(&place, ended(&mut place.tellhal(&["a", "x"])), "full");
    assert_eq!(ended(&mut place.tellhal(&["--require-ack", "a", "y"])).0, 75);
    std::fs::remove_file(&place.spooled("new")[1]).unwrap();
    place.update_stream(-1);
    assert_flushed(&place);
}

#[test]
fn a_missing_permission_is_reported_at_every_call() {
    let mut place = Place::bare(TWO_USERS);
    place.login = "all:all".into();
    place.make_stream("HAL_OPS", -1);
    let url = |user: &str| format!("nats://{user}@127.0.0.1:{}", place.server.port());
    let call = |user: &str, args: &[&str]| ended(place.tellhal(args).env("TELLHAL_URL", url(user)));

    assert_kept(&place, call("other:pw", &["a", "x"]), "not permitted: Permissions Violation for Publish");
    let (status, stderr) = call("other:pw", &["a", "y"]);
    assert_eq!((status, stderr.lines().count()), (0, 1), "{stderr}");
    assert!(stderr.contains("not permitted"), "{stderr}");
    // Wrong password, and replies that may not be received.
    for user in ["host:wrong", "host:pw"] {
        let (status, stderr) = call(user, &["--require-ack", "a", "z"]);
        assert_eq!(status, 77, "{stderr}");
        assert!(stderr.contains("not permitted") && !stderr.contains(":pw"), "{stderr}");
        assert!(!stderr.contains("nats: ") && stderr.matches("uthorization").count() <= 1, "{stderr}");
    }
    // With its own inbox the message is delivered, and so are those that were kept.
    let config = place.path("t.toml");
    std::fs::write(&config, "[nats]\ninbox_prefix = \"_INBOX_db1\"\n").unwrap();
    let result = ended(
        place.tellhal(&["a", "last"]).env("TELLHAL_URL", url("host:pw")).env("TELLHAL_CONFIG", &config),
    );
    assert_eq!(result, (0, String::new()));
    let mut texts = place.texts();
    texts.sort();
    assert!(texts.starts_with(&["last".into(), "x".into(), "y".into(), "z".into()]), "{texts:?}");
}

#[test]
fn a_broken_configuration_is_reported_and_the_message_is_kept() {
    let place = Place::new();
    let config = place.path("t.toml");
    let call = |args: &[&str]| ended(place.tellhal(args).env("TELLHAL_CONFIG", &config));
    std::fs::write(&config, "tiemout = \"1s\"\n").unwrap();
    assert_kept(&place, call(&["a", "x"]), "t.toml:1: tiemout: unknown key; did you mean timeout?");
    assert_eq!(call(&["--require-ack", "a", "y"]).0, 78);
    std::fs::remove_file(&place.spooled("new")[1]).unwrap();
    assert_flushed(&place);
}

#[test]
fn a_mistake_in_an_address_is_named_without_the_password() {
    let place = Place::bare("");
    let call = |url: &str| ended(place.tellhal(&["a", "x"]).env("TELLHAL_URL", url));
    let result = call("nats://bob:s3/cret@127.0.0.1:4222");
    assert!(!result.1.contains("cret"), "{}", result.1);
    assert_kept(&place, result, "TELLHAL_URL: the password in it holds an unescaped /; write %2F");
    let (status, stderr) =
        ended(place.tellhal(&["check"]).env("TELLHAL_URL", "nats://bob:s3@cret@127.0.0.1:4222"));
    assert_eq!(status, 0);
    assert!(stderr.contains("an unescaped @; write %40") && !stderr.contains("cret"), "{stderr}");
    let (status, stderr) = ended(place.tellhal(&["check"]).env("TELLHAL_URL", "nats://bob:s3,cret@h"));
    assert_eq!(status, 78);
    assert!(stderr.contains("%2C for a comma") && !stderr.contains("s3"), "{stderr}");
}

#[test]
fn files_that_would_block_or_are_junk_are_refused_at_once() {
    let place = Place::bare("");
    let fifo = place.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    let shown = fifo.to_str().unwrap();
    assert_kept(
        &place,
        ended(&mut place.tellhal(&["--config", shown, "a", "x"])),
        "it is not a regular file",
    );
    let (status, stderr) = ended(&mut place.tellhal(&["check", shown]));
    assert_eq!((status, stderr.contains("it is not a regular file")), (78, true), "{stderr}");
    let config = place.path("t.toml");
    for (ca, words) in [("t.toml", "there is no certificate in it"), ("fifo", "it is not a regular file")] {
        std::fs::write(&config, format!("[nats]\ntls_ca = \"{ca}\"\n")).unwrap();
        let (status, stderr) = ended(&mut place.tellhal(&["check", config.to_str().unwrap()]));
        assert_eq!((status, stderr.contains(words)), (78, true), "{stderr}");
    }
}

#[test]
fn a_context_with_tls_first_speaks_tls_first() {
    use std::io::Read;
    let place = Place::bare("");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let context = place.path(".config/nats/context/first.json");
    std::fs::create_dir_all(context.parent().unwrap()).unwrap();
    std::fs::write(&context, format!(r#"{{"url":"{url}","tls_first":true}}"#)).unwrap();
    let mut call = place.tellhal(&["--context", "first", "a", "x"]);
    let mut child = call.env_remove("TELLHAL_URL").stderr(Stdio::null()).spawn().unwrap();
    // A server of the other kind would speak first: the client would send nothing.
    let mut first = [0; 2];
    listener.accept().unwrap().0.read_exact(&mut first).unwrap();
    assert_eq!(first, [0x16, 0x03], "the beginning of a TLS handshake");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn with_too_few_files_the_message_is_kept_and_nothing_panics() {
    let place = Place::new();
    let kept = ended(&mut place.shell("ulimit -n 12; exec $TELLHAL a x"));
    assert_kept(&place, kept, "only 12 files may be open at once here");
    let (status, stderr) = ended(&mut place.shell("ulimit -n 4; exec $TELLHAL a y"));
    assert_eq!((status, stderr.lines().count()), (75, 1), "{stderr}");
    assert!(stderr.contains("the message is not kept"), "{stderr}");
    assert_flushed(&place);
}

#[test]
fn a_spool_that_cannot_be_read_is_of_no_concern_to_a_message_that_is_safe() {
    let place = Place::new();
    let long = "x".repeat(300);
    assert_eq!(ended(&mut place.tellhal(&["--spool", &long, "a", "x"])), (0, String::new()));
    assert_eq!(place.texts(), ["x"]);
}

#[test]
fn a_configuration_that_everybody_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let config = place.path(".config/tellhal/tellhal.toml");
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    std::fs::write(&config, "timeout = \"1s\"\n").unwrap();
    std::fs::set_permissions(&config, PermissionsExt::from_mode(0o666)).unwrap();
    assert_kept(&place, ended(&mut place.tellhal(&["a", "x"])), "can be written by everybody");
    std::fs::set_permissions(&config, PermissionsExt::from_mode(0o644)).unwrap();
    assert_flushed(&place);
}

#[test]
fn without_a_usable_spool_the_status_is_75_and_the_server_is_still_used() {
    let place = Place::new();
    std::fs::create_dir(place.path("real")).unwrap();
    std::os::unix::fs::symlink(place.path("real"), place.spool()).unwrap();
    let (status, stderr) = ended(&mut place.tellhal(&["a", "through"]));
    assert_eq!(status, 0);
    assert!(stderr.contains("symlink"), "{stderr}");
    let away = |spool: &str| {
        ended(place.tellhal(&["--spool", spool, "a", "x"]).env("TELLHAL_URL", "nats://127.0.0.1:1"))
    };
    for (spool, reason) in
        [(place.spool().to_str().unwrap(), "symlink"), ("/proc/none/spool", "cannot create it")]
    {
        let (status, stderr) = away(spool);
        assert_eq!(status, 75, "{stderr}");
        assert!(stderr.contains(reason) && stderr.contains("cannot reach"), "{stderr}");
    }
    assert_eq!(place.texts(), ["through"]);
}

#[test]
fn a_full_spool_refuses_loudly_and_the_server_is_still_used() {
    let place = Place::new();
    std::fs::create_dir_all(place.spool().join("bad")).unwrap();
    std::fs::File::create(place.spool().join("bad/huge")).unwrap().set_len(64 * 1024 * 1024).unwrap();
    let (status, stderr) = ended(place.tellhal(&["a", "x"]).env("TELLHAL_URL", "nats://127.0.0.1:1"));
    assert_eq!(status, 75, "{stderr}");
    assert!(stderr.contains("is full"), "{stderr}");
    assert_eq!(ended(&mut place.tellhal(&["a", "x"])), (0, String::new()));
    assert_eq!(place.texts(), ["x"]);
}

#[test]
fn without_a_home_variable_the_users_directory_is_used() {
    let place = Place::new();
    let mut call = place.tellhal(&["a", "x"]);
    assert_eq!(ended(call.env_remove("HOME")), (0, String::new()));
}

#[test]
fn a_nats_context_fills_in_what_nothing_else_says() {
    let place = Place::bare("authorization { token: s3cret }");
    let context = place.path(".config/nats/context");
    std::fs::create_dir_all(&context).unwrap();
    let json = format!(r#"{{"url":"{}","token":"s3cret"}}"#, place.server.url());
    std::fs::write(context.join("prod.json"), json).unwrap();
    let output =
        place.tellhal(&["--context", "prod", "status", "--json"]).env_remove("TELLHAL_URL").output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["server"]["reachable"], true, "{report}");
    assert_eq!(status(&output), 78, "there is no log: {report}");
    assert!(!stdout(&output).contains("s3cret"));
    let (status, stderr) = ended(&mut place.tellhal(&["--context", "nope", "a", "x"]));
    assert_eq!(status, 0);
    assert!(stderr.contains("context nope"), "{stderr}");
}

#[test]
fn credentials_that_are_revoked_while_a_command_runs() {
    let mut place = Place::bare(TWO_USERS);
    place.login = "all:all".into();
    place.make_stream("HAL_OPS", -1);
    let config = place.path("t.toml");
    std::fs::write(&config, "[nats]\ninbox_prefix = \"_INBOX_db1\"\n").unwrap();
    let mut child = place
        .tellhal(&["run", "-t", "job", "--", "cat"])
        .env("TELLHAL_URL", format!("nats://host:pw@127.0.0.1:{}", place.server.port()))
        .env("TELLHAL_CONFIG", &config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while place.bodies().is_empty() {
        std::thread::yield_now();
    }
    place.reload_server(&TWO_USERS.replace("user: host", "user: gone"));
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "revoked").unwrap();
    assert_eq!(line(child.stdout.as_mut().unwrap()), "revoked");
    // The server has closed the connection when it does not list it any more; here its reload is enough
    // for a new connection to be refused.
    let url = format!("nats://host:pw@127.0.0.1:{}", place.server.port());
    while ended(place.tellhal(&["--require-ack", "b", "x"]).env("TELLHAL_URL", &url)).0 != 77 {}
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(status(&output), 0);
    assert!(stderr(&output).contains("not permitted"), "{}", stderr(&output));
    assert!(
        place
            .spooled("new")
            .iter()
            .any(|file| { std::fs::read_to_string(file).unwrap().contains("\"status\":\"succeeded\"") })
    );
}

#[test]
fn check_prints_every_problem_and_status_shows_the_configuration_in_force() {
    let place = Place::new();
    let config = place.path("t.toml");
    std::fs::write(&config, "sorce = \"x\"\ntimeout = \"soon\"\n[nats]\nurl = \"http://x\"\n").unwrap();
    let path = config.to_str().unwrap();
    let (status, stderr) = ended(&mut place.tellhal(&["check", path]));
    assert_eq!(status, 78);
    for words in
        ["t.toml:1: sorce", "did you mean source?", "t.toml:2: timeout", "t.toml:4: nats.url", "3 problems"]
    {
        assert!(stderr.contains(words), "{words}: {stderr}");
    }
    std::fs::write(&config, "[nats]\ncreds_file = \"/none.creds\"\n").unwrap();
    let (status, stderr) = ended(&mut place.tellhal(&["check", path]));
    assert_eq!(status, 0);
    assert!(stderr.contains("warning: ") && stderr.contains("/none.creds"), "{stderr}");
    assert_eq!(ended(&mut place.tellhal(&["check"])).0, 0);
    assert_eq!(ended(&mut place.tellhal(&["check", "/none.toml"])).0, 78);
    let output = place.tellhal(&["status"]).output().unwrap();
    assert_eq!(common::status(&output), 0);
    for words in [
        "no file, so the defaults",
        "source         db1",
        "answers (nats-server",
        "stream         there",
        "0 waiting",
    ] {
        assert!(stdout(&output).contains(words), "{words}: {}", stdout(&output));
    }
}

#[test]
fn a_server_with_tls_is_trusted_by_its_authority_only_and_never_spoken_to_in_the_clear() {
    let names = vec!["localhost".to_owned(), "127.0.0.1".into()];
    let signed = rcgen::generate_simple_self_signed(names).unwrap();
    let foreign = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (cert, key) =
        (file("cert.pem", signed.cert.pem()), file("key.pem", signed.signing_key.serialize_pem()));
    let other = file("other.pem", foreign.cert.pem());
    // allow_non_tls lets the tests themselves look into the log.
    let tls = format!("allow_non_tls: true\ntls {{ cert_file: \"{cert}\", key_file: \"{key}\" }}");
    let place = Place::bare(&tls);
    place.make_stream("HAL_OPS", -1);
    let call = |ca: &str, text: &str| {
        let config = place.path("t.toml");
        std::fs::write(&config, format!("[nats]\ntls_ca = \"{ca}\"\n")).unwrap();
        ended(place.tellhal(&["a", text]).env("TELLHAL_CONFIG", &config))
    };
    assert_eq!(call(&cert, "trusted"), (0, String::new()));
    let (status, stderr) = call(&other, "kept");
    assert_eq!(status, 0);
    assert!(stderr.contains("certificate") && stderr.contains("kept in"), "{stderr}");
    assert_eq!(place.texts(), ["trusted"]);
}

#[test]
fn check_reads_the_key_and_the_source() {
    let place = Place::bare("");
    let (config, key) = (place.path("t.toml"), place.path("host.nk"));
    std::fs::write(&key, "no seed\n").unwrap();
    std::fs::write(&config, format!("source = \"relay\"\n[nats]\nnkey_file = {key:?}\n")).unwrap();
    let (status, said) = ended(&mut place.tellhal(&["check", config.to_str().unwrap()]));
    assert_eq!(status, 78);
    assert!(
        said.contains("there is no nkey seed in it") && said.contains("\"relay\" is not a source"),
        "{said}"
    );
    assert!(said.contains("2 problems"), "{said}");
}

//! A NATS server as deploy/nats sets it up: each host may send its own messages and do nothing else, keys are changed and revoked without a
//! restart, a remote site is reached through a leaf node, and three servers are one.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::Path;
use std::process::Command;

use async_nats::{Client, ConnectOptions, Event};
use futures_util::StreamExt as _;
use tempfile::TempDir;
use tests::users::{users, with_admin};
use tests::wait::SOON;
use tests::{Bridge, NatsCluster, NatsOptions, NatsServer, Port, Relay, ask, find, tellhal, wait_until};
use tokio::sync::mpsc;

/// Users in a folder of their own.
struct Folder(TempDir);

impl Folder {
    fn new(words: &[&[&str]]) -> Folder {
        let folder = Folder(TempDir::new().unwrap());
        for words in words {
            folder.run(words);
        }
        folder
    }

    fn run(&self, words: &[&str]) -> String {
        let output = users(self.0.path(), words).output().unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {text}");
        text
    }

    fn refused(&self, words: &[&str]) -> String {
        let output = users(self.0.path(), words).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{words:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn options(&self) -> NatsOptions {
        let extra = std::fs::read_to_string(self.0.path().join("accounts.conf")).unwrap();
        NatsOptions { extra, ..NatsOptions::default() }
    }

    fn key(&self, name: &str) -> String {
        self.0.path().join("keys").join(name).display().to_string()
    }

    fn seed(&self, name: &str) -> String {
        std::fs::read_to_string(self.key(name)).unwrap().trim().to_owned()
    }

    async fn relay(&self, nats: &NatsServer) -> Relay {
        let config = "default_room = \"page\"\n[nats]\n";
        Relay::start(
            &nats.url(),
            &format!("{config}url = \"{}\"\nnkey_file = \"{}\"\n", nats.url(), self.key("relay-main.nk")),
        )
        .await
    }

    /// A message of this host, acknowledged or not; returns the exit status and what was said.
    fn tell(&self, nats: &NatsServer, home: &Path, host: &str, key: &str) -> (Option<i32>, String) {
        let config = home.join("tellhal.toml");
        std::fs::write(&config, format!("source = \"{host}\"\n[nats]\nnkey_file = \"{}\"\n", self.key(key)))
            .unwrap();
        let mut command = tellhal(&nats.url(), home);
        let output =
            command.arg("--config").arg(config).args(["--require-ack", "a.b", "hello"]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

/// A client with the server's complaints about it.
async fn client(nats: &NatsServer, seed: String) -> (Client, mpsc::UnboundedReceiver<String>) {
    let (sender, complaints) = mpsc::unbounded_channel();
    let options = ConnectOptions::with_nkey(seed).event_callback(move |event| {
        if let Event::ServerError(error) = event {
            let _ = sender.send(error.to_string());
        }
        std::future::ready(())
    });
    (options.connect(nats.url()).await.unwrap(), complaints)
}

async fn log_subjects(nats: &NatsServer, seed: String) -> Vec<String> {
    let (admin, _) = client(nats, seed).await;
    let js = async_nats::jetstream::new(admin);
    let log = js.get_stream("HAL_OPS").await.unwrap();
    let last = log.cached_info().state.last_sequence;
    let mut subjects = Vec::new();
    for sequence in 1..=last {
        let subject = log.get_raw_message(sequence).await.unwrap().subject.to_string();
        if subject.starts_with("hal.ops.") {
            subjects.push(subject);
        }
    }
    subjects
}

#[tokio::test]
async fn a_host_may_send_its_own_messages_and_nothing_else() {
    let folder = Folder::new(&[
        &["init"],
        &["add", "host", "db1"],
        &["add", "host", "web1"],
        &["add", "admin", "root"],
        &["add", "handler", "desk", "--command", "deploy"],
    ]);
    let nats = NatsServer::with(folder.options()).await;
    let _relay = folder.relay(&nats).await;
    let home = TempDir::new().unwrap();
    assert_eq!(folder.tell(&nats, home.path(), "db1", "host-db1.nk"), (Some(0), String::new()));

    let (host, mut complaints) = client(&nats, folder.seed("host-db1.nk")).await;
    // The same id again is the same message.
    let js = async_nats::jetstream::new(host.clone());
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", "one-id");
    for duplicate in [false, true] {
        let ack = js
            .publish_with_headers("hal.ops.db1.twice", headers.clone(), "x".into())
            .await
            .unwrap()
            .await
            .unwrap();
        assert_eq!(ack.duplicate, duplicate);
    }
    // Subjects that the server refuses by name: of other hosts, of the services, and every question to JetStream.
    for subject in [
        "hal.ops.web1.a",
        "hal.ops.relay.a",
        "hal.ops.bridge.a",
        "hal.ctl.silence",
        "hal.sent.page",
        "hal.dead.page",
        "hal.cmd.deploy",
        "hal.cmd._each.deploy",
        "hal.ask.page",
        "hal.audit.done.deploy",
        "$JS.API.INFO",
        "$JS.API.STREAM.INFO.HAL_OPS",
        "$JS.API.STREAM.PURGE.HAL_OPS",
        "$JS.API.STREAM.DELETE.HAL_OPS",
        "$JS.API.STREAM.MSG.GET.HAL_OPS",
        "$JS.API.DIRECT.GET.HAL_OPS",
        "$JS.API.CONSUMER.CREATE.HAL_OPS.x",
        "$KV.HAL_STATE.leader",
        "$O.HAL_FILES.M.x",
        "$SRV.INFO",
        "$SYS.REQ.SERVER.PING",
        "_INBOX.x",
    ] {
        host.publish(subject, "{}".into()).await.unwrap();
        let complaint = tokio::time::timeout(SOON, complaints.recv())
            .await
            .unwrap_or_else(|_| panic!("{subject} is let through"));
        assert!(
            complaint.unwrap().to_lowercase().contains(&format!("publish to \"{}\"", subject.to_lowercase())),
            "{subject}"
        );
    }
    // And what it may not hear.
    for subject in
        ["hal.ops.>", "hal.>", "hal.cmd.deploy", "hal.cmd.>", "$SRV.>", "$JS.>", "_INBOX_other.>", ">"]
    {
        let _subscription = host.subscribe(subject).await.unwrap();
        let complaint = tokio::time::timeout(SOON, complaints.recv())
            .await
            .unwrap_or_else(|_| panic!("{subject} is heard"));
        assert!(complaint.unwrap().to_lowercase().contains("subscription to"), "{subject}");
    }
    // An acknowledgement that it steers elsewhere reaches nobody: no handler, no other host, no room's receipts.
    let (handler, _) = client(&nats, folder.seed("handler-desk.nk")).await;
    let mut commands = handler.subscribe("hal.cmd.deploy").await.unwrap();
    handler.flush().await.unwrap();
    for reply in ["hal.cmd.deploy", "hal.ops.web1.forged", "hal.sent.page", "hal.ctl.silence", "_INBOX.x.y"] {
        host.publish_with_reply("hal.ops.db1.steered", reply, "x".into()).await.unwrap();
    }
    host.flush().await.unwrap();
    let subjects = async || log_subjects(&nats, folder.seed("admin-root.nk")).await;
    let steered =
        async || subjects().await.iter().filter(|subject| subject.ends_with("steered")).count() == 5;
    wait_until("the log has all that was steered", SOON, steered).await;
    assert!(
        subjects().await.iter().all(|subject| subject.starts_with("hal.ops.db1.")),
        "{:?}",
        subjects().await
    );
    let (asker, _) = client(&nats, folder.seed("commands-main.nk")).await;
    asker.publish("hal.cmd.deploy", "the bridge's own".into()).await.unwrap();
    let heard = tokio::time::timeout(SOON, commands.next()).await.unwrap().unwrap();
    assert_eq!(heard.payload, "the bridge's own");
}

#[tokio::test]
async fn a_key_is_changed_and_revoked_without_a_restart() {
    let folder = Folder::new(&[&["init"], &["add", "host", "db1"], &["add", "host", "web1"]]);
    let mut nats = NatsServer::with(folder.options()).await;
    let _relay = folder.relay(&nats).await;
    let home = TempDir::new().unwrap();
    let tell = |nats: &NatsServer, key: &str| folder.tell(nats, home.path(), "db1", key).0;
    assert_eq!(tell(&nats, "host-db1.nk"), Some(0));

    folder.run(&["rotate", "host", "db1"]);
    nats.reconfigure(&folder.options());
    wait_until("the new key is known", SOON, async || tell(&nats, "host-db1.nk.new") == Some(0)).await;
    assert_eq!(tell(&nats, "host-db1.nk"), Some(0), "the old one is good too");
    std::fs::copy(folder.key("host-db1.nk"), folder.key("old")).unwrap();
    folder.run(&["retire", "host", "db1"]);
    nats.reconfigure(&folder.options());
    wait_until("the old key is refused", SOON, async || tell(&nats, "old") == Some(77)).await;
    assert_eq!(tell(&nats, "host-db1.nk"), Some(0));

    // A key that the machine made itself, so that no secret travels.
    let made = Command::new(find::ours("tellhal")).arg("nkey").arg(folder.key("own")).output().unwrap();
    let public = String::from_utf8(made.stdout).unwrap();
    folder.run(&["add", "host", "mail1", "--key", public.trim()]);
    std::fs::copy(folder.key("host-db1.nk"), folder.key("gone")).unwrap();
    folder.run(&["revoke", "host", "db1"]);
    nats.reconfigure(&folder.options());
    wait_until("the host is no longer let in", SOON, async || tell(&nats, "gone") == Some(77)).await;
    assert_eq!(folder.tell(&nats, home.path(), "web1", "host-web1.nk").0, Some(0), "others notice nothing");
    // The second time it connects the new account; see the script.
    nats.reconfigure(&folder.options());
    let mail1 = async || folder.tell(&nats, home.path(), "mail1", "own").0 == Some(0);
    wait_until("the new host is heard", SOON, mail1).await;
    let list = folder.run(&["list"]);
    assert!(list.contains("mail1") && list.contains("web1") && !list.contains("db1"), "{list}");

    for (words, times) in
        [(["add", "host", "new1"], 2), (["add", "operator", "ann"], 1), (["revoke", "host", "new1"], 1)]
    {
        let reads = home.path().join("reads");
        let mut command = users(folder.0.path(), &words);
        command.env("HAL_NATS_RELOAD", format!("echo >>{}", reads.display()));
        assert!(command.status().unwrap().success());
        assert_eq!(std::fs::read_to_string(&reads).unwrap().len(), times, "{words:?}");
        std::fs::remove_file(reads).unwrap();
    }
}

#[test]
fn a_mistake_is_one_line_that_says_what_is_right() {
    let key = format!("U{}", "A".repeat(55));
    let key = key.as_str();
    let folder = Folder::new(&[
        &["init"],
        &["add", "host", "db1"],
        &["add", "host", "local", "--no-auth"],
        &["add", "site", "paris", "--key", key, "--host", "far1"],
    ]);
    let before = std::fs::read(folder.0.path().join("accounts.conf")).unwrap();
    for (words, want) in [
        (&["init", "--site"][..], "is the central server's"),
        (&["init", "site"], "is not an option of users init"),
        (&["add", "host", "a.b"], "not one word of A-Z"),
        (&["add", "host", "--help"], "not one word of A-Z"),
        (&["add", "host", "two", "--no-auth"], "are the host local already: users revoke host local"),
        (&["add", "host", "x", "--key", key, "--no-auth"], "exclude each other"),
        (&["add", "host", "x", "--no-auth", "--key", key], "exclude each other"),
        (&["add", "host", "x\" } ] }"], "not one word of A-Z"),
        (&["add", "host", "db1"], "there is a host db1 already"),
        (&["add", "host", "bridge"], "a source of the services"),
        (&["add", "host", "in-web"], "a source of the services"),
        (&["add", "host"], "a kind and a name are needed"),
        (&["add", "hosts", "x"], "is no kind of user: host, listener"),
        (&["add", "host", "x", "--key", "SUsecret"], "is not a public key"),
        (&["add", "host", "x", "--command", "a"], "is not an option of users add host"),
        (&["add", "handler", "x"], "--command deploy,uptime"),
        (&["add", "handler", "x", "--command", "a b"], "not a list of words"),
        (&["add", "site", "x"], "--host web1,web2"),
        (&["add", "site", "x", "--host", "web1,bridge"], "a source of the services"),
        (&["add", "site", "x", "--host", "-a"], "not a list of words"),
        (
            &["add", "site", "paris", "--host", "far2"],
            "users revoke site paris, then users add site paris --key UA",
        ),
        (&["add", "listener", "x", "--durable"], "needs a value"),
        (&["revoke", "host", "web9"], "there is no host web9"),
        (&["rotate", "listener", "db1"], "there is no listener db1"),
        (&["rotate", "host", "local"], "the host local has no key"),
        (&["rotate", "host", "db1", "--kye", "x"], "is not an option of users rotate"),
        (&["rotate", "host", "db1", "--key", ""], "is not a public key"),
        (&["remove"], "a command is needed"),
        (&[], "a command is needed"),
    ] {
        let stderr = folder.refused(words);
        assert!(stderr.contains(want) && stderr.lines().count() == 1, "{words:?}: {stderr}");
    }
    assert_eq!(std::fs::read(folder.0.path().join("accounts.conf")).unwrap(), before);
    assert!(folder.run(&["--help"]).starts_with("Users of a NATS server"));
    let site = Folder::new(&[&["init", "--site"]]);
    assert!(site.refused(&["init"]).contains("is a remote site's"));
    assert!(site.refused(&["revoke", "site", "upstream"]).contains("users rotate site upstream"));
}

#[tokio::test]
async fn the_hosts_of_a_remote_site_are_heard_through_its_own_server() {
    let site = Folder::new(&[&["init", "--site"], &["add", "host", "far1"], &["add", "host", "far2"]]);
    assert!(site.refused(&["add", "operator", "ann"]).contains("a site's server has hosts alone"));
    let list = site.run(&["list"]);
    let key = list.lines().find(|line| line.starts_with("site")).unwrap().split_whitespace().nth(2).unwrap();
    // The hub lets the site speak for far1 alone.
    let hub = Folder::new(&[
        &["init"],
        &["add", "site", "paris", "--key", key, "--host", "far1"],
        &["add", "admin", "root"],
    ]);
    let leafnodes = Port::free();
    let mut options = hub.options();
    options.extra += &format!("leafnodes {{ listen: \"{}\" }}\n", leafnodes.addr());
    let nats = NatsServer::with(options).await;
    let _relay = hub.relay(&nats).await;
    let mut options = NatsOptions { without_jetstream: true, ..site.options() };
    options.extra += &format!(
        "leafnodes {{ remotes: [ {{ url: \"nats-leaf://{}\", nkey: \"{}\", account: SITE }} ] }}\n",
        leafnodes.addr(),
        site.seed("site-upstream.nk")
    );
    let leaf = NatsServer::with(options).await;
    let home = TempDir::new().unwrap();
    let tell = |host: &str, key: &str| site.tell(&leaf, home.path(), host, key);
    wait_until("far1 is heard", SOON, async || tell("far1", "host-far1.nk").0 == Some(0)).await;
    // Another host of the site, and a host of the hub, are not for this site to speak for.
    assert_ne!(tell("far2", "host-far2.nk").0, Some(0));
    assert_eq!(tell("db1", "host-far1.nk").0, Some(77));
    let subjects = log_subjects(&nats, hub.seed("admin-root.nk")).await;
    assert!(
        !subjects.is_empty() && subjects.iter().all(|subject| subject == "hal.ops.far1.a.b"),
        "{subjects:?}"
    );
}

#[tokio::test]
async fn one_of_three_servers_may_be_down() {
    let folder = Folder::new(&[&["init"], &["add", "host", "db1"], &["add", "admin", "root"]]);
    let mut options = folder.options();
    options.extra = with_admin(&options.extra);
    let mut cluster = NatsCluster::start(3, &options).await;
    let config = format!(
        "default_room = \"page\"\nreplicas = 3\n[nats]\nurl = {:?}\nnkey_file = \"{}\"\n",
        cluster.urls(),
        folder.key("relay-main.nk")
    );
    let _relay = Relay::start("", &config).await;
    let home = TempDir::new().unwrap();
    assert_eq!(folder.tell(&cluster.servers[0], home.path(), "db1", "host-db1.nk").0, Some(0));
    cluster.servers[1].kill();
    let tell = async || folder.tell(&cluster.servers[0], home.path(), "db1", "host-db1.nk").0 == Some(0);
    wait_until("two are enough", 3 * SOON, tell).await;
}

#[tokio::test]
async fn an_operators_commands_need_an_operators_key_and_say_so_at_once() {
    let folder = Folder::new(&[&["init"], &["add", "operator", "ann"], &["add", "host", "db1"]]);
    let nats = NatsServer::with(folder.options()).await;
    let _relay = folder.relay(&nats).await;
    let config = folder.0.path().join("relay.toml");
    let run = |key: &str, arguments: &[&str]| {
        let (url, key) = (nats.url(), folder.key(key));
        let inbox = "inbox_prefix = \"_INBOX_ann\"";
        let text =
            format!("default_room = \"page\"\n[nats]\nurl = \"{url}\"\nnkey_file = \"{key}\"\n{inbox}\n");
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(find::ours("hal-relay"));
        let output = command.args(arguments).arg("--config").arg(&config).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for arguments in [&["status"][..], &["streams"], &["dead", "list"], &["trace", "0193a5b0-nothing"]] {
        let (status, said) = run("host-db1.nk", arguments);
        assert!(
            status == Some(77) && said.contains("not permitted: ") && said.contains("of an operator"),
            "{said}"
        );
        let (_, said) = run("operator-ann.nk", arguments);
        assert!(!said.contains("not permitted"), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn a_server_for_development_has_subjects_of_its_own() {
    let folder = Folder::new(&[]);
    let with_prefix = |prefix: &str, words: &[&str]| {
        let output = users(folder.0.path(), words).env("HAL_PREFIX", prefix).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for bad in ["a.b", "*", "a\"b"] {
        let (code, stderr) = with_prefix(bad, &["init"]);
        assert!(code == Some(64) && stderr.contains("is not one word of A-Z"), "{stderr}");
    }
    assert_eq!(with_prefix("dev", &["init"]).0, Some(0));
    // It is kept.
    folder.run(&["add", "host", "db1"]);
    let (code, stderr) = with_prefix("hal", &["add", "host", "db2"]);
    assert!(code == Some(64) && stderr.contains("are for \"dev\""), "{stderr}");
    let nats = NatsServer::with(folder.options()).await;
    let connection = |key: &str| format!("url = \"{}\"\nnkey_file = \"{}\"\n", nats.url(), folder.key(key));
    let relay = connection("relay-main.nk");
    let relay = format!(
        "default_room = \"page\"\nenvironment = \"dev\"\ndev_room = \"page\"\n[nats]\nprefix = \"dev\"\n{relay}"
    );
    let relay = Relay::start(&nats.url(), &relay).await;
    let (bridge, commands) = (connection("bridge-main.nk"), connection("commands-main.nk"));
    let bridge = format!(
        "environment = \"dev\"\ndev_rooms = \"main/#dev\"\n[nats]\n{bridge}[handlers.nats]\n{commands}"
    );
    let _bridge = Bridge::start(&nats.url(), &bridge).await;
    let home = TempDir::new().unwrap();
    let tell = |prefix: &str| {
        let config = home.path().join("tellhal.toml");
        let host = connection("host-db1.nk");
        std::fs::write(&config, format!("source = \"db1\"\n[nats]\nprefix = \"{prefix}\"\n{host}")).unwrap();
        let mut command = tellhal(&nats.url(), home.path());
        command
            .arg("--config")
            .arg(config)
            .args(["--require-ack", "a.b", "hello"])
            .output()
            .unwrap()
            .status
            .code()
    };
    assert_eq!((tell("dev"), tell("hal")), (Some(0), Some(77)));
    wait_until("the page has it", SOON, async || relay.get("/api/messages").await.1.contains("hello")).await;
}

#[tokio::test]
async fn what_a_bridge_is_not_permitted_is_in_its_log_on_both_connections() {
    let folder = Folder::new(&[&["init"], &["add", "host", "db1"]]);
    let mut options = folder.options();
    options.extra = with_admin(&options.extra);
    let nats = NatsServer::with(options).await;
    let people = "[[people]]\nname = \"ann\"\nroles = [\"operator\"]\npage = \"ann\"\n[[commands]]\nname = \"*\"\nallow = [\"operator\"]\n";
    let connections = |own: &str, handlers: &str| {
        let connection =
            |key: &str| format!("url = \"{}\"\nnkey_file = \"{}\"\n", nats.url(), folder.key(key));
        format!("{people}[nats]\n{}[handlers.nats]\n{}", connection(own), connection(handlers))
    };
    let denied = |bridge: &Bridge| bridge.log().contains("the server does not permit it");
    // As a host it may not ask JetStream whether there is a log.
    let host = Bridge::spawn(&nats.url(), &connections("host-db1.nk", "commands-main.nk"));
    wait_until("the denial is logged", SOON, async || denied(&host)).await;
    drop(host);

    let _relay = folder.relay(&nats).await;
    let bridge = Bridge::start(&nats.url(), &connections("bridge-main.nk", "host-db1.nk")).await;
    assert!(!denied(&bridge), "{}", bridge.log());
    ask(&nats, "ann", "help").await;
    wait_until("the denial of handlers is logged", SOON, async || denied(&bridge)).await;
}

/// The files of deploy/nats are what a server reads, but for addresses and folders.
#[test]
fn the_configurations_of_servers_are_right() {
    let hub = Folder::new(&[&["init"], &["add", "host", "db1"]]);
    let site = Folder::new(&[&["init", "--site"], &["add", "host", "far1"]]);
    for (name, folder) in [("server", &hub), ("cluster", &hub), ("leaf", &site)] {
        let dir = TempDir::new().unwrap();
        let text =
            std::fs::read_to_string(find::repository().join(format!("deploy/nats/{name}.conf"))).unwrap();
        // Certificates are read from files that this machine does not have.
        let lines = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("tls {"))
            .collect::<Vec<_>>()
            .join("\n");
        std::fs::write(dir.path().join("nats.conf"), lines + "\n").unwrap();
        std::os::unix::fs::symlink(folder.0.path(), dir.path().join("tellhal")).unwrap();
        let mut command = Command::new(find::theirs("nats-server"));
        let output = command.arg("-t").arg("-c").arg(dir.path().join("nats.conf")).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

//! Chat commands end to end: rules, approvals, programs that answer, what is refused, and what is known of it afterwards. Lines
//! come as the page's command box sends them; `chats.rs` has them typed in real chats.

#![expect(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::stream;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tests::wait::SOON;
use tests::{Bridge, NatsOptions, NatsServer, Relay, Served, WebhookSink, tellhal, tellhal_as, wait_until};
use tokio::time::timeout;

const PEOPLE: &str = r#"
[[people]]
name = "ann"
roles = ["operator"]
page = "ann"

[[people]]
name = "bob"
roles = ["operator"]
page = "bob"

[[people]]
name = "dev"
roles = ["developer"]
page = "dev"
"#;

const RULES: &str = r#"
[[commands]]
name = "deploy"
args = [{ name = "target", one_of = ["staging", "production"] }]
when = { target = "production" }
allow = ["operator"]
approve = "second-person"

[[commands]]
name = "deploy"
args = [{ name = "target", one_of = ["staging", "production"] }]
allow = ["operator", "developer"]

[[commands]]
name = "reboot"
allow = ["operator"]
approve = "confirm"

[[commands]]
name = "login"
args = [{ name = "user" }, { name = "password", secret = true }]
allow = ["operator"]

[[commands]]
name = "slow"
allow = ["operator"]
timeout = "2s"

[[commands]]
name = "*"
allow = ["operator"]
"#;

struct Scene {
    nats: NatsServer,
    bridge: Bridge,
    served: Served,
}

impl Scene {
    async fn start() -> Scene {
        Scene::on(NatsServer::start().await).await
    }

    async fn on(nats: NatsServer) -> Scene {
        nats.create_log().await;
        let bridge = Bridge::start(&nats.url(), &format!("{PEOPLE}{RULES}")).await;
        Scene { nats, bridge, served: Served::default() }
    }

    async fn serve(&mut self, arguments: &[&str]) {
        self.served.serve(&self.nats.url(), &self.bridge, arguments).await;
    }

    /// Types a line, and returns all replies up to the last.
    async fn replies(&self, token: &str, line: &str) -> Vec<Value> {
        let id = format!("{:x}", fastrand::u64(..));
        self.replies_to(&json!({ "v": 1, "id": id, "token": token, "line": line })).await
    }

    async fn replies_to(&self, line: &Value) -> Vec<Value> {
        let client = self.nats.client().await;
        let inbox = client.new_inbox();
        let mut replies = client.subscribe(inbox.clone()).await.unwrap();
        client.publish_with_reply("hal.ask.page", inbox, line.to_string().into()).await.unwrap();
        let mut all = Vec::new();
        loop {
            let reply = timeout(SOON, replies.next()).await.unwrap_or_else(|_| panic!("no answer to {line}"));
            let reply: Value = serde_json::from_slice(&reply.unwrap().payload).unwrap();
            let is_last = reply.get("answer").is_some();
            all.push(reply);
            if is_last {
                return all;
            }
        }
    }

    /// The answer to a line, and whether it is one of failure.
    async fn ask(&self, token: &str, line: &str) -> (String, bool) {
        let answer = self.replies(token, line).await.pop().unwrap();
        (answer["answer"].as_str().unwrap().to_owned(), answer["failed"] == true)
    }

    /// The entries of the audit.
    async fn entries(&self) -> Vec<Value> {
        let js = self.nats.jetstream().await;
        let Ok(stream) = js.get_stream("HAL_AUDIT").await else { return Vec::new() };
        let last = stream.cached_info().state.last_sequence;
        let mut entries = Vec::new();
        for sequence in 1..=last {
            let message = stream.get_raw_message(sequence).await.unwrap();
            entries.push(serde_json::from_slice(&message.payload).unwrap());
        }
        entries
    }

    /// The same as kind, and person, command and arguments.
    async fn audit(&self) -> Vec<(String, String)> {
        let shown = |entry: Value| {
            let text = |key: &str| entry[key].as_str().unwrap_or("-").to_owned();
            let args = entry["args"].as_array().into_iter().flatten();
            let args: String = args.map(|arg| format!(" {}", arg.as_str().unwrap())).collect();
            (text("kind"), format!("{} {}{args}", text("person"), text("command")))
        };
        self.entries().await.into_iter().map(shown).collect()
    }
}

#[tokio::test]
async fn a_script_becomes_a_command_that_those_may_give_whom_a_rule_allows() {
    let mut scene = Scene::start().await;
    let uptime =
        scene.served.program("uptime", "echo up 3 days; echo \"asked by $TELLHAL_PERSON in $TELLHAL_ROOM\"");
    scene.serve(&["uptime", "--exec", &uptime, "--about", "since when it runs"]).await;
    assert_eq!(scene.ask("ann", "uptime").await, ("up 3 days\nasked by ann in page/private".into(), false));
    assert_eq!(scene.ask("ann", "UPTIME").await.0.lines().next(), Some("up 3 days"));
    let denied = "you may not give uptime: only a person with the role operator may".to_owned();
    assert_eq!(scene.ask("dev", "uptime").await, (denied.clone(), true));
    assert_eq!(
        scene.ask("stranger", "uptime").await,
        (format!("{denied}, and this account is nobody's"), true)
    );
    let typo = scene.ask("ann", "uptme").await;
    assert_eq!(typo, ("nobody answers uptme now; did you mean uptime?".into(), true));
    let (help, _) = scene.ask("ann", "help").await;
    // Those that are served, then the bridge's own.
    let lines: Vec<Vec<&str>> = help.lines().map(|line| line.split("  ").collect()).collect();
    assert_eq!((lines[0][0], lines[0].last()), ("uptime", Some(&"since when it runs")), "{help}");
    assert!(help.contains("\njobs [NAME]") && help.contains("\nhelp [COMMAND]"), "{help}");
    let (help, _) = scene.ask("dev", "help").await;
    assert!(!help.contains("uptime") && help.contains("whoami"), "{help}");
    assert_eq!(scene.ask("ann", "whoami").await.0, "ann, page ann, with the roles operator");
    assert_eq!(scene.ask("ann", "uptime -p").await, ("too many arguments; it is uptime".into(), true));
    // Every step is known afterwards.
    let audit = scene.audit().await;
    let has = |kind: &str, what: &str| audit.iter().any(|entry| *entry == (kind.to_owned(), what.to_owned()));
    for (kind, what) in [
        ("asked", "ann uptime"),
        ("done", "ann uptime"),
        ("denied", "dev uptime"),
        ("denied", "- uptime"),
        ("failed", "ann uptme"),
        ("done", "dev help"),
        ("failed", "ann uptime -p"),
    ] {
        assert!(has(kind, what), "{kind} {what} in {audit:?}");
    }
}

#[tokio::test]
async fn what_is_typed_is_an_argument_and_never_a_line_of_a_shell() {
    let mut scene = Scene::start().await;
    let echo = scene.served.program("echo", "for word in \"$@\"; do printf '<%s>' \"$word\"; done");
    scene.serve(&["say", "--exec", &format!("{echo} --to {{who}}"), "--arg", "who", "--arg", "what"]).await;
    for (line, want) in [
        ("say a b", "<--to><a><b>"),
        ("say ; 'rm -rf /'", "<--to><;><rm -rf />"),
        ("say $(id) `id`", "<--to><$(id)><`id`>"),
        ("say “one two” ‘three’", "<--to><one two><three>"),
        ("say \"\" *", "<--to><><*>"),
        ("say {who} {what}", "<--to><{who}><{what}>"),
    ] {
        assert_eq!(scene.ask("ann", line).await, (want.to_owned(), false), "{line}");
    }
    for (line, want) in [
        ("say 'a b", "the quote ' before a b is not closed"),
        (
            "say a \u{200b}b",
            "there is a hidden character (\\u{200b}) after \"say a \"; type the command again",
        ),
        ("say a —force", "what must not begin with -; it is say WHO WHAT"),
        ("say a", "what is missing; it is say WHO WHAT"),
        ("s\u{430}y a b", "a command is one word of a-z 0-9 _ -; help lists yours"),
    ] {
        assert_eq!(scene.ask("ann", line).await, (want.to_owned(), true), "{line}");
    }
}

#[tokio::test]
async fn what_is_dangerous_runs_once_after_another_person_approves() {
    let mut scene = Scene::start().await;
    let ran = scene.served.path("ran");
    let deploy =
        scene.served.program("deploy", &format!("echo \"$1\" >> {}; echo deployed to $1", ran.display()));
    scene.serve(&["deploy", "--exec", &deploy, "--arg", "target=staging|production"]).await;
    scene.serve(&["reboot", "--exec", "echo rebooting"]).await;
    assert_eq!(scene.ask("dev", "deploy staging").await.0, "deployed to staging");
    assert!(scene.ask("dev", "deploy production").await.1);
    let id_of = |text: &str| text.split("approve ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let (asked, failed) = scene.ask("ann", "deploy production").await;
    assert!(asked.starts_with("deploy production needs another person: approve ") && !failed, "{asked}");
    let id = id_of(&asked);
    for (who, why) in [
        ("ann", "deploy production is not approved: another person must approve it, not the one who asked"),
        (
            "dev",
            "deploy production is not approved: dev may not give deploy: only a person with the role operator may",
        ),
        ("stranger", "deploy production is not approved: only a person of the configuration may approve"),
    ] {
        assert_eq!(scene.ask(who, &format!("approve {id}")).await, (why.to_owned(), true));
    }
    // Two approve at once, and it runs once.
    let line = format!("approve {id}");
    let (one, two) = tokio::join!(scene.ask("bob", &line), scene.ask("bob", &line));
    let done = "deploy production, asked by ann:\ndeployed to production".to_owned();
    assert_eq!([&one, &two].iter().filter(|answer| answer.0 == done).count(), 1, "{one:?} {two:?}");
    assert_eq!(scene.ask("bob", &line).await, (format!("no command waits for {id}"), true));
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "staging\nproduction\n");

    // Approvals outlive the bridge; a denied one is gone.
    let (asked, _) = scene.ask("ann", "deploy production").await;
    scene.bridge.restart().await;
    let id = id_of(&asked);
    assert_eq!(
        scene.ask("bob", &format!("deny {id}")).await.0,
        "deploy production, asked by ann, is dropped"
    );
    assert!(scene.ask("bob", &format!("approve {id}")).await.1);

    // A confirmation is for the one who asked.
    let (asked, _) = scene.ask("ann", "reboot").await;
    let id = id_of(&asked);
    let (other, _) = scene.ask("bob", &format!("approve {id}")).await;
    assert_eq!(other, "reboot is not approved: ann must confirm it, who asked for it");
    assert_eq!(scene.ask("ann", &format!("approve {id}")).await.0, "reboot:\nrebooting");

    // Rights are those of the moment of the approval.
    let (asked, _) = scene.ask("ann", "deploy production").await;
    let without =
        PEOPLE.replace("roles = [\"operator\"]\npage = \"ann\"", "roles = [\"developer\"]\npage = \"ann\"");
    scene.bridge.reload(&scene.nats.url(), &format!("{without}{RULES}"));
    wait_until("ann has lost the role", SOON, async || scene.ask("ann", "reboot").await.1).await;
    let (answer, failed) = scene.ask("bob", &format!("approve {}", id_of(&asked))).await;
    assert!(failed && answer.contains("ann may not give deploy"), "{answer}");
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "staging\nproduction\n");
}

#[tokio::test]
async fn a_command_is_cancelled_on_whichever_bridge_it_runs() {
    let mut scene = Scene::start().await;
    let key = scene.bridge.dir().join("state/signing.nk");
    let same_key = format!("{PEOPLE}{RULES}\n[handlers]\nsigning_key_file = {key:?}\n");
    let _other = Bridge::start(&scene.nats.url(), &same_key).await;
    scene.serve(&["build", "--exec", "sleep 30"]).await;
    let ask = async |number: usize| {
        let id = format!("build-{number}");
        scene.replies_to(&json!({ "v": 1, "id": id, "token": "ann", "line": "build" })).await.pop().unwrap()
    };
    // Requests are shared at random: of six commands and six cancellations some meet on different bridges.
    let cancel = async {
        let ids = async || {
            let asked = scene.entries().await.into_iter().filter(|entry| entry["kind"] == "asked");
            asked
                .filter(|entry| entry["command"] == "build")
                .map(|entry| entry["id"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        wait_until("all run", SOON, async || ids().await.len() == 6).await;
        for id in ids().await {
            let answer = scene.ask("bob", &format!("cancel {id}")).await;
            assert_eq!(answer, (format!("build {id} is asked to end"), false));
        }
        let nothing = scene.ask("bob", "cancel nothing-like-it").await;
        assert_eq!(nothing, ("no command nothing-like-it runs".into(), true));
    };
    let asks = futures_util::future::join_all((0..6).map(ask));
    let (answers, ()) = tokio::join!(asks, cancel);
    for answer in answers {
        assert!(answer["answer"].as_str().unwrap().starts_with("it was cancelled after "), "{answer}");
    }
    // Only a bridge can ask bridges.
    let client = scene.nats.client().await;
    client.publish("hal.ask.bridges", "{\"v\":1,\"cancel\":\"x\"}".into()).await.unwrap();
    wait_until("it is refused", SOON, async || scene.bridge.log().contains("it is not signed")).await;
}

#[tokio::test]
async fn chosen_entries_of_the_audit_are_messages_too() {
    let mut scene = Scene::start().await;
    let configuration = format!("audit = {{ tell = [\"denied\"] }}\n{PEOPLE}{RULES}");
    scene.bridge.reload(&scene.nats.url(), &configuration);
    wait_until("it is in force", SOON, async || scene.bridge.log().contains("configuration reloaded")).await;
    scene.serve(&["uptime", "--exec", "echo up"]).await;
    assert_eq!(scene.ask("ann", "uptime").await, ("up".into(), false));
    assert!(scene.ask("dev", "uptime").await.1);
    let last = async || {
        let js = scene.nats.jetstream().await;
        let log = js.get_stream("HAL_OPS").await.unwrap();
        let message = log.get_last_raw_message_by_subject("hal.ops.>").await.ok()?;
        serde_json::from_slice::<Value>(&message.payload).ok()
    };
    wait_until("it is told", SOON, async || last().await.is_some()).await;
    let told = last().await.unwrap();
    let text = "dev in page/private: uptime: denied: you may not give uptime: only a person with the role operator may";
    assert_eq!((told["text"].as_str(), told["tag"].as_str()), (Some(text), Some("bridge.command.denied")));
    let js = scene.nats.jetstream().await;
    assert_eq!(js.get_stream("HAL_OPS").await.unwrap().cached_info().state.messages, 1);
}

#[tokio::test]
async fn a_picture_of_a_program_is_kept_and_shown_by_the_page() {
    let mut scene = Scene::start().await;
    let relay = Relay::start(&scene.nats.url(), "default_room = \"page\"\n").await;
    let script = r#"
printf '\211PNG\r\n\032\nand so on' > "$TELLHAL_FILES/lo ad.png"
echo '<script>' > "$TELLHAL_FILES/z.html"
mkdir "$TELLHAL_FILES/folder"; ln -s /etc/passwd "$TELLHAL_FILES/link"
head -c 700000 /dev/zero > "$TELLHAL_FILES/large"
echo "the load of $TELLHAL_FILES""#;
    let load = scene.served.program("load", script);
    scene.serve(&["load", "--exec", &load]).await;
    let answer = scene.replies("ann", "load").await.pop().unwrap();
    let text = answer["answer"].as_str().unwrap();
    let (folder, left_out) = text.strip_prefix("the load of ").unwrap().split_once('\n').unwrap();
    assert_eq!(left_out, "the file large is left out: all files have at most 640 KiB");
    assert!(!std::path::Path::new(folder).exists(), "{folder}");
    let names: Vec<_> =
        answer["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["lo ad.png", "z.html"]);
    let done = scene.entries().await.pop().unwrap();
    assert_eq!((&done["files"][0]["picture"], &done["files"][1]["picture"]), (&json!(true), &json!(false)));
    let get = async |object: &Value| {
        let path = format!("/api/files/{}", object.as_str().unwrap());
        tests::http::get(relay.http(), &path).await.unwrap()
    };
    let (status, body) = get(&answer["files"][0]["object"]).await;
    assert!(status == 200 && body.contains("and so on"), "{status} {body}");
    let (status, body) = get(&answer["files"][1]["object"]).await;
    assert_eq!((status, body.as_str()), (200, "<script>\n"));
    assert_eq!(get(&json!("answer-nothing-0")).await.0, 404);
    assert_eq!(get(&json!("snapshot")).await.0, 400);
}

#[tokio::test]
async fn a_program_describes_itself() {
    let mut scene = Scene::start().await;
    let script = r#"
if [ "$1" = --hal-describe ]; then
  echo '{"help": "deploys the site", "args": [{"name": "target", "one_of": ["staging"]}, {"name": "count", "default": "2"}]}'
else
  echo "$1 x$2"
fi"#;
    let site = scene.served.program("site", script);
    scene.serve(&["site", "--exec", &site, "--describe"]).await;
    assert_eq!(
        scene.ask("ann", "help site").await.0.lines().next(),
        Some("site TARGET [COUNT]: deploys the site")
    );
    assert_eq!(scene.ask("ann", "site staging").await, ("staging x2".into(), false));
    let (answer, _) = scene.ask("ann", "site moon").await;
    assert!(answer.contains("target must be one of staging"), "{answer}");
    for (script, why) in [
        ("echo up", "its answer is not {\"help\""),
        ("exit 3", "exit status: 3"),
        ("yes", "more than 65536 bytes"),
        ("echo '{\"args\": [{\"name\": \"a b\"}]}'", "args[0].name: \"a b\" is not a name"),
    ] {
        let wrong = scene.served.program("wrong", script);
        let mut command = tellhal_as("handler", &scene.nats.url(), scene.served.dir());
        let output = command.args(["serve", "wrong", "--describe", "--exec", &wrong]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(78) && said.contains(why), "{script}: {said}");
    }
}

#[tokio::test]
async fn a_long_command_tells_how_far_it_is_and_can_be_cancelled() {
    let mut scene = Scene::start().await;
    let build = scene.served.program("build", "echo step 1; sleep 30; echo step 2");
    scene.serve(&["build", "--exec", &build]).await;
    scene.serve(&["slow", "--exec", "sleep 60"]).await;
    let ask = scene.replies("ann", "build");
    let cancel = async {
        let id = async || {
            let js = scene.nats.jetstream().await;
            let stream = js.get_stream("HAL_AUDIT").await.ok()?;
            let message = stream.get_last_raw_message_by_subject("hal.audit.asked.build").await.ok()?;
            serde_json::from_slice::<Value>(&message.payload).ok()?["id"].as_str().map(str::to_owned)
        };
        wait_until("it runs", SOON, async || id().await.is_some()).await;
        let id = id().await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(scene.ask("dev", &format!("cancel {id}")).await.1);
        assert_eq!(
            scene.ask("bob", &format!("cancel {id}")).await,
            (format!("build {id} is asked to end"), false)
        );
    };
    let (replies, ()) = tokio::join!(ask, cancel);
    assert!(replies.iter().any(|reply| reply["progress"] == "step 1"), "{replies:?}");
    let last = replies.last().unwrap()["answer"].as_str().unwrap();
    assert!(last.starts_with("it was cancelled after ") && last.ends_with("\nstep 1"), "{last}");
    let (answer, failed) = scene.ask("ann", "slow").await;
    assert!(failed, "{answer}");
    assert!(answer.starts_with("it did not end in time, and was ended after "), "{answer}");
}

#[tokio::test]
async fn all_machines_that_serve_a_command_are_asked_at_once() {
    let mut scene = Scene::start().await;
    for host in ["web2", "web1"] {
        let mut command = tellhal_as("handler", &scene.nats.url(), scene.served.dir());
        command.env("TELLHAL_SOURCE", host).args(["serve", "disk", "--exec", &format!("echo {host} 81 %")]);
        scene.served.spawn(command).await;
    }
    let (answer, failed) = scene.ask("ann", "disk --each").await;
    assert_eq!((answer.as_str(), failed), ("web1: web1 81 %\nweb2: web2 81 %", false));
    let (one, _) = scene.ask("ann", "disk").await;
    assert!(one == "web1 81 %" || one == "web2 81 %", "{one}");
}

#[tokio::test]
async fn only_the_bridge_can_ask() {
    // Where everybody may publish everything, the signature alone keeps others off; see accounts.rs for the server's part.
    let open = NatsOptions { open: true, ..NatsOptions::default() };
    let mut scene = Scene::on(NatsServer::with(open).await).await;
    let ran = scene.served.path("ran");
    let program = scene.served.program("deploy", &format!("echo x >> {}", ran.display()));
    scene.serve(&["deploy", "--exec", &program]).await;
    let client = scene.nats.client().await;
    // A request as the bridge would make it, without its signature, and one with a signature of somebody else.
    let request = json!({
        "v": 1, "id": "x1", "subject": "hal.cmd.deploy", "command": "deploy", "room": "main/#ops", "timeout_ms": 5000,
        "expires": "2099-01-01T00:00:00Z", "person": "ann",
    });
    let forged = client.request("hal.cmd.deploy", request.to_string().into()).await.unwrap();
    let text = String::from_utf8_lossy(&forged.payload).into_owned();
    assert!(text.contains("refuses the request: it is not signed"), "{text}");
    let mut headers = HeaderMap::new();
    headers.insert("Hal-Key", scene.bridge.key());
    headers.insert("Hal-Signature", "AAAA");
    let forged =
        client.request_with_headers("hal.cmd.deploy", headers, request.to_string().into()).await.unwrap();
    assert!(String::from_utf8_lossy(&forged.payload).contains("its signature is wrong"));
    // A stream's acknowledgement that is steered onto a command is no request either.
    let js = scene.nats.jetstream().await;
    js.get_or_create_stream(stream::Config {
        name: "X".into(),
        subjects: vec!["x".into()],
        ..Default::default()
    })
    .await
    .unwrap();
    client.publish_with_reply("x", "hal.cmd.deploy", "{}".into()).await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(scene.ask("ann", "help deploy").await.0.lines().next(), Some("deploy"));
    assert!(!ran.exists());
    // One that the bridge has signed is taken once, however often it comes.
    let mut seen = client.subscribe("hal.cmd.deploy").await.unwrap();
    client.flush().await.unwrap();
    assert!(scene.ask("ann", "deploy staging").await.1, "the program takes no argument");
    let copy = timeout(SOON, seen.next()).await.unwrap().unwrap();
    let again =
        client.request_with_headers("hal.cmd.deploy", copy.headers.unwrap(), copy.payload).await.unwrap();
    assert!(String::from_utf8_lossy(&again.payload).contains("it came before"));
    assert!(!ran.exists());
}

#[tokio::test]
async fn the_same_event_runs_once_and_secrets_stay_secret() {
    let mut scene = Scene::start().await;
    let ran = scene.served.path("ran");
    let login = scene.served.program("login", &format!("echo \"$2\" >> {}; echo logged in", ran.display()));
    scene.serve(&["login", "--exec", &login, "--arg", "user", "--arg", "password"]).await;
    let line = json!({ "v": 1, "id": "same", "token": "ann", "line": "login bob hunter2" });
    let answer = scene.replies_to(&line).await.pop().unwrap();
    assert_eq!(answer["answer"], "logged in");
    let twice = scene.replies_to(&line).await.pop().unwrap();
    assert!(twice["answer"].as_str().unwrap().contains("the same one twice"), "{twice}");
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "hunter2\n");
    assert!(scene.ask("dev", "login bob hunter3").await.1);
    assert!(scene.ask("ann", "login bob hunter4 hunter5").await.1);
    let js = scene.nats.jetstream().await;
    let stream = js.get_stream("HAL_AUDIT").await.unwrap();
    for sequence in 1..=stream.cached_info().state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let text = String::from_utf8_lossy(&message.payload).into_owned();
        assert!(!text.contains("hunter"), "{text}");
    }
    let served = scene.served.log(0);
    assert!(!scene.bridge.log().contains("hunter") && !served.contains("hunter"));
}

#[tokio::test]
async fn without_an_entry_of_the_audit_no_command_runs() {
    let mut scene = Scene::start().await;
    let ran = scene.served.path("ran");
    let program = scene.served.program("count", &format!("echo x >> {}", ran.display()));
    scene.serve(&["count", "--exec", &program]).await;
    assert_eq!(scene.ask("ann", "count").await, (String::new(), false));
    let js = scene.nats.jetstream().await;
    let audit = js.get_stream("HAL_AUDIT").await.unwrap();
    let full = stream::Config {
        max_messages: i64::try_from(audit.cached_info().state.messages).unwrap(),
        discard: stream::DiscardPolicy::New,
        ..audit.cached_info().config.clone()
    };
    js.update_stream(full).await.unwrap();
    let (answer, failed) = scene.ask("ann", "count").await;
    assert!(
        failed && answer.starts_with("this is not run, since the audit does not take it now"),
        "{answer}"
    );
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "x\n");
}

#[tokio::test]
async fn a_flood_of_one_account_is_told_once_and_delays_nobody_else() {
    let mut scene = Scene::start().await;
    scene.serve(&["uptime", "--exec", "echo up"]).await;
    let line = |n: usize| json!({ "v": 1, "id": format!("flood-{n}"), "token": "dev", "line": "whoami" });
    let mut told = 0;
    for n in 0..40 {
        let answer = scene.replies_to(&line(n)).await.pop().unwrap();
        told +=
            usize::from(answer["answer"].as_str().unwrap().starts_with("too many commands; further ones"));
    }
    assert!((1..=3).contains(&told), "{told}");
    assert_eq!(scene.ask("ann", "uptime").await, ("up".into(), false));
    let (_, metrics) = scene.bridge.get("/metrics").await;
    assert!(metrics.contains("hal_bridge_commands_total{chat=\"page\",outcome=\"dropped\"}"), "{metrics}");
}

#[tokio::test]
async fn a_command_is_answered_without_a_relay_and_a_message_delivered_without_a_bridge() {
    let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
    let rooms = format!(
        "default_room = \"hook\"\n[rooms.hook.webhook]\nurl = \"{}\"\nallow_private = true\n",
        sink.url()
    );
    let mut relay = Relay::start(&nats.url(), &rooms).await;
    let bridge = Bridge::start(&nats.url(), &format!("{PEOPLE}{RULES}")).await;
    let mut scene = Scene { nats, bridge, served: Served::default() };
    relay.kill();
    scene.serve(&["uptime", "--exec", "echo up"]).await;
    assert_eq!(scene.ask("ann", "uptime").await, ("up".into(), false));
    scene.bridge.kill();
    relay.restart().await;
    let sent = tellhal(&scene.nats.url(), scene.served.dir()).args(["a", "without a bridge"]).status();
    assert!(sent.unwrap().success());
    wait_until("it arrives", SOON, async || sink.texts() == ["without a bridge"]).await;
}

#[tokio::test]
async fn the_relay_answers_about_itself_and_its_log() {
    let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
    let rooms = format!(
        "default_room = \"hook\"\n[rooms.hook.webhook]\nurl = \"{}\"\nallow_private = true\n",
        sink.url()
    );
    let _relay = Relay::start(&nats.url(), &rooms).await;
    let bridge = Bridge::start(&nats.url(), &format!("{PEOPLE}{RULES}")).await;
    let scene = Scene { nats, bridge, served: Served::default() };
    let send = |tag: &str, text: &str| {
        let sent = tellhal(&scene.nats.url(), scene.served.dir())
            .env("TELLHAL_SOURCE", "db1")
            .args([tag, text])
            .output();
        assert!(sent.unwrap().status.success());
    };
    send("backup.mysql", "nightly backup finished");
    send("deploy.web", "version 7 is out");
    wait_until("both arrived", SOON, async || sink.texts().len() == 2).await;
    let lists = async |line: &str, part: &str| scene.ask("ann", line).await.0.contains(part);
    wait_until("the index has both", SOON, async || {
        lists("tags", "backup.mysql").await && lists("tags", "deploy.web").await
    })
    .await;
    let (tags, _) = scene.ask("ann", "tags backup.>").await;
    assert!(tags.contains("backup.mysql") && !tags.contains("deploy.web"), "{tags}");
    let (last, failed) = scene.ask("ann", "last 1").await;
    assert!(last.ends_with("deploy.web info from db1: version 7 is out") && !failed, "{last}");
    let (last, _) = scene.ask("ann", "last backup.*").await;
    assert!(last.ends_with("backup.mysql info from db1: nightly backup finished"), "{last}");
    wait_until("all is well", SOON, async || {
        scene.ask("ann", "status").await == ("✓ all is well".into(), false)
    })
    .await;
    let (rooms, _) = scene.ask("ann", "rooms").await;
    assert_eq!(rooms, "hook  webhook  0 waiting\npage  page     0 waiting");
    let (trace, failed) = scene.ask("ann", "trace seq-2").await;
    assert!(trace.contains("nightly backup") || trace.contains("version 7"), "{trace}");
    assert!(trace.contains("hook: posted") && !failed, "{trace}");
    for (line, want) in [
        ("trace nothing-like-it", "no message nothing-like-it is in the log"),
        ("tags a b", "it is tags [PATTERN]"),
        ("tags a..b", "\"a..b\" is not a tag pattern"),
        ("last backup.> x", "x is no number"),
    ] {
        let (answer, failed) = scene.ask("ann", line).await;
        assert!(failed && answer.starts_with(want), "{line}: {answer}");
    }
    let (help, _) = scene.ask("ann", "help").await;
    assert!(help.contains("trace ID") && help.contains("says where a message went"), "{help}");
}

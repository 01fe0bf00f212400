//! Two bridges, of which one or the other is killed again and again while people give commands in three chats. The effects are
//! counted in the handler's own file. `TELLHAL_COMMANDS` is the number of commands (60 when absent); the counts are printed.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::prosody::{ROOMS, password};
use tests::wait::SOON;
use tests::{Bridge, IrcClient, IrcNetwork, NatsServer, Prosody, Served, Synapse, wait_until};

const MATRIX_ROOM: &str = "#ops:matrix.example.com";
/// The pause between two kills.
const KILL: std::ops::Range<u64> = 1_500..6_000;

/// The counts of one chat.
#[derive(Debug, Default)]
struct Counts {
    answered: usize,
    /// The line was heard by nobody.
    missed: usize,
    unknown: usize,
    /// The bridge ended before it asked the handler.
    not_run: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { answered, missed, unknown, not_run } = self;
        write!(
            f,
            "{answered} answered, {unknown} outcome unknown, {not_run} told as not run, {missed} missed"
        )
    }
}

/// A room of one chat, as one who gives commands there uses it.
trait Room {
    async fn say(&mut self, text: &str);

    /// The texts that the bridges have said there so far.
    async fn answers(&mut self) -> Vec<String>;
}

impl Room for IrcClient {
    async fn say(&mut self, text: &str) {
        IrcClient::say(self, text).await;
    }

    async fn answers(&mut self) -> Vec<String> {
        self.texts()
    }
}

impl Room for (tests::XmppClient, String) {
    async fn say(&mut self, text: &str) {
        self.0.say(&self.1, text);
    }

    async fn answers(&mut self) -> Vec<String> {
        self.0.texts(&self.1)
    }
}

impl Room for (tests::MatrixUser, String) {
    async fn say(&mut self, text: &str) {
        self.0.say(&self.1, text).await;
    }

    async fn answers(&mut self) -> Vec<String> {
        let text = |message: &Value| message["content"]["body"].as_str().unwrap_or_default().to_owned();
        self.0.messages(&self.1).await.iter().map(text).collect()
    }
}

/// The outcome of one command.
enum End {
    Answered,
    Unknown,
    NotRun,
    Missed,
}

/// Gives one command and waits for what comes of it, at most until `patience` is over. `told` are the commands that were left.
async fn give(room: &mut impl Room, name: &str, told: &mut HashSet<String>, patience: Duration) -> End {
    room.say(&format!("!count {name}")).await;
    let until = Instant::now() + patience;
    loop {
        let answers = room.answers().await;
        if answers.iter().any(|answer| answer.ends_with(&format!("ran {name}"))) {
            return End::Answered;
        }
        // One command is given after the other, so a new one of these is about this one.
        for answer in answers {
            let (is_unknown, is_not_run) = (answer.contains("outcome unknown"), answer.contains("not run, "));
            if (is_unknown || is_not_run) && told.insert(answer) {
                return if is_unknown { End::Unknown } else { End::NotRun };
            }
        }
        if Instant::now() > until {
            return End::Missed;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Gives `count` commands, one after the other. Returns their names with whether they were answered.
async fn give_all(
    mut room: impl Room,
    chat: &str,
    count: usize,
    patience: Duration,
) -> (Counts, Vec<(String, bool)>) {
    let (mut counts, mut told, mut given) = (Counts::default(), HashSet::new(), Vec::new());
    for number in 0..count {
        let name = format!("{chat}-{number}");
        let end = give(&mut room, &name, &mut told, patience).await;
        given.push((name, matches!(end, End::Answered)));
        match end {
            End::Answered => counts.answered += 1,
            End::Unknown => counts.unknown += 1,
            End::NotRun => counts.not_run += 1,
            End::Missed => counts.missed += 1,
        }
    }
    (counts, given)
}

/// Kills one bridge or the other at random, without end.
async fn kill(bridges: &mut [Bridge; 2], kills: &mut usize) {
    loop {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(KILL))).await;
        bridges[fastrand::usize(..2)].respawn();
        *kills += 1;
    }
}

/// The number of times that each command has run.
fn effects(file: &Path) -> HashMap<String, usize> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().fold(HashMap::new(), |mut counts, line| {
        *counts.entry(line.to_owned()).or_default() += 1;
        counts
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_bridges_that_are_killed_each_command_runs_at_most_once_and_all_is_told() {
    let commands: usize = std::env::var("TELLHAL_COMMANDS").map_or(60, |count| count.parse().unwrap());
    let (nats, network, synapse, prosody) = tokio::join!(
        NatsServer::start(),
        IrcNetwork::start(),
        Synapse::without_limits(),
        Prosody::start(&["hal", "ann"])
    );
    nats.create_log().await;
    let (hal, ann) = (synapse.user("hal").await, synapse.user("ann").await);
    let open = json!({ "preset": "public_chat", "room_alias_name": "ops", "invite": [hal.id] });
    let matrix = ann.create_room(open).await;
    let muc = format!("ops@{ROOMS}");
    let configuration = format!(
        "flood = {{ burst = 1000, every = \"1ms\" }}\n\
         [[people]]\nname = \"ann\"\nroles = [\"operator\"]\nirc = \"ann\"\nxmpp = \"ann@localhost\"\nmatrix = \"{}\"\n\
         [[commands]]\nname = \"count\"\nallow = [\"operator\"]\nargs = [{{ name = \"name\" }}]\n\
         [chat.irc.irc]\nserver = \"{}\"\ntls = false\nnick = \"halbot\"\nchannels = [\"#ops\"]\nburst = 100\nline_every = \"1ms\"\n\
         [chat.matrix.matrix]\nhomeserver = \"{}\"\ntoken = \"{}\"\nrooms = \"{MATRIX_ROOM}\"\n\
         [chat.xmpp.xmpp]\njid = \"hal@localhost\"\npassword = \"{}\"\nserver = \"{}\"\ntls_ca = {:?}\nnick = \"halbot\"\n\
         rooms = \"{muc}\"\nmessage_every = \"1ms\"\n",
        ann.id,
        network.addr(),
        synapse.url(),
        hal.token,
        password("hal"),
        prosody.addr(),
        prosody.ca(),
    );
    let mut bridges =
        [Bridge::start(&nats.url(), &configuration).await, Bridge::start(&nats.url(), &configuration).await];
    let mut served = Served::default();
    let ran = served.path("ran");
    let count = served.program("count", &format!("echo \"$1\" >> {}; echo \"ran $1\"", ran.display()));
    let keys = bridges.each_ref().map(|bridge| format!("{:?}", bridge.key())).join(", ");
    let config = served.path("serve.toml");
    let text = format!(
        "bridge_keys = [{keys}]\n[nats]\nurl = \"{}\"\n[[serve]]\nname = \"count\"\nexec = [\"{count}\", \"{{name}}\"]\n",
        nats.url_as("handler")
    );
    std::fs::write(&config, text).unwrap();
    let mut command = tests::tellhal(&nats.url_as("handler"), served.dir());
    command.args(["serve", "--config"]).arg(&config);
    served.spawn(command).await;
    let irc = IrcClient::join(network.addr(), "ann", "#ops").await;
    irc.register().await;
    let mut xmpp = prosody.client("ann").await;
    xmpp.join(&muc, "ann").await;
    for chat in ["irc", "matrix", "xmpp"] {
        wait_until(&format!("{chat} is heard"), SOON, async || {
            let heard = format!("chat {chat}: heard");
            bridges[0].get("/readyz").await.1.contains(&heard)
                || bridges[1].get("/readyz").await.1.contains(&heard)
        })
        .await;
    }

    // A line of IRC that nobody hears is gone; the other chats keep theirs for the next bridge.
    let each = commands.div_ceil(3);
    let (brief, long) = (Duration::from_secs(8), Duration::from_secs(60));
    let give = async {
        tokio::join!(
            give_all(irc, "irc", each, brief),
            give_all((xmpp, muc), "xmpp", each, long),
            give_all((ann, matrix), "matrix", each, long),
        )
    };
    let mut kills = 0;
    let (irc, xmpp, matrix) = tokio::select! {
        () = kill(&mut bridges, &mut kills) => unreachable!("it has no end"),
        all = give => all,
    };
    println!("{kills} kills");
    let mut unknown = 0;
    let effects = effects(&ran);
    for (chat, (counts, given)) in [("irc", irc), ("xmpp", xmpp), ("matrix", matrix)] {
        println!("{chat}: {counts}");
        unknown += counts.unknown;
        assert!(chat == "irc" || counts.missed == 0, "{chat}: {counts}");
        for (name, is_answered) in given {
            let ran = effects.get(&name).copied().unwrap_or_default();
            assert!(ran <= 1, "{name} ran {ran} times");
            assert!(!is_answered || ran == 1, "{name} was answered and has not run");
        }
    }
    assert!(kills > 0 && unknown <= 2 * kills, "{unknown} with unknown outcome in {kills} kills");
}

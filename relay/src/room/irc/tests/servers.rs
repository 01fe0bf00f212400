//! IRC against real servers: ngircd, which has no capabilities to speak of, and InspIRCd, which echoes.

use std::net::TcpStream as Probe;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use ::tests::ports::Port;
use service::platform::irc::line::Line;

use super::*;

/// A server process of the test's own; ends with it.
struct Server {
    port: Port,
    command: Vec<String>,
    process: Option<Child>,
    _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Server {
    fn ngircd() -> Server {
        let config = |port, _: &str| {
            format!(
                "[Global]\nName = irc.test\nInfo = test\nListen = 127.0.0.1\nPorts = {port}\n\
                 [Limits]\nMaxConnectionsIP = 0\nMaxJoins = 0\n\
                 [Options]\nPAM = no\nIdent = no\nDNS = no\nChrootDir =\n\
                 [Channel]\nName = #keyed\nModes = k\nKey = sesame\n[Channel]\nName = #closed\nModes = i\n\
                 [Channel]\nName = #quiet\nModes = m\n"
            )
        };
        Server::start("ngircd", &["-n", "-f"], config)
    }

    fn inspircd() -> Server {
        let config = |port, dir: &str| {
            let modules = [
                "cap",
                "ircv3_batch",
                "ircv3_ctctags",
                "ircv3_echomessage",
                "ircv3_labeledresponse",
                "ircv3_msgid",
            ];
            let modules: String = modules.iter().map(|name| format!("<module name=\"{name}\">\n")).collect();
            format!(
                "<server name=\"irc.insp\" description=\"t\" network=\"t\" id=\"1AA\">\n\
                 <admin name=\"a\" nick=\"a\" email=\"a@b.c\">\n\
                 <bind address=\"127.0.0.1\" port=\"{port}\" type=\"clients\">\n\
                 <connect name=\"main\" allow=\"*\" timeout=\"60\" localmax=\"100\" globalmax=\"100\" \
                 resolvehostnames=\"no\" useident=\"no\" threshold=\"10\" commandrate=\"1000\">\n\
                 <path configdir=\"{dir}\" datadir=\"{dir}\" logdir=\"{dir}\" runtimedir=\"{dir}\" \
                 moduledir=\"/usr/lib/inspircd/modules\">\n<pid file=\"{dir}/pid\">\n{modules}"
            )
        };
        Server::start("inspircd", &["--runasroot", "--nofork", "--config"], config)
    }

    fn start(program: &str, args: &[&str], config: impl Fn(u16, &str) -> String) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let port = Port::free();
        let path = dir.path().join("config");
        std::fs::write(&path, config(port.number(), dir.path().to_str().unwrap())).unwrap();
        let path = path.to_str().unwrap().to_owned();
        // Debian puts both where only root's PATH looks.
        let program = ["/usr/sbin/", "/usr/bin/"].map(|at| format!("{at}{program}"));
        let program = program.into_iter().find(|path| std::path::Path::new(path).exists());
        let program = program.expect("ngircd and inspircd are installed (apt-get install ngircd inspircd)");
        let command =
            [program].into_iter().chain(args.iter().map(|arg| (*arg).to_owned())).chain([path]).collect();
        let mut server = Server { port, command, process: None, _dir: dir };
        server.run();
        server
    }

    fn run(&mut self) {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        let started = Instant::now();
        while Probe::connect(("127.0.0.1", self.port.number())).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "{:?} does not listen", self.command);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

/// An independent client that reads a channel.
struct Reader {
    lines: Arc<Mutex<Vec<String>>>,
    write: OwnedWriteHalf,
}

impl Reader {
    async fn join(port: u16, nick: &str, channel: &str) -> Reader {
        let (read, write) = TcpStream::connect(("127.0.0.1", port)).await.unwrap().into_split();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = lines.clone();
        tokio::spawn(async move {
            let mut read = BufReader::new(read);
            let mut line = Vec::new();
            while read.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
                // Fails if a line is cut in the middle of a character.
                let text = String::from_utf8(std::mem::take(&mut line)).expect("whole characters");
                seen.lock().unwrap().push(text.trim_end_matches(['\r', '\n']).to_owned());
            }
        });
        let mut reader = Reader { lines, write };
        reader.write(&format!("NICK {nick}")).await;
        reader.write("USER reader 0 * :reader").await;
        reader.wait(|line| line.contains(" 001 ")).await;
        reader.write(&format!("JOIN {channel}")).await;
        reader.wait(|line| line.contains(" 366 ")).await;
        reader
    }

    async fn write(&mut self, line: &str) {
        self.write.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    }

    /// Waits until a line has arrived for which `wanted` is true.
    async fn wait(&self, wanted: impl Fn(&str) -> bool) {
        let started = Instant::now();
        while !self.lines.lock().unwrap().iter().any(|line| wanted(line)) {
            assert!(started.elapsed() < Duration::from_secs(20), "{:#?}", self.lines.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The messages of the channel, each as `nick text`.
    fn messages(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        let messages = lines.iter().filter_map(|line| {
            let line = Line::parse(line);
            (line.command == "PRIVMSG").then(|| format!("{} {}", line.nick(), line.last()))
        });
        messages.collect()
    }
}

/// Sends a post as `deliver` does: a token before each part, and a retry of parts that were not taken.
async fn deliver(room: &Irc, post: &Post) -> Vec<Sent> {
    let mut sent = Vec::new();
    for part in room.render(post) {
        while let Err(wait) = room.limiter().take() {
            tokio::time::sleep(wait).await;
        }
        sent.push(until_taken(room, &part).await);
    }
    sent
}

/// A slow server may confirm a line after the timeout: the retry waits again and does not repeat the line.
async fn until_taken(room: &Irc, part: &Part) -> Sent {
    for _ in 0..10 {
        match room.send(part).await {
            Ok(sent) => return sent,
            Err(Failure::Transient { .. }) => tokio::time::sleep(Duration::from_millis(250)).await,
            Err(failure) => panic!("{failure}"),
        }
    }
    panic!("the server never confirms it");
}

/// Hostile and long: three pieces of text that only just fit, and every attempt to inject.
fn hostile() -> Post {
    let room_for = 512 - 2 - "PRIVMSG #ops :".len() - (1 + "hal".len() + 3 + 1 + 11 + 1 + 63 + 1) - 5;
    let full = format!("{}{}", "é".repeat((room_for - 2) / 2), "日本語👨‍👩‍👧‍👦".repeat(6));
    conformance::post(&format!("{}\n{full}", conformance::HOSTILE.join(" ")))
}

#[tokio::test]
async fn ngircd_shows_every_line_whole() {
    let server = Server::ngircd();
    let reader = Reader::join(server.port.number(), "reader", "#ops").await;
    let room = open(server.port.number(), "line_every = '600ms'");
    let post = hostile();
    let sent = deliver(&room, &post).await;
    let wanted: Vec<String> = room.render(&post).iter().map(|part| format!("hal {}", part.shown)).collect();
    assert!(wanted.len() > 3 && sent.len() == wanted.len());
    reader.wait(|line| line.ends_with(wanted.last().unwrap().strip_prefix("hal ").unwrap())).await;
    assert_eq!(reader.messages(), wanted);
    let lines = reader.lines.lock().unwrap();
    let longest = lines.iter().map(String::len).max();
    assert!((440..=510).contains(&longest.unwrap()), "{longest:?}: nearly full, and nothing cut");
    let ours = lines.iter().filter(|line| Line::parse(line).nick() == "hal");
    let others: Vec<&String> = ours.filter(|line| !line.contains(" PRIVMSG #ops :")).collect();
    assert!(others.iter().all(|line| line.contains(" JOIN ")), "{others:?}");
}

#[tokio::test]
async fn inspircd_shows_every_line_whole_and_names_it() {
    let server = Server::inspircd();
    let reader = Reader::join(server.port.number(), "reader", "#ops").await;
    let room = open(server.port.number(), "line_every = '600ms'");
    let post = hostile();
    let sent = deliver(&room, &post).await;
    assert!(sent.iter().all(|sent| sent.post.is_some()), "{sent:?}");
    let wanted: Vec<String> = room.render(&post).iter().map(|part| format!("hal {}", part.shown)).collect();
    reader.wait(|line| line.ends_with(wanted.last().unwrap().strip_prefix("hal ").unwrap())).await;
    assert_eq!(reader.messages(), wanted);
}

#[tokio::test]
async fn channels_that_do_not_let_us_in_are_named() {
    for server in [Server::ngircd(), Server::inspircd()] {
        let connections = Shared::default();
        let mut modes = Reader::join(server.port.number(), "op", "#other").await;
        if server.command[0].ends_with("inspircd") {
            for (channel, mode) in [("#keyed", "+k sesame"), ("#closed", "+i"), ("#quiet", "+m")] {
                modes.write(&format!("JOIN {channel}")).await;
                modes.write(&format!("MODE {channel} {mode}")).await;
                modes.wait(|line| line.contains(&format!(" MODE {channel} "))).await;
            }
        }
        for (more, number) in
            [("channel = '#keyed'", "475"), ("channel = '#closed'", "473"), ("channel = '#quiet'", "404")]
        {
            let answer = conformance::send(&open_shared(server.port.number(), more, &connections), "x").await;
            assert_eq!(decision(&answer), Decision::Auth, "{more}: {answer:?}");
            assert!(answer.unwrap_err().to_string().starts_with(&format!("127.0.0.1: {number} ")), "{more}");
        }
        let keyed =
            open_shared(server.port.number(), "channel = '#keyed'\nchannel_key = 'sesame'", &connections);
        assert_eq!(decision(&conformance::send(&keyed, "x").await), Decision::Sent);
    }
}

#[tokio::test]
async fn rooms_share_a_connection_and_a_taken_nick_grows() {
    let server = Server::ngircd();
    let connections = Shared::default();
    let taken = Reader::join(server.port.number(), "hal", "#one").await;
    let two = Reader::join(server.port.number(), "two", "#Two").await;
    let one_room = open_shared(server.port.number(), "channel = '#one'", &connections);
    let two_room = open_shared(server.port.number(), "channel = '#two'", &connections);
    assert!(Arc::ptr_eq(&one_room.limiter(), &two_room.limiter()));
    let (first, second) = (conformance::post("first"), conformance::post("second"));
    tokio::join!(deliver(&one_room, &first), deliver(&two_room, &second));
    taken.wait(|line| line.ends_with("first")).await;
    two.wait(|line| line.ends_with("second")).await;
    assert_eq!(taken.messages(), ["hal_ [backup.mysql] db1: first"]);
    assert_eq!(two.messages(), ["hal_ [backup.mysql] db1: second"]);
    // The last room that goes takes the connection with it.
    drop((one_room, two_room));
    taken.wait(|line| line.starts_with(":hal_!") && line.contains(" QUIT")).await;
}

#[tokio::test]
async fn a_lost_connection_is_opened_again_by_the_next_line() {
    let mut server = Server::ngircd();
    let room = open(server.port.number(), "nick = 'longnickname'");
    assert_eq!(decision(&conformance::send(&room, "before").await), Decision::Sent);
    server.stop();
    let lost = conformance::send(&room, "lost").await;
    assert!(matches!(lost, Err(Failure::Transient { .. })), "{lost:?}");
    server.run();
    let reader = Reader::join(server.port.number(), "reader", "#ops").await;
    assert_eq!(decision(&conformance::send(&room, "after").await), Decision::Sent);
    reader.wait(|line| line.ends_with("after")).await;
    assert_eq!(reader.messages(), ["longnickn [backup.mysql] db1: after"]);
}

#[tokio::test]
async fn a_kick_is_answered_by_joining_again() {
    let server = Server::ngircd();
    let mut reader = Reader::join(server.port.number(), "reader", "#ops").await;
    let room = open(server.port.number(), "");
    assert_eq!(decision(&conformance::send(&room, "before").await), Decision::Sent);
    reader.write("KICK #ops hal :out").await;
    reader.wait(|line| line.contains(" KICK #ops hal ")).await;
    assert_eq!(decision(&conformance::send(&room, "after").await), Decision::Sent);
    reader.wait(|line| line.ends_with("after")).await;
}

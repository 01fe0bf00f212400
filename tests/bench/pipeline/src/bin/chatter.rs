//! A bridge in a channel of IRC where people talk: what 10,000 lines a second that are no commands cost, and how long a command
//! takes meanwhile. Quiet and busy seconds alternate in one run. The server is a script, since real ones slow their users down.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bench::process::{cpu_seconds, memory};
use bench::servers::{Server, free_address, nats};
use bench::stats::{Table, spread};

/// Lines a second while it is busy.
const LINES: u32 = 10_000;
/// The time of one part, quiet or busy, and the commands in it.
const PART: Duration = Duration::from_secs(2);
const COMMANDS: u32 = 20;
const ROUNDS: usize = 10;

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let server = nats(folder.path(), free_address()?, None)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let bridge = bridge(folder.path(), &server, &listener)?;
    let (mut stream, answers) = welcome(&listener)?;
    let mut all = [Vec::new(), Vec::new()];
    let (mut cpu, mut lines) = ([0.0; 2], [0_u64; 2]);
    for _ in 0..ROUNDS {
        for busy in [0, 1] {
            let before = cpu_seconds(bridge.pid())?;
            lines[busy] += part(&mut stream, &answers, busy == 1, &mut all[busy])?;
            cpu[busy] += cpu_seconds(bridge.pid())? - before;
        }
    }
    let seconds = PART.as_secs_f64() * ROUNDS as f64;
    let mut table = Table::new(&["channel", "lines/s", "CPU %", "µs of CPU a line", "ms to an answer"]);
    for (busy, name) in ["quiet", "busy"].into_iter().enumerate() {
        let waited = spread(all[busy].iter().copied()).context("no command was answered")?;
        let each = if busy == 1 {
            format!("{:.1}", (cpu[1] - cpu[0]) * 1e6 / lines[1] as f64)
        } else {
            "–".into()
        };
        table.row(vec![
            name.into(),
            format!("{:.0}", lines[busy] as f64 / seconds),
            format!("{:.1}", cpu[busy] / seconds * 100.0),
            each,
            format!("{:.1} ({:.1}–{:.1})", waited.median, waited.low, waited.high),
        ]);
    }
    println!("{}", table.markdown());
    println!("the bridge's peak memory: {} MiB", memory(bridge.pid(), "VmHWM")? >> 20);
    Ok(())
}

fn bridge(folder: &Path, server: &Server, listener: &TcpListener) -> anyhow::Result<Server> {
    let http = free_address()?;
    let configuration = format!(
        "state_dir = {:?}\nflood = {{ burst = 1000, every = \"1ms\" }}\n[nats]\nurl = \"nats://{}\"\n[http]\nlisten = \"{http}\"\n\
         [chat.main.irc]\nserver = \"{}\"\ntls = false\nnick = \"halbot\"\nchannels = [\"#ops\"]\nburst = 100\nline_every = \"1ms\"\n",
        folder.join("state"),
        server.address,
        listener.local_addr()?,
    );
    let file = folder.join("bridge.toml");
    std::fs::write(&file, configuration)?;
    let program = std::env::current_exe()?.with_file_name("hal-bridge");
    let mut command = Command::new(program);
    command.arg("run").arg("--config").arg(file);
    Server::start(command, http, &folder.join("bridge.log"))
}

/// Lets the bridge into the channel. The lines that it says there come out of the channel.
fn welcome(listener: &TcpListener) -> anyhow::Result<(TcpStream, Receiver<String>)> {
    let (stream, _) = listener.accept()?;
    let mut write = stream.try_clone()?;
    let (sender, answers) = channel();
    let (joined, is_joined) = channel();
    std::thread::spawn(move || converse(stream, &sender, &joined));
    is_joined.recv_timeout(Duration::from_secs(30)).context("the bridge does not come into the channel")?;
    write.flush()?;
    Ok((write, answers))
}

fn converse(stream: TcpStream, said: &Sender<String>, joined: &Sender<()>) -> Option<()> {
    let mut write = stream.try_clone().ok()?;
    for line in BufReader::new(stream).lines() {
        let line = line.ok()?;
        // A tag of the client comes first, if there is one.
        let words: Vec<&str> = line.split(' ').skip_while(|word| word.starts_with('@')).collect();
        let answer = match words[..] {
            ["CAP", "LS", ..] => ":irc CAP * LS :account-tag message-tags\r\n".to_owned(),
            ["CAP", "REQ", ..] => {
                format!(":irc CAP * ACK {}\r\n", words[2..].join(" "))
            }
            ["CAP", "END"] => ":irc 001 halbot :welcome\r\n:irc 376 halbot :end\r\n".to_owned(),
            ["PING", token, ..] => format!(":irc PONG irc {token}\r\n"),
            ["JOIN", ..] => {
                joined.send(()).ok()?;
                ":halbot!hal@x JOIN #ops\r\n:irc 366 halbot #ops :end\r\n".to_owned()
            }
            ["PRIVMSG", ..] => {
                said.send(line.clone()).ok()?;
                String::new()
            }
            _ => String::new(),
        };
        write.write_all(answer.as_bytes()).ok()?;
    }
    None
}

/// One part; returns its lines of chatter, and notes the milliseconds until each command was answered.
fn part(
    stream: &mut TcpStream,
    answers: &Receiver<String>,
    busy: bool,
    waited: &mut Vec<f64>,
) -> anyhow::Result<u64> {
    let begun = Instant::now();
    let mut said = 0;
    for command in 0..COMMANDS {
        while begun.elapsed() < PART / COMMANDS * command {
            said += chatter(stream, begun, busy, said)?;
            std::thread::sleep(Duration::from_millis(1));
        }
        let asked = Instant::now();
        stream.write_all(b"@account=ann :ann!ann@x PRIVMSG #ops :!whoami\r\n")?;
        loop {
            match answers.recv_timeout(Duration::from_millis(1)) {
                Ok(_) => break,
                Err(_) => said += chatter(stream, begun, busy, said)?,
            }
            ensure!(asked.elapsed() < Duration::from_secs(30), "a command was not answered");
        }
        waited.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    Ok(said)
}

/// The lines that are due by now.
fn chatter(stream: &mut TcpStream, begun: Instant, busy: bool, said: u64) -> anyhow::Result<u64> {
    if !busy {
        return Ok(0);
    }
    let due = (begun.elapsed().as_secs_f64() * f64::from(LINES)) as u64;
    let lines: String = (said..due)
        .map(|number| {
            format!(
                "@account=bob;msgid=m{number} :bob!bob@x PRIVMSG #ops :and then I looked at graph {number}, what do you think? it's fine!\r\n"
            )
        })
        .collect();
    stream.write_all(lines.as_bytes())?;
    Ok(due.saturating_sub(said))
}

//! IRC against the kit and scripted servers that do what real ones only do on bad days.

mod servers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use ::tests::ports::Port;
use service::platform::TIMEOUT;
use service::testing::Ca;

use super::*;
use crate::room::conformance::{self, Decision, decision};
use crate::room::registry;

const PASSWORD: &str = "very-secret-password";

fn open(port: u16, more: &str) -> Irc {
    open_shared(port, more, &Shared::default())
}

fn open_shared(port: u16, more: &str, shared: &Shared) -> Irc {
    let channel = if more.contains("channel =") { "" } else { "channel = '#ops'" };
    let tls = if more.contains("tls_ca") { "" } else { "tls = false" };
    let toml = format!("server = '127.0.0.1:{port}'\n{tls}\n{channel}\n{more}");
    Irc::open(&toml::from_str(&toml).unwrap(), shared).unwrap()
}

/// A server that reads lines and answers each with the lines that `script` returns; `None` closes the connection.
async fn scripted(
    script: impl Fn(&str) -> Option<Vec<String>> + Send + Sync + 'static,
    tls: Option<tokio_rustls::TlsAcceptor>,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = Arc::new(script);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (script, tls) = (script.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => serve(stream, &*script).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, &*script).await;
                        }
                    }
                }
            });
        }
    });
    port
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    script: &(impl Fn(&str) -> Option<Vec<String>> + Sync),
) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        let Some(answers) = script(line.trim_end()) else { return };
        for answer in answers {
            if let Some(millis) = answer.strip_prefix("after ") {
                tokio::time::sleep(Duration::from_millis(millis.parse().unwrap())).await;
                continue;
            }
            if stream.write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
                return;
            }
        }
        if stream.flush().await.is_err() {
            return;
        }
        line.clear();
    }
}

/// The answers of a server without capabilities.
fn usual(line: &str) -> Vec<String> {
    let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
    match command {
        "CAP" if rest.starts_with("LS") => vec!["CAP * LS :multi-prefix".into()],
        "USER" => vec!["PING :cookie".into(), ":s 001 hal :Welcome".into()],
        "JOIN" => {
            vec![format!(":hal!~hal@host.example JOIN :{}", rest.split(' ').next().unwrap_or_default())]
        }
        "PING" => vec![format!(":s PONG s {rest}")],
        _ => vec![],
    }
}

#[tokio::test]
async fn passes_the_kit() {
    let room = open(1, "");
    // The whole command without the line's end and the longest prefix others get before it.
    conformance::renders(&room, 512 - 2 - 80, &["\r", "\n", "\0", "\x01", "\x1b", "\x1f", "\x16", "\t"]);
}

#[tokio::test]
async fn lines_fit_and_at_least_eight_are_shown() {
    let room = open(1, "lines = 8");
    let text = (0..40).map(|n| format!("line {n} {}", "é".repeat(n * 5))).collect::<Vec<_>>().join("\n");
    let parts = room.render(&conformance::post(&text));
    assert_eq!(parts.len(), 9, "{parts:?}");
    assert_eq!(parts[0].wire, "PRIVMSG #ops :[backup.mysql] db1: line 0");
    assert_eq!(parts[1].wire, format!("PRIVMSG #ops :| line 1 {}", "é".repeat(5)));
    assert_eq!(parts[4].shown, "| … (32 more lines)");
    assert!(parts[8].shown.starts_with("| line 39 "), "{}", parts[8].shown);
    let mut error = conformance::message("!deploy\n!deploy\n\x01VERSION\x01");
    error.severity = tellhal::Severity::Error;
    let wires: Vec<String> = room
        .render(&Post::single(conformance::delivery("m", error)))
        .into_iter()
        .map(|part| part.wire)
        .collect();
    assert_eq!(
        wires,
        [
            "PRIVMSG #ops :\x02\x0304ERROR\x0f [backup.mysql] db1: !deploy",
            "PRIVMSG #ops :| !deploy",
            "PRIVMSG #ops :| VERSION",
        ]
    );
}

#[tokio::test]
async fn a_pong_confirms_a_line_and_its_absence_is_ambiguous() {
    let port = scripted(|line| Some(usual(line)), None).await;
    let room = open(port, "");
    assert_eq!(decision(&conformance::send(&room, "x").await), Decision::Sent);
    assert!(room.connection.mask() == "hal!~hal@host.example".len());

    let mute = |line: &str| match line.starts_with("PING") {
        true => Some(vec![]),
        false => Some(usual(line)),
    };
    let port = scripted(mute, None).await;
    let started = tokio::time::Instant::now();
    assert_eq!(decision(&conformance::send(&open(port, ""), "x").await), Decision::Unknown);
    assert!(started.elapsed() < TIMEOUT);

    let dropping = |line: &str| (!line.starts_with("PRIVMSG")).then(|| usual(line));
    let port = scripted(dropping, None).await;
    assert_eq!(decision(&conformance::send(&open(port, ""), "x").await), Decision::Unknown);
}

#[tokio::test]
async fn a_slow_server_gets_a_line_once() {
    // The confirmation arrives during the second attempt, or before it.
    for pause in [Duration::ZERO, Duration::from_secs(1)] {
        let lines = Arc::new(AtomicUsize::new(0));
        let count = lines.clone();
        let slow = move |line: &str| {
            count.fetch_add(usize::from(line.starts_with("PRIVMSG")), Ordering::SeqCst);
            let delay = line.starts_with("PING").then(|| "after 3600".to_owned());
            Some(delay.into_iter().chain(usual(line)).collect())
        };
        let room = open(scripted(slow, None).await, "");
        let part = &room.render(&conformance::post("x"))[0];
        assert_eq!(decision(&room.send(part).await), Decision::Unknown);
        tokio::time::sleep(pause).await;
        assert_eq!(decision(&room.send(part).await), Decision::Sent);
        assert_eq!(lines.load(Ordering::SeqCst), 1);
        let other = Part { id: "another post".into(), ..part.clone() };
        assert_eq!(
            decision(&room.send(&other).await),
            Decision::Unknown,
            "the same text of another post is sent"
        );
        assert_eq!(lines.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn a_line_that_was_not_written_is_tried_again() {
    let silent = scripted(|_| Some(vec![]), None).await;
    let no_join =
        scripted(|line| Some(if line.starts_with("JOIN") { vec![] } else { usual(line) }), None).await;
    let banned = |line: &str| match line.starts_with("USER") {
        true => Some(vec![":s 465 hal :You are banned".into(), "ERROR :Closing Link".into()]),
        false => Some(usual(line)),
    };
    let banned = scripted(banned, None).await;
    let closed = Port::free();
    let (silent, no_join, banned, nobody) =
        (open(silent, ""), open(no_join, ""), open(banned, ""), open(closed.number(), ""));
    let (silent, no_join, banned, nobody) = tokio::join!(
        conformance::send(&silent, "x"),
        conformance::send(&no_join, "x"),
        conformance::send(&banned, "x"),
        conformance::send(&nobody, "x"),
    );
    assert_eq!(decision(&silent), Decision::Later(None));
    assert_eq!(decision(&no_join), Decision::Later(None));
    assert_eq!(no_join.unwrap_err().to_string(), "127.0.0.1: no way into #ops in time");
    assert_eq!(banned, Err(Failure::Auth { reason: "127.0.0.1: You are banned".into() }));
    assert_eq!(decision(&nobody), Decision::Later(None));
}

#[tokio::test]
async fn errors_are_classified_by_their_number() {
    let table = [
        (":s 404 hal #ops :Cannot send", Decision::Auth),
        (":s 442 hal #ops :Not on channel", Decision::Later(None)),
        (":s 439 hal #OPS :Too fast", Decision::Later(Some(30))),
        (":s 417 hal :Input line was too long", Decision::Permanent),
        (":s 412 hal :No text", Decision::Permanent),
    ];
    for (error, wanted) in table {
        let script = move |line: &str| match line.starts_with("PRIVMSG") {
            true => Some(vec![error.to_owned()]),
            false => Some(usual(line)),
        };
        let room = open(scripted(script, None).await, "");
        assert_eq!(decision(&conformance::send(&room, "x").await), wanted, "{error}");
    }
}

#[tokio::test]
async fn after_a_refused_line_the_next_one_is_said_although_no_join_is_answered() {
    let joins = AtomicUsize::new(0);
    let script = move |line: &str| match line {
        // A server does not answer a client that is in the channel already.
        line if line.starts_with("JOIN") && joins.fetch_add(1, Ordering::SeqCst) > 0 => Some(vec![]),
        line if line.starts_with("PRIVMSG") && line.contains('\x03') => {
            Some(vec![":s 404 hal #ops :Can't send colors to channel".into()])
        }
        line => Some(usual(line)),
    };
    let room = open(scripted(script, None).await, "");
    let mut error = conformance::message("disk full");
    error.severity = tellhal::Severity::Error;
    let part = room.render(&Post::single(conformance::delivery("m1", error))).remove(0);
    assert_eq!(decision(&room.send(&part).await), Decision::Auth);
    let plain = part.plain.clone().unwrap();
    assert_eq!(plain, "PRIVMSG #ops :ERROR [backup.mysql] db1: disk full");
    assert_eq!(decision(&room.send(&Part { wire: plain, ..part }).await), Decision::Sent);
    assert_eq!(decision(&conformance::send(&room, "fine again").await), Decision::Sent);
}

/// A server that has SASL over TLS and takes one password.
fn sasl(line: &str) -> Option<Vec<String>> {
    let answers = match line {
        "CAP LS 302" => vec!["CAP * LS * :batch".into(), "CAP * LS :sasl=EXTERNAL,PLAIN".into()],
        "CAP REQ :batch sasl" => vec!["CAP * ACK :batch sasl".into()],
        "AUTHENTICATE PLAIN" => vec!["AUTHENTICATE +".into()],
        // \0ops\0very-secret-password
        "AUTHENTICATE AG9wcwB2ZXJ5LXNlY3JldC1wYXNzd29yZA==" => {
            vec![":s 900 hal hal!u@h ops :You are logged in".into(), ":s 903 hal :SASL ok".into()]
        }
        "CAP END" => vec![":s 001 hal :Welcome".into()],
        line if line.starts_with("AUTHENTICATE") => vec![format!(":s 904 hal :SASL failed for {PASSWORD}")],
        line if line.starts_with("USER") => vec![],
        line => usual(line),
    };
    Some(answers)
}

#[tokio::test]
async fn sasl_over_tls_identifies_us() {
    let ca = Ca::new();
    let port = scripted(sasl, Some(ca.server("127.0.0.1", false))).await;
    let trusted = format!("tls_ca = '{}'\nsasl_user = 'ops'", ca.file.display());
    let room = open(port, &format!("{trusted}\nsasl_password = '{PASSWORD}'"));
    assert_eq!(decision(&conformance::send(&room, "x").await), Decision::Sent);

    let refused = conformance::send(&open(port, &format!("{trusted}\nsasl_password = 'wrong'")), "x").await;
    assert_eq!(decision(&refused), Decision::Auth, "{refused:?}");
    let other = Ca::new();
    let untrusted =
        conformance::send(&open(port, &format!("tls_ca = '{}'", other.file.display())), "x").await;
    assert!(untrusted.unwrap_err().to_string().ends_with("tls: the certificate is of an unknown CA"));

    let plain = scripted(|line| Some(usual(line)), None).await;
    let no_sasl = conformance::send(&open(plain, &format!("sasl_password = '{PASSWORD}'")), "x").await;
    assert_eq!(decision(&no_sasl), Decision::Later(None), "{no_sasl:?}");
}

#[tokio::test]
async fn no_error_shows_a_secret() {
    let repeats = |line: &str| Some(vec![format!("ERROR :bad {line}")]);
    let port = scripted(repeats, None).await;
    let repeats_late = |line: &str| match line.starts_with("AUTHENTICATE A") {
        true => Some(vec![format!(":s 904 hal :not {PASSWORD}")]),
        false => sasl(line),
    };
    let late = scripted(repeats_late, None).await;
    let pass = open(port, &format!("server_password = '{PASSWORD}'"));
    let sasl = open(late, &format!("sasl_password = '{PASSWORD}'"));
    for room in [pass, sasl] {
        let answer = conformance::send(&room, "x").await;
        assert!(
            answer.is_err() && !format!("{answer:?} {:?}", room.connection).contains(PASSWORD),
            "{answer:?}"
        );
    }
}

#[test]
fn rooms_of_one_connection_must_agree() {
    let rooms = |second: &str| -> BTreeMap<String, Config> {
        let first = "[a]\nserver = 'irc.example.com'\nchannel = '#a'\n";
        let second = format!("[b]\nserver = 'irc.example.com:6697'\nchannel = '#b'\n{second}");
        toml::from_str(&(first.to_owned() + &second)).unwrap()
    };
    let of = |second: &str| -> Vec<(String, &'static str)> {
        let rooms = rooms(second).into_iter().map(|(name, config)| (name, registry::Config::Irc(config)));
        let clashes = registry::clashes(&rooms.collect());
        clashes.into_iter().map(|(name, problem)| (name, problem.key)).collect()
    };
    assert_eq!(of(""), []);
    assert_eq!(of("burst = 2"), [("b".to_owned(), "burst")]);
    assert_eq!(of("nick = 'other'\nburst = 2"), []);
}

//! Apprise's own plugin for Slack, as it is. Slack's host is written in it, so it is reached as one would have its name lead elsewhere: by
//! a proxy that has `hooks.slack.com` end at a TLS front of the bridge, with a certificate for that name.

use std::net::SocketAddr;
use std::process::Command;

use tests::tls::Flaw;
use tests::{Bridge, Certificates, NatsServer, TlsFront, find};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::webhooks::{TOKEN, messages};

/// A proxy whose only host is Slack's, which is at `front`.
async fn proxy(front: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("a bound socket has an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, front));
        }
    });
    addr
}

async fn pass(mut client: TcpStream, front: SocketAddr) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    if !head.starts_with(b"CONNECT hooks.slack.com:443 ") {
        return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
    }
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut TcpStream::connect(front).await?).await.map(drop)
}

#[tokio::test]
async fn apprises_slack_posts_unchanged() {
    let nats = NatsServer::start().await;
    nats.create_log().await;
    let text =
        format!("[webhooks.old]\nkind = \"slack\"\nsecret = \"{TOKEN}\"\ntag = \"chat.{{channel}}\"\n");
    let bridge = Bridge::start(&nats.url(), &text).await;
    let dir = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::of(dir.path(), &["hooks.slack.com"], Flaw::None);
    let front = TlsFront::of(&certificates, bridge.http()).await;
    let proxy = proxy(front.addr()).await;

    let mut apprise = Command::new(find::in_venv("apprise", "apprise"));
    apprise.args(["--title", "Title", "--body", "Body", "--notification-type", "failure"]);
    apprise.arg(format!("slack://T1JJ3T3L2/A1BRTD4JD/{TOKEN}/#general"));
    apprise.env("HTTPS_PROXY", format!("http://{proxy}")).env("REQUESTS_CA_BUNDLE", &certificates.ca);
    for variable in ["https_proxy", "NO_PROXY", "no_proxy", "CURL_CA_BUNDLE"] {
        apprise.env_remove(variable);
    }
    let output = tokio::task::spawn_blocking(move || apprise.output()).await;
    let output = output.expect("no panic").expect("apprise starts");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );

    let (subject, message) = messages(&nats, 1).await.remove(0);
    assert_eq!((subject.as_str(), message.severity.as_str()), ("hal.ops.in-old.chat.general", "error"));
    assert!(message.text.contains("Title") && message.text.contains("Body"), "{}", message.text);
}

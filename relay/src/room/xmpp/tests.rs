//! XMPP against the kit, and on ports where nobody answers as a server should. Real servers: the end-to-end tests.

use std::collections::BTreeMap;

use ::tests::ports::Port;
use service::platform::TIMEOUT;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;
use crate::room::conformance::{self, Decision, decision};
use crate::room::registry;

const PASSWORD: &str = "very-secret-password";

fn config(port: u16, more: &str) -> Config {
    let toml = format!(
        "jid = 'hal@example.com'\nroom = 'ops@conference.example.com'\npassword = '{PASSWORD}'\n\
         server = '127.0.0.1:{port}'\ntls = false\n{more}"
    );
    toml::from_str(&toml).unwrap()
}

fn open(port: u16) -> Xmpp {
    Xmpp::open(&config(port, ""), &Shared::default()).unwrap()
}

#[test]
fn conforms_to_the_kit() {
    conformance::renders(&open(1), 12_000, &[]);
}

#[test]
fn a_backlog_that_has_grown_has_another_id() {
    let room = open(1);
    let id = |listed| room.render(&conformance::backlog(listed)).remove(0).id;
    assert_eq!(id(3), id(3));
    assert_ne!(id(3), id(4));
}

#[test]
fn rooms_of_one_account_must_agree_about_its_connection() {
    let rooms = |more: &str| {
        let room = |more| registry::Config::Xmpp(config(1, more));
        BTreeMap::from([("a".to_owned(), room("")), ("b".to_owned(), room(more))])
    };
    assert!(registry::clashes(&rooms("room_password = 'x'")).is_empty());
    let clashes = registry::clashes(&rooms("nick = 'other'"));
    assert_eq!((clashes.len(), clashes[0].1.key), (1, "nick"));
}

/// A server that answers each connection with `answer`, once something is written to it, and then is silent.
async fn server(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                if stream.read(&mut request).await.is_ok()
                    && stream.write_all(answer.as_bytes()).await.is_ok()
                {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_server_that_does_not_let_us_in_is_told_apart_and_our_password_is_not_shown() {
    const HEAD: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' version='1.0' id='1' from='example.com' \
        xmlns:stream='http://etherx.jabber.org/streams'>";
    let unknown_host = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' version='1.0' id='1' \
        xmlns:stream='http://etherx.jabber.org/streams'><stream:error><host-unknown \
        xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>very-secret-password\
        </text></stream:error></stream:stream>";
    let only_anonymous = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' version='1.0' id='1' \
        xmlns:stream='http://etherx.jabber.org/streams'><stream:features><mechanisms \
        xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>ANONYMOUS</mechanism></mechanisms></stream:features>";
    let closed = Port::free();
    let table = [
        (closed.number(), Decision::Later(None)),
        (server(unknown_host).await, Decision::Auth),
        (server(only_anonymous).await, Decision::Auth),
        (server("HTTP/1.1 400 Bad Request\r\n\r\n").await, Decision::Later(None)),
        (server(HEAD).await, Decision::Later(None)),
    ];
    for (port, wanted) in table {
        let started = Instant::now();
        let answer = conformance::send(&open(port), "hello").await;
        assert_eq!(decision(&answer), wanted, "{answer:?}");
        assert!(started.elapsed() < TIMEOUT && !format!("{answer:?}").contains(PASSWORD), "{answer:?}");
    }
}

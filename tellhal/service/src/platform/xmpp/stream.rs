//! A logged-in stream: TCP, TLS, SASL, and a resource that the server chooses. Everything behind is stanzas.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt as _};
use rustls::pki_types::ServerName;
use sasl::common::Credentials;
use tokio::io::{AsyncRead, AsyncWrite, BufStream};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_xmpp::Stanza;
use tokio_xmpp::error::AuthError;
use tokio_xmpp::parsers::bind::BindQuery;
use tokio_xmpp::parsers::iq::Iq;
use tokio_xmpp::parsers::sasl::DefinedCondition;
use tokio_xmpp::parsers::stream_error::DefinedCondition as StreamCondition;
use tokio_xmpp::parsers::stream_features::StreamFeatures;
use tokio_xmpp::parsers::{ns, starttls};
use tokio_xmpp::xmlstream::{
    FallibleStreamElement, ReadError, RecvFeaturesError, StreamHeader, Timeouts, XmlStream, XmppStream,
    XmppStreamElement, initiate_stream,
};

use super::Settings;
use super::classify::{About, Refusal};
use super::inbound::Inbound;
use crate::platform::Failure;
use crate::tls;

/// The port on which TLS begins with the first byte.
const DIRECT_TLS: u16 = 5223;
/// The ways to log in, of which the library takes the strongest that the server offers. Never anonymous.
const MECHANISMS: [&str; 3] = ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"];
/// The session looks after silence itself.
const TIMEOUTS: Timeouts =
    Timeouts { read_timeout: Duration::from_secs(3600), response_timeout: Duration::from_secs(3600) };
/// The longest time that a write may take.
const WRITE: Duration = Duration::from_secs(5);

pub(super) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

pub(super) type Stream = XmlStream<BufStream<Box<dyn Bytes>>, Inbound>;

/// Connects and logs in.
pub(super) async fn connect(
    settings: &Settings,
    tls: Option<Arc<rustls::ClientConfig>>,
) -> Result<Stream, Failure> {
    let bytes = secured(settings, tls).await?;
    let (features, stream) = opened(settings, bytes).await?;
    let offered: BTreeSet<String> = features.sasl_mechanisms;
    let offered = offered.into_iter().filter(|name| MECHANISMS.contains(&name.as_str())).collect();
    let user = settings.jid.node().map(|node| node.to_string()).unwrap_or_default();
    let login = Credentials::default().with_username(user).with_password(settings.password.reveal());
    let stream =
        tokio_xmpp::client_login(stream, offered, login).await.map_err(|error| refused(settings, error))?;
    let stream = stream.send_header(header(settings)).await.map_err(|error| lost(settings, &error))?;
    let (_, stream) = stream.recv_features().await.map_err(|error| no_features(settings, error))?;
    bound(settings, stream).await
}

/// The byte stream, over TLS if `tls` is given.
async fn secured(
    settings: &Settings,
    tls: Option<Arc<rustls::ClientConfig>>,
) -> Result<Box<dyn Bytes>, Failure> {
    let address = (settings.host.as_str(), settings.port);
    let tcp = TcpStream::connect(address).await.map_err(|error| lost(settings, &error))?;
    // Stanzas are small and are sent at once.
    tcp.set_nodelay(true).map_err(|error| lost(settings, &error))?;
    let Some(config) = tls else { return Ok(Box::new(tcp)) };
    let tcp = if settings.port == DIRECT_TLS { tcp } else { starttls(settings, tcp).await? };
    let name = ServerName::try_from(settings.jid.domain().to_string());
    let name = name.map_err(|error| settings.auth(&format!("the account's domain: {error}")))?;
    let tls = TlsConnector::from(config).connect(name, tcp).await.map_err(|error| lost(settings, &error))?;
    Ok(Box::new(tls))
}

/// Asks for TLS on a plain stream. What the server sent behind its consent is discarded: it is not from inside of TLS.
async fn starttls(settings: &Settings, tcp: TcpStream) -> Result<TcpStream, Failure> {
    let (features, mut stream) = opened(settings, tcp).await?;
    if !features.can_starttls() {
        return Err(settings.auth("the server offers no TLS"));
    }
    let request = XmppStreamElement::Starttls(starttls::Nonza::Request(starttls::Request));
    stream.send(&request).await.map_err(|error| lost(settings, &error))?;
    match stream.next().await {
        Some(Ok(FallibleStreamElement::Ok(XmppStreamElement::Starttls(starttls::Nonza::Proceed(_))))) => {
            Ok(stream.into_inner().into_inner())
        }
        _ => Err(settings.transient("the server refuses TLS")),
    }
}

/// A stream on which nobody is logged in yet, and what the server offers.
async fn opened<Io: Bytes>(
    settings: &Settings,
    bytes: Io,
) -> Result<(StreamFeatures, XmppStream<BufStream<Io>>), Failure> {
    let stream = initiate_stream(BufStream::new(bytes), ns::JABBER_CLIENT, header(settings), TIMEOUTS).await;
    let stream = stream.map_err(|error| lost(settings, &error))?;
    stream.recv_features().await.map_err(|error| no_features(settings, error))
}

fn header(settings: &Settings) -> StreamHeader<'_> {
    StreamHeader { to: Some(Cow::Borrowed(settings.jid.domain().as_str())), from: None, id: None }
}

/// Asks for a resource.
async fn bound(settings: &Settings, mut stream: Stream) -> Result<Stream, Failure> {
    let id = "hal-bind";
    let request = Iq::Set { from: None, to: None, id: id.into(), payload: BindQuery::new(None).into() };
    write(settings, &mut stream, &[request.into()]).await?;
    loop {
        let answer = read(settings, &mut stream).await?.element;
        if answer.name() != "iq" || answer.attr("id") != Some(id) {
            continue;
        }
        return match answer.attr("type") {
            Some("result") => Ok(stream),
            _ => Err(Refusal::of(&answer).failure(About::Account, settings)),
        };
    }
}

/// The next element; may be dropped and called again without losing anything.
pub(super) async fn read(settings: &Settings, stream: &mut Stream) -> Result<Inbound, Failure> {
    loop {
        return match stream.next().await {
            Some(Ok(element)) => Ok(element),
            Some(Err(ReadError::SoftTimeout)) => continue,
            Some(Err(ReadError::HardError(error))) => Err(lost(settings, &error)),
            Some(Err(ReadError::ParseError(error))) => Err(settings.transient(&error.to_string())),
            Some(Err(ReadError::StreamFooterReceived)) | None => {
                Err(settings.transient("the server closed the connection"))
            }
        };
    }
}

/// Writes stanzas.
pub(super) async fn write(
    settings: &Settings,
    stream: &mut Stream,
    stanzas: &[Stanza],
) -> Result<(), Failure> {
    let write = async {
        for stanza in stanzas {
            stream.feed(stanza).await?;
        }
        SinkExt::<&Stanza>::flush(stream).await
    };
    match tokio::time::timeout(WRITE, write).await {
        Ok(written) => written.map_err(|error| lost(settings, &error)),
        Err(_) => Err(settings.transient("the server does not read what is sent")),
    }
}

fn lost(settings: &Settings, error: &io::Error) -> Failure {
    settings.transient(&tls::refusal(error).unwrap_or_else(|| error.to_string()))
}

fn no_features(settings: &Settings, error: RecvFeaturesError) -> Failure {
    match error {
        RecvFeaturesError::Io(error) => lost(settings, &error),
        RecvFeaturesError::StreamError(error) => match error.0.condition {
            StreamCondition::HostUnknown | StreamCondition::HostGone => {
                settings.auth("the server does not know the account's domain")
            }
            _ => settings.transient(&error.to_string()),
        },
    }
}

fn refused(settings: &Settings, error: tokio_xmpp::Error) -> Failure {
    match error {
        tokio_xmpp::Error::Auth(AuthError::Fail(DefinedCondition::TemporaryAuthFailure)) => {
            settings.transient("the server cannot check passwords now")
        }
        tokio_xmpp::Error::Auth(error) => settings.auth(&format!("no way to log in: {error}")),
        error => settings.transient(&error.to_string()),
    }
}

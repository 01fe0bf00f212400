//! The reasons why a message was not acknowledged: decided once, where the answer is known.
//! The fate of the message is not decided here; see [`crate::keep`].

use async_nats::{ConnectError, ConnectErrorKind};

/// The reason why the stream did not acknowledge a message. The text is one line and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no connection to any server.
    #[error("cannot reach {server}: {what}")]
    Down {
        /// The servers that were tried.
        server: String,
        /// The system's error.
        what: String,
    },
    /// The server is there but did not answer in time: it is stopped or overloaded, or its disk is full.
    #[error("{server} did not answer {after}")]
    Silent {
        /// The server that was asked.
        server: String,
        /// The time limit, such as `within 2s`.
        after: String,
    },
    /// No stream takes the subject.
    #[error("no stream on the server takes {subject}; hal-relay creates {stream} when it starts")]
    NoStream {
        /// The message's subject.
        subject: String,
        /// The stream that should take it.
        stream: String,
    },
    /// The credentials do not allow it.
    #[error("not permitted: {0}")]
    NotPermitted(String),
    /// The stream or the server's storage is full.
    #[error("the stream is full: {0}")]
    Full(String),
    /// The message is larger than the server or the stream ever takes.
    #[error("the message is {size} bytes and the server takes at most {limit}")]
    TooLarge {
        /// Bytes of the message and its headers.
        size: usize,
        /// The server's limit; 0 when it did not say.
        limit: usize,
    },
    /// Another stream answered: the subject is taken by a stream that the relay does not read.
    #[error("stream {got} took {subject} instead of {want}, so the relay would never see it")]
    WrongStream {
        /// The message's subject.
        subject: String,
        /// The stream that answered.
        got: String,
        /// The stream that should have.
        want: String,
    },
    /// The stream answered with another error.
    #[error("the stream refused the message: {0}")]
    Stream(String),
    /// The configuration is wrong, so the server cannot be reached.
    #[error("{0}")]
    Config(String),
}

impl Refusal {
    /// True if the same message can never be accepted, however often it is sent.
    pub fn is_final(&self) -> bool {
        matches!(self, Refusal::TooLarge { .. })
    }

    /// True if the next message over the same connection would fail as well.
    pub fn stops_all(&self) -> bool {
        !matches!(self, Refusal::TooLarge { .. } | Refusal::NotPermitted(_) | Refusal::NoStream { .. })
    }

    /// One word, for metrics and JSON.
    pub fn label(&self) -> &'static str {
        match self {
            Refusal::Down { .. } => "down",
            Refusal::Silent { .. } => "silent",
            Refusal::NoStream { .. } => "no_stream",
            Refusal::NotPermitted(_) => "not_permitted",
            Refusal::Full(_) => "full",
            Refusal::TooLarge { .. } => "too_large",
            Refusal::WrongStream { .. } => "wrong_stream",
            Refusal::Stream(_) => "stream",
            Refusal::Config(_) => "config",
        }
    }

    /// From a failed connect to `server`.
    pub(crate) fn connecting(server: &str, error: &ConnectError) -> Self {
        let what = chain(error);
        if is_denial(&what)
            || matches!(
                error.kind(),
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication
            )
        {
            return Refusal::NotPermitted(format!("{server} refused the credentials: {what}"));
        }
        match error.kind() {
            ConnectErrorKind::ServerParse => Refusal::Config(format!("url {server:?}: {what}")),
            _ => Refusal::Down { server: server.into(), what: plain(&what) },
        }
    }

    /// From the `error` object of a PubAck: JetStream's code and its description.
    pub(crate) fn answered(code: u64, description: &str, size: usize) -> Self {
        match code {
            // Stream store failed (its text says which limit), and the account's or server's own limits.
            10077 | 10047 | 10028 | 10023 => Refusal::Full(description.into()),
            10054 => Refusal::TooLarge { size, limit: 0 },
            _ => Refusal::Stream(description.into()),
        }
    }
}

/// True for a server's error text about credentials that do not suffice.
pub fn is_denial(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["permissions violation", "authorization violation", "authentication expired", "authentication revoked"]
        .iter()
        .any(|denial| text.contains(denial))
}

/// An error and its causes in one line, without repetitions: async-nats gives "authorization violation: nats:
/// authorization violation".
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text = format!("{text}: {next_text}");
        }
        cause = next.source();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split(": ").filter(|part| *part != "nats") {
        if !parts.iter().any(|before| before.eq_ignore_ascii_case(part)) {
            parts.push(part);
        }
    }
    parts.join(": ").replace(['\n', '\r'], " ")
}

/// An error of the connection in words that help a user: the cause of an "IO error" says more than these words, and
/// "expected INFO" is about the protocol.
fn plain(what: &str) -> String {
    match what.split_once("expected INFO, got ") {
        Some((_, "nothing")) => "the connection was closed without a greeting; is this a NATS server?".into(),
        Some(_) => "the greeting is not that of a NATS server".into(),
        None => what.trim_start_matches("IO error: ").into(),
    }
}

/// A server's address without user, password or token.
pub fn redact(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    // Without a port that is a number this may be the beginning of a password with an unescaped comma.
    let is_plain = match host.split_once(':') {
        Some((_, port)) => host.starts_with('[') || port.bytes().all(|b| b.is_ascii_digit()),
        None => true,
    };
    let host = if is_plain { host } else { "…" };
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_their_secrets() {
        assert_eq!(redact("nats://bob:s3cret@h:4222"), "nats://h:4222");
        assert_eq!(redact("tls://token@h"), "tls://h");
        assert_eq!(redact("127.0.0.1:4222"), "nats://127.0.0.1:4222");
        assert_eq!(redact("tls://[::1]"), "tls://[::1]");
        assert_eq!(redact("nats://bob:s3cr"), "nats://…");
        assert_eq!(redact("nats://bob:s3cr:4222"), "nats://…");
    }

    #[test]
    fn a_streams_answers_are_told_apart() {
        assert_eq!(Refusal::answered(10077, "maximum bytes exceeded", 9).label(), "full");
        assert!(Refusal::answered(10054, "message size exceeds maximum allowed", 9).is_final());
        assert_eq!(Refusal::answered(10999, "odd", 9), Refusal::Stream("odd".into()));
        assert!(is_denial("nats: Permissions Violation for Publish to \"hal.ops.a.b\""));
    }
}

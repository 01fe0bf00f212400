//! The registration with a server: capabilities, SASL, a nick. Ends at the server's welcome.

use std::collections::BTreeSet;

use super::Settings;
use super::line::Line;
use super::settings::sasl_plain;
use super::stream::Stream;
use crate::platform::Failure;
use crate::secret::Secret;

/// The capabilities that are requested if the server has them: with these it confirms each line, with its id.
/// `account-tag` says for whom the services vouch.
const WANTED: [&str; 5] = ["account-tag", "batch", "echo-message", "labeled-response", "message-tags"];
/// The length of one piece of a SASL answer, in bytes.
const SASL_CHUNK: usize = 400;
/// The length of a nick that every server takes.
const SHORT_NICK: usize = 9;
const NICK_TRIES: usize = 3;

/// Our nick and capabilities on a server that accepted us.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) nick: String,
    pub(super) caps: BTreeSet<String>,
}

struct Registration<'a> {
    settings: &'a Settings,
    stream: &'a mut Stream,
    nick: String,
    tries: usize,
    offered: Vec<String>,
    caps: BTreeSet<String>,
    identified: bool,
}

pub(super) async fn register(stream: &mut Stream, settings: &Settings) -> Result<Registered, Failure> {
    let mut registration = Registration {
        settings,
        stream,
        nick: settings.nick.clone(),
        tries: 0,
        offered: Vec::new(),
        caps: BTreeSet::new(),
        identified: false,
    };
    registration.begin().await?;
    loop {
        let text = registration.stream.line().await.map_err(|error| settings.lost(&error))?;
        let line = Line::parse(&text);
        if line.number() == Some(1) {
            return registration.welcome(&line);
        }
        registration.step(&line).await?;
    }
}

impl Registration<'_> {
    async fn begin(&mut self) -> Result<(), Failure> {
        let mut lines = vec!["CAP LS 302".to_owned()];
        lines.extend(self.settings.pass.as_ref().map(|pass| format!("PASS :{}", pass.reveal())));
        lines.push(format!("NICK {}", self.nick));
        lines.push("USER hal 0 * :tellhal".to_owned());
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        self.write(&lines).await
    }

    async fn write(&mut self, lines: &[&str]) -> Result<(), Failure> {
        self.stream.write(lines).await.map_err(|error| self.settings.lost(&error))
    }

    async fn step(&mut self, line: &Line<'_>) -> Result<(), Failure> {
        match (line.command, line.number()) {
            ("PING", _) => self.write(&[&format!("PONG :{}", line.last())]).await,
            ("CAP", _) => self.capability(line).await,
            ("AUTHENTICATE", _) if line.last() == "+" => self.sasl_plain().await,
            ("ERROR", _) => Err(self.settings.transient(line.last())),
            (_, Some(903 | 907)) => {
                self.identified = true;
                self.write(&["CAP END"]).await
            }
            (_, Some(902 | 904 | 905 | 906 | 908)) => {
                Err(self.settings.auth(&format!("SASL: {}", line.last())))
            }
            (_, Some(463..=466)) => Err(self.settings.auth(line.last())),
            (_, Some(432 | 433 | 436 | 437)) => self.another_nick(line).await,
            _ => Ok(()),
        }
    }

    /// A nick that is taken gets a `_`, one that is too long for the server is shortened first.
    async fn another_nick(&mut self, line: &Line<'_>) -> Result<(), Failure> {
        self.tries += 1;
        if line.number() == Some(432) {
            if self.nick.len() <= SHORT_NICK {
                return Err(self.settings.auth(&format!("nick {}: {}", self.nick, line.last())));
            }
            self.nick.truncate(SHORT_NICK);
        } else if self.tries > NICK_TRIES {
            return Err(self.settings.transient(&format!("nick {}: {}", self.settings.nick, line.last())));
        } else {
            if self.nick.len() == SHORT_NICK {
                self.nick.truncate(SHORT_NICK - self.tries);
                self.nick.push_str(&"_".repeat(self.tries - 1));
            }
            self.nick.push('_');
        }
        let nick = format!("NICK {}", self.nick);
        self.write(&[&nick]).await
    }

    async fn capability(&mut self, line: &Line<'_>) -> Result<(), Failure> {
        let names = || line.last().split_whitespace().map(str::to_owned);
        match line.param(1) {
            "LS" => {
                self.offered.extend(names());
                if line.param(2) == "*" && line.params.len() > 3 { Ok(()) } else { self.ask().await }
            }
            "ACK" => {
                self.caps.extend(names());
                if self.caps.contains("sasl") {
                    return self.write(&["AUTHENTICATE PLAIN"]).await;
                }
                self.write(&["CAP END"]).await
            }
            "NAK" => match self.settings.sasl {
                Some(_) => Err(self.settings.transient("the server refuses SASL")),
                None => self.write(&["CAP END"]).await,
            },
            _ => Ok(()),
        }
    }

    async fn ask(&mut self) -> Result<(), Failure> {
        let offered = |name: &str| self.offered.iter().find(|cap| cap.split('=').next() == Some(name));
        let mut wanted: Vec<&str> = WANTED.into_iter().filter(|name| offered(name).is_some()).collect();
        if self.settings.sasl.is_some() {
            let Some(sasl) = offered("sasl") else {
                return Err(self.settings.transient("the server offers no SASL at the moment"));
            };
            let mut mechanisms =
                sasl.split_once('=').map(|(_, names)| names.split(',')).into_iter().flatten();
            if sasl.contains('=') && !mechanisms.any(|name| name == "PLAIN") {
                return Err(self.settings.auth("the server's SASL has no PLAIN"));
            }
            wanted.push("sasl");
        }
        if wanted.is_empty() {
            return self.write(&["CAP END"]).await;
        }
        let ask = format!("CAP REQ :{}", wanted.join(" "));
        self.write(&[&ask]).await
    }

    async fn sasl_plain(&mut self) -> Result<(), Failure> {
        let Some((user, password)) = &self.settings.sasl else { return Ok(()) };
        let lines = sasl_lines(user, password);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        self.write(&lines).await
    }

    fn welcome(self, line: &Line<'_>) -> Result<Registered, Failure> {
        if self.settings.sasl.is_some() && !self.identified {
            return Err(self.settings.auth("the server does not support SASL"));
        }
        Ok(Registered { nick: line.param(0).to_owned(), caps: self.caps })
    }
}

/// `AUTHENTICATE` lines for SASL PLAIN; a last piece of full length is followed by an empty one.
fn sasl_lines(user: &str, password: &Secret) -> Vec<String> {
    let encoded = sasl_plain(user, password);
    let mut pieces: Vec<&[u8]> = encoded.as_bytes().chunks(SASL_CHUNK).collect();
    if pieces.last().is_none_or(|piece| piece.len() == SASL_CHUNK) {
        pieces.push(b"+");
    }
    pieces.iter().map(|piece| format!("AUTHENTICATE {}", String::from_utf8_lossy(piece))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sasl_goes_in_pieces() {
        assert_eq!(sasl_lines("hal", &Secret::new("pw")), ["AUTHENTICATE AGhhbABwdw=="]);
        // 1 + 3 + 1 + 295 bytes are 400 in base64: full, so an empty piece follows.
        let full = sasl_lines("hal", &Secret::new("x".repeat(295)));
        assert_eq!((full.len(), full[0].len(), full[1].as_str()), (2, 413, "AUTHENTICATE +"));
        let long = sasl_lines("hal", &Secret::new("x".repeat(400)));
        assert_eq!(long.len(), 2);
        assert_ne!(long[1], "AUTHENTICATE +");
    }
}

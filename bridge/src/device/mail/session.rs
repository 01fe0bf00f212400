//! A conversation in SMTP: the answer to each command. Pure; there is no command that relays, and no way from a sender to anybody but the
//! tags of the configuration.

use smtp_proto::{Error, MAIL_BODY_BINARYMIME, Request};
use tellhal::Tag;

use super::config::{Config, Unknown};

/// The largest mail, in bytes.
pub(super) const LARGEST: usize = 25 << 20;
/// The most recipients of a mail.
const RECIPIENTS: usize = 100;
/// The most commands, and the most that are refused.
const COMMANDS: u32 = 1000;
const REFUSED: u32 = 30;
/// The longest command, in bytes.
const LONGEST: usize = 4096;

/// The state of a conversation.
#[derive(Default)]
pub(super) struct Session {
    /// The name by which the client calls itself, once it has.
    pub(super) client: Option<String>,
    pub(super) sender: Option<String>,
    /// The recipients' addresses, and their tags.
    pub(super) recipients: Vec<(String, Tag)>,
    commands: u32,
    refused: u32,
}

/// The next step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Answer(String),
    /// Lines of a mail follow, after this answer.
    Mail(String),
    /// The last answer.
    Close(String),
}

impl Session {
    /// The answer to a command, which is a whole line.
    pub(super) fn step(&mut self, line: &[u8], config: &Config) -> Step {
        self.commands += 1;
        if self.commands > COMMANDS {
            return close("421 4.7.0 too many commands");
        }
        let step = match line.len() {
            ..=LONGEST => self.answer(Request::parse(&mut line.iter()), config),
            _ => answer("500 5.5.2 the command is too long"),
        };
        if let Step::Answer(text) = &step
            && text.starts_with(['4', '5'])
        {
            self.refused += 1;
            if self.refused > REFUSED {
                return close("421 4.7.0 too many refused commands");
            }
        }
        step
    }

    /// Forgets the mail, but not the client.
    pub(super) fn reset(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }

    fn answer<T: AsRef<str>>(&mut self, request: Result<Request<T>, Error>, config: &Config) -> Step {
        let name = config.domain.as_deref().unwrap_or("hal-bridge");
        match request {
            Ok(Request::Ehlo { host }) => {
                self.greeted(host.as_ref());
                let words = ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"];
                let words: String = words.iter().map(|word| format!("250-{word}\r\n")).collect();
                answer(&format!("250-{name} takes mail for its own addresses\r\n{words}250 SIZE {LARGEST}"))
            }
            Ok(Request::Helo { host }) => {
                self.greeted(host.as_ref());
                answer(&format!("250 {name}"))
            }
            Ok(Request::Mail { from }) => self.mail(from.address.as_ref(), from.size, from.flags),
            Ok(Request::Rcpt { to }) => self.recipient(to.address.as_ref(), config),
            Ok(Request::Data) if self.sender.is_none() => answer("503 5.5.1 MAIL comes first"),
            Ok(Request::Data) if self.recipients.is_empty() => answer("503 5.5.1 there is no recipient"),
            Ok(Request::Data) => Step::Mail("354 the mail, and a line with a dot".into()),
            Ok(Request::Rset) => {
                self.reset();
                answer("250 2.0.0 ok")
            }
            Ok(Request::Noop { .. }) => answer("250 2.0.0 ok"),
            Ok(Request::Quit) => close("221 2.0.0 bye"),
            Ok(Request::Help { .. }) => answer("214 2.0.0 see RFC 5321; the tag is the recipient's name"),
            Ok(Request::Vrfy { .. }) => answer("252 2.1.5 try it"),
            // Its bytes would be read as commands.
            Ok(Request::Bdat { .. }) => close("502 5.5.1 there is no BDAT"),
            Ok(_) => answer("502 5.5.1 there is no such command here"),
            Err(error) => answer(refusal(&error)),
        }
    }

    fn greeted(&mut self, client: &str) {
        self.client = Some(client.to_owned());
        self.reset();
    }

    fn mail(&mut self, sender: &str, size: usize, flags: u64) -> Step {
        if self.client.is_none() {
            return answer("503 5.5.1 EHLO comes first");
        }
        if self.sender.is_some() {
            return answer("503 5.5.1 there is a sender already");
        }
        if size > LARGEST {
            return answer("552 5.3.4 the mail is too large");
        }
        if flags & MAIL_BODY_BINARYMIME != 0 {
            return answer("555 5.5.4 there is no BINARYMIME");
        }
        self.sender = Some(sender.to_owned());
        answer("250 2.1.0 ok")
    }

    fn recipient(&mut self, address: &str, config: &Config) -> Step {
        if self.sender.is_none() {
            return answer("503 5.5.1 MAIL comes first");
        }
        if self.recipients.len() >= RECIPIENTS {
            return answer("452 4.5.3 too many recipients");
        }
        match config.tag(address) {
            Ok(tag) => {
                if !self.recipients.iter().any(|(_, other)| *other == tag) {
                    self.recipients.push((address.to_owned(), tag));
                }
                answer("250 2.1.5 ok")
            }
            Err(Unknown::Address) => answer("550 5.1.1 there is no such address"),
            Err(Unknown::Domain) => answer("550 5.7.1 nothing is relayed"),
        }
    }
}

/// The answer to a command that was not understood. It repeats nothing of it.
fn refusal(error: &Error) -> &'static str {
    match error {
        Error::UnknownCommand | Error::NeedsMoreData { .. } => "500 5.5.1 there is no such command",
        Error::InvalidSenderAddress => "501 5.1.7 the sender's address is not legal",
        Error::InvalidRecipientAddress => "501 5.1.3 the recipient's address is not legal",
        Error::UnsupportedParameter { .. } => "555 5.5.4 there is no such parameter",
        _ => "501 5.5.4 the command is not legal",
    }
}

fn answer(text: &str) -> Step {
    Step::Answer(text.to_owned())
}

fn close(text: &str) -> Step {
    Step::Close(text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::config::example;
    use super::*;

    /// The codes of the answers.
    fn codes(commands: &[&str]) -> Vec<String> {
        let (mut session, config) = (Session::default(), example());
        let code = |step| match step {
            Step::Answer(text) | Step::Mail(text) | Step::Close(text) => text[..3].to_owned(),
        };
        commands.iter().map(|line| code(session.step(format!("{line}\r\n").as_bytes(), &config))).collect()
    }

    const MAIL: [&str; 2] = ["EHLO x", "MAIL FROM:<a@b.example>"];

    #[test]
    fn a_conversation_has_its_order() {
        for (commands, expected) in [
            (
                vec!["HELO x", "MAIL FROM:<>", "RCPT TO:<printer@hal.example.com>", "DATA"],
                vec!["250", "250", "250", "354"],
            ),
            (vec!["MAIL FROM:<>"], vec!["503"]),
            (vec!["EHLO x", "RCPT TO:<printer@hal.example.com>", "DATA"], vec!["250", "503", "503"]),
            (vec!["EHLO x", "MAIL FROM:<>", "MAIL FROM:<>", "DATA"], vec!["250", "250", "503", "503"]),
            (vec!["EHLO x", "MAIL FROM:<> SIZE=100000000 BODY=8BITMIME"], vec!["250", "552"]),
            (vec!["EHLO x", "mail from: <a@b.example> SIZE=99 BODY=8BITMIME SMTPUTF8"], vec!["250", "250"]),
            (vec!["EHLO x", "MAIL FROM:<> BODY=BINARYMIME"], vec!["250", "555"]),
            (
                vec!["EHLO", "HELO", "", "X", "GET / HTTP/1.1", "AUTH PLAIN x", "STARTTLS"],
                vec!["501", "501", "500", "500", "500", "502", "502"],
            ),
            (
                vec!["EHLO x", "MAIL FROM:<>", "RSET", "RCPT TO:<printer@hal.example.com>"],
                vec!["250", "250", "250", "503"],
            ),
            (
                vec!["NOOP", "NOOP x", "VRFY x", "EXPN x", "HELP", "QUIT"],
                vec!["250", "250", "252", "502", "214", "221"],
            ),
            (vec!["BDAT 10 LAST"], vec!["502"]),
        ] {
            assert_eq!(codes(&commands), expected, "{commands:?}");
        }
    }

    #[test]
    fn nothing_is_relayed() {
        for (recipient, is_taken) in [
            ("RCPT TO:<backup.x@hal.example.com>", true),
            ("RCPT TO:<backup.x@hal.example.com> NOTIFY=NEVER", true),
            ("RCPT TO:<victim@other.example>", false),
            ("RCPT TO:<@hal.example.com:victim@other.example>", false),
            ("RCPT TO:<victim%other.example@hal.example.com>", false),
            ("RCPT TO:<other.example!victim@hal.example.com>", false),
            ("RCPT TO:<\"victim@other.example\"@hal.example.com>", false),
            ("RCPT TO:<backup.x@hal.example.com@other.example>", false),
            ("RCPT TO:<backup.x@[192.0.2.1]>", false),
            ("RCPT TO:<backup.x>", false),
            ("RCPT TO:<postmaster>", false),
            ("RCPT TO:<>", false),
            ("RCPT TO:backup.x@hal.example.com", false),
            ("RCPT TO:<hal.ctl@hal.example.com>", false),
        ] {
            let code = &codes(&[MAIL[0], MAIL[1], recipient])[2];
            assert!(
                ["250", "501", "550"].contains(&code.as_str()) && (code == "250") == is_taken,
                "{recipient}: {code}"
            );
        }
    }

    #[test]
    fn commands_and_recipients_are_counted() {
        let many: Vec<String> =
            (0..10_000).map(|i| format!("RCPT TO:<backup.a{i}@hal.example.com>")).collect();
        let commands: Vec<&str> = MAIL.into_iter().chain(many.iter().map(String::as_str)).collect();
        let codes_of_many = codes(&commands);
        assert_eq!(codes_of_many.iter().filter(|code| *code == "250").count(), RECIPIENTS + 2);
        assert_eq!(codes_of_many[RECIPIENTS + 2], "452");
        assert_eq!(codes_of_many[RECIPIENTS + 2 + REFUSED as usize], "421");
        assert_eq!(codes(&["NOOP"; 1001]).last().unwrap(), "421");
        assert_eq!(codes(&[&format!("EHLO {}", "x".repeat(5000))])[0], "500");
    }

    proptest! {
        #[test]
        fn any_command_has_one_answer(
            words in proptest::collection::vec(proptest::sample::select(vec![
                "EHLO ", "HELO", "MAIL FROM:", "RCPT TO:", "<", ">", "a@b.example", "printer@hal.example.com", " SIZE=", " BODY=8BITMIME", "99999999999999999999",
                "DATA", "RSET", "AUTH PLAIN ", "=", "@", "\"", "\\", "é", " ", "\0", "[::1]", "BDAT ", " AUTH=<>", " ORCPT=rfc822;x", " RET=FULL", " BY=1;R",
            ]), 0..12),
            bytes in proptest::collection::vec(any::<u8>().prop_filter("an end of line", |byte| !b"\r\n".contains(byte)), 0..40),
        ) {
            let (mut session, config) = (Session::default(), example());
            for line in [&b"EHLO x"[..], b"MAIL FROM:<>", words.concat().as_bytes(), &bytes] {
                let (Step::Answer(text) | Step::Mail(text) | Step::Close(text)) = session.step(&[line, b"\r\n"].concat(), &config);
                prop_assert!(text.as_bytes()[..3].iter().all(u8::is_ascii_digit), "{}", text);
            }
            prop_assert!(session.recipients.iter().all(|(_, tag)| tag.as_str() == "printer"));
        }
    }
}

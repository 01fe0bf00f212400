//! A mail as an ops message: the subject is the title, its text the text. Attachments are named and not kept. Pure.

use std::net::IpAddr;
use std::thread;

use mail_parser::{MessageParser, MimeHeaders as _};
use service::text::cut;
use tellhal::message::{MAX_TITLE, Message, Severity};
use tellhal::text::one_line;
use tellhal::{Tag, Timestamp};

use super::config::Config;
use crate::hash::hash;

/// The part of a mail that is read, in bytes. The rest of a larger one is attachments, which are not kept anyway.
pub(super) const READ: usize = 512 << 10;
/// The stack of the parser. The memory is used only as far as the parser goes.
const STACK: usize = 256 << 20;
/// The longest value of a field, in bytes.
const FIELD: usize = 1000;
/// The most parts of a mail that are its text, and the most attachments that are named.
const TEXTS: usize = 20;
const ATTACHMENTS: usize = 20;
/// The years whose times are told: those of a clock that was set.
const YEARS: std::ops::Range<u16> = 1970..2200;

/// A mail as it came.
pub(super) struct Letter<'a> {
    pub(super) peer: IpAddr,
    /// The name by which the client calls itself.
    pub(super) client: &'a str,
    /// The sender to whom a mail server would have returned it.
    pub(super) sender: &'a str,
    /// At most the first [`READ`] bytes.
    pub(super) bytes: &'a [u8],
    /// The size of the whole mail, in bytes.
    pub(super) size: usize,
}

/// The content of a mail.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Content {
    subject: String,
    text: String,
    from: String,
    /// The first recipient that it names.
    pub(super) to: String,
    /// Its own id; empty when it has none.
    id: String,
    time: Option<Timestamp>,
    /// The severity of its importance, if that is not the usual one.
    importance: Option<Severity>,
    attachments: Vec<String>,
}

/// Reads a mail, of whatever form. The parser runs in a thread whose stack has room for as many mails within mails as there can be, since
/// it lets go of them by recursion: neither an overflow nor a panic is to end the bridge.
pub(super) fn content(bytes: &[u8]) -> Content {
    let bytes = &bytes[..bytes.len().min(READ)];
    let parsed = thread::scope(|scope| {
        let parser = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || parsed(bytes));
        parser.ok()?.join().ok()?
    });
    let is_mail = |content: &Content| *content != Content { time: content.time, ..Content::default() };
    // Bytes that are no mail are a text.
    let plain = || Content { text: String::from_utf8_lossy(bytes).trim().to_owned(), ..Content::default() };
    parsed.filter(is_mail).unwrap_or_else(plain)
}

fn parsed(bytes: &[u8]) -> Option<Content> {
    let mail = MessageParser::default().parse(bytes)?;
    let address = |address: Option<&mail_parser::Address<'_>>| {
        Some(cut(address?.first()?.address.as_deref()?, FIELD)).filter(|address| !address.is_empty())
    };
    let texts = (0..mail.text_body_count().min(TEXTS)).filter_map(|i| mail.body_text(i));
    let texts: Vec<String> = texts.map(|text| text.replace("\r\n", "\n").trim().to_owned()).collect();
    let attachments = mail.attachments().take(ATTACHMENTS).map(|part| match part.attachment_name() {
        Some(name) => cut(&one_line(name), 100),
        None => "without a name".into(),
    });
    let header = |name: &str| mail.header_raw(name.to_owned()).map(|value| value.trim().to_ascii_lowercase());
    let names = ["X-Priority", "Importance", "Priority", "X-MSMail-Priority"];
    let time = mail.date().filter(|date| YEARS.contains(&date.year) && date.is_valid());
    Some(Content {
        subject: cut(one_line(mail.subject().unwrap_or_default()).trim(), MAX_TITLE),
        text: texts.join("\n\n").trim().to_owned(),
        from: address(mail.from()).or_else(|| address(mail.sender())).unwrap_or_default(),
        to: address(mail.to()).unwrap_or_default(),
        id: mail.message_id().unwrap_or_default().to_owned(),
        time: time.map(|time| Timestamp(time.to_timestamp() * 1000)),
        importance: names.iter().filter_map(|name| importance(&header(name)?)).max(),
        attachments: attachments.collect(),
    })
}

/// The severity of an importance: `1`, `1 (Highest)`, `high`, `urgent`; none for the usual one.
fn importance(value: &str) -> Option<Severity> {
    match value.split([' ', '(', ';']).next().unwrap_or_default() {
        "1" | "high" | "highest" | "urgent" => Some(Severity::Error),
        "2" => Some(Severity::Warning),
        "4" | "5" | "low" | "lowest" | "non-urgent" => Some(Severity::Info),
        _ => None,
    }
}

/// The message for one recipient, and the id of its event: the same for a mail that is sent again.
pub(super) fn message(
    config: &Config,
    source: &str,
    letter: &Letter<'_>,
    content: &Content,
    (address, tag): &(String, Tag),
) -> (Option<String>, Message) {
    let is_empty = content.subject.is_empty() && content.text.is_empty();
    let text = if is_empty { "an empty mail" } else { &content.text };
    let mut message = Message::new(source, tag.clone(), text);
    message.title = Some(content.subject.clone()).filter(|subject| !subject.is_empty());
    message.severity = severity(config, content);
    message.time = content.time.unwrap_or(message.time);
    let attachments = match content.attachments.as_slice() {
        [] => String::new(),
        names => format!("{} (not kept)", names.join(", ")),
    };
    let unread = match letter.size > letter.bytes.len() {
        true => format!("{} of {} bytes were read", letter.bytes.len(), letter.size),
        false => String::new(),
    };
    let peer = letter.peer.to_string();
    let sender = if letter.sender == content.from { "" } else { letter.sender };
    let fields = [
        ("from", content.from.as_str()),
        ("sender", sender),
        ("to", address),
        ("peer", &peer),
        ("client", letter.client),
        ("attachments", &attachments),
        ("cut", &unread),
    ];
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        message.fields.insert(name.into(), cut(value, FIELD));
    }
    // Some devices give all mails the same id.
    let parts = [&content.id, tag.as_str(), &content.subject, &content.text].join("\0");
    (Some(hash(&parts)).filter(|_| !content.id.is_empty()), message)
}

/// The worst that the importance and the words of the subject tell, else the listener's.
fn severity(config: &Config, content: &Content) -> Severity {
    let subject = content.subject.to_lowercase();
    let words =
        config.severities.iter().filter(|(word, _)| subject.contains(word)).map(|(_, severity)| *severity);
    words.chain(content.importance).max().unwrap_or(config.severity)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tellhal::message::MAX_TEXT;

    use super::super::config::example;
    use super::*;

    fn told(mail: &[u8]) -> (Option<String>, Message) {
        let bytes = &mail[..mail.len().min(READ)];
        let letter = Letter {
            peer: [192, 0, 2, 1].into(),
            client: "ups1",
            sender: "ups@x.example",
            bytes,
            size: mail.len(),
        };
        let recipient = ("backup.x@hal.example.com".into(), "backup.x".parse().unwrap());
        message(&example(), "in-mail", &letter, &content(bytes), &recipient)
    }

    #[test]
    fn mails_of_devices_are_read() {
        // The mail; title, severity, text.
        for (mail, title, severity, text) in [
            (
                "Subject: UPS on battery\r\nX-Priority: 1 (Highest)\r\n\r\nOn battery.\r\n",
                "UPS on battery",
                "error",
                "On battery.",
            ),
            (
                "Subject: =?UTF-8?B?RHJ1Y2tlciDDvGJlcmhpdHp0?=\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=FCber\r\n",
                "Drucker überhitzt",
                "notice",
                "über",
            ),
            ("Subject: Backup FAILED\r\nImportance: low\r\n\r\nx", "Backup FAILED", "error", "x"),
            ("Subject: all ok\r\n\r\nx", "all ok", "info", "x"),
            ("Subject: a\r\n b\tc\r\nPriority: urgent\r\n\r\n", "a b c", "error", ""),
            (
                "Content-Type: text/html\r\n\r\n<html><style>x{}</style><p>Disk <b>full</b></p><p>now</p>",
                "",
                "notice",
                "Disk full\nnow",
            ),
            ("no header at all", "", "notice", "no header at all"),
            ("\r\n\r\n", "", "notice", "an empty mail"),
        ] {
            let message = told(mail.as_bytes()).1;
            let words: Vec<&str> = message.text.split_whitespace().collect();
            let expected: Vec<&str> = text.split_whitespace().collect();
            assert_eq!(
                (message.title.as_deref().unwrap_or(""), message.severity.as_str()),
                (title, severity),
                "{mail}"
            );
            assert_eq!(words, expected, "{mail}");
            assert_eq!(
                (message.fields["peer"].as_str(), message.fields["sender"].as_str()),
                ("192.0.2.1", "ups@x.example")
            );
        }
    }

    #[test]
    fn attachments_are_named_and_not_kept() {
        let mail = "From: Cam <cam@x.example>\r\nSubject: motion\r\nDate: Fri, 27 Nov 2026 10:00:00 +0100\r\nMessage-ID: <1@cam>\r\n\
            Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n\
            --c\r\nContent-Type: text/plain\r\n\r\nMotion in hall.\r\n--c\r\nContent-Type: text/html\r\n\r\n<p>Motion</p>\r\n--c--\r\n\
            --b\r\nContent-Type: image/jpeg; name=\"hall.jpg\"\r\nContent-Disposition: attachment; filename=\"hall.jpg\"\r\n\
            Content-Transfer-Encoding: base64\r\n\r\n/9j/4AAQSkZJRg==\r\n--b--\r\n";
        let (id, message) = told(mail.as_bytes());
        assert_eq!(
            (message.text.as_str(), message.fields["attachments"].as_str()),
            ("Motion in hall.", "hall.jpg (not kept)")
        );
        assert_eq!(
            (message.fields["from"].as_str(), message.time.to_string().as_str()),
            ("cam@x.example", "2026-11-27T09:00:00Z")
        );
        assert_eq!(id, told(mail.as_bytes()).0);
        assert_ne!(id, told(mail.replace("hall.", "yard.").as_bytes()).0, "another mail with the same id");
        assert_eq!(told(b"Subject: x\r\n\r\n").0, None);
        let large = mail.replace("--b--", &"AAAA\r\n".repeat(200_000));
        let message = told(large.as_bytes()).1;
        assert_eq!(
            (message.text.as_str(), message.fields["attachments"].as_str()),
            ("Motion in hall.", "hall.jpg (not kept)")
        );
        assert_eq!(message.fields["cut"], format!("{READ} of {} bytes were read", large.len()));
    }

    fn holds_bounds(mail: &[u8]) -> Result<(), TestCaseError> {
        let (_, message) = told(mail);
        prop_assert!(message.text.len() <= MAX_TEXT && message.fields.len() <= 7);
        prop_assert!(message.title.is_none_or(|title| title.len() <= MAX_TITLE && !title.contains('\n')));
        prop_assert!(message.fields.values().all(|value| value.len() <= FIELD));
        Ok(())
    }

    #[test]
    fn hostile_mails_end_neither_the_parser_nor_the_bounds() {
        let nested: String = (0..20_000)
            .map(|i| format!("Content-Type: multipart/mixed; boundary=b{i}\r\n\r\n--b{i}\r\n"))
            .collect();
        let digest =
            format!("Content-Type: multipart/digest; boundary=b\r\n\r\n{}", "--b\r\n\r\n".repeat(70_000));
        let rfc822 = "Content-Type: message/rfc822\r\n\r\n".repeat(16_000);
        let headers = "a:b\r\n".repeat(100_000);
        let folded = format!("Subject: {}\r\n\r\n", "x\r\n ".repeat(100_000));
        let words = format!("Subject: {}\r\n\r\n", "=?utf-8?q?x?= ".repeat(30_000));
        let comments = format!("From: {}\r\n\r\n", "(".repeat(400_000));
        let html = format!("Content-Type: text/html\r\n\r\n{}", "<div><!--".repeat(50_000));
        let received = "Received: from a by b\r\n".repeat(20_000);
        for mail in [nested, digest, rfc822, headers, folded, words, comments, html, received] {
            holds_bounds(mail.as_bytes()).unwrap();
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_within_bounds(mail in proptest::collection::vec(any::<u8>(), 0..2000)) {
            holds_bounds(&mail)?;
        }

        #[test]
        fn and_mails_that_are_nearly_right(
            parts in proptest::collection::vec(proptest::sample::select(vec![
                "Subject: ", "From: <a@b>", "Date: ", "Fri, 99 Nov 9999 99:99:99 +9999", "Message-ID: <x>", "X-Priority: 1", "\r\n", "\r\n\r\n", "Content-Type: ",
                "multipart/mixed; boundary=b", "text/html; charset=utf-7", "text/plain; charset=\"", "message/rfc822", "--b", "--b--", "Content-Transfer-Encoding: base64", "quoted-printable",
                "=?utf-8?b?", "?=", "=FF", "=", "<p>", "&#x110000;", "é", "\0", "; name*0*=utf-8''x", "Content-Disposition: attachment; filename=", "Received: ", " ", "\t",
            ]), 0..60),
        ) {
            holds_bounds(parts.concat().as_bytes())?;
        }
    }
}

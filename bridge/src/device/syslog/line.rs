//! A syslog message (RFC 5424, RFC 3164, or what devices take for it) as an ops message. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use service::text::cut;
use syslog_loose::{SyslogFacility, SyslogSeverity, Variant, decompose_pri, parse_message_with_year_exact};
use tellhal::message::{MAX_TITLE, Message, Severity};
use tellhal::timestamp::Timestamp;

use super::config::Config;
use crate::device::guarded::guarded;

/// The longest value of a field, in bytes.
const FIELD: usize = 1000;
/// The most values of structured data.
const VALUES: usize = 40;
/// A message without a priority has this one: user, notice (RFC 3164, 4.3.3).
const PRIORITY: u8 = 13;
/// Structured data about the sender's clock, which every `logger` adds.
const CLOCK: &str = "timeQuality";

/// The way that a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// A message as far as it was understood.
#[derive(Default)]
struct Parsed {
    facility: String,
    severity: Severity,
    time: Option<Timestamp>,
    host: String,
    app: String,
    pid: String,
    msgid: String,
    data: BTreeMap<String, String>,
    text: String,
}

/// An ops message, or the reason why it is none: `empty` or `below`, which is the severity's.
pub(super) fn read(
    config: &Config,
    source: &str,
    bytes: &[u8],
    transport: Transport,
    peer: IpAddr,
) -> Result<Message, &'static str> {
    let line = String::from_utf8_lossy(bytes);
    let line = line.trim_matches(['\0', '\r', '\n', ' ']);
    let parsed = guarded(|| strict(line)).flatten().unwrap_or_else(|| loose(line));
    if parsed.text.is_empty() && parsed.data.is_empty() {
        return Err("empty");
    }
    if parsed.severity < config.severity {
        return Err("below");
    }
    Ok(message(config, source, parsed, transport, peer))
}

fn message(config: &Config, source: &str, parsed: Parsed, transport: Transport, peer: IpAddr) -> Message {
    let peer = peer.to_string();
    let host = if parsed.host.is_empty() { &peer } else { &parsed.host };
    let part = |name: &str| match name {
        "facility" => parsed.facility.clone(),
        "severity" => parsed.severity.to_string(),
        "app" => parsed.app.clone(),
        _ => host.clone(),
    };
    let (tag, original) = config.tag.tag(part);
    let mut message = Message::new(source, tag, parsed.text.as_str());
    message.severity = parsed.severity;
    message.time = parsed.time.unwrap_or(message.time);
    message.key = config.key.as_ref().map(|key| cut(&key.fill(part), MAX_TITLE));
    message.host = Some(cut(host, FIELD));
    message.fields = parsed.data;
    let known = [
        ("host", &parsed.host),
        ("app", &parsed.app),
        ("pid", &parsed.pid),
        ("msgid", &parsed.msgid),
        ("facility", &parsed.facility),
        ("peer", &peer),
        ("tag", &original.unwrap_or_default()),
    ];
    for (name, value) in known.into_iter().filter(|(_, value)| !value.is_empty()) {
        message.fields.insert(name.into(), cut(value, FIELD));
    }
    if transport == Transport::Udp {
        // Anybody can write any sender into a datagram.
        message.fields.insert("unauthenticated".into(), "true".into());
    }
    message
}

/// A message in one of the two formats.
fn strict(line: &str) -> Option<Parsed> {
    // The year only completes a time that is not used: one without its zone.
    let parsed = parse_message_with_year_exact(line, |_| 2000, Variant::Either).ok()?;
    let is_whole = matches!(parsed.protocol, syslog_loose::Protocol::RFC5424(_));
    let time = parsed.timestamp.filter(|_| is_whole).map(|time| Timestamp(time.timestamp_millis()));
    let mut data = BTreeMap::new();
    for element in parsed.structured_data.iter().filter(|element| element.id != CLOCK) {
        for (name, value) in element.params().take(VALUES) {
            data.insert(cut(&format!("{}.{name}", element.id), FIELD), cut(&value, FIELD));
        }
    }
    while data.len() > VALUES {
        data.pop_last();
    }
    Some(Parsed {
        time,
        host: cut(parsed.hostname.unwrap_or_default(), FIELD),
        app: parsed.appname.unwrap_or_default().to_owned(),
        pid: parsed.procid.map(|pid| pid.to_string()).unwrap_or_default(),
        msgid: parsed.msgid.unwrap_or_default().to_owned(),
        data,
        text: parsed.msg.trim_start_matches('\u{feff}').trim_end().to_owned(),
        ..priority(parsed.facility, parsed.severity)
    })
}

/// Any other line: its priority, if there is one, and perhaps the name of a program.
fn loose(line: &str) -> Parsed {
    let inner = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    let number = inner.and_then(|(number, _)| number.parse().ok()).filter(|number: &u8| *number < 192);
    let (number, text) = match (number, inner) {
        (Some(number), Some((_, text))) => (number, text.trim_start()),
        _ => (PRIORITY, line),
    };
    let (facility, severity) = decompose_pri(number);
    let mut parsed = priority(facility, severity);
    let program = text.split_once(": ").and_then(|(name, text)| Some((program(name)?, text)));
    let text = match program {
        Some(((app, pid), text)) => {
            (parsed.app, parsed.pid) = (app.to_owned(), pid.to_owned());
            text
        }
        None => text,
    };
    Parsed { text: text.to_owned(), ..parsed }
}

/// The name and process of `name[123]` or `name`.
fn program(text: &str) -> Option<(&str, &str)> {
    let (name, pid) = match text.strip_suffix(']') {
        Some(text) => text.split_once('[')?,
        None => (text, ""),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let is_one = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(is_name);
    (is_one && name.len() <= 48 && pid.bytes().all(|byte| byte.is_ascii_digit())).then_some((name, pid))
}

fn priority(facility: Option<SyslogFacility>, severity: Option<SyslogSeverity>) -> Parsed {
    let facility = facility.unwrap_or(SyslogFacility::LOG_USER).as_str().to_owned();
    let severity = severity.unwrap_or(SyslogSeverity::SEV_NOTICE).as_str();
    Parsed { facility, severity: severity.parse().unwrap_or(Severity::UNKNOWN), ..Parsed::default() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tellhal::message::MAX_TEXT;

    use super::*;
    use crate::webhook::template::Template;

    fn config() -> Config {
        Config {
            udp: None,
            tcp: None,
            allow: Default::default(),
            tag: Template::read("syslog.{facility}").unwrap(),
            key: Some(Template::read("{host}/{app}").unwrap()),
            severity: Severity::Debug,
            rate: 1,
        }
    }

    fn told(config: &Config, line: &[u8]) -> Result<Message, &'static str> {
        read(config, "in-net", line, Transport::Tcp, [192, 0, 2, 9].into())
    }

    #[test]
    fn both_formats_and_what_devices_send_are_read() {
        // The line; tag, severity, host, app, pid, text.
        for (line, expected) in [
            // RFC 5424, 6.5.
            (
                "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed for lonvick on /dev/pts/8",
                [
                    "auth",
                    "critical",
                    "mymachine.example.com",
                    "su",
                    "",
                    "'su root' failed for lonvick on /dev/pts/8",
                ],
            ),
            (
                "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.",
                ["local4", "notice", "192.0.2.1", "myproc", "8710", "%% It's time to make the do-nuts."],
            ),
            // RFC 3164, 5.4.
            (
                "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
                ["auth", "critical", "mymachine", "su", "", "'su root' failed for lonvick on /dev/pts/8"],
            ),
            ("<13>Nov  8 05:00:00 web1 cron[12]: done", ["user", "notice", "web1", "cron", "12", "done"]),
            // Python's SysLogHandler.
            ("<14>hello\0", ["user", "info", "", "", "", "hello"]),
            ("<11>backup[7]: failed\0", ["user", "error", "", "backup", "7", "failed"]),
            // Cisco's IOS.
            (
                "<189>29: *Mar  1 00:00:00: %SYS-5-CONFIG_I: Configured from console",
                [
                    "local7",
                    "notice",
                    "",
                    "",
                    "",
                    "29: *Mar  1 00:00:00: %SYS-5-CONFIG_I: Configured from console",
                ],
            ),
            ("no priority", ["user", "notice", "", "", "", "no priority"]),
            ("<192>too large", ["user", "notice", "", "", "", "<192>too large"]),
            ("<0>panic", ["kern", "critical", "", "", "", "panic"]),
            ("<x>", ["user", "notice", "", "", "", "<x>"]),
        ] {
            let message = told(&config(), line.as_bytes()).unwrap();
            let field = |name: &str| message.fields.get(name).cloned().unwrap_or_default();
            let [facility, severity, host, app, pid, text] = expected;
            assert_eq!(message.tag.as_str(), format!("syslog.{facility}"), "{line}");
            assert_eq!((message.severity.as_str(), message.text.as_str()), (severity, text), "{line}");
            assert_eq!([field("host"), field("app"), field("pid")], [host, app, pid], "{line}");
            assert_eq!((message.source.as_str(), field("peer").as_str()), ("in-net", "192.0.2.9"));
        }
    }

    #[test]
    fn structured_data_are_fields_and_the_time_is_the_senders() {
        let line = r#"<165>1 2003-10-11T22:14:15.003Z h evntslog - ID47 [timeQuality tzKnown="1"][exampleSDID@32473 iut="3" eventSource="A \"B\""] x"#;
        let message = told(&config(), line.as_bytes()).unwrap();
        assert_eq!(message.fields["exampleSDID@32473.eventSource"], "A \"B\"");
        assert_eq!((message.fields["msgid"].as_str(), message.key.as_deref()), ("ID47", Some("h/evntslog")));
        assert_eq!(message.time.to_string(), "2003-10-11T22:14:15.003Z");
        assert!(!message.fields.keys().any(|name| name.starts_with("timeQuality")), "{:?}", message.fields);
        let many: String = (0..200).map(|i| format!("[a{i:03} x=\"y\"]")).collect();
        let message = told(&config(), format!("<1>1 - - - - - {many} x").as_bytes()).unwrap();
        assert!(message.fields.len() <= VALUES + 7);
    }

    #[test]
    fn a_sender_chooses_one_word_of_the_tag_and_no_other_tag() {
        let config = Config { tag: Template::read("net.{host}.{app}").unwrap(), ..config() };
        for (line, tag) in [
            ("<1>1 - a.b x.y> - - - z", "net.a_b.x_y_"),
            ("<1>1 - - - - - - z", "net.192_0_2_9.none"),
            ("<1>1 - hal.ctl * - - - z", "net.hal_ctl._"),
        ] {
            assert_eq!(told(&config, line.as_bytes()).unwrap().tag.as_str(), tag);
        }
    }

    #[test]
    fn datagrams_are_marked_and_severities_below_are_left_out() {
        let config = Config { severity: Severity::Warning, ..config() };
        assert_eq!(told(&config, b"<13>notice").unwrap_err(), "below");
        for empty in [&b""[..], b"\n\0", b"<13>1 - - - - - -"] {
            assert_eq!(told(&config, empty).unwrap_err(), "empty");
        }
        let peer = [192, 0, 2, 9].into();
        let message = read(&config, "in-net", b"<12>x", Transport::Udp, peer).unwrap();
        assert_eq!(message.fields["unauthenticated"], "true");
        assert!(!told(&config, b"<12>x").unwrap().fields.contains_key("unauthenticated"));
    }

    fn holds_bounds(line: &[u8]) -> Result<(), TestCaseError> {
        if let Ok(message) = told(&config(), line) {
            prop_assert!(message.text.len() <= MAX_TEXT && message.tag.as_str().len() <= 128);
            prop_assert!(message.fields.len() <= VALUES + 7);
            prop_assert!(
                message.fields.iter().all(|(name, value)| name.len() <= FIELD && value.len() <= FIELD)
            );
            prop_assert!(message.key.is_some_and(|key| key.len() <= MAX_TITLE));
        }
        // The parser itself does not panic either.
        strict(&String::from_utf8_lossy(line));
        Ok(())
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_within_bounds(line in proptest::collection::vec(any::<u8>(), 0..3000)) {
            holds_bounds(&line)?;
        }

        #[test]
        fn and_lines_that_are_nearly_right(
            parts in proptest::collection::vec(proptest::sample::select(vec![
                "<34>", "<", ">", "1 ", "2003-10-11T22:14:15.003Z ", "Oct 11 22:14:15 ", "Feb 29 262142 23:59:60 ", "Jan 1 -262143 0:0:0 ",
                "host ", "app[12]: ", "app: ", "- ", "[a b=\"c\"]", "[", "]", "\"", "\\", "=", ":", "\u{feff}", "é", "\0", " ", "9999999999",
                "0000-00-00T00:00:00+99:99 ", "9999-12-31T23:59:60.999999999999-23:59 ",
            ]), 0..30),
        ) {
            holds_bounds(parts.concat().as_bytes())?;
        }
    }
}

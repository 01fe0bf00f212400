//! A message as lines of text, or as one line of JSON.

use std::fmt::Write as _;
use std::io::Write;

use tellhal::message::{Received, Status};
use tellhal::paint::Paint;
use tellhal::text::visible;

/// Prints one message. Exits when standard output is closed: the output has no reader any more.
pub(super) fn print(received: &Received, json: bool) {
    let mut stdout = std::io::stdout().lock();
    let text = match json {
        true => serde_json::to_string(&received.message).unwrap_or_default(),
        false => line(received, Paint::of(&stdout)),
    };
    if writeln!(stdout, "{text}").and_then(|()| stdout.flush()).is_err() {
        std::process::exit(0);
    }
}

fn line(received: &Received, paint: Paint) -> String {
    let message = &received.message;
    let kind = match message.status {
        // It has the severity of the failure that it ends, which would read as one more.
        Some(Status::Resolved) => paint.good(Status::Resolved.as_str()),
        _ => paint.severity(message.severity, message.severity.as_str()),
    };
    let mut line = format!("{} {} {} {kind}", message.time, message.source, message.tag);
    if let Some(title) = &message.title {
        let _ = write!(line, " {}", visible(title));
    }
    for mark in &received.marks {
        let _ = write!(line, " [{}]", visible(&mark.to_string()));
    }
    let text = visible(&message.text);
    if message.title.is_some() || text.contains('\n') {
        text.lines().for_each(|text| line.push_str(&format!("\n  {text}")));
    } else {
        let _ = write!(line, " {text}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use tellhal::{Message, Severity, Timestamp};

    #[test]
    fn one_line_or_an_indented_block() {
        let mut message = Message::new("db1", "backup".parse().unwrap(), "done\u{1b}[2J");
        message.time = Timestamp(0);
        let mut received = Received { message, marks: vec![] };
        assert_eq!(line(&received, Paint::NONE), "1970-01-01T00:00:00Z db1 backup info done\\u{1b}[2J");
        received.message.text = "a\nb".into();
        assert_eq!(line(&received, Paint::NONE), "1970-01-01T00:00:00Z db1 backup info\n  a\n  b");
        (received.message.text, received.message.status) = ("well".into(), Some(Status::Resolved));
        received.message.severity = Severity::Error;
        assert_eq!(line(&received, Paint::NONE), "1970-01-01T00:00:00Z db1 backup resolved well");
    }
}

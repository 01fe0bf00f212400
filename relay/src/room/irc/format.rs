//! A post as IRC lines: within the server's 512 bytes as others receive them, never cut inside a character
//! or a colour code. Pure.
//!
//! Every line begins with text of the relay, so that no text of a message stands where another robot
//! looks for its trigger or a client for CTCP; line ends and NUL are removed before.

use service::platform::irc;
use service::text;

use crate::render::{self, View};
use crate::room::Post;

/// Before each line but a message's first.
const INDENT: &str = "| ";
/// The bytes that a colour adds to a line.
const COLOUR: usize = 5;

/// The settings from which lines are made.
pub(super) struct Format<'a> {
    pub(super) verb: &'static str,
    pub(super) channel: &'a str,
    pub(super) nick: &'a str,
    /// The longest `nick!user@host` of ours that was seen.
    pub(super) mask: usize,
    pub(super) lines: usize,
    pub(super) colour: bool,
}

/// A line as it is read and as it is sent. `plain` is the same for a channel that refuses colours.
pub(super) struct Line {
    pub(super) shown: String,
    pub(super) wire: String,
    pub(super) plain: Option<String>,
}

impl Format<'_> {
    /// The number of bytes of text in a line.
    pub(super) fn budget(&self) -> usize {
        irc::budget(self.verb, self.channel, self.nick, self.mask)
    }

    pub(super) fn post(&self, post: &Post) -> Vec<Line> {
        match &post.listed[..] {
            [delivery] if !post.is_batch() => self.single(&View::of(delivery, &post.zone)),
            listed => {
                let lines = listed.iter().map(|delivery| self.listed(&View::of(delivery, &post.zone)));
                let counted = post.counted.as_ref().map(|counted| render::counted_line(counted, &post.zone));
                lines
                    .chain(counted.map(|line| self.line("", None, &text::cut(&line, self.budget()))))
                    .collect()
            }
        }
    }

    fn single(&self, view: &View) -> Vec<Line> {
        let room = self.budget() - COLOUR;
        let marker = view.marker();
        let first = marker.map_or(0, |marker| marker.len() + 1);
        let mut head = text::wrap(&view.head(), room - first);
        let wrap = |lines: &[String]| -> Vec<String> {
            let plain = lines.iter().map(|line| line.replace('\t', "  "));
            plain.flat_map(|line| text::wrap(&line, room - INDENT.len())).collect()
        };
        let more = head.split_off(1);
        let more = wrap(&[more.join(" ")]).into_iter().filter(|line| !line.is_empty());
        // A headline that is longer than a line gives way like the text below it.
        let body = more.chain(wrap(&view.body).into_iter().filter(|line| !line.trim().is_empty())).collect();
        let below = render::fit(Vec::new(), body, wrap(&view.tail()), self.lines - 1, view.keep_end);
        let head = self.line("", marker, &head[0]);
        std::iter::once(head).chain(below.iter().map(|line| self.line(INDENT, None, line))).collect()
    }

    fn listed(&self, view: &View) -> Line {
        let before = format!("{} ", view.clock);
        let marker = view.marker();
        let taken = before.len() + marker.map_or(0, |marker| marker.len() + 1) + COLOUR;
        self.line(&before, marker, &text::cut(&view.listed(), self.budget() - taken))
    }

    fn line(&self, before: &str, marker: Option<&str>, text: &str) -> Line {
        let marked = |marker: &str| if marker.is_empty() { String::new() } else { format!("{marker} ") };
        let shown = format!("{before}{}{text}", marked(marker.unwrap_or_default()));
        let coloured = match marker {
            // Bold, and red or orange in the two digits that no digit of the text can run into.
            Some(marker) if self.colour => {
                let colour = if marker == "WARNING" { "07" } else { "04" };
                Some(format!("{before}\x02\x03{colour}{marker}\x0f {text}"))
            }
            _ => None,
        };
        let command = |text: &str| format!("{} {} :{text}", self.verb, self.channel);
        let plain = command(&shown);
        match coloured {
            Some(coloured) => Line { shown, wire: command(&coloured), plain: Some(plain) },
            None => Line { shown, wire: plain, plain: None },
        }
    }
}

//! The two ends of a text that is read to its end in bounded memory, and lines as a terminal shows them: of a line that is
//! drawn repeatedly, such as a progress bar, only the last state remains. Pure.

use crate::message::{MAX_TEXT, TEXT_HEAD, TEXT_TAIL, shorten};

/// A text that comes in pieces. A text over [`MAX_TEXT`] keeps its first 16 KiB and its last 48 KiB.
#[derive(Debug)]
pub struct Ends {
    bytes: Vec<u8>,
    /// The bytes of the text, those that were cut included.
    total: u64,
    /// The bytes at the front that are kept.
    head: usize,
    /// A carriage return was the last byte: what follows is drawn over its line.
    returned: bool,
}

impl Ends {
    /// An empty text. `spare` more bytes are kept at its front, for a first line that is taken away.
    pub fn new(spare: usize) -> Self {
        Ends { bytes: Vec::new(), total: 0, head: TEXT_HEAD + spare, returned: false }
    }

    /// Adds the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        // Most pieces have no carriage return, and are looked at only once.
        if !self.returned && !piece.contains(&b'\r') {
            return self.append(piece);
        }
        for (number, part) in piece.split(|byte| *byte == b'\r').enumerate() {
            self.returned |= number > 0;
            match part.first() {
                None => continue,
                Some(b'\n') if self.returned => self.append(b"\r"),
                Some(_) if self.returned => self.clear_line(),
                Some(_) => {}
            }
            self.returned = false;
            self.append(part);
        }
    }

    fn append(&mut self, part: &[u8]) {
        self.bytes.extend_from_slice(part);
        self.total += part.len() as u64;
        // The buffer has room for twice the end, so that it is seldom moved.
        if self.bytes.len() > self.head + 4 * TEXT_TAIL {
            self.bytes.drain(self.head..self.bytes.len() - TEXT_TAIL);
        }
    }

    fn clear_line(&mut self) {
        let is_cut = self.total > self.bytes.len() as u64;
        let end = self.bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let start = if is_cut { end.max(self.head) } else { end };
        self.total -= self.bytes.len().saturating_sub(start) as u64;
        self.bytes.truncate(start);
    }

    /// Takes the first line and its newline away; `None` if no newline has been kept at the front.
    pub fn first_line(&mut self) -> Option<Vec<u8>> {
        let front = &self.bytes[..self.bytes.len().min(self.head)];
        let newline = front.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.bytes.drain(..=newline).collect();
        line.pop();
        self.head -= newline + 1;
        self.total -= newline as u64 + 1;
        Some(line)
    }

    /// The text, at most [`MAX_TEXT`] long. The newlines at its end are removed.
    pub fn into_text(mut self) -> String {
        while self.bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            self.bytes.pop();
            self.total -= 1;
        }
        if self.total == self.bytes.len() as u64 && self.bytes.len() <= MAX_TEXT {
            // Replacing invalid UTF-8 makes the text longer.
            return shorten(String::from_utf8_lossy(&self.bytes).into_owned());
        }
        let head = TEXT_HEAD.min(self.head).min(self.bytes.len());
        let rest = TEXT_TAIL.min(self.bytes.len() - head);
        let head = String::from_utf8_lossy(&self.bytes[..head]);
        let tail = String::from_utf8_lossy(&self.bytes[self.bytes.len() - rest..]);
        let end = head.floor_char_boundary(TEXT_HEAD);
        let start = tail.ceil_char_boundary(tail.len().saturating_sub(TEXT_TAIL));
        let cut = self.total - TEXT_HEAD.min(self.head) as u64 - rest as u64;
        format!("{}\n[… {cut} bytes cut …]\n{}", &head[..end], &tail[start..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(pieces: &[&[u8]]) -> String {
        let mut ends = Ends::new(0);
        pieces.iter().for_each(|piece| ends.push(piece));
        ends.into_text()
    }

    #[test]
    fn a_short_text_loses_only_its_last_newlines() {
        assert_eq!(text(&[b"\n one\ntwo\r\n\n"]), "\n one\ntwo");
        assert_eq!(text(&[b"caf\xe9\0"]), "caf\u{fffd}\0");
        assert_eq!(text(&[]), "");
    }

    #[test]
    fn a_long_text_keeps_both_ends_in_bounded_memory() {
        let mut ends = Ends::new(0);
        ends.push(b"first");
        for _ in 0..200 {
            ends.push(&[b'x'; 50_000]);
        }
        assert!(ends.bytes.capacity() < 1_000_000);
        ends.push(b"last\n");
        let text = ends.into_text();
        assert!(text.starts_with("firstx") && text.ends_with("xlast"), "{}", text.len());
        assert!(text.contains(&format!("\n[… {} bytes cut …]\n", 10_000_009 - TEXT_HEAD - TEXT_TAIL)));
        assert!(text.len() <= MAX_TEXT);
        let mut invalid = Ends::new(0);
        invalid.push(&[0xff; 100_000]);
        assert!(invalid.into_text().len() <= MAX_TEXT);
    }

    #[test]
    fn a_progress_bar_is_its_last_state() {
        assert_eq!(text(&[b"files\n\r 10%\r 50%\r100%\r\ndone"]), "files\n100%\r\ndone");
        assert_eq!(text(&[b" 10%\r", b" 20%\r    \r", b"done\n"]), "done");
        assert_eq!(text(&[b" 10%\r", b" 20%\r"]), " 20%");
        assert_eq!(text(&[b"a\r", b"\r\nb"]), "a\r\nb");
        // A bar of a megabyte leaves the room to what came before and after it.
        let mut ends = Ends::new(0);
        ends.push(b"sending\n");
        for n in 0..50_000 {
            ends.push(format!("\r{n:>20}").as_bytes());
        }
        ends.push(b"\r                    \rdone");
        assert_eq!(ends.into_text(), "sending\ndone");
    }

    #[test]
    fn a_first_line_is_taken_away() {
        let mut ends = Ends::new(100);
        ends.push(b"tag\r\n");
        ends.push(&[b'x'; MAX_TEXT]);
        assert_eq!(ends.first_line().as_deref(), Some(&b"tag\r"[..]));
        assert_eq!(ends.into_text().len(), MAX_TEXT);
        let mut long = Ends::new(100);
        long.push(b"tag\n");
        long.push(&[b'x'; 1_000_000]);
        long.first_line().unwrap();
        let text = long.into_text();
        assert!(
            text.contains(&format!("[… {} bytes cut …]", 1_000_000 - TEXT_HEAD - TEXT_TAIL)),
            "{}",
            text.len()
        );
        assert_eq!(Ends::new(1).first_line(), None);
    }

    proptest! {
        #[test]
        fn how_it_comes_in_pieces_does_not_matter(bytes in "[a\r\n ]{0,60}", at in any::<prop::sample::Index>()) {
            let (one, two) = bytes.as_bytes().split_at(at.index(bytes.len() + 1));
            prop_assert_eq!(text(&[one, two]), text(&[bytes.as_bytes()]));
        }

        #[test]
        fn any_bytes_give_a_bounded_text(pieces in prop::collection::vec((any::<u8>(), 0_usize..90_000), 0..6), spare in 0_usize..600) {
            let mut ends = Ends::new(spare);
            pieces.iter().for_each(|(byte, count)| ends.push(&vec![*byte; *count]));
            ends.first_line();
            prop_assert!(ends.into_text().len() <= MAX_TEXT);
        }
    }
}

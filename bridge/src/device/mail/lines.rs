//! The lines of SMTP, which end with CR LF and with nothing else. A CR or LF alone is refused, since one program takes it for the end of
//! a line and the next one does not: a mail could hide a second one (SMTP smuggling). Pure.

/// The longest line, in bytes. RFC 5321 allows 1,000; devices send HTML in one line.
const LONGEST: usize = 64 << 10;

/// The reason why a stream cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// There is a CR or LF alone.
    Bare,
    Long,
}

/// The part of a stream that is not read yet.
#[derive(Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// The beginning of the next line, and the place up to which there is no end of it.
    start: usize,
    looked: usize,
}

impl Lines {
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.start);
        self.looked -= self.start;
        self.start = 0;
        self.bytes.extend_from_slice(piece);
    }

    /// True if the next line has its end.
    pub(super) fn is_whole(&mut self) -> Result<bool, Broken> {
        let unread = self.bytes[self.looked..].iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        self.looked = unread.map_or(self.bytes.len(), |at| self.looked + at);
        if self.looked - self.start > LONGEST {
            return Err(Broken::Long);
        }
        match self.bytes[self.looked..] {
            [b'\r', b'\n', ..] => Ok(true),
            [] | [b'\r'] => Ok(false),
            _ => Err(Broken::Bare),
        }
    }

    /// The next line, which is whole, with its end.
    pub(super) fn take(&mut self) -> &[u8] {
        let line = self.start..(self.looked + 2).min(self.bytes.len());
        (self.start, self.looked) = (line.end, line.end);
        &self.bytes[line]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, Option<Broken>) {
        let (mut lines, mut read) = (Lines::default(), Vec::new());
        for piece in stream.chunks(piece) {
            lines.push(piece);
            assert!(lines.bytes.len() <= LONGEST + 1 + piece.len());
            loop {
                match lines.is_whole() {
                    Ok(true) => read.push(lines.take().to_vec()),
                    Ok(false) => break,
                    Err(broken) => return (read, Some(broken)),
                }
            }
        }
        (read, None)
    }

    #[test]
    fn only_cr_lf_ends_a_line() {
        for (stream, count, broken) in [
            ("a\r\n\r\n.\r\n", 3, None),
            ("a\r\nb", 1, None),
            ("a\r\nb\r", 1, None),
            ("a\nb\r\n", 0, Some(Broken::Bare)),
            ("a\r\n\n.\r\n", 1, Some(Broken::Bare)),
            ("a\r\n.\r.\r\n", 1, Some(Broken::Bare)),
            ("a\r\r\n", 0, Some(Broken::Bare)),
        ] {
            for piece in [1, 2, 100] {
                let (lines, why) = read(stream.as_bytes(), piece);
                assert_eq!((lines.len(), why), (count, broken), "{stream:?} by {piece}");
            }
        }
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(read(long.as_bytes(), 16 << 10).1, Some(Broken::Long));
        assert_eq!(read(format!("{long}\r\n").as_bytes(), 1 << 20).1, Some(Broken::Long));
    }

    proptest! {
        #[test]
        fn the_pieces_of_a_stream_change_nothing(
            stream in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), any::<u8>()], 0..300),
            piece in 1_usize..40,
        ) {
            prop_assert_eq!(read(&stream, piece), read(&stream, 1000));
        }
    }
}

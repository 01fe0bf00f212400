//! The messages in a TCP stream (RFC 6587): with their length before them, or each in a line. Pure, and bounded whatever comes.

/// The longest message, in bytes; of a longer one the beginning is taken.
pub(super) const LONGEST: usize = 64 << 10;
/// The longest length, in digits.
const DIGITS: usize = 9;

/// A message as it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    /// Its end is missing.
    pub(super) is_cut: bool,
}

/// The part of a stream that is no whole message yet.
#[derive(Default)]
pub(super) struct Frames {
    unread: Vec<u8>,
    skip: Skip,
}

/// The rest of a message that was too long.
#[derive(Clone, Copy, Default)]
enum Skip {
    #[default]
    Nothing,
    Line,
    Bytes(usize),
}

/// The beginning of a message.
enum Start {
    /// Its length, and the bytes of the length itself.
    Counted {
        header: usize,
        length: usize,
    },
    Line,
    /// More bytes are needed to tell.
    Unknown,
}

impl Frames {
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.unread.extend_from_slice(piece);
    }

    /// The next whole message. All must be taken before more is pushed.
    pub(super) fn next(&mut self) -> Option<Frame> {
        self.skipped()?;
        let between = self.unread.iter().position(|byte| !b"\r\n\0".contains(byte));
        self.unread.drain(..between.unwrap_or(self.unread.len()));
        match start(&self.unread) {
            Start::Unknown => None,
            Start::Counted { header, length } => {
                let taken = length.min(LONGEST);
                if self.unread.len() < header + taken {
                    return None;
                }
                let bytes = self.unread.drain(..header + taken).skip(header).collect();
                self.skip = if length > taken { Skip::Bytes(length - taken) } else { Skip::Nothing };
                Some(Frame { bytes, is_cut: length > taken })
            }
            Start::Line => {
                let end = self.end_of_line().filter(|end| *end <= LONGEST);
                if end.is_none() && self.unread.len() <= LONGEST {
                    return None;
                }
                self.skip = if end.is_none() { Skip::Line } else { Skip::Nothing };
                Some(Frame {
                    bytes: self.unread.drain(..end.unwrap_or(LONGEST)).collect(),
                    is_cut: end.is_none(),
                })
            }
        }
    }

    /// The rest when the stream ends, which may be a line without its end.
    pub(super) fn end(mut self) -> Option<Frame> {
        self.skipped()?;
        let (header, is_cut) = match start(&self.unread) {
            Start::Counted { header, .. } => (header, true),
            Start::Line | Start::Unknown => (0, false),
        };
        let bytes = self.unread.split_off(header);
        (!bytes.is_empty()).then_some(Frame { bytes, is_cut })
    }

    /// Goes beyond the rest of a message that was too long; `None` while it is not over.
    fn skipped(&mut self) -> Option<()> {
        let gone = match self.skip {
            Skip::Nothing => return Some(()),
            Skip::Line => self.end_of_line(),
            Skip::Bytes(count) => (count <= self.unread.len()).then_some(count),
        };
        if let (None, Skip::Bytes(count)) = (gone, &mut self.skip) {
            *count -= self.unread.len();
        }
        self.unread.drain(..gone.unwrap_or(self.unread.len()));
        self.skip = gone.map_or(self.skip, |_| Skip::Nothing);
        gone.map(drop)
    }

    /// A newline; NUL for senders such as Python's.
    fn end_of_line(&self) -> Option<usize> {
        self.unread.iter().position(|byte| matches!(byte, b'\n' | 0))
    }
}

/// A length is a number before a space and the `<` that every counted message begins with.
fn start(bytes: &[u8]) -> Start {
    let digits = bytes.iter().take(DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > DIGITS || bytes[0] == b'0' {
        return if bytes.is_empty() { Start::Unknown } else { Start::Line };
    }
    match &bytes[digits..] {
        [] | [b' '] => Start::Unknown,
        [b' ', b'<', ..] => {
            let length = bytes[..digits].iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
            Start::Counted { header: digits + 1, length }
        }
        _ => Start::Line,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(stream: &[u8], piece: usize) -> Vec<(String, bool)> {
        let mut frames = Frames::default();
        let mut read = Vec::new();
        for piece in stream.chunks(piece) {
            frames.push(piece);
            read.extend(std::iter::from_fn(|| frames.next()));
            assert!(frames.unread.len() <= LONGEST + DIGITS + 1, "{}", frames.unread.len());
        }
        read.extend(frames.end());
        read.into_iter().map(|one| (String::from_utf8_lossy(&one.bytes).into_owned(), one.is_cut)).collect()
    }

    #[test]
    fn lines_and_counted_messages_are_told_apart() {
        for (stream, expected) in [
            ("<1>a\n<2>b\r\n\n<3>c", vec!["<1>a", "<2>b\r", "<3>c"]),
            ("<1>a\0<2>b\0", vec!["<1>a", "<2>b"]),
            ("4 <1>a5 <2>b\n6 <3>c\nd\n<4>e\n", vec!["<1>a", "<2>b\n", "<3>c\nd", "<4>e"]),
            ("12 angry men\n007 <1>x\n", vec!["12 angry men", "007 <1>x"]),
            ("12345678901 <1>x\n", vec!["12345678901 <1>x"]),
            ("", vec![]),
            ("\n\r\n\0", vec![]),
            ("12", vec!["12"]),
            ("12 ", vec!["12 "]),
        ] {
            for piece in [1, 3, 1000] {
                let whole: Vec<(String, bool)> =
                    expected.iter().map(|line| ((*line).to_owned(), false)).collect();
                assert_eq!(read(stream.as_bytes(), piece), whole, "{stream:?} by {piece}");
            }
        }
        assert_eq!(read(b"9 <1>abc", 2), [("<1>abc".to_owned(), true)]);
    }

    #[test]
    fn of_a_long_message_the_beginning_is_taken_and_the_next_one_is_whole() {
        let long = "x".repeat(3 * LONGEST);
        for stream in [
            format!("<1>{long}\n<2>b\n"),
            format!("{} <1>{long}<2>b\n", 3 + long.len()),
            format!("{} <1>{long}4 <2>b", 3 + long.len()),
        ] {
            for piece in [100, 65_536, 1 << 20] {
                let read = read_large(stream.as_bytes(), piece);
                assert_eq!(read.len(), 2);
                assert_eq!((read[0].0.len(), read[0].1, read[1].0.as_str()), (LONGEST, true, "<2>b"));
            }
        }
    }

    /// Without the bound, which holds for pieces up to 16 KiB.
    fn read_large(stream: &[u8], piece: usize) -> Vec<(String, bool)> {
        let mut frames = Frames::default();
        let mut read = Vec::new();
        for piece in stream.chunks(piece) {
            frames.push(piece);
            read.extend(std::iter::from_fn(|| frames.next()));
        }
        read.extend(frames.end());
        read.into_iter().map(|one| (String::from_utf8_lossy(&one.bytes).into_owned(), one.is_cut)).collect()
    }

    proptest! {
        #[test]
        fn the_pieces_of_a_stream_change_nothing(
            stream in proptest::collection::vec(prop_oneof![Just(b'<'), Just(b' '), Just(b'\n'), Just(0), Just(b'3'), Just(b'9'), any::<u8>()], 0..400),
            piece in 1_usize..50,
        ) {
            prop_assert_eq!(read(&stream, piece), read(&stream, 1000));
        }
    }
}

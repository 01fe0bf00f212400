//! Standard input as a text, read to its end in bounded memory: a long input keeps only its two ends.

use std::io::{ErrorKind, Read};

use tellhal::message::MAX_TEXT;

/// Bytes kept from the two ends of a long input, as in [`tellhal::message::shorten`].
const HEAD: usize = 16 * 1024;
const TAIL: usize = 48 * 1024 - 64;
/// Reading stops here: a writer of more than this would write for ever.
const ENOUGH: u64 = 1 << 30;

pub(super) struct Input {
    pub(super) text: String,
    /// Reading stopped before the end of the input.
    pub(super) endless: bool,
}

pub(super) fn read(from: impl Read) -> std::io::Result<Input> {
    read_at_most(from, ENOUGH)
}

fn read_at_most(mut from: impl Read, enough: u64) -> std::io::Result<Input> {
    let mut kept: Vec<u8> = Vec::new();
    let mut total = 0_u64;
    let mut chunk = vec![0; 64 * 1024];
    let endless = loop {
        match from.read(&mut chunk) {
            Ok(0) => break false,
            Ok(n) => {
                kept.extend_from_slice(&chunk[..n]);
                total += n as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        // The buffer has room for twice the end, so that it is seldom moved.
        if kept.len() > MAX_TEXT + 2 * TAIL {
            kept.drain(HEAD..kept.len() - TAIL);
        }
        if total >= enough {
            break true;
        }
    };
    Ok(Input { text: shape(kept, total), endless })
}

/// The kept bytes as text. The newlines at the end of a whole input are removed.
fn shape(mut kept: Vec<u8>, total: u64) -> String {
    if total == kept.len() as u64 {
        while kept.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            kept.pop();
        }
        if let Ok(text) = std::str::from_utf8(&kept)
            && kept.len() <= MAX_TEXT
        {
            return text.to_owned();
        }
        // Replacing invalid UTF-8 makes the text longer.
        return tellhal::message::shorten(String::from_utf8_lossy(&kept).into_owned());
    }
    let split = |text: String, at: usize| (text.floor_char_boundary(at), text);
    let (end, head) = split(String::from_utf8_lossy(&kept[..HEAD]).into_owned(), HEAD);
    let tail = String::from_utf8_lossy(&kept[kept.len() - TAIL..]).into_owned();
    let tail = tail.trim_end_matches(['\n', '\r']);
    let start = tail.ceil_char_boundary(tail.len().saturating_sub(TAIL));
    let cut = total - HEAD as u64 - TAIL as u64;
    format!("{}\n[… {cut} bytes cut …]\n{}", &head[..end], &tail[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_input_loses_only_its_last_newlines() {
        let read = read(&b"\n one\ntwo\r\n\n"[..]).unwrap();
        assert_eq!((read.text.as_str(), read.endless), ("\n one\ntwo", false));
        assert_eq!(super::read(&b"caf\xe9\0"[..]).unwrap().text, "caf\u{fffd}\0");
    }

    #[test]
    fn long_input_keeps_both_ends_in_bounded_memory() {
        let input = std::io::repeat(b'x').take(10_000_000);
        let read = read(b"first".chain(input).chain(&b"last\n"[..])).unwrap();
        assert!(read.text.starts_with("firstx") && read.text.ends_with("xlast"), "{}", read.text.len());
        assert!(read.text.contains("bytes cut"));
        assert!(read.text.len() <= MAX_TEXT);
        let bad = super::read(std::io::repeat(0xff).take(100_000)).unwrap();
        assert!(bad.text.len() <= MAX_TEXT);
    }

    #[test]
    fn endless_input_is_given_up() {
        let read = read_at_most(std::io::repeat(b'y'), 1_000_000).unwrap();
        assert!(read.endless && read.text.contains("bytes cut"));
    }
}

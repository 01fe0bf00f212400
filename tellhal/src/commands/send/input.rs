//! Standard input, or a file, as a text: read to its end in bounded memory.

use std::io::{ErrorKind, Read};

use tellhal::ends::Ends;

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
    let (mut ends, mut total) = (Ends::new(0), 0_u64);
    let mut chunk = vec![0; 64 * 1024];
    let endless = loop {
        match from.read(&mut chunk) {
            Ok(0) => break false,
            Ok(n) => {
                ends.push(&chunk[..n]);
                total += n as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if total >= enough {
            break true;
        }
    };
    Ok(Input { text: ends.into_text(), endless })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_ends_or_is_given_up() {
        let read = super::read(&b"one\ntwo\n"[..]).unwrap();
        assert_eq!((read.text.as_str(), read.endless), ("one\ntwo", false));
        let read = read_at_most(std::io::repeat(b'y'), 1_000_000).unwrap();
        assert!(read.endless && read.text.contains("bytes cut"));
    }
}

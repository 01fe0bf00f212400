//! The end of a long output in bounded memory. Pure.

/// Bytes of the end that are kept.
const KEPT: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Tail {
    kept: Vec<u8>,
    total: u64,
}

impl Tail {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        self.kept.extend_from_slice(&bytes[bytes.len().saturating_sub(KEPT)..]);
        // The buffer has room for twice the end, so that it is seldom moved.
        if self.kept.len() > 2 * KEPT {
            self.kept.drain(..self.kept.len() - KEPT);
        }
    }

    /// The last `lines` lines, and the number of bytes before them. A mark stands for the cut bytes.
    /// Of a line that was drawn repeatedly, such as a progress bar, only the last state.
    pub(super) fn last_lines(&self, lines: usize) -> (String, u64) {
        let kept = &self.kept[self.kept.len().saturating_sub(KEPT)..];
        let whole = self.total == kept.len() as u64;
        let end = kept.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
        let mut newlines = (0..end).rev().filter(|at| kept[*at] == b'\n');
        let start = match newlines.clone().nth(lines.saturating_sub(1)) {
            _ if lines == 0 => end,
            Some(newline) => newline + 1,
            None if whole => 0,
            // Half a line is left out, unless it is the only one.
            None => newlines.next_back().map_or(0, |newline| newline + 1),
        };
        let cut = self.total - (kept.len() - start) as u64;
        let text = String::from_utf8_lossy(&kept[start..end]);
        let drawn = |line: &str| {
            let line = line.trim_end_matches('\r');
            line.rsplit_once('\r').map_or(line, |(_, last)| last).to_owned()
        };
        let text: Vec<String> = text.split('\n').map(drawn).collect();
        let text = text.join("\n");
        if cut == 0 { (text, 0) } else { (format!("[… {cut} bytes cut …]\n{text}"), cut) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tail(parts: &[&[u8]]) -> Tail {
        let mut tail = Tail::default();
        parts.iter().for_each(|part| tail.push(part));
        tail
    }

    #[test]
    fn the_last_lines_are_whole_and_what_came_before_is_marked() {
        let cases: [(&[u8], usize, &str, u64); 7] = [
            (b"", 3, "", 0),
            (b"one\ntwo\n", 3, "one\ntwo", 0),
            (b"one\ntwo\nthree", 2, "[… 4 bytes cut …]\ntwo\nthree", 4),
            (b"one\ntwo\n\n\n", 1, "[… 4 bytes cut …]\ntwo", 4),
            (b" 10%\r 50%\r100%\r\ndone", 5, "100%\ndone", 0),
            (b"caf\xe9", 1, "caf\u{fffd}", 0),
            (b"one\n", 0, "[… 3 bytes cut …]\n", 3),
        ];
        for (output, lines, want, cut) in cases {
            assert_eq!(tail(&[output]).last_lines(lines), (want.into(), cut), "{output:?}");
        }
    }

    #[test]
    fn one_endless_line_keeps_its_end() {
        let big = vec![b'x'; 1_000_000];
        let (text, cut) = tail(&[&big, b"end"]).last_lines(20);
        assert!(text.ends_with("xend") && cut > 900_000 && text.len() <= KEPT + 40);
    }

    proptest! {
        #[test]
        fn how_it_comes_in_pieces_does_not_matter(bytes in prop::collection::vec(any::<u8>(), 0..2000), at in any::<prop::sample::Index>(), lines in 0_usize..5) {
            let (one, two) = bytes.split_at(if bytes.is_empty() { 0 } else { at.index(bytes.len()) });
            prop_assert_eq!(tail(&[one, two]).last_lines(lines), tail(&[&bytes]).last_lines(lines));
        }
    }
}

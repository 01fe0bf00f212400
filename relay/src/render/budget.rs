//! The lines below a message's first, as many as fit into a number of bytes as a platform counts them. Pure.

use service::text;

use super::{View, fit};

/// The bytes that a platform takes.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// The longest line, as it is read.
    pub line: usize,
    /// All lines below the first, as they are sent.
    pub below: usize,
    /// The part of that for fields, links and notes.
    pub tail: usize,
    /// The bytes of a line as it is sent.
    pub cost: fn(&str) -> usize,
}

impl Budget {
    /// The lines below the first: the text, and fields, links and notes. Both are empty for a message of one line.
    pub fn below(&self, view: &View, overlong_head: Vec<String>) -> (Vec<String>, Vec<String>) {
        let wrap =
            |lines: &[String]| lines.iter().flat_map(|line| text::wrap(line, self.line)).collect::<Vec<_>>();
        let mut tail = wrap(&view.tail());
        let kept = self.fitting(tail.iter(), self.tail);
        if kept < tail.len() {
            let cut = tail.len() - kept;
            tail.truncate(kept);
            tail.push(format!("… ({cut} more lines)"));
        }
        let body = [overlong_head, wrap(&view.body)].concat();
        let backwards = body.iter().rev();
        let max = match view.keep_end {
            true => self.fitting(backwards, self.below - self.tail),
            false => {
                let both_ends = backwards.zip(&body).flat_map(|(last, first)| [last, first]);
                self.fitting(both_ends.take(body.len()), self.below - self.tail)
            }
        };
        (fit(Vec::new(), body, Vec::new(), max, view.keep_end), tail)
    }

    /// The number of lines that fit into `bytes`.
    fn fitting<'a>(&self, lines: impl Iterator<Item = &'a String>, bytes: usize) -> usize {
        let total = lines.scan(0, |total, line| {
            *total += (self.cost)(line);
            Some(*total)
        });
        total.take_while(|total| *total <= bytes).count()
    }
}

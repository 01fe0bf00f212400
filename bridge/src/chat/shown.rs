//! An answer as lines that a chat shows: clean, and as many as suit it. Pure.

use service::text::{clean, cut};
use tellhal::command::Answer;

/// The lines of an answer for a chat whose posts are lines: clean, at most `most` of them, with the number of those left out.
pub(crate) fn lines(text: &str, most: usize) -> (Vec<String>, usize) {
    let text = clean(text);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.trim().is_empty()).collect();
    if lines.len() <= most {
        return (lines.into_iter().map(str::to_owned).collect(), 0);
    }
    let kept = lines.iter().take(most - 1).map(|line| (*line).to_owned()).collect();
    (kept, lines.len() - (most - 1))
}

/// The lines of an answer for a chat whose posts have several: at most `longest` bytes and `most` of them, then how many more there
/// are. A failure begins with a sign, and an answer without a text with a word.
pub(crate) fn shown(answer: &Answer, longest: usize, most: usize) -> Vec<String> {
    let (mut shown, more) = lines(&cut(&answer.answer, longest), most);
    if more > 0 {
        shown.push(more_lines(more));
    }
    if shown.is_empty() {
        shown.push(without_words(answer).into());
    }
    if answer.failed {
        shown[0].insert_str(0, FAILED);
    }
    shown
}

/// The sign before an answer of failure.
pub(crate) const FAILED: &str = "✗ ";

pub(crate) fn more_lines(count: usize) -> String {
    format!("… {count} more lines, which the page shows")
}

/// The words for an answer that has none.
pub(crate) fn without_words(answer: &Answer) -> &'static str {
    if answer.failed { "it failed, without a word" } else { "done" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_cut_to_so_many_lines() {
        assert_eq!(lines("a\n\n\x1b[31mb\x1b[0m \r\n", 8), (vec!["a".to_owned(), "b".to_owned()], 0));
        assert_eq!(lines("1\n2\n3\n4", 3), (vec!["1".to_owned(), "2".to_owned()], 2));
    }

    #[test]
    fn a_failure_has_a_sign_and_silence_a_word() {
        assert_eq!(shown(&Answer::failed("a\nb"), 100, 10), ["✗ a", "b"]);
        assert_eq!(shown(&Answer::failed(""), 100, 10), ["✗ it failed, without a word"]);
        assert_eq!(shown(&Answer::done(" \n"), 100, 10), ["done"]);
        assert_eq!(shown(&Answer::done("1\n2\n3"), 100, 2), ["1", "… 2 more lines, which the page shows"]);
    }
}

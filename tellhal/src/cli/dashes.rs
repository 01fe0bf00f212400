//! Words that begin with a dash and look like no option of ours are a message's: `tellhal disk.report "-5 degrees"`. clap gets
//! them with a sign before them, which is removed afterwards.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::Command;

/// No option begins with it.
const SIGN: u8 = 1;

/// The command line with the sign before words that look like no option of `command`. The value of an option stays as it is,
/// but for a title's.
pub(super) fn shield(args: Vec<OsString>, command: fn() -> Command) -> Vec<OsString> {
    let mut after = OsString::new();
    let mut words_only = false;
    let mut next = |word: OsString| {
        let is_value = !words_only && after != "--title" && takes_value(&after.to_string_lossy());
        words_only |= !is_value && word == "--";
        let signed = !is_value && !words_only && is_word(&word, command);
        after = word.clone();
        if signed { OsString::from_vec([&[SIGN], word.as_bytes()].concat()) } else { word }
    };
    args.into_iter().map(&mut next).collect()
}

/// A word without the sign.
pub(super) fn bare(word: OsString) -> OsString {
    match word.as_bytes().strip_prefix(&[SIGN]) {
        Some(bare) => OsString::from_vec(bare.to_vec()),
        None => word,
    }
}

/// True if the next word is the value of this option.
pub(super) fn takes_value(option: &str) -> bool {
    const OPTIONS: [&str; 18] = [
        "-t",
        "--tag",
        "-f",
        "--file",
        "-s",
        "--severity",
        "--title",
        "--field",
        "--link",
        "--key",
        "--status",
        "--host",
        "--url",
        "--context",
        "--config",
        "--spool",
        "--source",
        "--timeout",
    ];
    OPTIONS.contains(&option)
}

/// True for a word that is no option of ours, and no slip in one either: a short option that we have, and one long word
/// after two dashes, are left to clap.
fn is_word(word: &OsString, command: fn() -> Command) -> bool {
    let word = word.to_string_lossy();
    let Some(short) = word.strip_prefix('-') else { return word.as_bytes().first() == Some(&SIGN) };
    let has_space = word.contains(char::is_whitespace);
    match (short.strip_prefix('-'), short.chars().next()) {
        (Some(""), _) | (_, None) => false,
        (Some(long), _) => {
            let name = long.split(|c: char| c == '=' || c.is_whitespace()).next().unwrap_or_default();
            !name.starts_with(|c: char| c.is_ascii_alphabetic())
                || (has_space
                    && !long.contains('=')
                    && !command().get_arguments().any(|arg| arg.get_long() == Some(name)))
        }
        (None, Some(letter)) => {
            !letter.is_ascii_alphabetic() || (has_space && !has_short(&command(), letter))
        }
    }
}

fn has_short(command: &Command, letter: char) -> bool {
    "hV".contains(letter) || command.get_arguments().any(|arg| arg.get_short() == Some(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        use clap::Arg;
        Command::new("x").args([
            Arg::new("title").long("title"),
            Arg::new("severity").short('s'),
            Arg::new("v").short('v'),
        ])
    }

    #[test]
    fn words_that_look_like_no_option_are_words() {
        for word in [
            "-5 degrees",
            "-5",
            "--- report ---",
            "-----BEGIN",
            "-> done",
            "- item",
            "-x marks it",
            "--all systems go",
            "-\u{e9}",
        ] {
            assert!(is_word(&word.into(), command), "{word}");
        }
        for option in [
            "-",
            "--",
            "-v",
            "-x",
            "-S",
            "--titel",
            "--title=a b",
            "--title a",
            "-s error",
            "-sdebug now",
            "--no=way out",
            "x",
        ] {
            assert!(!is_word(&option.into(), command), "{option}");
        }
    }

    #[test]
    fn options_and_their_values_stay() {
        let args = |line: &[&str]| line.iter().map(OsString::from).collect::<Vec<_>>();
        let line = args(&["tellhal", "--title", "-5 today", "--key", "-5", "a", "-5", "--", "-6"]);
        let got = shield(line.clone(), command);
        let signed: Vec<usize> = (0..line.len()).filter(|at| got[*at] != line[*at]).collect();
        assert_eq!(signed, [2, 6]);
        assert_eq!(got.into_iter().map(bare).collect::<Vec<_>>(), line);
    }
}

//! The files of an answer, as the audit names them, and as links for chats that take none. Pure.

use tellhal::attached::File;
use tellhal::audit::FileEntry;
use tellhal::command::Answer;

/// Files as the audit lists them.
pub(super) fn entries(files: &[File]) -> Vec<FileEntry> {
    let entry = |file: &File| FileEntry {
        name: file.name.clone(),
        object: file.object.clone(),
        bytes: file.data.len(),
        picture: file.media_type().starts_with("image/"),
    };
    files.iter().map(entry).collect()
}

/// The answer with links to the files that a chat does not take, below `page_url` if that is known.
pub(super) fn linked(answer: &Answer, takes_files: bool, page_url: Option<&str>) -> Answer {
    let mut answer = answer.clone();
    let (kept, links): (Vec<File>, Vec<File>) =
        answer.files.into_iter().partition(|file| takes_files && !file.data.is_empty());
    for file in links {
        let line = match page_url {
            Some(page) => format!("{}: {}/api/files/{}", file.name, page.trim_end_matches('/'), file.object),
            None => format!("{} is on the page, under Commands", file.name),
        };
        let newline = if answer.answer.is_empty() || answer.answer.ends_with('\n') { "" } else { "\n" };
        answer.answer += &format!("{newline}{line}");
    }
    answer.files = kept;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_that_takes_no_files_has_links() {
        let file = File { name: "load.png".into(), data: b"x".into(), object: "answer-abc-0".into() };
        let answer = Answer { files: vec![file.clone()], ..Answer::done("load of web1") };
        assert_eq!(linked(&answer, true, None), answer);
        let link = linked(&answer, false, Some("https://hal.example.com/"));
        assert_eq!(link.answer, "load of web1\nload.png: https://hal.example.com/api/files/answer-abc-0");
        assert!(link.files.is_empty());
        assert_eq!(
            linked(&answer, false, None).answer,
            "load of web1\nload.png is on the page, under Commands"
        );
        // Of an answer that was found in the audit the contents are not at hand.
        let found = Answer { files: vec![File { data: Vec::new(), ..file }], ..Answer::done("") };
        assert_eq!(linked(&found, true, None).answer, "load.png is on the page, under Commands");
    }
}

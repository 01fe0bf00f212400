//! The files of an answer, as the audit and messages name them, and as links for chats that take none. Pure.

use tellhal::Message;
use tellhal::attached::File;
use tellhal::audit::FileEntry;
use tellhal::command::Answer;
use tellhal::message::Link;

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
            Some(page) => format!("{}: {}", file.name, address(page, &file)),
            None => format!("{} is on the page, under Commands", file.name),
        };
        let newline = if answer.answer.is_empty() || answer.answer.ends_with('\n') { "" } else { "\n" };
        answer.answer += &format!("{newline}{line}");
    }
    answer.files = kept;
    answer
}

/// Gives a message the files, and links to them below `page_url` if that is known, for rooms that take none.
pub(super) fn attach(message: &mut Message, files: &[File], page_url: Option<&str>) {
    message.files = entries(files);
    let link = |page| {
        files.iter().map(move |file| Link { url: address(page, file), title: Some(file.name.clone()) })
    };
    message.links.extend(page_url.into_iter().flat_map(link));
}

fn address(page: &str, file: &File) -> String {
    format!("{}/api/files/{}", page.trim_end_matches('/'), file.object)
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
        let mut message = Message::new("bridge", "report.load".parse().unwrap(), "load of web1");
        attach(&mut message, &answer.files, Some("https://hal.example.com/"));
        assert_eq!((message.files[0].object.as_str(), message.files[0].picture), ("answer-abc-0", false));
        assert_eq!(message.links[0].url, "https://hal.example.com/api/files/answer-abc-0");
        // Of an answer that was found in the audit the contents are not at hand.
        let found = Answer { files: vec![File { data: Vec::new(), ..file }], ..Answer::done("") };
        assert_eq!(linked(&found, true, None).answer, "load.png is on the page, under Commands");
    }
}

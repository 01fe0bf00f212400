//! The fenced blocks and the links of a Markdown document, as far as ours use them.

/// A fenced block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The first word behind the fence, such as `sh`.
    pub language: String,
    /// The lines between the fences.
    pub text: String,
    /// The remark behind the language, or the comment in the line before the fence, such as `not run: it installs packages`.
    pub remark: Option<String>,
    /// The line of the fence, from 1 on.
    pub line: usize,
}

/// The fenced blocks of `document` in their order.
pub fn blocks(document: &str) -> Vec<Block> {
    let (mut blocks, mut open, mut before) = (Vec::new(), None::<Block>, "");
    for (number, line) in document.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.text += &format!("{line}\n"),
            (None, Some(info)) => {
                let language = info.split_whitespace().next().unwrap_or_default().to_owned();
                let remark = before.trim().strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->"));
                // Or behind the language: `no-run: it installs packages`.
                let behind = info.split_once(" no-run").map(|(_, reason)| format!("not run{reason}"));
                let remark = remark.map(|remark| remark.trim().to_owned()).or(behind);
                open = Some(Block { language, text: String::new(), remark, line: number + 1 });
            }
            (None, None) => {}
        }
        before = line;
    }
    blocks
}

/// The targets of the links and pictures of `document`, without those in code.
pub fn links(document: &str) -> Vec<String> {
    let prose = prose(document);
    let ends = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    ends.map(|(target, _)| target.to_owned()).collect()
}

/// The words that lead to the titles of `document` behind a `#`.
pub fn anchors(document: &str) -> Vec<String> {
    let prose = prose(document);
    let titles = prose.lines().filter(|line| line.starts_with('#'));
    let anchor = |title: &str| -> String {
        let kept = title.trim_start_matches('#').trim().chars().flat_map(char::to_lowercase);
        let kept = kept.filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    titles.map(anchor).collect()
}

/// `document` without its fenced blocks and its code within lines.
fn prose(document: &str) -> String {
    let (mut text, mut is_code) = (String::new(), false);
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code && line.starts_with('#') {
            text += &line.replace('`', "");
            text.push('\n');
        } else if !is_code {
            text.extend(line.split('`').step_by(2));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_their_language_and_the_remark_before_them() {
        let document = "a\n\n<!-- not run: it is long -->\n```sh\nls\n\n```\n```toml title\n# x\n```\n";
        let found = blocks(document);
        assert_eq!(found.len(), 2);
        let first = Block {
            language: "sh".into(),
            text: "ls\n\n".into(),
            remark: Some("not run: it is long".into()),
            line: 4,
        };
        assert_eq!(found[0], first);
        assert_eq!((found[1].language.as_str(), &found[1].remark), ("toml", &None));
    }

    #[test]
    fn links_and_titles_are_those_of_the_text_alone() {
        let document =
            "# The `page`, and more\n[a](b.md#c) ![d](e.png) `[f](g)`\n```sh\n# not a title\n[h](i)\n```\n";
        assert_eq!(links(document), ["b.md#c", "e.png"]);
        assert_eq!(anchors(document), ["the-page-and-more"]);
    }
}

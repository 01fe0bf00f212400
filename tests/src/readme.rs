//! Texts that a README shows, to be compared with those of a test.

/// The section under `## title`.
pub fn section<'a>(readme: &'a str, title: &str) -> &'a str {
    let heading = format!("\n## {title}\n");
    let (_, section) = readme.split_once(&heading).unwrap_or_else(|| panic!("no section {title}"));
    section.split("\n## ").next().unwrap_or(section)
}

/// The lines of the blocks of a section that are marked as `text`.
pub fn shown(section: &str) -> impl Iterator<Item = &str> {
    section.split("```text\n").skip(1).flat_map(|block| block.split("```").next().unwrap_or(block).lines())
}

/// A line without times, durations, measurements and ports, and without IRC's bold and colours.
pub fn same_each_time(line: &str) -> String {
    // The address of the page, and the file's name.
    let line = match line.split_once("http") {
        Some((before, address)) if address.contains("/api/files/") => before,
        _ => line,
    };
    let line = line.replace(['\u{2}', '\u{f}'], "");
    let line = line
        .split('\u{3}')
        .map(|part| part.trim_start_matches(|character: char| character.is_ascii_digit()))
        .collect::<String>();
    let mut text = String::new();
    let mut digits = false;
    for character in line.chars() {
        let is_digit = character.is_ascii_digit() || (digits && matches!(character, '.' | ':'));
        if !is_digit {
            text.push(character);
        } else if !digits {
            text.push('#');
        }
        digits = is_digit;
    }
    // Hours and milliseconds are seconds in a test.
    text.replace("within #h", "within #s").replace("#ms", "#s").replace("#m #s", "#s")
}

//! The files of a configuration, and their texts.

use std::io;
use std::path::{Path, PathBuf};

use super::problem::{Problem, Problems};

/// The file itself, or every `*.toml` of the folder in the order of their names, hidden ones left out.
pub(super) fn list(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.metadata()?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in path.read_dir()? {
        let file = entry?.path();
        let hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && file.extension().is_some_and(|extension| extension == "toml") && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// The texts of a file or a folder.
pub fn read(path: &Path) -> Result<Vec<(PathBuf, String)>, Problems> {
    let (texts, problems) = read_each(path)?;
    if problems.0.is_empty() { Ok(texts) } else { Err(problems) }
}

/// The texts of all files, and the problems of files that cannot be read, whose texts are empty.
pub(super) fn read_each(path: &Path) -> Result<(Vec<(PathBuf, String)>, Problems), Problems> {
    let files =
        list(path).map_err(|error| whole(path, unreadable(&error), "--config names a file or a folder"))?;
    if files.is_empty() {
        return Err(whole(path, "the folder has no *.toml".into(), "add one; hidden files do not count"));
    }
    let mut problems = Problems::default();
    let mut texts = Vec::new();
    for file in files {
        let open = tellhal::file::open_to_all(&file).map(|(what, hint)| (what.to_owned(), hint));
        let text = open.map_or_else(|| text(&file), Err);
        let text = text.unwrap_or_else(|(what, hint)| {
            problems.0.extend(whole(&file, what, &hint).0);
            String::new()
        });
        texts.push((file, text));
    }
    Ok((texts, problems))
}

fn text(file: &Path) -> Result<String, (String, String)> {
    let text = tellhal::file::read(file).map_err(|error| unreadable(&error)).and_then(utf8);
    text.map_err(|what| (what, "make it a text file this user may read".into()))
}

fn utf8(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8")
    })
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => "this user may not read it".into(),
        _ => format!("cannot be read: {error}"),
    }
}

fn whole(file: &Path, what: String, hint: &str) -> Problems {
    Problems(vec![Problem::whole(file, what, hint)])
}

//! No file imports in a circle, in any of the crates that are shipped. The reader of the structure itself is tried on
//! small made-up crates.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::path::{Path, PathBuf};

use tests::find::repository;
use tests::structure::circles;

#[test]
fn no_file_imports_in_a_circle() {
    let mut wrong = String::new();
    for folder in crates() {
        for circle in circles(&repository().join(&folder).join("src")).unwrap() {
            wrong += &format!("\n{folder}: {circle}\n");
            for (file, path) in circle.files.iter().zip(&circle.paths) {
                wrong += &format!("    {file} imports {path}\n");
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "files import in a circle; move the shared item to a file of its own:\n{wrong}"
    );
}

/// The folders of the crates that are shipped, relative to the repository.
fn crates() -> Vec<String> {
    let mut folders = Vec::new();
    let mut unread = vec![repository()];
    while let Some(folder) = unread.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.join("Cargo.toml").is_file() && !path.ends_with("tests") {
                folders.push(path.strip_prefix(repository()).unwrap().display().to_string());
                unread.push(path);
            }
        }
    }
    folders.sort();
    assert!(folders.len() >= 4, "too few crates: {folders:?}");
    folders
}

/// The circles of a made-up crate with these files.
fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path: PathBuf = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(path, text).unwrap();
    }
    circles(dir.path()).unwrap().iter().map(ToString::to_string).collect()
}

#[test]
fn a_chain_is_no_circle() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "use super::c; pub struct B(c::C);"),
        ("c.rs", "pub struct C;"),
    ];
    assert_eq!(circles_of(&files), [""; 0]);
}

#[test]
fn two_files_that_import_each_other() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B; pub struct A(B); pub fn one() -> u8 { 1 }"),
        ("b.rs", "pub struct B; fn two() -> u8 { super::a::one() + 1 }"),
    ];
    assert_eq!(circles_of(&files), ["a.rs → b.rs → a.rs"]);
}

#[test]
fn a_circle_of_three() {
    let files = [
        ("main.rs", "mod a; mod b; fn main() { a::A; }"),
        ("a.rs", "use crate::b::c::{self as last}; pub struct A(last::C);"),
        ("b/mod.rs", "pub mod c; pub struct B(crate::a::A);"),
        ("b/c.rs", "pub enum C { One(super::B) }"),
    ];
    assert_eq!(circles_of(&files), ["a.rs → b/c.rs → b/mod.rs → a.rs"]);
}

#[test]
fn a_re_export_leads_to_the_file_behind_it() {
    let files = [
        ("lib.rs", "mod parent;"),
        ("parent/mod.rs", "mod left; mod right; pub use left::Left; pub(crate) use right::*;"),
        ("parent/left.rs", "use super::Right; pub struct Left(Right); impl Left { pub const SIZE: u8 = 1; }"),
        ("parent/right.rs", "pub struct Right; const SIZE: u8 = crate::parent::Left::SIZE;"),
    ];
    assert_eq!(circles_of(&files), ["parent/left.rs → parent/right.rs → parent/left.rs"]);
}

#[test]
fn a_parent_imports_the_children_that_it_uses() {
    let child = ("parent/child.rs", "pub struct Child; fn f() { super::help() }");
    let circle = ["parent/child.rs → parent/mod.rs → parent/child.rs"];
    let cases = [
        ("mod child; pub use child::Child; pub fn help() {}", false),
        ("mod child; pub use child::Child; pub fn help() { Child; }", true),
        ("mod child; use child::Child; pub fn help() {}", true),
        ("mod child; pub fn help() { println!(\"{:?}\", child::Child) }", true),
        ("mod child; mod inner { pub fn f() { super::child::Child; } } pub fn help() {}", true),
    ];
    for (text, expected) in cases {
        let circles = circles_of(&[("lib.rs", "mod parent;"), ("parent/mod.rs", text), child]);
        assert_eq!(circles, circle[..usize::from(expected)], "{text}");
    }
}

#[test]
fn tests_and_other_crates_do_not_count() {
    let files = [
        ("lib.rs", "pub mod a; mod b; pub use other::Other;"),
        ("a.rs", "use crate::b::B; pub struct A(B); #[cfg(test)] mod tests { use crate::program::*; }"),
        ("b.rs", "use crate::Other; pub struct B(Other); #[cfg(test)] use crate::a::A; mod tests;"),
        ("b/tests.rs", "use crate::a::A;"),
        ("main.rs", "mod program; fn main() { program::run() }"),
        ("program.rs", "use made_up::a::A; pub fn run() { let a = ::other::a::A; }"),
    ];
    assert_eq!(circles_of(&files), [""; 0]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("lib.rs"), "mod gone;").unwrap();
    let error = circles(dir.path()).unwrap_err();
    assert!(error.to_string().ends_with("gone/mod.rs"), "{error}");
}

//! The circles in a drawing of imports: for each import that can be walked back, the shortest way round.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use super::graph::Imports;

/// Files of which each imports the next, and the last the first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Circle {
    /// Each file once, the alphabetically first in front.
    pub files: Vec<String>,
    /// For each file a path by which it imports the next one.
    pub paths: Vec<String>,
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for file in &self.files {
            write!(f, "{file} → ")?;
        }
        f.write_str(&self.files[0])
    }
}

pub(super) fn find(imports: &Imports) -> Vec<Circle> {
    let mut circles = BTreeSet::new();
    for (file, imported) in imports {
        for next in imported.keys() {
            if let Some(mut files) = way(imports, next, file) {
                let first = (0..files.len()).min_by_key(|&at| &files[at]).unwrap_or(0);
                files.rotate_left(first);
                circles.insert(circle(imports, files));
            }
        }
    }
    circles.into_iter().collect()
}

/// The shortest way along the imports, both ends included.
fn way(imports: &Imports, from: &str, to: &str) -> Option<Vec<String>> {
    let mut before = BTreeMap::from([(from, None)]);
    let mut queue = VecDeque::from([from]);
    while let Some(file) = queue.pop_front() {
        if file == to {
            let back = std::iter::successors(Some(file), |file| before[file]);
            let mut files: Vec<String> = back.map(str::to_owned).collect();
            files.reverse();
            return Some(files);
        }
        for next in imports.get(file).into_iter().flat_map(BTreeMap::keys) {
            before.entry(next).or_insert_with(|| {
                queue.push_back(next);
                Some(file)
            });
        }
    }
    None
}

fn circle(imports: &Imports, files: Vec<String>) -> Circle {
    let nexts = files.iter().cycle().skip(1);
    let paths = files.iter().zip(nexts).map(|(file, next)| imports[file][next].clone()).collect();
    Circle { files, paths }
}

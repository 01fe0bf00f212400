//! The drawing of a crate's structure: which file imports which, read from the source, and the circles in it.
//!
//! An import is a path that leads to an item of another file of the same crate: in a `use`, in code or in a macro's
//! arguments. It counts for the file that defines the item, also when the path goes through a re-export. A `mod x;`,
//! a facade's `pub use` of its own children, and everything that only tests compile do not count. Paths in
//! attributes are not read.

mod circle;
mod graph;
mod names;
mod tree;

use std::path::Path;

use anyhow::Result;

pub use circle::Circle;

/// The import circles of the crate whose `src` folder this is, the library's before the program's. Each file path is
/// relative to `src`. Fails when a file cannot be read or is not Rust.
pub fn circles(src: &Path) -> Result<Vec<Circle>> {
    let mut circles = Vec::new();
    // A program beside a library is a crate of its own: its `crate::` is `main.rs`.
    for root in ["lib.rs", "main.rs"].into_iter().filter(|root| src.join(root).is_file()) {
        let tree = tree::Tree::read(src, root)?;
        circles.extend(circle::find(&graph::imports(&tree)));
    }
    Ok(circles)
}

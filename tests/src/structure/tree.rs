//! The modules of one crate, found as the compiler finds them: from the root file along its `mod` items. Modules that
//! only tests compile, and those called `tests`, are not read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use syn::{Item, ItemMod};

use super::names::{Names, Segments, only_tests};

pub(super) struct Module {
    /// The file with the module's text, relative to `src`.
    pub(super) file: String,
    pub(super) names: Names,
}

/// Each module by its path from the crate's root, which itself has the empty path.
pub(super) struct Tree {
    pub(super) modules: BTreeMap<Segments, Module>,
}

/// The place of a module's text, and the folder of its children's files.
struct Place<'a> {
    src: &'a Path,
    file: PathBuf,
    children: PathBuf,
}

impl Tree {
    /// Reads the crate whose root is this file in the folder `src`.
    pub(super) fn read(src: &Path, root: &str) -> Result<Tree> {
        let mut tree = Tree { modules: BTreeMap::new() };
        tree.add_file(Segments::new(), Place { src, file: src.join(root), children: src.to_owned() })?;
        Ok(tree)
    }

    fn add_file(&mut self, path: Segments, place: Place) -> Result<()> {
        let text = fs::read_to_string(&place.file).with_context(|| place.file.display().to_string())?;
        let file = syn::parse_file(&text).with_context(|| place.file.display().to_string())?;
        self.add(path, &file.items, &place)
    }

    fn add(&mut self, path: Segments, items: &[Item], place: &Place) -> Result<()> {
        for item in items {
            if let Item::Mod(child) = item
                && !only_tests(&child.attrs)
                && child.ident != "tests"
            {
                self.add_child(&path, child, place)?;
            }
        }
        let file = place.file.strip_prefix(place.src)?.display().to_string();
        self.modules.insert(path, Module { file, names: Names::of(items) });
        Ok(())
    }

    fn add_child(&mut self, parent: &Segments, child: &ItemMod, place: &Place) -> Result<()> {
        let name = child.ident.to_string();
        let children = place.children.join(&name);
        let path = [parent.as_slice(), &[name]].concat();
        if let Some((_, items)) = &child.content {
            return self.add(path, items, &Place { src: place.src, file: place.file.clone(), children });
        }
        let beside = children.with_extension("rs");
        let file = if beside.is_file() { beside } else { children.join("mod.rs") };
        self.add_file(path, Place { src: place.src, file, children })
    }
}

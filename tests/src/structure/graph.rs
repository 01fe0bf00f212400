//! From the paths of each module to the files that they lead to.

use std::collections::{BTreeMap, BTreeSet};

use super::names::{Segments, Use};
use super::tree::{Module, Tree};

/// For each file the files that it imports, each with the first path that says so.
pub(super) type Imports = BTreeMap<String, BTreeMap<String, String>>;

/// The target of a path.
enum Target {
    Module(Segments),
    /// An item (or something inside it, such as a variant) that the module with this path defines.
    Item(Segments),
    OtherCrate,
}

/// A name that is being followed. Seeing it again means that `use` items lead in a circle, such as `use a::a`.
type Followed = BTreeSet<(Segments, String)>;

pub(super) fn imports(tree: &Tree) -> Imports {
    let mut imports = Imports::new();
    for (path, module) in &tree.modules {
        let files = imports.entry(module.file.clone()).or_default();
        for (mention, target) in mentions(tree, path, module) {
            let file = &tree.modules[&target].file;
            if *file != module.file {
                files.entry(file.clone()).or_insert_with(|| mention.join("::"));
            }
        }
    }
    imports
}

/// Each path that the module writes and that leads to an item, with the module that defines it. A module that is only
/// named does not count, only the items that are used.
fn mentions<'a>(tree: &'a Tree, path: &Segments, module: &'a Module) -> Vec<(&'a Segments, Segments)> {
    let mut mentions = Vec::new();
    for import in &module.names.uses {
        let target = match resolve(tree, path, &import.path, Followed::new()) {
            Some(Target::Module(target)) if import.name == "*" => target,
            Some(Target::Item(target)) => target,
            _ => continue,
        };
        let facade = import.shared && target.starts_with(path);
        if !facade {
            mentions.push((&import.path, target));
        }
    }
    for mention in &module.names.paths {
        if let Some(Target::Item(target)) = resolve(tree, path, mention, Followed::new()) {
            mentions.push((mention, target));
        }
    }
    mentions
}

/// The target of a path in the module `from`; `None` if its first name is unknown there: another crate's, or a local
/// variable's.
fn resolve(tree: &Tree, from: &Segments, path: &[String], followed: Followed) -> Option<Target> {
    let mut module = from.clone();
    let mut rest = path;
    while let [first, others @ ..] = rest {
        match first.as_str() {
            "crate" => module.clear(),
            "self" => {}
            "super" => _ = module.pop(),
            _ => break,
        }
        rest = others;
    }
    let anchored = rest.len() < path.len();
    // An unknown name behind `crate`, `self` or `super` may come from a macro.
    descend(tree, &module, rest, followed).or_else(|| anchored.then_some(Target::Item(module)))
}

fn descend(tree: &Tree, module: &Segments, path: &[String], mut followed: Followed) -> Option<Target> {
    let [name, rest @ ..] = path else {
        return Some(Target::Module(module.clone()));
    };
    let names = &tree.modules.get(module)?.names;
    let child = [module.as_slice(), std::slice::from_ref(name)].concat();
    let has_child = tree.modules.contains_key(&child);
    if has_child && !rest.is_empty() {
        return descend(tree, &child, rest, followed).or(Some(Target::Item(child)));
    }
    if names.items.contains(name) {
        return Some(Target::Item(module.clone()));
    }
    let first_time = followed.insert((module.clone(), name.clone()));
    let import = names.uses.iter().find(|import| import.name == *name);
    if let Some(import) = import.filter(|_| first_time) {
        return match resolve(tree, module, &import.path, followed.clone()) {
            Some(Target::Module(target)) => {
                descend(tree, &target, rest, followed).or(Some(Target::Item(target)))
            }
            Some(target) => Some(target),
            None => Some(Target::OtherCrate),
        };
    }
    if has_child {
        return Some(Target::Module(child));
    }
    let mut globs = names.uses.iter().filter(|import| first_time && import.name == "*");
    globs.find_map(|glob| through(tree, module, glob, path, &followed))
}

/// The target of a path whose first name a `use …::*` of the module may bring in.
fn through(
    tree: &Tree,
    module: &Segments,
    glob: &Use,
    path: &[String],
    followed: &Followed,
) -> Option<Target> {
    match resolve(tree, module, &glob.path, followed.clone())? {
        Target::Module(target) if target != *module => descend(tree, &target, path, followed.clone()),
        _ => None,
    }
}

//! The names a module defines, the names it imports, and every path that its code mentions.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, ItemMod, ItemUse, Macro, UseTree, Visibility};

/// A path as it is written, such as `["super", "queue", "Queue"]`.
pub(super) type Segments = Vec<String>;

/// One name that a `use` brings in.
pub(super) struct Use {
    /// The name in this module; `*` for all names of the path.
    pub(super) name: String,
    pub(super) path: Segments,
    /// True if other modules may use the name too (`pub use`, `pub(crate) use`).
    pub(super) shared: bool,
}

#[derive(Default)]
pub(super) struct Names {
    /// Types, functions, constants and macros that the module itself defines.
    pub(super) items: BTreeSet<String>,
    pub(super) uses: Vec<Use>,
    /// Paths in signatures, bodies and macro arguments, single names included.
    pub(super) paths: BTreeSet<Segments>,
}

impl Names {
    /// The names of a module with these items. Its child modules and what only tests compile are left out.
    pub(super) fn of(items: &[Item]) -> Names {
        let mut names = Names::default();
        for item in items.iter().filter(|item| !only_tests(attributes(item))) {
            names.items.extend(defined(item));
            names.visit_item(item);
        }
        names
    }

    fn add_use(&mut self, prefix: &Segments, tree: &UseTree, shared: bool) {
        let below = |name: &dyn ToString| [prefix.as_slice(), &[name.to_string()]].concat();
        let (name, path) = match tree {
            UseTree::Path(path) => return self.add_use(&below(&path.ident), &path.tree, shared),
            UseTree::Group(group) => {
                return group.items.iter().for_each(|item| self.add_use(prefix, item, shared));
            }
            UseTree::Glob(_) => ("*".to_owned(), prefix.clone()),
            UseTree::Name(name) if name.ident == "self" => {
                (prefix.last().cloned().unwrap_or_default(), prefix.clone())
            }
            UseTree::Rename(name) if name.ident == "self" => (name.rename.to_string(), prefix.clone()),
            UseTree::Name(name) => (name.ident.to_string(), below(&name.ident)),
            UseTree::Rename(name) => (name.rename.to_string(), below(&name.ident)),
        };
        self.uses.push(Use { name, path, shared });
    }

    /// Macro arguments are no syntax tree: names joined by `::` are taken for paths, unless a dot stands before them.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path = Segments::new();
        let mut before = String::new();
        for token in tokens {
            let text = match &token {
                TokenTree::Group(group) => {
                    self.add_tokens(group.stream());
                    String::new()
                }
                token => token.to_string(),
            };
            if matches!(token, TokenTree::Ident(_)) {
                if !before.ends_with("::") {
                    self.paths.insert(std::mem::take(&mut path));
                }
                if before != "." && (before != "::" || !path.is_empty()) {
                    path.push(text);
                }
                before.clear();
            } else {
                before = if text == ":" && before == ":" { "::".to_owned() } else { text };
            }
        }
        self.paths.insert(path);
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast Item) {
        if !only_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if !matches!(item, ImplItem::Fn(function) if only_tests(&function.attrs)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if item.leading_colon.is_none() {
            self.add_use(&Segments::new(), &item.tree, !matches!(item.vis, Visibility::Inherited));
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.paths.insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        visit::visit_macro(self, call);
        self.add_tokens(call.tokens.clone());
    }

    fn visit_item_mod(&mut self, _: &'ast ItemMod) {}

    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}

/// True if `#[cfg(test)]` is among the attributes.
pub(super) fn only_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).any(|attribute| {
        attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(syn::ItemConst { attrs, .. })
        | Item::Enum(syn::ItemEnum { attrs, .. })
        | Item::Fn(syn::ItemFn { attrs, .. })
        | Item::Impl(syn::ItemImpl { attrs, .. })
        | Item::Macro(syn::ItemMacro { attrs, .. })
        | Item::Mod(ItemMod { attrs, .. })
        | Item::Static(syn::ItemStatic { attrs, .. })
        | Item::Struct(syn::ItemStruct { attrs, .. })
        | Item::Trait(syn::ItemTrait { attrs, .. })
        | Item::Type(syn::ItemType { attrs, .. })
        | Item::Union(syn::ItemUnion { attrs, .. })
        | Item::Use(ItemUse { attrs, .. }) => attrs,
        _ => &[],
    }
}

fn defined(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(syn::ItemConst { ident, .. })
        | Item::Enum(syn::ItemEnum { ident, .. })
        | Item::Static(syn::ItemStatic { ident, .. })
        | Item::Struct(syn::ItemStruct { ident, .. })
        | Item::Trait(syn::ItemTrait { ident, .. })
        | Item::Type(syn::ItemType { ident, .. })
        | Item::Union(syn::ItemUnion { ident, .. }) => ident,
        Item::Fn(function) => &function.sig.ident,
        Item::Macro(rules) => rules.ident.as_ref()?,
        _ => return None,
    };
    Some(name.to_string())
}

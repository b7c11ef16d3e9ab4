//! The sources as the compiler sees them without `cfg(test)`: modules, the paths that they name, and their functions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, mem,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, Block, GenericArgument, Item, ItemMod, ItemUse, PathArguments, Signature, Type, UseTree, Visibility,
    spanned::Spanned,
    visit::{self, Visit},
};

/// A path as it is written: whether `::` stands before it, and its names.
#[derive(Clone)]
struct Written {
    outside: bool,
    names: Vec<String>,
}

struct Module {
    /// Beneath the root of the repository, as the names of files everywhere here.
    file: String,
    krate: usize,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    /// What `use` brings in, by the name that it has here.
    imported: BTreeMap<String, Written>,
    named: Vec<Written>,
}

/// A function: where it begins, and the number of its lines.
pub(crate) struct Function {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) name: String,
    pub(crate) lines: usize,
}

/// What is compiled of the crates that were read.
#[derive(Default)]
pub(crate) struct Tree {
    root: PathBuf,
    modules: Vec<Module>,
    /// The crates by the names that others have for them.
    crates: BTreeMap<String, usize>,
    pub(crate) functions: Vec<Function>,
    /// Where an error is a `String`.
    pub(crate) stringly: Vec<String>,
    /// The number of items, fields and methods that are `pub` without a restriction, by file.
    pub(crate) public: BTreeMap<String, usize>,
}

impl Tree {
    /// Reads crates, each from its first file, following its modules.
    pub(crate) fn read(root: &Path, crates: &[(&str, &str)]) -> Self {
        let mut tree = Self { root: root.to_owned(), ..Self::default() };
        for (name, file) in crates {
            let at = tree.modules.len();
            tree.file(file.to_string(), None, at);
            tree.crates.insert(name.to_string(), at);
        }
        tree
    }

    /// The files that are compiled.
    pub(crate) fn files(&self) -> BTreeSet<&str> {
        self.modules.iter().map(|module| module.file.as_str()).collect()
    }

    /// Which files name what is in which others.
    pub(crate) fn arrows(&self) -> BTreeSet<(&str, &str)> {
        let mut arrows = BTreeSet::new();
        for (from, module) in self.modules.iter().enumerate() {
            for path in &module.named {
                if let Some(to) = self.target(from, path, 0)
                    && self.modules[to].file != module.file
                {
                    arrows.insert((module.file.as_str(), self.modules[to].file.as_str()));
                }
            }
        }
        arrows
    }

    fn file(&mut self, file: String, parent: Option<usize>, krate: usize) -> usize {
        let path = self.root.join(&file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let at = self.module(&file, parent, krate);
        let mut reader = Reader { tree: self, at, file };
        for item in &parsed.items {
            reader.visit_item(item);
        }
        at
    }

    fn module(&mut self, file: &str, parent: Option<usize>, krate: usize) -> usize {
        let (children, imported, named) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        self.modules.push(Module { file: file.to_owned(), krate, parent, children, imported, named });
        self.modules.len() - 1
    }

    /// The module that a path leads to from another. What is re-exported is where it is written.
    fn target(&self, from: usize, written: &Written, depth: usize) -> Option<usize> {
        // Two names that stand for each other.
        if depth > 8 {
            return None;
        }
        let mut names = written.names.iter();
        let first = names.next()?;
        let module = &self.modules[from];
        let mut at = if written.outside {
            *self.crates.get(first)?
        } else if first == "crate" {
            module.krate
        } else if first == "self" {
            from
        } else if first == "super" {
            module.parent?
        } else if let Some(child) = module.children.get(first) {
            *child
        } else if let Some(imported) =
            module.imported.get(first).filter(|imported| imported.names.first() != Some(first))
        {
            self.target(from, imported, depth + 1)?
        } else {
            *self.crates.get(first)?
        };
        for name in names {
            let module = &self.modules[at];
            if name == "super" {
                at = module.parent?;
            } else if let Some(child) = module.children.get(name) {
                at = *child;
            } else if let Some(imported) = module.imported.get(name) {
                return self.target(at, imported, depth + 1);
            } else {
                break;
            }
        }
        Some(at)
    }
}

/// Whether an item is compiled into tests only.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.meta.require_list().is_ok_and(|list| {
                    let condition = list.tokens.to_string();
                    condition == "test" || condition.starts_with("all (test")
                })
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Reads one file into its module, and the inline modules in it into theirs.
struct Reader<'t> {
    tree: &'t mut Tree,
    at: usize,
    file: String,
}

impl Reader<'_> {
    fn name(&mut self, names: Vec<String>, outside: bool) {
        self.tree.modules[self.at].named.push(Written { outside, names });
    }

    fn import(&mut self, tree: &UseTree, before: &[String], outside: bool) {
        let with = |name: &syn::Ident| {
            let mut names = before.to_vec();
            if name != "self" || before.is_empty() {
                names.push(name.to_string());
            }
            names
        };
        let (names, here) = match tree {
            UseTree::Path(path) => return self.import(&path.tree, &with(&path.ident), outside),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, before, outside);
                }
                return;
            }
            UseTree::Glob(_) => (before.to_vec(), None),
            UseTree::Name(name) => (with(&name.ident), with(&name.ident).pop()),
            UseTree::Rename(name) => (with(&name.ident), Some(name.rename.to_string())),
        };
        let written = Written { outside, names };
        if let Some(here) = here {
            self.tree.modules[self.at].imported.insert(here, written.clone());
        }
        self.tree.modules[self.at].named.push(written);
    }

    /// The paths in what a macro is given.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut names: Vec<String> = Vec::new();
        let (mut colons, mut before) = (0, false);
        let tokens: Vec<_> = tokens.into_iter().collect();
        for token in tokens.into_iter().map(Some).chain([None]) {
            match token {
                Some(TokenTree::Punct(punct)) if punct.as_char() == ':' => colons += 1,
                Some(TokenTree::Ident(name)) => {
                    if colons != 2 || names.is_empty() {
                        if names.len() > 1 {
                            self.name(mem::take(&mut names), before);
                        }
                        names.clear();
                        before = colons == 2;
                    }
                    names.push(name.to_string());
                    colons = 0;
                }
                other => {
                    if names.len() > 1 {
                        self.name(mem::take(&mut names), before);
                    }
                    names.clear();
                    colons = 0;
                    if let Some(TokenTree::Group(group)) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
    }

    fn function(&mut self, signature: &Signature, block: Option<&Block>) {
        let Some(block) = block else { return };
        let line = signature.span().start().line;
        let lines = block.span().end().line - line + 1;
        let (file, name) = (self.file.clone(), signature.ident.to_string());
        self.tree.functions.push(Function { file, line, name, lines });
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.visit_visibility(&item.vis);
        let name = item.ident.to_string();
        let krate = self.tree.modules[self.at].krate;
        let child = if let Some((_, items)) = &item.content {
            let child = self.tree.module(&self.file, Some(self.at), krate);
            let outer = mem::replace(&mut self.at, child);
            for item in items {
                self.visit_item(item);
            }
            self.at = outer;
            child
        } else {
            let (folder, own) = self.file.rsplit_once('/').unwrap_or_default();
            let folder = match own.trim_end_matches(".rs") {
                "mod" | "lib" | "main" => folder.to_owned(),
                stem => format!("{folder}/{stem}"),
            };
            let beside = format!("{folder}/{name}.rs");
            let file = if self.tree.root.join(&beside).exists() { beside } else { format!("{folder}/{name}/mod.rs") };
            self.tree.file(file, Some(self.at), krate)
        };
        self.tree.modules[self.at].children.insert(name, child);
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.visit_visibility(&item.vis);
        self.import(&item.tree, &[], item.leading_colon.is_some());
    }

    fn visit_visibility(&mut self, visibility: &'ast Visibility) {
        if matches!(visibility, Visibility::Public(_)) {
            *self.tree.public.entry(self.file.clone()).or_default() += 1;
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1 {
            self.name(names, path.leading_colon.is_some());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, makro: &'ast syn::Macro) {
        self.tokens(makro.tokens.clone());
        visit::visit_macro(self, makro);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        // `#[serde(with = "crate::…")]` names a path in a text.
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
            for token in list.tokens.clone() {
                if let TokenTree::Literal(text) = token
                    && let Ok(text) = syn::parse_str::<syn::LitStr>(&text.to_string())
                    && let Ok(path) = text.parse::<syn::Path>()
                {
                    self.visit_path(&path);
                }
            }
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, Some(&item.block));
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            self.function(&item.sig, Some(&item.block));
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.sig, item.default.as_ref());
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_type(&mut self, kind: &'ast Type) {
        if let Type::Path(path) = kind
            && let Some(last) = path.path.segments.last()
            && last.ident == "Result"
            && let PathArguments::AngleBracketed(arguments) = &last.arguments
            && let Some(GenericArgument::Type(Type::Path(error))) = arguments.args.iter().nth(1)
            && error.path.segments.last().is_some_and(|last| last.ident == "String")
        {
            self.tree.stringly.push(format!("{}:{}", self.file, kind.span().start().line));
        }
        visit::visit_type(self, kind);
    }
}

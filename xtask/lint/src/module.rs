//! The modules of one crate: which file each is in, what it defines, and what it imports.

use anyhow::{Context as _, Result};
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens as _;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use syn::{Attribute, Item, UseTree};

/// A module path: the names below the crate's root.
pub type ModulePath = Vec<String>;

/// One module of a crate.
#[derive(Debug, Default)]
pub struct Module {
    /// The file that holds it, relative to the crate's source folder.
    pub file: PathBuf,
    /// Names of the modules that it declares.
    pub children: BTreeSet<String>,
    /// Names of the items that it defines itself.
    pub items: BTreeSet<String>,
    /// Names that a `use` brings in, with the path of each.
    pub imports: Vec<Import>,
    /// Paths with two or more segments, anywhere in the module's code.
    pub paths: BTreeSet<Vec<String>>,
}

/// One name that a `use` brings in.
#[derive(Clone, Debug)]
pub struct Import {
    /// The name in this module; `None` for a glob.
    pub name: Option<String>,
    /// The path as written.
    pub path: Vec<String>,
}

/// Reads all modules that can be reached from a crate's root file. Skips test modules, and those
/// with a `#[path]`: they are a file of another crate.
pub fn read_crate(source: &Path, root: &str) -> Result<BTreeMap<ModulePath, Module>> {
    let mut modules = BTreeMap::new();
    read_file(source, Path::new(root), Vec::new(), &mut modules)?;
    Ok(modules)
}

fn read_file(
    source: &Path,
    file: &Path,
    path: ModulePath,
    modules: &mut BTreeMap<ModulePath, Module>,
) -> Result<()> {
    let full = source.join(file);
    let text = fs::read_to_string(&full).with_context(|| full.display().to_string())?;
    let parsed = syn::parse_file(&text).with_context(|| full.display().to_string())?;
    read_items(source, file, path, parsed.items, modules)
}

fn read_items(
    source: &Path,
    file: &Path,
    path: ModulePath,
    items: Vec<Item>,
    modules: &mut BTreeMap<ModulePath, Module>,
) -> Result<()> {
    let mut module = Module { file: file.to_owned(), ..Module::default() };
    for item in items {
        let has_path = |attribute: &Attribute| attribute.path().is_ident("path");
        if is_test(attributes(&item)) || attributes(&item).iter().any(has_path) {
            continue;
        }
        match item {
            Item::Mod(child) => {
                let name = child.ident.to_string();
                module.children.insert(name.clone());
                let mut below = path.clone();
                below.push(name.clone());
                match child.content {
                    Some((_, items)) => read_items(source, file, below, items, modules)?,
                    None => {
                        let child_file = file_of_child(source, file, &name)?;
                        read_file(source, &child_file, below, modules)?;
                    }
                }
            }
            Item::Use(import) => collect_imports(&import.tree, Vec::new(), &mut module.imports),
            item => {
                module.items.extend(defined_name(&item));
                collect_paths(item.into_token_stream(), &mut module.paths);
            }
        }
    }
    modules.insert(path, module);
    Ok(())
}

/// Returns the file of `mod name;` in `file`: `name.rs` or `name/mod.rs`, in the parent's folder.
fn file_of_child(source: &Path, file: &Path, name: &str) -> Result<PathBuf> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let parent = file.parent().unwrap_or(Path::new(""));
    let folder = match stem {
        "lib" | "main" | "mod" => parent.to_owned(),
        stem => parent.join(stem),
    };
    let candidates = [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")];
    candidates
        .into_iter()
        .find(|candidate| source.join(candidate).exists())
        .with_context(|| format!("{}: no file for `mod {name}`", file.display()))
}

fn collect_imports(tree: &UseTree, mut prefix: Vec<String>, imports: &mut Vec<Import>) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            collect_imports(&path.tree, prefix, imports);
        }
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            // `use a::{self}` brings in `a`.
            if name == "self" {
                imports.push(Import { name: prefix.last().cloned(), path: prefix });
            } else {
                prefix.push(name.clone());
                imports.push(Import { name: Some(name), path: prefix });
            }
        }
        UseTree::Rename(rename) => {
            let own = rename.ident.to_string();
            if own != "self" {
                prefix.push(own);
            }
            imports.push(Import { name: Some(rename.rename.to_string()), path: prefix });
        }
        UseTree::Glob(_) => imports.push(Import { name: None, path: prefix }),
        UseTree::Group(group) => {
            for tree in &group.items {
                collect_imports(tree, prefix.clone(), imports);
            }
        }
    }
}

/// Collects paths of two or more segments, also inside macro calls, which `syn` does not parse.
fn collect_paths(tokens: TokenStream, paths: &mut BTreeSet<Vec<String>>) {
    let mut path: Vec<String> = Vec::new();
    let mut colons = 0;
    let mut finish = |path: &mut Vec<String>| {
        if path.len() > 1 {
            paths.insert(std::mem::take(path));
        }
        path.clear();
    };
    let mut groups = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                if colons != 2 {
                    finish(&mut path);
                }
                path.push(ident.to_string());
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            TokenTree::Group(group) => {
                finish(&mut path);
                colons = 0;
                groups.push(group.stream());
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {
                finish(&mut path);
                colons = 0;
            }
        }
    }
    finish(&mut path);
    for group in groups {
        collect_paths(group, paths);
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Meta>().is_ok_and(|meta| {
                meta.path().is_ident("test")
                    || meta.require_list().is_ok_and(|list| {
                        list.path.is_ident("all") && list.tokens.to_string().contains("test")
                    })
            })
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn defined_name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

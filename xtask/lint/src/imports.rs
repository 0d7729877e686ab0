//! The imports between the files of one crate. Re-exports are resolved to the file of the
//! definition.

use crate::module::{Import, Module, ModulePath, read_crate};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The import graph: from each file to the files that it imports from, with one imported name each.
pub type Imports = BTreeMap<PathBuf, BTreeMap<PathBuf, String>>;

/// Reads the imports of a crate whose root files, such as `lib.rs` and `main.rs`, are in `source`.
pub fn read(source: &Path, roots: &[&str]) -> Result<Imports> {
    let mut imports = Imports::new();
    for root in roots {
        let modules = read_crate(source, root)?;
        for (path, module) in &modules {
            let edges = imports.entry(module.file.clone()).or_default();
            let written = module.imports.iter().map(|import| &import.path);
            for used in written.chain(&module.paths) {
                let resolver = Resolver { modules: &modules };
                if let Some(file) = resolver.file_of(path, used).filter(|file| *file != module.file)
                {
                    edges.entry(file).or_insert_with(|| used.join("::"));
                }
            }
        }
    }
    Ok(imports)
}

struct Resolver<'a> {
    modules: &'a BTreeMap<ModulePath, Module>,
}

/// What a path names.
enum Target {
    Module(ModulePath),
    /// An item in the file of this module.
    Item(ModulePath),
}

impl Resolver<'_> {
    /// Returns the file that defines `path`, as written in module `from`; `None` if it is in
    /// another crate.
    fn file_of(&self, from: &ModulePath, path: &[String]) -> Option<PathBuf> {
        let (Target::Module(module) | Target::Item(module)) =
            self.resolve(from, path, &mut BTreeSet::new())?;
        self.modules.get(&module).map(|module| module.file.clone())
    }

    /// Resolves a path. `visited` has the imports that were followed already, because two globs may
    /// import each other.
    fn resolve(
        &self,
        from: &ModulePath,
        path: &[String],
        visited: &mut BTreeSet<(ModulePath, Vec<String>)>,
    ) -> Option<Target> {
        if !visited.insert((from.clone(), path.to_vec())) {
            return None;
        }
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.walk(Vec::new(), rest, visited),
            "self" => self.walk(from.clone(), rest, visited),
            "super" => {
                let (_, parent) = from.split_last()?;
                match rest.first().map(String::as_str) {
                    Some("super") => self.resolve(&parent.to_vec(), rest, visited),
                    _ => self.walk(parent.to_vec(), rest, visited),
                }
            }
            _ => {
                let module = self.modules.get(from)?;
                let known = module.children.contains(first)
                    || module.imports.iter().any(|import| import.name.as_ref() == Some(first))
                    || module.imports.iter().any(|import| import.name.is_none());
                if module.items.contains(first) {
                    return Some(Target::Item(from.clone()));
                }
                known.then(|| self.member(from, first, rest, visited)).flatten()
            }
        }
    }

    fn walk(
        &self,
        module: ModulePath,
        path: &[String],
        visited: &mut BTreeSet<(ModulePath, Vec<String>)>,
    ) -> Option<Target> {
        match path.split_first() {
            None => Some(Target::Module(module)),
            Some((first, rest)) => self
                .member(&module, first, rest, visited)
                .or_else(|| self.modules.contains_key(&module).then_some(Target::Item(module))),
        }
    }

    /// Returns what `name` means in a module: a child, an item, an import, or a name from a glob.
    fn member(
        &self,
        path: &ModulePath,
        name: &str,
        rest: &[String],
        visited: &mut BTreeSet<(ModulePath, Vec<String>)>,
    ) -> Option<Target> {
        let module = self.modules.get(path)?;
        if module.children.contains(name) {
            let mut child = path.clone();
            child.push(name.to_owned());
            return self.walk(child, rest, visited);
        }
        if module.items.contains(name) {
            return Some(Target::Item(path.clone()));
        }
        let named = module.imports.iter().find(|import| import.name.as_deref() == Some(name));
        if let Some(Import { path: target, .. }) = named {
            return match self.resolve(path, target, visited)? {
                Target::Module(module) => self.walk(module, rest, visited),
                item => Some(item),
            };
        }
        module.imports.iter().filter(|import| import.name.is_none()).find_map(|glob| {
            match self.resolve(path, &glob.path, visited)? {
                Target::Module(module) => self.member(&module, name, rest, visited),
                Target::Item(_) => None,
            }
        })
    }
}

/// Returns each import cycle as a list of its imports, in order: from, to and a name.
pub fn cycles(imports: &Imports) -> Vec<Vec<(PathBuf, PathBuf, String)>> {
    let reach: BTreeMap<&PathBuf, BTreeSet<&PathBuf>> =
        imports.keys().map(|file| (file, reachable(imports, file))).collect();
    let mut seen = BTreeSet::new();
    let mut cycles = Vec::new();
    for (file, reached) in &reach {
        if !reached.contains(file) || seen.contains(file) {
            continue;
        }
        let mutual = |other: &PathBuf| {
            reached.contains(other) && reach.get(other).is_some_and(|back| back.contains(file))
        };
        let circle: BTreeSet<&PathBuf> = imports.keys().filter(|other| mutual(other)).collect();
        seen.extend(circle.iter().copied());
        let ties = circle.iter().flat_map(|from| {
            let targets = imports.get(*from).into_iter().flatten();
            targets
                .filter(|(to, _)| circle.contains(to))
                .map(|(to, name)| ((*from).clone(), to.clone(), name.clone()))
        });
        cycles.push(ties.collect());
    }
    cycles
}

fn reachable<'a>(imports: &'a Imports, from: &PathBuf) -> BTreeSet<&'a PathBuf> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&PathBuf> = imports.get(from).into_iter().flat_map(BTreeMap::keys).collect();
    while let Some(file) = open.pop() {
        if reached.insert(file) {
            open.extend(imports.get(file).into_iter().flat_map(BTreeMap::keys));
        }
    }
    reached
}

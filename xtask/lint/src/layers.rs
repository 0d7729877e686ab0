//! Layers: a file imports only from lower layers, or from its own group.

use crate::imports::Imports;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// The layers of one crate, the lowest first.
pub struct Layers {
    layers: Vec<Layer>,
}

/// Groups of files at the same height, which do not import each other.
struct Layer {
    groups: Vec<Group>,
}

/// Files that may import each other without a cycle: `name.rs`, or `name/` for a folder.
struct Group {
    members: Vec<String>,
}

impl Layers {
    /// Reads the layers, one per line, the lowest first. `|` separates groups, and spaces separate
    /// the members of a group. `#` begins a comment.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let layers = lines.filter(|line| !line.is_empty()).map(|line| Layer {
            groups: line
                .split('|')
                .map(|group| Group {
                    members: group.split_whitespace().map(str::to_owned).collect(),
                })
                .collect(),
        });
        Self { layers: layers.collect() }
    }

    /// Returns every import that goes upward or to another group of its layer, and every file
    /// without a layer.
    pub fn violations(&self, imports: &Imports) -> Result<Vec<String>> {
        if self.layers.is_empty() {
            bail!("no layer is described");
        }
        let mut violations = Vec::new();
        for (from, targets) in imports {
            let Some((layer, group)) = self.place(from) else {
                violations.push(format!("{}: has no layer", from.display()));
                continue;
            };
            for (to, name) in targets {
                let Some((other_layer, other_group)) = self.place(to) else { continue };
                let own_group = (layer, group) == (other_layer, other_group);
                if other_layer >= layer && !own_group {
                    violations.push(format!(
                        "{} imports {name} from {}, which is not in a lower layer",
                        from.display(),
                        to.display()
                    ));
                }
            }
        }
        Ok(violations)
    }

    /// Returns the layer and the group of a file: those of the longest member that names it.
    fn place(&self, file: &Path) -> Option<(usize, usize)> {
        let mut found: Option<(usize, (usize, usize))> = None;
        for (layer, described) in self.layers.iter().enumerate() {
            for (group, described) in described.groups.iter().enumerate() {
                for member in described.members.iter().filter(|member| is_in(file, member)) {
                    if found.is_none_or(|(length, _)| member.len() > length) {
                        found = Some((member.len(), (layer, group)));
                    }
                }
            }
        }
        found.map(|(_, place)| place)
    }
}

fn is_in(file: &Path, member: &str) -> bool {
    match member.strip_suffix('/') {
        Some(folder) => file.starts_with(PathBuf::from(folder)),
        None => file == Path::new(member),
    }
}

//! A file of settings: its sections, and where in the text each member is.

use super::error::{Place, Position, SettingError};
use portcullis_core::ConfigErrorKind;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use toml::de::DeTable;
use toml::{Table, Value};

/// A file of settings that is TOML, whatever else may be wrong with it.
pub(super) struct SettingsFile {
    pub(super) sections: Table,
    /// Whether no other user of the machine may read it.
    pub(super) is_private: bool,
    /// The folder to which paths in the file are relative.
    folder: PathBuf,
    /// The path, as errors name it.
    name: String,
    text: String,
    /// The offset of each section and member.
    offsets: HashMap<String, usize>,
}

impl SettingsFile {
    /// Reads a file. Returns `Err` with all errors if it is unreadable or not TOML.
    pub(super) fn read(path: &Path) -> Result<Self, Vec<SettingError>> {
        let name = path.display().to_string();
        let read =
            std::fs::read_to_string(path).and_then(|text| Ok((text, std::fs::metadata(path)?)));
        let (text, metadata) = read.map_err(|error| {
            let problem = format!("can't be read: {error}; give an existing file with --config");
            vec![Place::named(&name).error(problem)]
        })?;
        let is_private = is_private(metadata.uid(), metadata.mode());
        let mut offsets = HashMap::new();
        let (document, errors) = DeTable::parse_recoverable(&text);
        note_offsets("", document.get_ref(), &mut offsets);
        // The message quotes no text, which may be a secret.
        let error = |error: toml::de::Error| {
            let offset = error.span().map_or(0, |span| span.start);
            let place =
                Place { position: Some(position(&name, &text, offset)), name: String::new() };
            place.error(ConfigErrorKind::Malformed(error.message().to_owned()))
        };
        if !errors.is_empty() {
            return Err(errors.into_iter().map(error).collect());
        }
        let sections = toml::from_str(&text).map_err(|found| vec![error(found)])?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self { sections, is_private, folder, name, text, offsets })
    }

    /// Returns the value of a member.
    pub(super) fn member(&self, section: &str, member: &str) -> Option<&Value> {
        self.sections.get(section)?.get(member)
    }

    /// Returns where a section or member is. A member that is missing has the position of its
    /// section, or of the file.
    pub(super) fn place(&self, name: &str) -> Place {
        let section = name.split('.').next().unwrap_or(name);
        let offset = self.offsets.get(name).or(self.offsets.get(section)).copied().unwrap_or(0);
        let position = position(&self.name, &self.text, offset);
        Place { position: Some(position), name: name.to_owned() }
    }

    /// Returns the path that a member holds, which is relative to the folder of this file.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }

    /// Returns the variables that texts of the file stand for.
    pub(super) fn variables(&self) -> Vec<String> {
        let members = self.sections.values().filter_map(Value::as_table).flatten();
        let texts = members.flat_map(|(_, value)| match value {
            Value::Array(values) => values.iter().collect(),
            value => vec![value],
        });
        let names = texts.filter_map(|value| variable(value.as_str()?)?);
        names.map(str::to_owned).collect()
    }
}

/// Returns whether a file is for its reader alone.
///
/// Kubernetes mounts a file of a Secret as root's, read-only, and readable by the pod's own group
/// (`defaultMode: 0400` with an `fsGroup`): the server, which is another user, could not read it
/// otherwise.
fn is_private(owner: u32, mode: u32) -> bool {
    let is_mounted = owner == 0 && mode & 0o337 == 0;
    mode & 0o077 == 0 || is_mounted
}

/// Returns the variable that a text stands for, as the whole of `${NAME}`. Returns `Some(None)` if
/// the text has `${`, and is something else.
pub(super) fn variable(text: &str) -> Option<Option<&str>> {
    if !text.contains("${") {
        return None;
    }
    let name = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let is_name = |name: &&str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    Some(name.filter(|name| !name.is_empty()).filter(is_name))
}

fn note_offsets(place: &str, table: &DeTable<'_>, offsets: &mut HashMap<String, usize>) {
    for (key, value) in table {
        let name = key.get_ref();
        let place = if place.is_empty() { name.to_string() } else { format!("{place}.{name}") };
        offsets.insert(place.clone(), key.span().start);
        if let Some(table) = value.get_ref().as_table() {
            note_offsets(&place, table, offsets);
        }
    }
}

fn position(file: &str, text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Position { file: file.to_owned(), line, column }
}

#[cfg(test)]
mod tests {
    use super::is_private;

    #[test]
    fn file_is_private_if_its_owner_or_the_pods_group_alone_may_read_it() {
        for (owner, mode, expect) in [
            (1000, 0o100600, true),
            (1000, 0o100400, true),
            (1000, 0o100640, false),
            (1000, 0o100440, false),
            (1000, 0o100604, false),
            (0, 0o100600, true),
            (0, 0o100440, true),
            (0, 0o100640, false),
            (0, 0o100460, false),
            (0, 0o100444, false),
        ] {
            assert_eq!(is_private(owner, mode), expect, "{owner} {mode:o}");
        }
    }
}

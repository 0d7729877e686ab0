//! An example of a file of settings, which has each member: as it is, or as a comment.

use super::folder::Folder;
use crate::settings::error::SettingError;
use crate::settings::reader::{SettingsReader, Sources};
use crate::settings::setting::{Setting, SettingsTable, Unset};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// An example of a file of settings.
pub struct Example<'e> {
    text: &'e str,
    sections: toml::Table,
}

impl<'e> Example<'e> {
    /// Parses an example. Returns the parser's message if it is not TOML.
    pub fn parse(text: &'e str) -> Result<Self, String> {
        let sections = toml::from_str(&uncommented(text)).map_err(|error| error.to_string())?;
        Ok(Self { text, sections })
    }

    /// Returns the errors that `read` finds in the example: as it is, and with all members that are
    /// comments. For each setting whose value is the path of a file, `file_of` returns the name of
    /// one in the folder.
    pub fn errors<C>(
        &self,
        table: &SettingsTable,
        folder: &Folder,
        file_of: impl Fn(&Setting) -> Option<&'static str>,
        read: fn(SettingsReader<'_>) -> Result<C, Vec<SettingError>>,
    ) -> Vec<String> {
        let mut all = Vec::new();
        for mut text in [self.text.to_owned(), uncommented(self.text)] {
            for setting in table.settings {
                let Some(file) = file_of(setting) else { continue };
                match self.value(setting) {
                    Some(value) => {
                        text = text.replace(&format!("\"{value}\""), &format!("\"{file}\""));
                    }
                    None => all.push(format!("{}: the example names no file", setting.place())),
                }
            }
            folder.write(FILE, &text);
            let path = folder.path().join(FILE);
            let file = Some(path.as_path());
            let sources =
                Sources { flags: BTreeMap::new(), environment: &|_| None, names: Vec::new(), file };
            let errors = read(SettingsReader::new(table, sources)).err().unwrap_or_default();
            all.extend(errors.iter().map(ToString::to_string));
        }
        all
    }

    fn value(&self, setting: &Setting) -> Option<&str> {
        self.sections.get(setting.section)?.get(setting.file_member())?.as_str()
    }

    /// Returns whether a member is a comment.
    fn is_comment(&self, setting: &Setting) -> bool {
        let (section, member) = (format!("[{}]", setting.section), setting.file_member());
        let lines = self.text.lines().skip_while(|line| *line != section).skip(1);
        let mut own = lines.take_while(|line| !line.starts_with('['));
        own.any(|line| line.starts_with(&format!("# {member} = ")))
    }

    /// Returns where the example differs from the table.
    pub fn differences(&self, table: &SettingsTable) -> Vec<String> {
        let mut differences = Vec::new();
        let mut places: Vec<String> = table.settings.iter().map(Setting::place).collect();
        places.dedup();
        let members = self.sections.values().filter_map(toml::Value::as_table).flatten().count();
        if members != places.len() {
            differences.push(format!("{members} members, not {}", places.len()));
        }
        for setting in table.settings {
            let (place, member) = (setting.place(), setting.file_member());
            let value = self.sections.get(setting.section).and_then(|own| own.get(member));
            let Some(value) = value else {
                differences.push(format!("{place} is missing"));
                continue;
            };
            let is_comment = self.is_comment(setting);
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match setting.unset {
                Unset::Default(default) if text != default || !is_comment => {
                    differences.push(format!("{place} is {text}, and its default {default}"));
                }
                Unset::Required(_) if is_comment => {
                    differences.push(format!("{place} is required, and a comment"));
                }
                _ => {}
            }
        }
        differences
    }
}

/// Returns the sections and members of an example, those that are comments included.
fn uncommented(text: &str) -> String {
    let mut sections = String::new();
    for line in text.lines() {
        let code = line.strip_prefix("# ").unwrap_or(line);
        let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let is_member = code.split_once(" = ").is_some_and(|(name, _)| is_name(name));
        if is_member || line.starts_with('[') {
            let _ = writeln!(sections, "{code}");
        }
    }
    sections
}

const FILE: &str = "example.toml";

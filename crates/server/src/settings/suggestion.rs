//! Names that mean no setting, and the settings that they seem to mean.

use super::error::{Place, SettingError};
use super::file::SettingsFile;
use super::setting::{Kind, Setting, SettingsTable};
use portcullis_core::ConfigErrorKind;
use setting_names::{misspelt, nearest};
use std::collections::BTreeSet;
use toml::Value;

impl SettingsTable {
    /// Returns an error for each name of an environment variable that seems to mean a setting.
    /// Those that the file uses are the operator's own.
    pub(super) fn misspelt_variables(
        &self,
        names: &[String],
        file: Option<&SettingsFile>,
    ) -> Vec<SettingError> {
        let variables = self.variables();
        let known: Vec<&str> = variables.iter().map(String::as_str).collect();
        let used = file.map(SettingsFile::variables).unwrap_or_default();
        let names = names.iter().filter(|name| !used.contains(name));
        let error = |name: &String| {
            let setting = misspelt(name, &known, self.namespaces)?;
            let problem = format!("unknown setting; rename it to {setting}, or unset it");
            Some(Place::named(name).error(problem))
        };
        names.filter_map(error).collect()
    }

    /// Returns an error for each section and member of a file that is not a setting.
    pub(super) fn unknown_members(&self, file: &SettingsFile) -> Vec<SettingError> {
        let mut errors = Vec::new();
        for (name, value) in &file.sections {
            let problem = match value {
                _ if !self.sections().contains(&name.as_str()) => self.unknown_at_top(name),
                Value::Table(members) => {
                    for member in members.keys() {
                        if let Some(problem) = self.problem_of(name, member) {
                            errors.push(file.place(&format!("{name}.{member}")).error(problem));
                        }
                    }
                    continue;
                }
                _ => ConfigErrorKind::NotA("a table").to_string(),
            };
            errors.push(file.place(name).error(problem));
        }
        errors
    }

    /// Returns what is wrong with a name in a section, or `None` if it is a setting.
    fn problem_of(&self, section: &str, name: &str) -> Option<String> {
        let own = || self.settings.iter().filter(|setting| setting.section == section);
        if own().any(|setting| setting.file_member() == name) {
            return None;
        }
        if let Some(secret) = own().find(|setting| setting.member == name) {
            return Some(format!(
                "a secret does not belong in this file; give the variable {}, or the path of a file \
                 with it as {} or in {}",
                secret.variable,
                secret.place(),
                secret.file_variable().unwrap_or_default(),
            ));
        }
        let own: Vec<&str> = own().map(Setting::file_member).collect();
        let in_section = || nearest(name, &own).map(str::to_owned);
        Some(self.variable_in_file(name).unwrap_or_else(|| {
            let meant = self.places_of(name).or_else(in_section);
            ConfigErrorKind::Unknown(meant.or_else(|| self.near_place(name))).to_string()
        }))
    }

    /// Returns what is wrong with a name that is outside the sections, and not one of theirs.
    fn unknown_at_top(&self, name: &str) -> String {
        let section = || nearest(name, &self.sections()).map(str::to_owned);
        self.variable_in_file(name).unwrap_or_else(|| {
            let meant = self.places_of(name).or_else(section);
            ConfigErrorKind::Unknown(meant.or_else(|| self.near_place(name))).to_string()
        })
    }

    /// Returns the error for a variable's name in the file.
    fn variable_in_file(&self, name: &str) -> Option<String> {
        let setting = self.of_variable(name)?;
        let place = setting.place();
        let problem = match setting.kind {
            Kind::Secret { .. } if setting.variable == name => format!(
                "is the name of a variable, and a secret; set the variable, or give the path of a \
                 file with it as {place}"
            ),
            _ => format!("is the name of a variable; in this file it is {place}"),
        };
        Some(problem)
    }

    /// Returns the places of the members of this very name.
    fn places_of(&self, name: &str) -> Option<String> {
        let named = self.settings.iter().filter(|setting| setting.file_member() == name);
        let places: BTreeSet<String> = named.map(Setting::place).collect();
        let places: Vec<String> = places.into_iter().collect();
        (!places.is_empty()).then(|| places.join(" or "))
    }

    /// Returns the place of the member whose name or variable is near this one.
    fn near_place(&self, name: &str) -> Option<String> {
        let variables = self.variables();
        let variables: Vec<&str> = variables.iter().map(String::as_str).collect();
        if let Some(variable) = nearest(&name.to_ascii_uppercase(), &variables) {
            return self.of_variable(variable).map(Setting::place);
        }
        let members: Vec<&str> = self.settings.iter().map(Setting::file_member).collect();
        self.places_of(nearest(name, &members)?)
    }
}

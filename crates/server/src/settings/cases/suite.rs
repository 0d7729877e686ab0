//! What the cases of a program are made of.

use crate::settings::error::SettingError;
use crate::settings::reader::{SettingsReader, Sources};
use crate::settings::setting::{Kind, Setting, SettingsTable};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

/// The data about one setting beyond the table.
pub struct Case<C> {
    pub(super) variable: &'static str,
    pub(super) valid: [String; 2],
    pub(super) seen: [String; 2],
    pub(super) invalid: Vec<(&'static str, &'static str)>,
    pub(super) with: Vec<(&'static str, String)>,
    pub(super) is_variable_only: bool,
    pub(super) observe: fn(&C) -> String,
}

impl<C> Case<C> {
    /// Returns a case for a setting. `observe` returns what a configuration has of it, and sees the
    /// two valid values.
    pub fn new(variable: &'static str, valid: [&str; 2], observe: fn(&C) -> String) -> Self {
        Self {
            variable,
            valid: valid.map(str::to_owned),
            seen: valid.map(str::to_owned),
            invalid: Vec::new(),
            with: Vec::new(),
            is_variable_only: false,
            observe,
        }
    }

    /// Says what `observe` returns for the two valid values.
    #[must_use]
    pub fn seen(self, seen: [&str; 2]) -> Self {
        Self { seen: seen.map(str::to_owned), ..self }
    }

    /// Adds a value that is invalid, and what its error says.
    #[must_use]
    pub fn invalid(mut self, value: &'static str, problem: &'static str) -> Self {
        self.invalid.push((value, problem));
        self
    }

    /// Adds a variable that the setting needs.
    #[must_use]
    pub fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.with.push((variable, value.to_owned()));
        self
    }

    /// Says that the member that names the secret's file is another setting.
    #[must_use]
    pub fn variable_only(self) -> Self {
        Self { is_variable_only: true, ..self }
    }
}

/// The cases of a program.
pub struct Suite<C> {
    /// Its settings.
    pub table: SettingsTable,
    /// A case for each of them.
    pub cases: Vec<Case<C>>,
    /// The variables of a valid configuration.
    pub base: Vec<(&'static str, String)>,
    /// Reads a configuration.
    pub read: fn(SettingsReader<'_>) -> Result<C, Vec<SettingError>>,
    /// An empty folder for files.
    pub folder: PathBuf,
}

/// What a configuration is read from, next to the base.
#[derive(Default)]
pub(super) struct Input {
    pub(super) flag: Option<String>,
    pub(super) variables: Vec<(String, String)>,
    pub(super) file: Option<String>,
}

impl<C> Suite<C> {
    pub(super) fn read(&self, setting: &Setting, input: &Input) -> Result<C, Vec<String>> {
        let of_base = self.base.iter().filter(|(name, _)| *name != setting.variable);
        let mut variables: BTreeMap<String, String> =
            of_base.map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        variables.extend(input.variables.iter().cloned());
        let path = self.folder.join(FILE);
        if let Some(text) = &input.file {
            self.write(FILE, text);
        }
        let flags = input.flag.iter().map(|value| (setting.variable, value.clone()));
        let sources = Sources {
            flags: flags.collect(),
            environment: &|name| variables.get(name).cloned(),
            names: variables.keys().cloned().collect(),
            file: input.file.as_ref().map(|_| path.as_path()),
        };
        let reader = SettingsReader::new(&self.table, sources);
        let folder = format!("{}/", self.folder.display());
        let describe = |error: SettingError| error.to_string().replace(&folder, "");
        (self.read)(reader).map_err(|errors| errors.into_iter().map(describe).collect())
    }

    pub(super) fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        // A failure shows as that of the reader.
        let _ = fs::write(&path, text);
        let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o600));
        path.display().to_string()
    }

    /// Returns a section with one member, as it stands for a value.
    pub(super) fn section(&self, setting: &Setting, value: &str) -> String {
        let value = match setting.kind {
            Kind::Number { .. } => value.to_owned(),
            Kind::List(_) => format!("{:?}", value.split(',').collect::<Vec<_>>()),
            Kind::Secret { .. } => {
                self.write("secret", value);
                "\"secret\"".to_owned()
            }
            Kind::Address | Kind::OneOf(_) | Kind::Path | Kind::Text(_) => format!("{value:?}"),
        };
        format!("[{}]\n{} = {value}\n", setting.section, setting.file_member())
    }
}

pub(super) const FILE: &str = "settings.toml";

//! A setting: what it is called, and what it may hold.

/// The settings of a program.
#[derive(Clone, Copy, Debug)]
pub struct SettingsTable {
    /// All settings, in the order of `--help`.
    pub settings: &'static [Setting],
    /// The variable that names the file, as `--config` does.
    pub file_variable: &'static str,
    /// How names of variables begin that hardly any other program has.
    pub namespaces: &'static [&'static str],
}

/// A setting of a program.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its section in the file.
    pub section: &'static str,
    /// Its name in that section. A secret must not be there.
    pub member: &'static str,
    /// The environment variable that overrides the file.
    pub variable: &'static str,
    /// The flag that overrides both. Secrets have none, because every user of the machine can see a
    /// command line.
    pub flag: Option<&'static str>,
    /// What it may hold.
    pub kind: Kind,
    /// What applies if it is not set.
    pub unset: Unset,
    /// Whether it may hold a password, as a URL does.
    pub is_sensitive: bool,
    /// What it is for, without a full stop.
    pub help: &'static str,
}

/// What a setting may hold.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// The address and the port of a socket.
    Address,
    /// A list of texts; separated by commas in a variable.
    List(Format),
    /// A whole number.
    Number {
        /// The least.
        min: u32,
        /// The greatest.
        max: u32,
        /// Whether 0 is valid as well.
        or_zero: bool,
    },
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// The path of a file. In the file of settings it is relative to that file's folder.
    Path,
    /// A secret. Only a variable has it, or a file that another variable or this member names.
    Secret {
        /// The member with the path of a file that holds the secret.
        file: &'static str,
        /// What it must be.
        format: Format,
    },
    /// A text.
    Text(Format),
}

/// What a text must be.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Returns whether a text is valid.
    pub accepts: fn(&str) -> bool,
    /// What errors say of another text: `must be …`.
    pub expected: &'static str,
}

impl Format {
    /// Any text.
    pub const ANY: Self = Self { accepts: |_| true, expected: "must be a text" };
}

/// What applies if a setting is not set.
#[derive(Clone, Copy, Debug)]
pub enum Unset {
    /// This value, as a variable would have it.
    Default(&'static str),
    /// What the text describes: something that depends on other settings or on the machine.
    Otherwise(&'static str),
    /// An error with this advice.
    Required(&'static str),
}

impl SettingsTable {
    /// Returns the names of all variables, those that name files of secrets included.
    pub fn variables(&self) -> Vec<String> {
        let names = self.settings.iter().flat_map(|setting| {
            [Some(setting.variable.to_owned()), setting.file_variable()].into_iter().flatten()
        });
        names.chain([self.file_variable.to_owned()]).collect()
    }

    /// Returns the setting of a variable, also of one that names the file of a secret.
    pub(super) fn of_variable(&self, name: &str) -> Option<&'static Setting> {
        let is_named = |setting: &&Setting| {
            setting.variable == name || setting.file_variable().is_some_and(|own| own == name)
        };
        self.settings.iter().find(is_named)
    }

    /// Returns the names of the sections, each once.
    pub(super) fn sections(&self) -> Vec<&'static str> {
        let mut sections: Vec<&str> = self.settings.iter().map(|own| own.section).collect();
        sections.dedup();
        sections.sort_unstable();
        sections.dedup();
        sections
    }
}

impl Setting {
    /// Returns a setting that may be missing. The methods below say more of it.
    pub const fn new(
        section: &'static str,
        member: &'static str,
        variable: &'static str,
        kind: Kind,
    ) -> Self {
        Self {
            section,
            member,
            variable,
            flag: None,
            kind,
            unset: Unset::Otherwise("none"),
            is_sensitive: false,
            help: "",
        }
    }

    /// Returns a number.
    pub const fn number(
        section: &'static str,
        member: &'static str,
        variable: &'static str,
        min: u32,
        max: u32,
    ) -> Self {
        Self::new(section, member, variable, Kind::Number { min, max, or_zero: false })
    }

    /// Accepts 0 as well.
    #[must_use]
    pub const fn or_zero(self) -> Self {
        match self.kind {
            Kind::Number { min, max, .. } => {
                Self { kind: Kind::Number { min, max, or_zero: true }, ..self }
            }
            _ => self,
        }
    }

    /// Adds a flag.
    #[must_use]
    pub const fn flag(self, flag: &'static str) -> Self {
        Self { flag: Some(flag), ..self }
    }

    /// Adds a default.
    #[must_use]
    pub const fn default(self, value: &'static str) -> Self {
        Self { unset: Unset::Default(value), ..self }
    }

    /// Says what applies if it is missing.
    #[must_use]
    pub const fn otherwise(self, text: &'static str) -> Self {
        Self { unset: Unset::Otherwise(text), ..self }
    }

    /// Makes it an error if the setting is missing. `advice` says what to give.
    #[must_use]
    pub const fn required(self, advice: &'static str) -> Self {
        Self { unset: Unset::Required(advice), ..self }
    }

    /// Says that it may hold a password.
    #[must_use]
    pub const fn sensitive(self) -> Self {
        Self { is_sensitive: true, ..self }
    }

    /// Says what it is for.
    #[must_use]
    pub const fn help(self, help: &'static str) -> Self {
        Self { help, ..self }
    }

    /// Returns the member that a file may have: of a secret, the one with the path of its file.
    pub fn file_member(&self) -> &'static str {
        match self.kind {
            Kind::Secret { file, .. } => file,
            _ => self.member,
        }
    }

    /// Returns the place in the file, such as `store.url`.
    pub fn place(&self) -> String {
        format!("{}.{}", self.section, self.file_member())
    }

    /// Returns the variable with the path of a file, if the setting is a secret.
    pub fn file_variable(&self) -> Option<String> {
        match self.kind {
            Kind::Secret { .. } => Some(format!("{}_FILE", self.variable)),
            _ => None,
        }
    }

    /// Returns what `--help` says.
    pub(super) fn help_text(&self) -> String {
        let mut text = self.help.to_owned();
        match self.kind {
            Kind::Number { min, max, or_zero } => {
                let or_zero = if or_zero { ", or 0" } else { "" };
                text.push_str(&format!(" ({min} to {max}{or_zero})"));
            }
            Kind::OneOf(names) => text.push_str(&format!(": {}", names.join(", "))),
            Kind::List(_) => text.push_str(", separated by commas"),
            Kind::Address | Kind::Path | Kind::Secret { .. } | Kind::Text(_) => {}
        }
        let unset = match self.unset {
            Unset::Default(value) | Unset::Otherwise(value) => format!("default: {value}"),
            Unset::Required(_) => "required".to_owned(),
        };
        format!("{text} [{unset}] [file: {}]", self.place())
    }
}

/// Declares the settings of a program, and `ALL`, which has each of them.
#[macro_export]
macro_rules! settings {
    ($($name:ident = $setting:expr;)*) => {
        $(pub const $name: $crate::settings::Setting = $setting;)*
        /// All settings.
        pub const ALL: &[$crate::settings::Setting] = &[$($name),*];
    };
}

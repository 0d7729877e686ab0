//! Errors in settings, in the form of the edge's: `FILE:LINE:COLUMN: error: MEMBER: what to do`.

use std::fmt;

/// An error in a setting, with its fix.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SettingError {
    place: Place,
    problem: String,
}

/// Where a setting was given, and what it is called there.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    pub(super) position: Option<Position>,
    pub(super) name: String,
}

/// A position in a file of settings.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Position {
    pub(super) file: String,
    /// From 1.
    pub(super) line: usize,
    /// From 1.
    pub(super) column: usize,
}

impl Place {
    /// Returns the place of a setting that no file has.
    pub fn named(name: impl Into<String>) -> Self {
        Self { position: None, name: name.into() }
    }

    /// Returns what the setting is called there: a flag, a variable, or a member of the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns an error at this place.
    pub fn error(&self, problem: impl fmt::Display) -> SettingError {
        SettingError { place: self.clone(), problem: problem.to_string() }
    }
}

impl SettingError {
    /// Returns whether the error has a position in a file.
    pub(super) fn is_in_file(&self) -> bool {
        self.place.position.is_some()
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place: Place { position, name }, problem } = self;
        if let Some(Position { file, line, column }) = position {
            write!(f, "{file}:{line}:{column}: error: ")?;
        }
        match name.as_str() {
            "" => f.write_str(problem),
            name => write!(f, "{name}: {problem}"),
        }
    }
}

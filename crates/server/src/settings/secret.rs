//! The reading of secrets, which are in variables or in files of their own.

use super::reader::{Given, SettingsReader};
use super::setting::{Kind, Setting, Unset};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

impl SettingsReader<'_> {
    /// Returns a secret: from its variable, or from the file that `…_FILE` or the file of settings
    /// names.
    pub fn secret(&mut self, setting: &Setting) -> Option<String> {
        let Kind::Secret { format, .. } = setting.kind else { return None };
        let file_variable = setting.file_variable()?;
        let text = match (self.variable(setting.variable), self.variable(&file_variable)) {
            (Some(_), Some(_)) => {
                let problem = format!("{file_variable} is set as well; give one of them");
                self.add_error(setting, problem);
                return None;
            }
            (Some(text), None) => text,
            (None, Some(path)) => self.secret_file(setting, Path::new(&path))?,
            (None, None) => self.secret_of_member(setting, &file_variable)?,
        };
        if (format.accepts)(&text) {
            return Some(text);
        }
        self.add_error(setting, format.expected);
        None
    }

    /// Returns a secret that only its variable may have.
    pub fn variable_secret(&self, setting: &Setting) -> Option<String> {
        self.variable(setting.variable)
    }

    fn secret_of_member(&mut self, setting: &Setting, file_variable: &str) -> Option<String> {
        if let Some(given) = self.member(setting).map(Given::Member) {
            let text = self.expect_text(setting, given)?;
            let path = self.file.as_ref().map(|file| file.path(&text))?;
            return self.secret_file(setting, &path);
        }
        // A secret in the file itself is an error already.
        let has_secret = self
            .file
            .as_ref()
            .is_some_and(|file| file.member(setting.section, setting.member).is_some());
        if let (Unset::Required(advice), false) =
            (setting.unset, has_secret || self.is_file_invalid())
        {
            let place = setting.place();
            let problem = format!(
                "is not set; {advice}, or name a file that has it: {file_variable}, {place}"
            );
            self.add_error(setting, problem);
        }
        None
    }

    /// Returns what a file has. Errors do not name the file, since the path may be a secret that
    /// was given in the wrong place.
    fn secret_file(&mut self, setting: &Setting, path: &Path) -> Option<String> {
        let read = std::fs::read_to_string(path)
            .and_then(|text| Ok((text, std::fs::metadata(path)?.permissions().mode())));
        match read {
            Ok((text, _)) if text.trim().is_empty() => {
                self.add_error(setting, "names an empty file; put the secret there");
                None
            }
            Ok((text, mode)) => {
                // Orchestrators mount secrets with modes of their own, so that this is not an
                // error.
                if mode & 0o007 != 0 {
                    let file = path.display();
                    tracing::warn!(event = "secret_exposed", %file, fix = "chmod 600 the file");
                }
                Some(text.trim().to_owned())
            }
            Err(error) => {
                let problem = format!("names a file that can't be read: {error}; give its path");
                self.add_error(setting, problem);
                None
            }
        }
    }
}

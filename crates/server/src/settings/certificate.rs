//! The files of a certificate and its key.

use super::error::{Place, SettingError};
use super::reader::SettingsReader;
use super::setting::Setting;
use crate::tls::{Pair, TlsError, server_config};
use rustls::ServerConfig;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The files of a certificate and its key, if they are set.
#[derive(Clone, Default)]
pub struct CertificateFiles {
    certificate: Option<PathBuf>,
    certificate_place: Place,
    key: Option<PathBuf>,
    key_place: Place,
    /// Whether a path is not a text, which is an error already.
    is_invalid: bool,
}

impl CertificateFiles {
    /// Reads the two settings.
    pub fn read(settings: &mut SettingsReader<'_>, certificate: &Setting, key: &Setting) -> Self {
        let (certificate_place, key_place) = (settings.place(certificate), settings.place(key));
        let is_set = [settings.is_set(certificate), settings.is_set(key)];
        let (certificate, key) = (settings.path(certificate), settings.path(key));
        let is_invalid = is_set != [certificate.is_some(), key.is_some()];
        Self { certificate, certificate_place, key, key_place, is_invalid }
    }

    /// Returns whether either file is set.
    pub fn is_set(&self) -> bool {
        self.certificate.is_some() || self.key.is_some()
    }

    /// Returns the paths of the certificate and of the key.
    pub fn paths(&self) -> (Option<&Path>, Option<&Path>) {
        (self.certificate.as_deref(), self.key.as_deref())
    }

    /// Loads the configuration of a server. Returns `None` if no file is set, or `Err` with all
    /// errors.
    pub fn server_config(&self) -> Result<Option<Arc<ServerConfig>>, Vec<SettingError>> {
        let (certificate, key) = self.paths();
        server_config(certificate, key).map_err(|errors| self.describe(errors))
    }

    /// Loads certificate and key. Returns `None` if no file is set, or `Err` with all errors.
    pub fn pair(&self) -> Result<Option<Pair>, Vec<SettingError>> {
        let (certificate, key) = self.paths();
        Pair::load(certificate, key).map_err(|errors| self.describe(errors))
    }

    /// Returns the error of a key that is another certificate's.
    pub fn mismatch(&self) -> SettingError {
        let certificate = self.certificate_place.name();
        self.key_place.error(format!("is not the key of {certificate}; give the key of that one"))
    }

    fn describe(&self, errors: Vec<TlsError>) -> Vec<SettingError> {
        if self.is_invalid {
            return Vec::new();
        }
        let describe = |error| match error {
            TlsError::Certificate => {
                self.certificate_place.error("can't be read, or holds no certificate in PEM")
            }
            TlsError::Incomplete => {
                let (set, missing) = match self.certificate {
                    Some(_) => (&self.certificate_place, &self.key_place),
                    None => (&self.key_place, &self.certificate_place),
                };
                set.error(format!("needs {} as well; give both, or neither", missing.name()))
            }
            TlsError::Key => self.key_place.error("can't be read, or holds no private key in PEM"),
            TlsError::Pair => self.mismatch(),
        };
        errors.into_iter().map(describe).collect()
    }
}

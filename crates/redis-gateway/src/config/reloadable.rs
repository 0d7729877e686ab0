//! The part of the configuration that SIGHUP reloads.

use super::table::{
    GATEWAY_TLS_CERT_FILE, GATEWAY_TLS_KEY_FILE, GATEWAY_TOKENS, GATEWAY_TOKENS_FILE,
};
use crate::token::{TokenError, Tokens};
use portcullis_server::settings::{CertificateFiles, Place, SettingError, SettingsReader};
use rustls::ServerConfig;
use std::path::PathBuf;
use std::sync::Arc;

/// The part of the configuration that SIGHUP reloads.
pub struct Reloadable {
    pub tokens: Tokens,
    pub tls: Option<Arc<ServerConfig>>,
}

/// Where that part comes from.
pub struct ReloadableFiles {
    pub(super) certificate: CertificateFiles,
    /// The tokens that a variable has.
    tokens: Option<String>,
    tokens_file: Option<PathBuf>,
    tokens_file_place: Place,
    /// Whether the file of settings, which may name a file of tokens, can't be read.
    is_incomplete: bool,
}

impl ReloadableFiles {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Self {
        Self {
            certificate: CertificateFiles::read(
                reader,
                &GATEWAY_TLS_CERT_FILE,
                &GATEWAY_TLS_KEY_FILE,
            ),
            tokens: reader.variable_secret(&GATEWAY_TOKENS),
            tokens_file: reader.path(&GATEWAY_TOKENS_FILE),
            tokens_file_place: reader.place(&GATEWAY_TOKENS_FILE),
            is_incomplete: reader.is_file_invalid(),
        }
    }

    /// Loads the tokens and the certificate. Returns `Err` with all errors.
    pub fn load(&self) -> Result<Reloadable, Vec<SettingError>> {
        let mut errors = Vec::new();
        let tls = self.certificate.server_config().unwrap_or_else(|found| {
            errors.extend(found);
            None
        });
        let file = match self.tokens_file.as_ref().map(std::fs::read_to_string) {
            Some(Err(error)) => {
                let problem = format!("can't be read: {error}; name a file");
                errors.push(self.tokens_file_place.error(problem));
                None
            }
            Some(Ok(text)) => Some(text),
            None => None,
        };
        let is_unreadable = self.tokens_file.is_some() && file.is_none() || self.is_incomplete;
        match Tokens::parse(self.tokens.as_deref(), file.as_deref()) {
            Ok(tokens) if errors.is_empty() => Ok(Reloadable { tokens, tls }),
            Ok(_) => Err(errors),
            Err(more) => {
                // An unreadable file may contain tokens, so "no token" would mislead.
                let more = more
                    .into_iter()
                    .filter(|error| !is_unreadable || *error != TokenError::Missing);
                errors.extend(more.map(|error| self.describe(&error)));
                Err(errors)
            }
        }
    }

    fn describe(&self, error: &TokenError) -> SettingError {
        match error {
            TokenError::FileFormat(_) | TokenError::NameFormat => {
                self.tokens_file_place.error(error)
            }
            TokenError::EntryFormat(_) | TokenError::Missing => {
                Place::named(GATEWAY_TOKENS.variable).error(error)
            }
            TokenError::Token(name, kind) => Place::named(format!("token {name}")).error(kind),
        }
    }
}

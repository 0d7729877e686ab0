//! The part of the configuration that SIGHUP reloads.

use super::srh::{SrhEntry, SrhSource};
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
    tokens: TokenSource,
}

/// Where tokens come from.
enum TokenSource {
    Own(OwnTokens),
    Srh {
        source: SrhSource,
        /// The addresses of the servers to which connections were made at the start.
        servers: Vec<String>,
    },
}

/// The settings of tokens.
struct OwnTokens {
    /// The tokens that a variable has.
    variable: Option<String>,
    file: Option<PathBuf>,
    file_place: Place,
    /// Whether the file of settings, which may name a file of tokens, can't be read.
    is_incomplete: bool,
}

impl ReloadableFiles {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Self {
        let certificate = read_certificate(reader);
        let tokens = TokenSource::Own(OwnTokens {
            variable: reader.variable_secret(&GATEWAY_TOKENS),
            file: reader.path(&GATEWAY_TOKENS_FILE),
            file_place: reader.place(&GATEWAY_TOKENS_FILE),
            is_incomplete: reader.is_file_invalid(),
        });
        Self { certificate, tokens }
    }

    /// Reads the settings that go with serverless-redis-http's. `servers` are the addresses of the
    /// servers of its tokens, each once.
    pub(super) fn read_with_srh(
        reader: &mut SettingsReader<'_>,
        source: SrhSource,
        servers: Vec<String>,
    ) -> Self {
        let certificate = read_certificate(reader);
        Self { certificate, tokens: TokenSource::Srh { source, servers } }
    }

    /// Loads the tokens and the certificate. Returns `Err` with all errors.
    pub fn load(&self) -> Result<Reloadable, Vec<SettingError>> {
        let mut errors = Vec::new();
        let tls = self.certificate.server_config().unwrap_or_else(|found| {
            errors.extend(found);
            None
        });
        let tokens = match &self.tokens {
            TokenSource::Own(own) => own.load(),
            TokenSource::Srh { source, servers } => load_srh(source, servers),
        };
        match tokens {
            Ok(tokens) if errors.is_empty() => Ok(Reloadable { tokens, tls }),
            Ok(_) => Err(errors),
            Err(more) => {
                errors.extend(more);
                Err(errors)
            }
        }
    }
}

fn read_certificate(reader: &mut SettingsReader<'_>) -> CertificateFiles {
    CertificateFiles::read(reader, &GATEWAY_TLS_CERT_FILE, &GATEWAY_TLS_KEY_FILE)
}

fn load_srh(source: &SrhSource, servers: &[String]) -> Result<Tokens, Vec<SettingError>> {
    let (entries, mut errors) = source.entries();
    let mut tokens = Vec::new();
    for entry in &entries {
        match servers.iter().position(|server| *server == entry.connection_string) {
            Some(server) => tokens.push((entry.name.as_str(), entry.secret.as_str(), server)),
            None => errors.push(entry.place.error("has a new Redis; restart the redis gateway")),
        }
    }
    if errors.is_empty() {
        entries.iter().for_each(SrhEntry::warn);
        Ok(Tokens::unrestricted(tokens.into_iter()))
    } else {
        Err(errors)
    }
}

impl OwnTokens {
    fn load(&self) -> Result<Tokens, Vec<SettingError>> {
        let mut errors = Vec::new();
        let file = match self.file.as_ref().map(std::fs::read_to_string) {
            Some(Err(error)) => {
                let problem = format!("can't be read: {error}; name a file");
                errors.push(self.file_place.error(problem));
                None
            }
            Some(Ok(text)) => Some(text),
            None => None,
        };
        let is_unreadable = self.file.is_some() && file.is_none() || self.is_incomplete;
        match Tokens::parse(self.variable.as_deref(), file.as_deref()) {
            Ok(tokens) if errors.is_empty() => Ok(tokens),
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
            TokenError::FileFormat(_) | TokenError::NameFormat => self.file_place.error(error),
            TokenError::EntryFormat(_) | TokenError::Missing => {
                Place::named(GATEWAY_TOKENS.variable).error(error)
            }
            TokenError::Token(name, kind) => Place::named(format!("token {name}")).error(kind),
        }
    }
}

//! The part of the configuration that SIGHUP reloads.

use super::error::ConfigError;
use super::settings::Settings;
use super::tls;
use crate::token::{TokenError, Tokens};
use rustls::ServerConfig;
use std::sync::Arc;

/// The part of the configuration that SIGHUP reloads.
pub struct Reloadable {
    pub tokens: Tokens,
    pub tls: Option<Arc<ServerConfig>>,
}

impl Reloadable {
    /// Loads the tokens and the certificate. Returns `Err` with all errors.
    pub fn load(settings: &Settings) -> Result<Self, Vec<ConfigError>> {
        Self::check(settings, |name| std::env::var(name).ok())
    }

    pub(super) fn check(
        settings: &Settings,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let tls = tls::server_config(settings, &mut errors);
        let file = match settings.tokens_file.as_ref().map(std::fs::read_to_string) {
            Some(Err(_)) => {
                errors.push(ConfigError::Token(TokenError::FileUnreadable));
                None
            }
            Some(Ok(text)) => Some(text),
            None => None,
        };
        let is_unreadable = settings.tokens_file.is_some() && file.is_none();
        match Tokens::parse(lookup("GATEWAY_TOKENS").as_deref(), file.as_deref()) {
            Ok(tokens) if errors.is_empty() => Ok(Self { tokens, tls }),
            Ok(_) => Err(errors),
            Err(more) => {
                // An unreadable file may contain tokens, so "no token" would mislead.
                let more = more
                    .into_iter()
                    .filter(|error| !is_unreadable || *error != TokenError::Missing);
                errors.extend(more.map(ConfigError::Token));
                Err(errors)
            }
        }
    }
}

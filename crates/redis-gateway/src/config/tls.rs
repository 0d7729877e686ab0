//! TLS configuration from certificate and key files.

use super::error::ConfigError;
use super::settings::Settings;
use portcullis_server::tls::{self, Pair, TlsError, load_certificates};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::sync::Arc;

/// Builds the TLS configuration for clients. Returns `None` without certificate, or on an error.
pub fn server_config(
    settings: &Settings,
    errors: &mut Vec<ConfigError>,
) -> Option<Arc<ServerConfig>> {
    let (certificate, key) = (&settings.tls_cert_file, &settings.tls_key_file);
    match tls::server_config(certificate.as_deref(), key.as_deref()) {
        Ok(config) => config,
        Err(found) => {
            errors.extend(found.into_iter().map(|error| match error {
                TlsError::Certificate => ConfigError::TlsCert,
                TlsError::Incomplete => ConfigError::TlsAlone,
                TlsError::Key => ConfigError::TlsKey,
                TlsError::Pair => ConfigError::TlsPair,
            }));
            None
        }
    }
}

/// Builds the TLS configuration for Redis. Returns `None` if the client certificate is invalid.
pub fn client_config(
    settings: &Settings,
    errors: &mut Vec<ConfigError>,
) -> Option<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    match &settings.redis_ca_file {
        Some(path) => {
            let loaded = load_certificates(path);
            if loaded.is_empty() || loaded.into_iter().any(|one| roots.add(one).is_err()) {
                errors.push(ConfigError::RedisCa);
            }
        }
        // Errors are ignored: without rediss:// the system's certificates are not needed.
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let (certificate, key) = (&settings.redis_cert_file, &settings.redis_key_file);
    let Pair { chain, key } = match Pair::load(certificate.as_deref(), key.as_deref()) {
        Ok(Some(pair)) => pair,
        Ok(None) => return Some(Arc::new(builder.with_no_client_auth())),
        Err(found) => {
            errors.extend(found.into_iter().map(client_error));
            return None;
        }
    };
    match builder.with_client_auth_cert(chain, key) {
        Ok(config) => Some(Arc::new(config)),
        Err(_) => {
            errors.push(ConfigError::RedisPair);
            None
        }
    }
}

fn client_error(error: TlsError) -> ConfigError {
    match error {
        TlsError::Certificate => ConfigError::RedisCert,
        TlsError::Incomplete => ConfigError::RedisCertAlone,
        TlsError::Key => ConfigError::RedisKey,
        TlsError::Pair => ConfigError::RedisPair,
    }
}

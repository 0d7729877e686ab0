//! TLS configuration from certificate and key files.

use super::error::ConfigError;
use super::settings::Settings;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::Path;
use std::sync::Arc;

/// Builds the TLS configuration for clients. Returns `None` without certificate, or on an error.
pub fn server_config(
    settings: &Settings,
    errors: &mut Vec<ConfigError>,
) -> Option<Arc<ServerConfig>> {
    let files = PairFiles {
        certificate: settings.tls_cert_file.as_deref(),
        key: settings.tls_key_file.as_deref(),
        incomplete: ConfigError::TlsAlone,
        bad_certificate: ConfigError::TlsCert,
        bad_key: ConfigError::TlsKey,
    };
    let Loaded::Pair(Pair { chain, key }) = files.load(errors) else { return None };
    match ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key) {
        Ok(mut config) => {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Some(Arc::new(config))
        }
        Err(_) => {
            errors.push(ConfigError::TlsPair);
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
    let files = PairFiles {
        certificate: settings.redis_cert_file.as_deref(),
        key: settings.redis_key_file.as_deref(),
        incomplete: ConfigError::RedisCertAlone,
        bad_certificate: ConfigError::RedisCert,
        bad_key: ConfigError::RedisKey,
    };
    let Pair { chain, key } = match files.load(errors) {
        Loaded::Pair(pair) => pair,
        Loaded::NotConfigured => return Some(Arc::new(builder.with_no_client_auth())),
        Loaded::Invalid => return None,
    };
    match builder.with_client_auth_cert(chain, key) {
        Ok(config) => Some(Arc::new(config)),
        Err(_) => {
            errors.push(ConfigError::RedisPair);
            None
        }
    }
}

/// A certificate chain and its private key.
struct Pair {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// The files of a certificate chain and its key, and the errors to report.
struct PairFiles<'a> {
    certificate: Option<&'a Path>,
    key: Option<&'a Path>,
    /// Only one of the files is configured.
    incomplete: ConfigError,
    bad_certificate: ConfigError,
    bad_key: ConfigError,
}

enum Loaded {
    Invalid,
    NotConfigured,
    Pair(Pair),
}

impl PairFiles<'_> {
    fn load(self, errors: &mut Vec<ConfigError>) -> Loaded {
        let (certificate, key) = match (self.certificate, self.key) {
            (None, None) => return Loaded::NotConfigured,
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(_), None) | (None, Some(_)) => {
                errors.push(self.incomplete);
                return Loaded::Invalid;
            }
        };
        let chain = load_certificates(certificate);
        if chain.is_empty() {
            errors.push(self.bad_certificate);
        }
        let key = PrivateKeyDer::from_pem_file(key).ok();
        if key.is_none() {
            errors.push(self.bad_key);
        }
        match key {
            Some(key) if !chain.is_empty() => Loaded::Pair(Pair { chain, key }),
            Some(_) | None => Loaded::Invalid,
        }
    }
}

/// Loads the certificates of a PEM file. Returns an empty list if the file is unreadable or malformed.
fn load_certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect).unwrap_or_default()
}

//! TLS configuration for connections to Redis.

use super::table::REDIS_CA_FILE;
use portcullis_server::settings::{CertificateFiles, SettingsReader};
use portcullis_server::tls::{Pair, load_certificates};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// Builds the TLS configuration for Redis. Returns `None` if the client certificate is invalid.
pub fn client_config(
    reader: &mut SettingsReader<'_>,
    certificate: &CertificateFiles,
) -> Option<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    match reader.path(&REDIS_CA_FILE) {
        Some(path) => {
            let loaded = load_certificates(&path);
            if loaded.is_empty() || loaded.into_iter().any(|one| roots.add(one).is_err()) {
                let problem = "can't be read, or holds no certificate in PEM";
                reader.add_error(&REDIS_CA_FILE, problem);
            }
        }
        // Errors are ignored: without rediss:// the system's certificates are not needed.
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let Pair { chain, key } = match certificate.pair() {
        Ok(Some(pair)) => pair,
        Ok(None) => return Some(Arc::new(builder.with_no_client_auth())),
        Err(found) => {
            found.into_iter().for_each(|error| reader.add(error));
            return None;
        }
    };
    match builder.with_client_auth_cert(chain, key) {
        Ok(config) => Some(Arc::new(config)),
        Err(_) => {
            reader.add(certificate.mismatch());
            None
        }
    }
}

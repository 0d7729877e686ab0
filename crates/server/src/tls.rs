//! Certificates and keys from files in PEM.

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;

/// The reason why a certificate can't be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TlsError {
    /// The file of the certificate is unreadable, or holds none.
    Certificate,
    /// Only one of the two files is configured.
    Incomplete,
    /// The file of the key is unreadable, or holds none.
    Key,
    /// The key is not the certificate's.
    Pair,
}

/// A certificate chain and its private key.
pub struct Pair {
    /// The certificate and those that sign it.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key of the first certificate.
    pub key: PrivateKeyDer<'static>,
}

impl Pair {
    /// Loads a chain and its key. Returns `None` if neither file is configured, or `Err` with all
    /// errors.
    pub fn load(
        certificate: Option<&Path>,
        key: Option<&Path>,
    ) -> Result<Option<Self>, Vec<TlsError>> {
        let (certificate, key) = match (certificate, key) {
            (None, None) => return Ok(None),
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(_), None) | (None, Some(_)) => return Err(vec![TlsError::Incomplete]),
        };
        let mut errors = Vec::new();
        let chain = load_certificates(certificate);
        if chain.is_empty() {
            errors.push(TlsError::Certificate);
        }
        match PrivateKeyDer::from_pem_file(key) {
            Ok(key) if errors.is_empty() => return Ok(Some(Self { chain, key })),
            Ok(_) => {}
            Err(_) => errors.push(TlsError::Key),
        }
        Err(errors)
    }
}

/// Builds the TLS configuration of a server. Returns `None` without certificate, or `Err` with all
/// errors.
pub fn server_config(
    certificate: Option<&Path>,
    key: Option<&Path>,
) -> Result<Option<Arc<ServerConfig>>, Vec<TlsError>> {
    let Some(Pair { chain, key }) = Pair::load(certificate, key)? else { return Ok(None) };
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions();
    let config = builder
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|_| vec![TlsError::Pair]);
    let mut config = config?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(Arc::new(config)))
}

/// Loads the certificates of a PEM file. Returns an empty list if the file is unreadable or
/// malformed.
pub fn load_certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect).unwrap_or_default()
}

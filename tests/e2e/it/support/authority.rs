//! Certificates by an authority for one test.

use crate::support::process::Folder;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// An authority, and the files that it has issued.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: Folder,
    /// The path of the authority's own certificate.
    pub ca: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = Folder::new();
        let ca = folder.write("ca.pem", &issuer.pem()).to_str().unwrap().to_owned();
        Self { issuer, folder, ca }
    }

    /// Returns the paths of a new certificate for this host and 127.0.0.1, and of its key.
    pub fn issue(&self, host: &str) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let names = [host.to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).unwrap();
        let certificate = certificate.signed_by(&key, &self.issuer).unwrap();
        let files = [(".pem", certificate.pem()), (".key", key.serialize_pem())];
        files.map(|(end, text)| {
            self.folder.write(&format!("{host}{end}"), &text).to_str().unwrap().to_owned()
        })
    }
}

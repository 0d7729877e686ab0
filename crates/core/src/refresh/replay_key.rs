//! Encrypts stored responses. The key is derived from the refresh token (HKDF, RFC 5869), which is
//! stored nowhere. So only the token's holder can decrypt the response.

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use sha2::Sha256;
use std::fmt;

/// The key for the response to one request with one refresh token.
pub struct ReplayKey(Aes256Gcm);

impl fmt::Debug for ReplayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplayKey(REDACTED)")
    }
}

impl ReplayKey {
    /// Derives the key by HKDF-SHA-256 (RFC 5869) from the token and from everything in the request
    /// that may influence the response.
    pub fn derive(refresh_token: &str, request: &str) -> Self {
        let mut key = [0; 32];
        // 32 bytes are never too long for HKDF, so this can't fail.
        let _ = Hkdf::<Sha256>::new(None, refresh_token.as_bytes())
            .expand_multi_info(&[LABEL, request.as_bytes()], &mut key);
        Self(Aes256Gcm::new(&key.into()))
    }

    /// Encrypts `response` by AES-256-GCM for the store's key `key`. `nonce` must never repeat.
    /// Returns `None` if the cipher fails, which only a text of gigabytes makes it do.
    pub fn seal(&self, response: &str, key: &str, nonce: [u8; 12]) -> Option<String> {
        let payload = Payload { msg: response.as_bytes(), aad: key.as_bytes() };
        let mut sealed = nonce.to_vec();
        sealed.extend(self.0.encrypt(&Nonce::from(nonce), payload).ok()?);
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Decrypts a response under the store's key `key`. Returns `None` if this key does not decrypt
    /// it.
    pub fn open(&self, sealed: &str, key: &str) -> Option<String> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, msg) = sealed.split_at_checked(12)?;
        let payload = Payload { msg, aad: key.as_bytes() };
        String::from_utf8(self.0.decrypt(nonce.try_into().ok()?, payload).ok()?).ok()
    }
}

const LABEL: &[u8] = b"portcullis refresh v1\n";

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn response_opens_only_for_the_same_token_and_request() {
        let key = ReplayKey::derive("token", "request");
        let sealed = key.seal("response", "place", [7; 12]).unwrap();
        assert_eq!(key.open(&sealed, "place").as_deref(), Some("response"));
        assert_eq!(key.open(&sealed, "elsewhere"), None);
        for (token, request) in [("other", "request"), ("token", "other"), ("tokenr", "equest")] {
            assert_eq!(ReplayKey::derive(token, request).open(&sealed, "place"), None);
        }
        for length in 0..sealed.len() {
            assert_eq!(key.open(&sealed[..length], "place"), None);
        }
        assert_eq!(format!("{key:?}"), "ReplayKey(REDACTED)");
    }
}

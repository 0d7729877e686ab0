//! The answer to a refresh, kept for a moment for whoever asks the same again: a second tab, or a client whose
//! first answer was lost. It is sealed under a key that is derived from the refresh token itself (HKDF, RFC 5869),
//! which is kept nowhere: only the token's holder can open it.

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use sha2::Sha256;
use std::fmt;

/// Seals and opens the answer to one question by one refresh token.
pub struct ReplayKey(Aes256Gcm);

impl fmt::Debug for ReplayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplayKey(REDACTED)")
    }
}

impl ReplayKey {
    /// The key of whoever holds `refresh_token` and asks `question`: all that makes a difference to the answer.
    pub fn derive(refresh_token: &str, question: &str) -> Self {
        let mut key = [0; 32];
        // A key of 32 bytes is never too long, so nothing fails here.
        let _ = Hkdf::<Sha256>::new(None, refresh_token.as_bytes())
            .expand_multi_info(&[LABEL, question.as_bytes()], &mut key);
        Self(Aes256Gcm::new(&key.into()))
    }

    /// Seals `answer` for `place`. `nonce` is never the same twice.
    pub fn seal(&self, answer: &str, place: &str, nonce: [u8; 12]) -> Option<String> {
        let payload = Payload { msg: answer.as_bytes(), aad: place.as_bytes() };
        let mut sealed = nonce.to_vec();
        sealed.extend(self.0.encrypt(Nonce::from_slice(&nonce), payload).ok()?);
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// What was sealed for `place`, if it was sealed under this key.
    pub fn open(&self, sealed: &str, place: &str) -> Option<String> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, msg) = sealed.split_at_checked(12)?;
        let payload = Payload { msg, aad: place.as_bytes() };
        String::from_utf8(self.0.decrypt(Nonce::from_slice(nonce), payload).ok()?).ok()
    }
}

const LABEL: &[u8] = b"portcullis refresh v1\n";

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn only_the_tokens_holder_who_asks_the_same_can_open_it() {
        let key = ReplayKey::derive("token", "question");
        let sealed = key.seal("answer", "place", [7; 12]).unwrap();
        assert_eq!(key.open(&sealed, "place").as_deref(), Some("answer"));
        assert_eq!(key.open(&sealed, "elsewhere"), None);
        for (token, question) in [("other", "question"), ("token", "other"), ("tokenq", "uestion")]
        {
            assert_eq!(ReplayKey::derive(token, question).open(&sealed, "place"), None);
        }
        for length in 0..sealed.len() {
            assert_eq!(key.open(&sealed[..length], "place"), None);
        }
        assert_eq!(format!("{key:?}"), "ReplayKey(REDACTED)");
    }
}

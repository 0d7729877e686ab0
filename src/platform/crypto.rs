//! WebCrypto: keys, signatures and random bytes.

use super::bindings;
use super::executor::TaskPort;
use wasm_bindgen::JsValue;

/// A key that the platform imported. Its bytes stay in JavaScript.
#[derive(Clone)]
pub struct CryptoKey(JsValue);

/// The purpose for which a key is imported.
#[derive(Clone, Copy)]
pub enum KeyUsage {
    Sign,
    Verify,
}

impl CryptoKey {
    /// Imports a JWK (RFC 7517) for a JWS algorithm (RFC 7518, RFC 8037). Returns `None` if the
    /// platform can't use it.
    pub async fn import(
        port: &TaskPort,
        algorithm: &str,
        jwk: &str,
        usage: KeyUsage,
    ) -> Option<Self> {
        let usage = match usage {
            KeyUsage::Sign => "sign",
            KeyUsage::Verify => "verify",
        };
        let promise = bindings::import_key(algorithm, jwk, usage);
        port.compute(&promise).await.ok().map(Self)
    }

    /// Signs `input`. Returns `None` if the platform can't sign with the key.
    pub async fn sign(&self, port: &TaskPort, algorithm: &str, input: &str) -> Option<Vec<u8>> {
        let promise = bindings::sign(algorithm, &self.0, input.as_bytes());
        let signature = port.compute(&promise).await;
        Some(js_sys::Uint8Array::new(&signature.ok()?).to_vec())
    }

    /// Verifies a signature. Returns `false` if it is invalid or the platform can't verify it.
    pub async fn verify(
        &self,
        port: &TaskPort,
        algorithm: &str,
        signature: &[u8],
        input: &str,
    ) -> bool {
        let promise = bindings::verify(algorithm, &self.0, signature, input.as_bytes());
        let verdict = port.compute(&promise).await;
        verdict.ok().and_then(|value| value.as_bool()).unwrap_or(false)
    }
}

/// Returns a random nonce of 96 bits for AES-GCM (NIST SP 800-38D section 8.2.2).
pub fn nonce() -> [u8; 12] {
    bindings::nonce().try_into().unwrap_or_default()
}

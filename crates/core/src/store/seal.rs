//! Encrypts the store's records with AES-256-GCM. Only the edge and the auth service can read or
//! write them. The store's key is associated data, so that a record can't be moved to another key.

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use std::fmt;
use std::sync::Arc;

/// The keys that encrypt records. The first one encrypts; all of them decrypt.
#[derive(Clone)]
pub struct Seal {
    keys: Arc<Vec<RecordEncryptionKey>>,
}

struct RecordEncryptionKey {
    id: String,
    cipher: Aes256Gcm,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.keys.iter().map(|key| key.id.as_str()).collect();
        write!(f, "Seal({ids:?}, REDACTED)")
    }
}

impl Seal {
    /// Creates a seal from keys as they are configured: `id:base64` each, of 32 bytes. Returns
    /// `None` if one is malformed or both have one name.
    pub fn new(current: &str, previous: Option<&str>) -> Option<Self> {
        let keys = [Some(current), previous].into_iter().flatten().map(RecordEncryptionKey::parse);
        let keys: Vec<RecordEncryptionKey> = keys.collect::<Option<_>>()?;
        let unique = !matches!(keys.as_slice(), [one, other] if one.id == other.id);
        unique.then(|| Self { keys: Arc::new(keys) })
    }

    /// Returns the names of the keys: first of the current one, which encrypts.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// Returns whether `text` is a well-formed configured key.
    pub(crate) fn is_key(text: &str) -> bool {
        RecordEncryptionKey::parse(text).is_some()
    }

    /// Encrypts `text` by AES-256-GCM for the store's key `key`, to which the result is bound.
    /// `nonce` must never repeat. Returns `None` if the cipher fails, which only a text of
    /// gigabytes makes it do.
    pub fn seal(&self, text: &str, key: &str, nonce: [u8; 12]) -> Option<String> {
        let own = self.keys.first()?;
        let payload = Payload { msg: text.as_bytes(), aad: key.as_bytes() };
        let mut sealed = nonce.to_vec();
        sealed.extend(own.cipher.encrypt(&Nonce::from(nonce), payload).ok()?);
        Some(format!("{VERSION}.{}.{}", own.id, URL_SAFE_NO_PAD.encode(sealed)))
    }

    /// Returns whether the current key, and not the previous one, encrypted `sealed`.
    pub fn is_sealed_by_first(&self, sealed: &str) -> bool {
        let id = sealed.split('.').nth(1);
        self.keys.first().is_some_and(|own| id == Some(own.id.as_str()))
    }

    /// Decrypts a record under the store's key `key`. Returns `None` if no key decrypts it.
    pub fn open(&self, sealed: &str, key: &str) -> Option<String> {
        let (id, body) = sealed.strip_prefix(VERSION)?.strip_prefix('.')?.split_once('.')?;
        let own = self.keys.iter().find(|own| own.id == id)?;
        let body = URL_SAFE_NO_PAD.decode(body).ok()?;
        let (nonce, msg) = body.split_at_checked(12)?;
        let payload = Payload { msg, aad: key.as_bytes() };
        String::from_utf8(own.cipher.decrypt(nonce.try_into().ok()?, payload).ok()?).ok()
    }
}

impl RecordEncryptionKey {
    /// Parses `id:base64`, 32 bytes.
    fn parse(text: &str) -> Option<Self> {
        let (id, key) = text.trim().split_once(':')?;
        let named = (1..=32).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let key = STANDARD.decode(key).or_else(|_| URL_SAFE_NO_PAD.decode(key)).ok()?;
        let cipher = Aes256Gcm::new_from_slice(&key).ok()?;
        named.then(|| Self { id: id.to_owned(), cipher })
    }
}

/// The prefix of every encrypted value.
const VERSION: &str = "v1";

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn key(id: &str, byte: u8) -> String {
        format!("{id}:{}", STANDARD.encode([byte; 32]))
    }

    #[test]
    fn sealed_record_opens_only_under_its_own_key() {
        let seal = Seal::new(&key("a", 1), None).unwrap();
        let sealed = seal.seal("alice", "pc:token:x", [7; 12]).unwrap();
        assert!(sealed.starts_with("v1.a.") && !sealed.contains("alice"), "{sealed}");
        assert_eq!(seal.open(&sealed, "pc:token:x").as_deref(), Some("alice"));
        assert_eq!(seal.open(&sealed, "pc:token:y"), None);
        for at in 0..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(seal.open(&changed, "pc:token:x"), None, "{changed}");
            assert_eq!(seal.open(&sealed[..at], "pc:token:x"), None);
        }
        assert_eq!(seal.open("{\"sub\":\"alice\"}", "pc:token:x"), None);
    }

    #[test]
    fn previous_key_opens_records_during_rotation() {
        let old = Seal::new(&key("a", 1), None).unwrap();
        let both = Seal::new(&key("b", 2), Some(&key("a", 1))).unwrap();
        let new = Seal::new(&key("b", 2), None).unwrap();
        let (before, after) =
            (old.seal("x", "k", [1; 12]).unwrap(), both.seal("x", "k", [2; 12]).unwrap());
        assert_eq!(both.open(&before, "k").as_deref(), Some("x"));
        assert_eq!(new.open(&after, "k").as_deref(), Some("x"));
        assert_eq!(new.open(&before, "k"), None);
        // A key with the same name but other bytes decrypts nothing.
        let other = Seal::new(&key("a", 3), None).unwrap();
        assert_eq!(other.open(&before, "k"), None);
    }

    #[test]
    fn encryption_key_needs_a_name_and_32_bytes() {
        for text in ["", "a", "a:", ":AAAA", "a:AAAA", &key("a b", 1), &key("", 1)] {
            assert!(Seal::new(text, None).is_none(), "{text}");
        }
        assert!(Seal::new(&key("a", 1), Some(&key("a", 2))).is_none(), "one name, two keys");
        let shown = format!("{:?}", Seal::new(&key("a", 1), None).unwrap());
        assert!(!shown.contains(&STANDARD.encode([1; 32])) && shown.contains('a'), "{shown}");
    }
}

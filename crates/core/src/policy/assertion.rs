//! The signed assertion of the caller's identity: a short JWT, signed with the edge's own key. It
//! is for upstreams that do not rely on the network alone.

use crate::jose::algorithm::Algorithm;
use crate::json;
use crate::secret::Secret;
use serde_json::{Map, Value};

/// The settings of assertions. The host signs them.
#[derive(Clone, Debug)]
pub struct Assertion {
    /// The header field that carries the assertion.
    pub field: String,
    /// The algorithm of the key.
    pub algorithm: Algorithm,
    /// The private key, as a JWK for the host to import.
    pub key: Secret,
    /// The public key, as a JWK for the host to import.
    pub public_key: String,
    /// The key id.
    pub(crate) kid: String,
    /// The public key, as the key set publishes it.
    pub(crate) public: Map<String, Value>,
    pub(crate) issuer: String,
    pub(crate) audience: String,
    /// The lifetime.
    pub(crate) seconds: u32,
}

impl Assertion {
    /// Returns the key set that verifies assertions.
    pub(crate) fn jwks(&self) -> String {
        format!(r#"{{"keys":[{}]}}"#, json::write::map_text(&self.public))
    }
}

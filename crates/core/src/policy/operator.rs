//! What operators see of the edge: its own endpoints for them, and the policy that it applies.

use crate::secret::Secret;
use std::fmt;

/// The endpoints that the edge serves itself, before its routes. Both are off by default.
#[derive(Clone, Debug, Default)]
pub struct OperatorEndpoints {
    /// The path at which the edge says how it is.
    pub health_path: Option<String>,
    /// The path of the counters of all edges, and the token without which they are not shown.
    pub metrics: Option<(String, Secret)>,
}

/// The policy as operators may see it.
#[derive(Clone)]
pub struct PolicyDocument {
    /// The sections as JSON, laid over by those of the environment, with variables and without
    /// secrets.
    pub text: String,
    /// The first 16 characters of its SHA-256 in base64url.
    pub hash: String,
}

/// The document says the same as the rest of the policy, in whose debug output it is nothing new.
impl fmt::Debug for PolicyDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PolicyDocument")
    }
}

//! An issuer of tokens: the requirements on its tokens, and how they are verified.

use super::introspection::Introspection;
use crate::jose::algorithm::Algorithm;
use crate::jose::jwks::Jwks;
use crate::json;
use crate::url::is_url;
use serde_json::Value;

/// An issuer of tokens.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The exact value of `iss` (RFC 7519 section 4.1.1).
    pub issuer: String,
    /// The value that `aud` must be or contain (RFC 7519 section 4.1.3).
    pub audience: String,
    /// The algorithms that its keys may have.
    pub algorithms: Vec<Algorithm>,
    /// The location of its keys; `None` if its tokens are opaque.
    pub keys: Option<KeyLocation>,
    /// The required `typ`.
    pub token_type: TokenType,
    /// The tolerated difference between the issuer's clock and the edge's, 0 to 300 s.
    pub leeway_seconds: u64,
    /// The claim that holds the scope.
    pub scope_claim: String,
    /// Whether its sessions are in the store, so that the edge records when each was last seen.
    pub sessions_in_store: bool,
    /// The endpoint that verifies opaque tokens, and tokens whose record is missing.
    pub introspection: Option<Introspection>,
    /// The places in the policy of the resources whose routes accept its tokens, each with its
    /// audiences.
    pub resources: Vec<(usize, Vec<String>)>,
}

/// The location of an issuer's keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyLocation {
    /// In the configuration.
    Inline(Jwks),
    /// At the `jwks_uri` of the issuer's metadata, which is at this URL (RFC 8414, OpenID Connect
    /// Discovery).
    Metadata(String),
    /// At this URL.
    Url(String),
}

/// The accepted `typ` of an issuer's access tokens (RFC 9068 section 2.1, RFC 8725 section 3.11).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TokenType {
    /// `at+jwt`, which excludes ID tokens and logout tokens.
    #[default]
    AtJwt,
    /// `at+jwt`, `JWT` or none, for issuers that do not mark access tokens.
    Jwt,
    /// Any type.
    Off,
}

impl TokenType {
    pub(crate) const NAMES: [(&str, Self); 3] =
        [("at+jwt", Self::AtJwt), ("jwt", Self::Jwt), ("off", Self::Off)];
}

/// The reason why a metadata document supplies no location of keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetadataError {
    /// The document names another issuer (RFC 8414 section 3.3).
    IssuerMismatch,
    /// The `jwks_uri` is missing, or its scheme is less safe than that of the document's own URL.
    JwksUri,
    /// The document is not a JSON object.
    Malformed,
}

impl Issuer {
    /// Returns the `jwks_uri` of a metadata document (RFC 8414 section 2) that was fetched from
    /// `url`.
    ///
    /// # Errors
    ///
    /// [`MetadataError`] if the document is malformed, is another issuer's (RFC 8414 section 3.3),
    /// or names no usable URL.
    pub fn jwks_uri(&self, url: &str, document: &str) -> Result<String, MetadataError> {
        let members = json::object(document.as_bytes()).ok_or(MetadataError::Malformed)?;
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        if text("issuer") != Some(&self.issuer) {
            return Err(MetadataError::IssuerMismatch);
        }
        let uri = text("jwks_uri").filter(|uri| is_url(uri)).ok_or(MetadataError::JwksUri)?;
        if url.starts_with("https://") && !uri.starts_with("https://") {
            return Err(MetadataError::JwksUri);
        }
        Ok(uri.to_owned())
    }
}

#[cfg(test)]
mod tests;

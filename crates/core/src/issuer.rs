//! An issuer of tokens, as the policy describes it: what its tokens must say, and who vouches for them.

use crate::introspection::Introspection;
use crate::json;
use crate::jose::algorithm::Algorithm;
use crate::jose::jwks::Jwks;
use crate::url::is_url;
use serde_json::Value;

/// An issuer of tokens.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Its name, as `iss` must have it to the letter.
    pub issuer: String,
    /// What `aud` must contain.
    pub audience: String,
    /// The algorithms that its keys may have.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys are; none if its tokens are opaque.
    pub keys: Option<KeyLocation>,
    /// What `typ` must be.
    pub token_type: TokenType,
    /// How far its clock and ours may differ.
    pub leeway_seconds: u64,
    /// The claim that holds the scope.
    pub scope_claim: String,
    /// Whether its sessions are in the store, so that it is told when one was seen.
    pub sessions_in_store: bool,
    /// Who is asked about its opaque tokens, and about tokens whose record is missing.
    pub introspection: Option<Introspection>,
}

/// Where an issuer's keys are.
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

/// What the `typ` of an issuer's access tokens must be (RFC 9068 section 2.1, RFC 8725 section 3.11).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TokenType {
    /// `at+jwt`: no ID or logout token passes as an access token.
    #[default]
    AtJwt,
    /// `at+jwt`, `JWT` or none, for issuers that do not mark access tokens.
    Jwt,
    /// Anything.
    Off,
}

impl TokenType {
    pub(crate) const WORDS: [(&str, Self); 3] =
        [("at+jwt", Self::AtJwt), ("jwt", Self::Jwt), ("off", Self::Off)];
}

/// Why a metadata document does not say where the keys are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetadataError {
    /// It is another issuer's (RFC 8414 section 3.3).
    IssuerMismatch,
    /// Its `jwks_uri` is missing, or not as safe as the document's own URL.
    JwksUri,
    /// It is no JSON object.
    Malformed,
}

impl Issuer {
    /// The `jwks_uri` of a metadata document that came from `url`.
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
mod tests {
    use super::*;
    use crate::policy::tests::policy;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_metadata_document_is_judged() {
        let policy = policy();
        let check = |url: &str, document: &str, expect: Result<&str, MetadataError>| {
            let got = policy.issuers[0].jwks_uri(url, document);
            assert_eq!(got.as_deref().map_err(|e| *e), expect, "{document}");
        };
        let document = |issuer: &str, uri: &str| {
            format!(r#"{{"issuer":"{issuer}","jwks_uri":"{uri}","x":[1]}}"#)
        };
        let (ours, url) = ("https://issuer.example", "https://issuer.example/.well-known/x");
        check(url, &document(ours, "https://k.example/k?v=1"), Ok("https://k.example/k?v=1"));
        check(url, &document(ours, "http://k.example/k"), Err(MetadataError::JwksUri));
        check("http://localhost/x", &document(ours, "http://k/k"), Ok("http://k/k"));
        check(url, &document(ours, "file:///etc/passwd"), Err(MetadataError::JwksUri));
        check(url, &document(ours, "https://u:p@k.example/"), Err(MetadataError::JwksUri));
        check(url, &format!(r#"{{"issuer":"{ours}"}}"#), Err(MetadataError::JwksUri));
        let slash = document("https://issuer.example/", "https://k.example/");
        check(url, &slash, Err(MetadataError::IssuerMismatch));
        check(url, "<html>", Err(MetadataError::Malformed));
    }
}

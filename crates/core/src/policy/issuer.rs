//! An issuer of tokens: the requirements on its tokens, and how they are verified.

use super::introspection::Introspection;
use super::requirements::Requirements;
use super::tenants::{TENANT, as_in_metadata, is_owned_by, tenant_in};
use crate::jose::algorithm::Algorithm;
use crate::jose::jwks::Jwks;
use crate::json;
use crate::refusal::Denial;
use crate::url::is_url;
use serde_json::{Map, Value};

/// An issuer of tokens.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The exact value of `iss` (RFC 7519 section 4.1.1). With `tenants` it has `{tenant}` in the
    /// tenant's place, and each tenant is an issuer of its own.
    pub issuer: String,
    /// Other values of `iss` that mean the same issuer.
    pub aliases: Vec<String>,
    /// The accepted tenants of a provider with many, empty for all; `None` for one issuer.
    pub tenants: Option<Vec<String>>,
    /// The values of which `aud` must be or contain one (RFC 7519 section 4.1.3).
    pub audiences: Vec<String>,
    /// The claim that replaces `aud` in a token without it.
    pub audience_claim: AudienceClaim,
    /// The values of which `azp` must be one; empty for any.
    pub authorized_parties: Vec<String>,
    /// What its tokens' claims must have.
    pub claims: Requirements,
    /// What the header of its JWTs must have.
    pub header: Requirements,
    /// The settings among those above that few issuers have, as a text: a part of the hash by which
    /// an edge recognizes that it would read an introspection response in the same way.
    pub reading: String,
    /// The algorithms that its keys may have.
    pub algorithms: Vec<Algorithm>,
    /// The location of its keys; `None` if its tokens are opaque.
    pub keys: Option<KeyLocation>,
    /// The required `typ`.
    pub token_type: TokenType,
    /// The tolerated difference between the issuer's clock and the edge's, 0 to 300 s.
    pub leeway_seconds: u64,
    /// The places of the claims whose names together are the scope, at least one.
    pub scope_claims: Vec<String>,
    /// Whether its sessions are in the store, so that the edge records when each was last seen.
    pub sessions_in_store: bool,
    /// The prefixes of its API keys; empty if it has none.
    pub api_key_prefixes: Vec<String>,
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

/// The claim that is compared with the audience if a token has no `aud`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AudienceClaim {
    /// None: a token without `aud` is rejected, unless its authorized party is checked instead.
    #[default]
    Aud,
    /// `client_id`.
    ClientId,
    /// `azp`.
    Azp,
    /// The issuer alone: its tokens are for this API if they name no audience.
    Iss,
}

impl AudienceClaim {
    pub(crate) const NAMES: [(&str, Self); 4] =
        [("aud", Self::Aud), ("client_id", Self::ClientId), ("azp", Self::Azp), ("iss", Self::Iss)];
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
    /// Returns whether tokens with this `iss` are the issuer's.
    pub fn accepts(&self, iss: &str) -> bool {
        match self.tenants {
            Some(_) => tenant_in(&self.issuer, TENANT, iss).is_some(),
            None => self.issuer == iss || self.aliases.iter().any(|alias| alias == iss),
        }
    }

    /// Returns the name of the issuer by which everything about a token is kept: its accepted
    /// `iss`, or, if that is an alias, the issuer's own.
    pub(crate) fn own_name(&self, iss: String) -> String {
        if self.aliases.contains(&iss) { self.issuer.clone() } else { iss }
    }

    /// Returns the issuers that the entry stands for: one, or each listed tenant's. Empty if any
    /// tenant is accepted.
    pub fn names(&self) -> Vec<String> {
        match &self.tenants {
            Some(tenants) => {
                tenants.iter().map(|tenant| self.issuer.replace(TENANT, tenant)).collect()
            }
            None => vec![self.issuer.clone()],
        }
    }

    /// Checks the tenant of a token whose `iss` is accepted: `tid` must be the tenant in `iss`, and
    /// one of the accepted ones.
    pub(crate) fn check_tenant(&self, members: &Map<String, Value>) -> Result<(), Denial> {
        let Some(accepted) = &self.tenants else {
            return Ok(());
        };
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let tid = members.get("tid").ok_or(Denial::ClaimMissing("tid"))?;
        let tenant = text("iss").and_then(|iss| tenant_in(&self.issuer, TENANT, iss));
        let tenant = tenant.filter(|tenant| tid.as_str() == Some(tenant));
        let is_accepted =
            |tenant: &str| accepted.is_empty() || accepted.iter().any(|own| own == tenant);
        if tenant.is_some_and(is_accepted) { Ok(()) } else { Err(Denial::TenantRefused) }
    }

    /// Returns whether a key with the member `issuer` may sign for `iss`, the name of this issuer
    /// or of one of its tenants. A key without that member may.
    pub(crate) fn admits_key_of(&self, owner: Option<&str>, iss: &str) -> bool {
        let names = || self.aliases.iter().map(String::as_str).chain([iss]);
        owner.is_none_or(|owner| names().any(|name| is_owned_by(name, owner)))
    }

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
        // A document for all tenants has a mark in the tenant's place.
        let is_own = |named: &str| self.accepts(named) || named == as_in_metadata(&self.issuer);
        if !text("issuer").is_some_and(is_own) {
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

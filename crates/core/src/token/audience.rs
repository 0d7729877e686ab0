//! What an issuer requires of its tokens' claims: the audience (RFC 7519 section 4.1.3), the client
//! that the token was issued to, and what else the policy says.

use crate::policy::issuer::{AudienceClaim, Issuer};
use crate::refusal::Denial;
use serde_json::{Map, Value};
use std::slice;

impl Issuer {
    /// Checks the claims of a token of this issuer. A provider that responds about its own opaque
    /// token need not name the audience (`requires_audience`), unless another claim replaces it.
    pub(super) fn check_claims(
        &self,
        members: &Map<String, Value>,
        requires_audience: bool,
    ) -> Result<(), Denial> {
        self.check_tenant(members)?;
        if members.contains_key(CONFIRMATION) || self.claims.unmet(members).is_some() {
            return Err(Denial::TokenTypeRefused);
        }
        let replaces = self.audience_claim != AudienceClaim::Aud;
        if requires_audience || replaces || members.contains_key("aud") {
            self.check_audience(members)?;
        }
        self.check_party(members)
    }

    /// Checks the claims of a provider's introspection response (RFC 7662 section 2.2). If the
    /// token is a JWT, what it must have was checked in the token itself.
    pub(super) fn check_response(&self, members: &Map<String, Value>) -> Result<(), Denial> {
        let iss = members.get("iss").and_then(Value::as_str).ok_or(Denial::TokenMalformed)?;
        if !self.accepts(iss) {
            return Err(Denial::IssuerUnknown);
        }
        if self.keys.is_none() {
            return self.check_claims(members, false);
        }
        self.check_tenant(members)?;
        if members.contains_key(CONFIRMATION) {
            return Err(Denial::TokenTypeRefused);
        }
        if members.contains_key("aud") { self.check_audience(members) } else { Ok(()) }
    }

    /// Checks the audience. An `aud` must contain one of the issuer's audiences. Only if there is
    /// none, or an empty list, the issuer's other settings decide: `audience_claim`, or that the
    /// authorized party is checked.
    pub(super) fn check_audience(&self, members: &Map<String, Value>) -> Result<(), Denial> {
        let named = match members.get("aud") {
            Some(Value::Array(names)) => names.as_slice(),
            Some(name) => slice::from_ref(name),
            None => &[],
        };
        if !named.is_empty() {
            return self.check_names(named);
        }
        let claim = match self.audience_claim {
            AudienceClaim::Iss => return Ok(()),
            AudienceClaim::Aud if self.audiences.is_empty() && self.has_parties() => return Ok(()),
            AudienceClaim::Aud if members.contains_key("aud") => {
                return Err(Denial::AudienceMismatch);
            }
            AudienceClaim::Aud => return Err(Denial::ClaimMissing("aud")),
            AudienceClaim::ClientId => "client_id",
            AudienceClaim::Azp => "azp",
        };
        let name = members.get(claim).ok_or(Denial::ClaimMissing(claim))?;
        self.check_names(slice::from_ref(name))
    }

    /// Checks that all names are texts, and one of them an audience.
    fn check_names(&self, names: &[Value]) -> Result<(), Denial> {
        let mut found = false;
        for name in names {
            let name = name.as_str().ok_or(Denial::TokenMalformed)?;
            found |= self.is_audience(name);
        }
        if found { Ok(()) } else { Err(Denial::AudienceMismatch) }
    }

    /// Returns whether `name` is one of the audiences.
    pub(super) fn is_audience(&self, name: &str) -> bool {
        self.audiences.iter().any(|own| own == name)
    }

    /// Checks the authorized party: the client that the token was issued to, as OpenID Connect
    /// names it, or the origin of a page.
    pub(super) fn check_party(&self, members: &Map<String, Value>) -> Result<(), Denial> {
        if !self.has_parties() {
            return Ok(());
        }
        let party = members.get("azp").ok_or(Denial::ClaimMissing("azp"))?;
        let party = party.as_str().ok_or(Denial::TokenMalformed)?;
        let is_authorized = self.authorized_parties.iter().any(|own| own == party);
        if is_authorized { Ok(()) } else { Err(Denial::AuthorizedPartyRefused) }
    }

    fn has_parties(&self) -> bool {
        !self.authorized_parties.is_empty()
    }
}

/// Binds a token to a key of its holder (RFC 7800 section 3.1). Such a token is worth nothing
/// without a proof of the key, which is not checked here.
const CONFIRMATION: &str = "cnf";

#[cfg(test)]
mod tests;

//! What an issuer requires of its tokens' claims: the audience (RFC 7519 section 4.1.3), the client
//! that the token was issued to, and what else the policy says.

use crate::policy::issuer::{AudienceClaim, Issuer};
use crate::policy::resource::Audiences;
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
    ) -> Result<Audiences, Denial> {
        self.check_tenant(members)?;
        if members.contains_key(CONFIRMATION) || self.claims.unmet(members).is_some() {
            return Err(Denial::TokenTypeRefused);
        }
        let replaces = self.audience_claim != AudienceClaim::Aud;
        let audiences = match requires_audience || replaces || members.contains_key("aud") {
            true => self.check_audience(members)?,
            false => Audiences::OWN,
        };
        self.check_party(members)?;
        Ok(audiences)
    }

    /// Checks the claims of a provider's introspection response (RFC 7662 section 2.2). If the
    /// token is a JWT, what it must have was checked in the token itself.
    pub(super) fn check_response(&self, members: &Map<String, Value>) -> Result<Audiences, Denial> {
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
        match members.contains_key("aud") {
            true => self.check_audience(members),
            false => Ok(Audiences::OWN),
        }
    }

    /// Checks the audience, and returns which ones the token is for. An `aud` must contain one of
    /// the issuer's or of a resource. Only if there is none, or an empty list, the issuer's other
    /// settings decide: `audience_claim`, or that the authorized party is checked. Such a token is
    /// for the issuer's audience alone.
    pub(super) fn check_audience(&self, members: &Map<String, Value>) -> Result<Audiences, Denial> {
        let named = match members.get("aud") {
            Some(Value::Array(names)) => names.as_slice(),
            Some(name) => slice::from_ref(name),
            None => &[],
        };
        if !named.is_empty() {
            let mut audiences = Audiences::default();
            for name in named {
                audiences.add(self.audiences_named(name.as_str().ok_or(Denial::TokenMalformed)?));
            }
            return if audiences.is_empty() {
                Err(Denial::AudienceMismatch)
            } else {
                Ok(audiences)
            };
        }
        let claim = match self.audience_claim {
            AudienceClaim::Iss => return Ok(Audiences::OWN),
            AudienceClaim::Aud if self.audiences.is_empty() && self.has_parties() => {
                return Ok(Audiences::OWN);
            }
            AudienceClaim::Aud if members.contains_key("aud") => {
                return Err(Denial::AudienceMismatch);
            }
            AudienceClaim::Aud => return Err(Denial::ClaimMissing("aud")),
            AudienceClaim::ClientId => "client_id",
            AudienceClaim::Azp => "azp",
        };
        let name = members.get(claim).ok_or(Denial::ClaimMissing(claim))?;
        let name = name.as_str().ok_or(Denial::TokenMalformed)?;
        if self.is_audience(name) { Ok(Audiences::OWN) } else { Err(Denial::AudienceMismatch) }
    }

    /// Returns whether `name` is one of the audiences.
    pub(crate) fn is_audience(&self, name: &str) -> bool {
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

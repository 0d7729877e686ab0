//! The claims of a token, strictly typed: of a JWT (RFC 7519 section 4.1, RFC 9068 section 2.2), or
//! of an introspection response (RFC 7662 section 2.2). This module does not depend on how they
//! were verified.

use crate::json::path;
use crate::policy::ip_rules::Network;
use crate::policy::issuer::Issuer;
use crate::policy::resource::Audiences;
use crate::policy::route::{ACR, AUTH_TIME};
use crate::refusal::Denial;
use crate::time::UnixSeconds;
use crate::token::api_key::KeyTerms;
use crate::token::scope;
use serde_json::{Map, Value};
use std::net::IpAddr;
use std::rc::Rc;

/// The standard claims, and other claims that routes, limits and identity fields use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// The subject; empty in the token of a client that acts for itself, if its provider names
    /// none.
    pub sub: String,
    /// The expiry (RFC 7519 section 4.1.4); only an introspection response may omit it.
    pub exp: Option<UnixSeconds>,
    /// The start of its validity (RFC 7519 section 4.1.5).
    pub nbf: Option<UnixSeconds>,
    /// The time of issue (RFC 7519 section 4.1.6).
    pub iat: Option<UnixSeconds>,
    /// The token's id (RFC 7519 section 4.1.7).
    pub jti: Option<String>,
    /// The session.
    pub sid: Option<String>,
    /// The client: `client_id`, or else OpenID Connect's `azp`.
    pub client_id: Option<String>,
    /// The scope, space-separated (RFC 6749 section 3.3); empty for none.
    pub scope: String,
    /// What holds for requests with this token if it is an API key; `None` for other tokens.
    pub key: Option<Rc<KeyTerms>>,
    /// Other claims that are used, by the places at which the policy names them.
    pub others: Map<String, Value>,
    /// The audiences that the token is for.
    pub audiences: Audiences,
}

impl Claims {
    /// Reads the claims of a JWT. Rejects it without `iss`, `sub` or `exp`, or if it is not what
    /// the issuer requires of its tokens.
    pub(crate) fn of_jwt(
        members: &mut Map<String, Value>,
        issuer: &Issuer,
        others: &[String],
    ) -> Result<Self, Denial> {
        for name in ["sub", "exp"] {
            if !members.contains_key(name) {
                return Err(Denial::ClaimMissing(name));
            }
        }
        // Reading takes the claims out of `members`.
        let checked = issuer.check_claims(members, true);
        let mut claims = Self::read(members, issuer, others).ok_or(Denial::TokenMalformed)?;
        claims.audiences = checked?;
        claims.iss = issuer.own_name(claims.iss);
        Ok(claims)
    }

    /// Reads an introspection response. It may omit the issuer, unless there are several tenants,
    /// and the audience, because a provider responds for its own tokens. If present, they must
    /// match.
    pub(crate) fn of_introspection(
        members: &mut Map<String, Value>,
        issuer: &Issuer,
        others: &[String],
    ) -> Option<Result<Self, Denial>> {
        if issuer.tenants.is_none() {
            members.entry("iss").or_insert_with(|| issuer.issuer.clone().into());
        }
        let checked = issuer.check_response(members);
        if !members.contains_key("sub") {
            // A client that acts for itself. Its name does not become the subject, because a user
            // may have the same name.
            members.get("client_id")?;
            members.insert("sub".to_owned(), String::new().into());
        }
        let mut claims = Self::read(members, issuer, others)?;
        Some(match checked {
            Ok(audiences) => {
                claims.audiences = audiences;
                claims.iss = issuer.own_name(claims.iss);
                Ok(claims)
            }
            Err(Denial::TokenMalformed) => return None,
            Err(denial) => Err(denial),
        })
    }

    /// Takes the claims out of `members`. Returns `None` if one has the wrong type.
    fn read(members: &mut Map<String, Value>, issuer: &Issuer, others: &[String]) -> Option<Self> {
        // Collecting into a map would sort the members first, and sorting adds 1 KB to the Worker.
        let mut kept = Map::new();
        for place in others {
            if let Some(value) = path::find(members, place) {
                kept.insert(place.clone(), value.clone());
            }
        }
        let scope = scope::of(members, &issuer.scope_claims)?;
        let time = |name: &str| match members.get(name) {
            Some(value) => numeric_date(value).map(Some),
            None => Some(None),
        };
        let (exp, nbf, iat) = (time("exp")?, time("nbf")?, time("iat")?);
        let mut text = |name: &str| match members.get_mut(name).map(Value::take) {
            Some(Value::String(text)) => Some(Some(text)),
            Some(_) => None,
            None => Some(None),
        };
        Some(Self {
            iss: text("iss")??,
            sub: text("sub")??,
            exp,
            nbf,
            iat,
            jti: text("jti")?,
            sid: text("sid")?,
            client_id: match text("client_id")? {
                None => text("azp")?,
                named => named,
            },
            scope,
            key: None,
            others: kept,
            audiences: Audiences::default(),
        })
    }

    /// Checks the times at `now`.
    pub(crate) fn check_times(&self, leeway_seconds: u64, now: UnixSeconds) -> Result<(), Denial> {
        if self.exp.is_some_and(|exp| exp.plus(leeway_seconds) <= now) {
            return Err(Denial::TokenExpired);
        }
        let ahead = now.plus(leeway_seconds);
        if [self.nbf, self.iat].into_iter().flatten().any(|moment| moment > ahead) {
            return Err(Denial::TokenNotYetValid);
        }
        Ok(())
    }

    /// Returns the time of issue, for revocations by time. Without `iat` it is 0, so that each of
    /// them applies. None applies to an API key, which its holder can't exchange for a newer one.
    pub(crate) fn issued_at(&self) -> UnixSeconds {
        match self.key {
            Some(_) => UnixSeconds(u64::MAX - 1),
            None => self.iat.unwrap_or_default(),
        }
    }

    /// Returns the subject; `None` for a client that acts for itself.
    pub(crate) fn subject(&self) -> Option<&str> {
        (!self.sub.is_empty()).then_some(self.sub.as_str())
    }

    /// Returns whether the scope contains `wanted`.
    pub(crate) fn has_scope(&self, wanted: &str) -> bool {
        self.scope.split(' ').any(|scope| scope == wanted)
    }

    /// Returns whether the claim at `place` is one of `allowed`, or a list that contains one of
    /// them.
    pub(crate) fn has_claim(&self, place: &str, allowed: &[Value]) -> bool {
        match self.others.get(place) {
            Some(Value::Array(values)) => values.iter().any(|value| allowed.contains(value)),
            Some(value) => allowed.contains(value),
            None => false,
        }
    }

    /// Returns whether the subject's login was of one of these classes (`acr`).
    pub(crate) fn has_acr(&self, classes: &[String]) -> bool {
        let acr = self.others.get(ACR).and_then(Value::as_str);
        acr.is_some_and(|acr| classes.iter().any(|class| class == acr))
    }

    /// Returns whether the subject's login (`auth_time`) was at most `seconds` before `now`.
    /// Returns `false` if the claim is missing, has another type, or is in the future.
    pub(crate) fn is_login_within(
        &self,
        seconds: u64,
        leeway_seconds: u64,
        now: UnixSeconds,
    ) -> bool {
        let login = self.others.get(AUTH_TIME).and_then(numeric_date);
        login.is_some_and(|login| {
            login <= now.plus(leeway_seconds) && now <= login.plus(seconds).plus(leeway_seconds)
        })
    }

    /// Checks whether an API key may be used from an address. A network that can't be read has no
    /// address. Other tokens may be used from each.
    pub(crate) fn check_network(&self, address: Option<IpAddr>) -> Result<(), Denial> {
        let networks = self.key.iter().flat_map(|key| &key.networks);
        let contains = |text: &String| {
            let network = Network::try_from(text.clone());
            address.zip(network.ok()).is_some_and(|(address, network)| network.contains(address))
        };
        match networks.clone().next().is_none() || networks.clone().any(contains) {
            true => Ok(()),
            false => Err(Denial::KeyNetworkDenied),
        }
    }

    /// Returns the approximate size in memory.
    pub(crate) fn bytes(&self) -> usize {
        let named = [&self.jti, &self.sid, &self.client_id].into_iter().flatten();
        let texts = named.chain([&self.iss, &self.sub, &self.scope]);
        let networks = self.key.iter().flat_map(|key| &key.networks);
        let quotas = self.key.iter().flat_map(|key| &key.quotas).map(|(name, _)| name);
        let own = networks.chain(quotas).map(|text| size_of::<(String, u32)>() + text.len());
        let own = own.chain(texts.map(String::len));
        size_of::<Self>() + own.sum::<usize>() + self.others.iter().map(weight).sum::<usize>()
    }
}

fn weight((name, value): (&String, &Value)) -> usize {
    fn of(value: &Value) -> usize {
        size_of::<Value>()
            + match value {
                Value::String(text) => text.len(),
                Value::Array(values) => values.iter().map(of).sum(),
                Value::Object(members) => members.iter().map(weight).sum(),
                Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            }
    }
    name.len() + of(value)
}

/// Returns one name, or a list of names.
pub(crate) fn names(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(name) => Some(vec![name]),
        Value::Array(names) => names.iter().map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// Reads a NumericDate (RFC 7519 section 2) in whole seconds; a fraction is dropped. Returns `None`
/// for a string, a negative number, or one beyond the exact integers of a float.
pub(crate) fn numeric_date(value: &Value) -> Option<UnixSeconds> {
    let number = value.as_number()?;
    let seconds = match number.as_u64() {
        Some(seconds) => seconds,
        None => {
            let seconds = number.as_f64()?;
            #[expect(clippy::cast_precision_loss, reason = "the bound is a power of two")]
            let bound = NUMERIC_DATE_MAX as f64;
            if !(0.0..=bound).contains(&seconds) {
                return None;
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
            let seconds = seconds as u64;
            seconds
        }
    };
    (seconds <= NUMERIC_DATE_MAX).then_some(UnixSeconds(seconds))
}

/// 2^53: the last second that a JSON number represents exactly in every language.
const NUMERIC_DATE_MAX: u64 = 1 << 53;

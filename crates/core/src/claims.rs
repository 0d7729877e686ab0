//! What a token says of its holder, strictly typed: the claims of a JWT (RFC 7519 section 4.1, RFC 9068
//! section 2.2) or the answer to an introspection (RFC 7662 section 2.2). Who vouches for them is not
//! known here.

use crate::refusal::Denial;
use crate::policy::issuer::Issuer;
use crate::time::UnixSeconds;
use serde_json::{Map, Value};

/// The claims that matter here; of the others, those that some route asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// The subject.
    pub sub: String,
    /// The end of its life; only an introspection may leave it out.
    pub exp: Option<UnixSeconds>,
    /// The beginning of its life.
    pub nbf: Option<UnixSeconds>,
    /// When it was issued.
    pub iat: Option<UnixSeconds>,
    /// The token's own name.
    pub jti: Option<String>,
    /// The session.
    pub sid: Option<String>,
    /// The client: `client_id`, or else `azp` as OpenID Connect has it.
    pub client_id: Option<String>,
    /// The scope, space-separated.
    pub scope: String,
    /// What routes ask for beyond these.
    pub others: Map<String, Value>,
}

impl Claims {
    /// Reads the claims of a JWT. Those that RFC 9068 requires and a verdict needs must be there.
    pub(crate) fn of_jwt(
        members: &mut Map<String, Value>,
        issuer: &Issuer,
        others: &[String],
    ) -> Result<Self, Denial> {
        let claims = Self::read(members, issuer, others).ok_or(Denial::TokenMalformed)?;
        if claims.exp.is_none() {
            return Err(Denial::TokenMalformed);
        }
        let audience = members.get("aud").ok_or(Denial::TokenMalformed)?;
        if !names(audience).ok_or(Denial::TokenMalformed)?.contains(&issuer.audience.as_str()) {
            return Err(Denial::AudienceMismatch);
        }
        Ok(claims)
    }

    /// Reads the answer to an introspection. The issuer and the audience may be left out, since the
    /// provider answers for its own tokens, and to us; if they are there, they must fit.
    pub(crate) fn of_introspection(
        members: &mut Map<String, Value>,
        issuer: &Issuer,
        others: &[String],
    ) -> Option<Result<Self, Denial>> {
        members.entry("iss").or_insert_with(|| issuer.issuer.clone().into());
        if !members.contains_key("sub") {
            // RFC 9068 section 2.2: where a client acts for itself, it is the subject.
            let client = members.get("client_id")?.clone();
            members.insert("sub".to_owned(), client);
        }
        let claims = Self::read(members, issuer, others)?;
        if claims.iss != issuer.issuer {
            return Some(Err(Denial::IssuerUnknown));
        }
        let audience = match members.get("aud") {
            Some(audience) => Some(names(audience)?),
            None => None,
        };
        if audience.is_some_and(|names| !names.contains(&issuer.audience.as_str())) {
            return Some(Err(Denial::AudienceMismatch));
        }
        Some(Ok(claims))
    }

    /// Takes the claims out of `members`; none if one has a wrong type.
    fn read(members: &mut Map<String, Value>, issuer: &Issuer, others: &[String]) -> Option<Self> {
        // Not collected: for that a map sorts first, and the sorting is a thousand bytes of the Worker.
        let mut kept = Map::new();
        for name in others {
            if let Some(value) = members.get(name) {
                kept.insert(name.clone(), value.clone());
            }
        }
        let scope = match members.get(&issuer.scope_claim) {
            Some(scope) => names(scope)?.join(" "),
            None => String::new(),
        };
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
            others: kept,
        })
    }

    /// Judges the times at `now`.
    pub(crate) fn judge_times(&self, leeway_seconds: u64, now: UnixSeconds) -> Result<(), Denial> {
        if self.exp.is_some_and(|exp| exp.plus(leeway_seconds) <= now) {
            return Err(Denial::TokenExpired);
        }
        let ahead = now.plus(leeway_seconds);
        if [self.nbf, self.iat].into_iter().flatten().any(|moment| moment > ahead) {
            return Err(Denial::TokenNotYetValid);
        }
        Ok(())
    }

    /// When it was issued; 0 where it does not say, so that every revocation by time applies.
    pub(crate) fn issued_at(&self) -> UnixSeconds {
        self.iat.unwrap_or_default()
    }

    /// Whether the scope holds `wanted` as a whole word.
    pub(crate) fn has_scope(&self, wanted: &str) -> bool {
        self.scope.split(' ').any(|scope| scope == wanted)
    }

    /// Whether the claim `name` is one of `allowed`, or a list that holds one of them.
    pub(crate) fn has_claim(&self, name: &str, allowed: &[Value]) -> bool {
        match self.others.get(name) {
            Some(Value::Array(held)) => held.iter().any(|value| allowed.contains(value)),
            Some(value) => allowed.contains(value),
            None => false,
        }
    }

    /// How much memory it takes, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let named = [&self.jti, &self.sid, &self.client_id].into_iter().flatten();
        let texts = named.chain([&self.iss, &self.sub, &self.scope]).map(String::len);
        size_of::<Self>() + texts.sum::<usize>() + self.others.iter().map(weight).sum::<usize>()
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

/// One name, or a list of names. A scope in one string is split where it is used.
fn names(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(name) => Some(vec![name]),
        Value::Array(names) => names.iter().map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// A NumericDate (RFC 7519 section 2) in whole seconds. A fraction is dropped; a string, a negative
/// number or one that a float can't count in seconds is refused.
fn numeric_date(value: &Value) -> Option<UnixSeconds> {
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

/// 2^53: the last second that a JSON number counts exactly in every language.
const NUMERIC_DATE_MAX: u64 = 1 << 53;

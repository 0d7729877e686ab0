//! What is kept in the store about tokens and sessions: the auth service writes it, the edge reads it, and
//! writes it anew where an introspection said what was missing.

use crate::claims::Claims;
use crate::json;
use crate::store::seal::Seal;
use crate::time::UnixSeconds;
use serde::Serialize;
use serde_json::{Map, Value};

/// The record of an access token under [`crate::StoreKeys::token`]. It says who holds the token; it holds
/// nothing that would let anybody make one.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct TokenRecord {
    /// The subject.
    pub sub: String,
    /// The session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// The client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The scope, space-separated.
    pub scope: String,
    /// The end of the token's life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
    /// The issuer, where the edge wrote the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// The token's own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// When the token was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    /// When the provider was asked, where the edge wrote the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<u64>,
    /// As whom and for what the provider's answer was read, where the edge wrote the record: another gate,
    /// or this one after a change of its settings, reads it anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_as: Option<String>,
    /// Other claims that routes ask for.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub others: Map<String, Value>,
}

impl TokenRecord {
    /// The record as it is stored under `key`: sealed where there is a seal.
    pub fn encode(&self, key: &str, seal: Option<&Seal>, nonce: [u8; 12]) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        match seal {
            Some(seal) => seal.seal(&text, key, nonce).unwrap_or_default(),
            None => text,
        }
    }

    /// The record, if what is stored under `key` is one. Where there is a seal, one without it is none.
    pub fn decode(text: &str, key: &str, seal: Option<&Seal>) -> Option<Self> {
        let mut members = match seal {
            Some(seal) => json::record(seal.open(text, key)?.as_bytes())?,
            None => json::record(text.as_bytes())?,
        };
        let mut take = |name: &str| match members.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(()),
        };
        Some(Self {
            sub: take("sub").ok()??,
            sid: take("sid").ok()?,
            client_id: take("client_id").ok()?,
            scope: take("scope").ok()?.unwrap_or_default(),
            iss: take("iss").ok()?,
            jti: take("jti").ok()?,
            read_as: take("read_as").ok()?,
            exp: number(&members, "exp").ok()?,
            iat: number(&members, "iat").ok()?,
            asked_at: number(&members, "asked_at").ok()?,
            others: match members.remove("others") {
                None => Map::new(),
                Some(Value::Object(others)) => others,
                Some(_) => return None,
            },
        })
    }

    /// What a provider said at `asked_at`.
    pub(crate) fn of(claims: &Claims, read_as: String, asked_at: UnixSeconds) -> Self {
        Self {
            sub: claims.sub.clone(),
            sid: claims.sid.clone(),
            client_id: claims.client_id.clone(),
            scope: claims.scope.clone(),
            exp: claims.exp.map(|exp| exp.0),
            iss: Some(claims.iss.clone()),
            jti: claims.jti.clone(),
            iat: claims.iat.map(|iat| iat.0),
            asked_at: Some(asked_at.0),
            read_as: Some(read_as),
            others: claims.others.clone(),
        }
    }

    /// The claims of the token, for an issuer of that name; none if the record is another issuer's.
    pub(crate) fn claims(self, issuer: &str) -> Option<Claims> {
        if self.iss.is_some_and(|iss| iss != issuer) {
            return None;
        }
        Some(Claims {
            iss: issuer.to_owned(),
            sub: self.sub,
            exp: self.exp.map(UnixSeconds),
            nbf: None,
            iat: self.iat.map(UnixSeconds),
            jti: self.jti,
            sid: self.sid,
            client_id: self.client_id,
            scope: self.scope,
            others: self.others,
        })
    }
}

/// A whole number, where the member is there; an error where it is something else.
fn number(members: &Map<String, Value>, name: &str) -> Result<Option<u64>, ()> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or(()),
    }
}

/// The moment up to which a revocation marker revokes; a marker that is no number revokes everything.
pub fn revoked_before(marker: &str) -> u64 {
    marker.parse().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_record_survives_the_store() {
        let record = TokenRecord {
            sub: "alice\"\n".into(),
            sid: Some("s".into()),
            client_id: Some("web".into()),
            scope: "a b".into(),
            exp: Some(1_800_000_000),
            ..TokenRecord::default()
        };
        let stored = record.encode("k", None, [0; 12]);
        assert_eq!(
            stored,
            r#"{"sub":"alice\"\n","sid":"s","client_id":"web","scope":"a b","exp":1800000000}"#
        );
        assert_eq!(TokenRecord::decode(&stored, "k", None).as_ref(), Some(&record));
        assert_eq!(TokenRecord::decode("", "k", None), None);
        assert_eq!(TokenRecord::decode(r#"{"sid":"x"}"#, "k", None), None);

        let seal = Seal::new(&format!("a:{}", "A".repeat(43)), None);
        let sealed = record.encode("k", seal.as_ref(), [0; 12]);
        assert_eq!(TokenRecord::decode(&sealed, "k", seal.as_ref()), Some(record));
        assert_eq!(TokenRecord::decode(&sealed, "k", None), None);
        assert_eq!(TokenRecord::decode(&stored, "k", seal.as_ref()), None);
    }

    /// A provider's answer nests 16 deep at the most; its claims are one deeper here.
    #[test]
    fn what_a_provider_may_say_can_be_kept() {
        let kept = |depth| {
            let claim = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            TokenRecord::decode(&format!(r#"{{"sub":"a","others":{{"x":{claim}}}}}"#), "k", None)
        };
        assert_eq!(kept(15).map(|record| record.others.len()), Some(1));
        assert_eq!(kept(16), None);
        for wrong in [r#"{"sub":"a","others":[]}"#, r#"{"sub":"a","exp":-1}"#, r#"{"sub":1}"#] {
            assert_eq!(TokenRecord::decode(wrong, "k", None), None, "{wrong}");
        }
    }

    #[test]
    fn a_record_speaks_for_its_own_issuer() {
        let record = |iss: Option<&str>| TokenRecord {
            sub: "alice".into(),
            iss: iss.map(str::to_owned),
            ..TokenRecord::default()
        };
        let claims = record(None).claims("https://a").unwrap();
        assert_eq!((claims.iss.as_str(), claims.sub.as_str()), ("https://a", "alice"));
        assert!(record(Some("https://a")).claims("https://a").is_some());
        assert!(record(Some("https://b")).claims("https://a").is_none());
    }

    #[test]
    fn an_unreadable_marker_revokes_everything() {
        assert_eq!(revoked_before("1700000000"), 1_700_000_000);
        assert_eq!(revoked_before(""), u64::MAX);
        assert_eq!(revoked_before("-1"), u64::MAX);
        assert_eq!(revoked_before("soon"), u64::MAX);
    }
}

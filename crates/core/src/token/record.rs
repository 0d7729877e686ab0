//! The records of access tokens in the store. The auth service writes them, and the edge reads
//! them. The edge writes a record itself from an introspection response.

use super::api_key::KeyTerms;
use super::claims::Claims;
use crate::json;
use crate::policy::issuer::Issuer;
use crate::policy::resource::Audiences;
use crate::store::seal::Seal;
use crate::time::UnixSeconds;
use serde_json::{Map, Value};
use std::rc::Rc;

/// The record of an access token under [`crate::StoreKeys::token`]. It has the token's claims, but
/// nothing from which the token could be made.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TokenRecord {
    /// The subject.
    pub sub: String,
    /// The session.
    pub sid: Option<String>,
    /// The client.
    pub client_id: Option<String>,
    /// The scope, space-separated.
    pub scope: String,
    /// The token's expiry, in Unix seconds.
    pub exp: Option<u64>,
    /// The audience, where the auth service wrote the record.
    pub aud: Option<String>,
    /// The issuer, where the edge wrote the record.
    pub iss: Option<String>,
    /// The token's id.
    pub jti: Option<String>,
    /// The time of issue, in Unix seconds.
    pub iat: Option<u64>,
    /// The time of the introspection, in Unix seconds, where the edge wrote the record.
    pub asked_at: Option<u64>,
    /// The hash of the settings by which the edge read the response. An edge with other settings
    /// ignores the record.
    pub read_as: Option<String>,
    /// The audiences of the response as bits, where the edge wrote the record. Missing if they are
    /// the issuer's own alone. Only an edge with the same settings (`read_as`) uses them.
    pub audiences: Option<u64>,
    /// What an API key's record says of the key; `None` for other tokens.
    pub key: Option<KeyTerms>,
    /// Other claims that are used.
    pub others: Map<String, Value>,
}

impl TokenRecord {
    /// Encodes the record for the store's key `key`, encrypted if there is a seal. `nonce` must
    /// never repeat.
    pub fn encode(&self, key: &str, seal: Option<&Seal>, nonce: [u8; 12]) -> String {
        let text = self.text();
        match seal {
            Some(seal) => seal.seal(&text, key, nonce).unwrap_or_default(),
            None => text,
        }
    }

    /// Decodes a record that is stored under `key`. Returns `None` if it is malformed, of another
    /// version, or not encrypted although there is a seal. Ignores unknown members.
    pub fn decode(text: &str, key: &str, seal: Option<&Seal>) -> Option<Self> {
        let mut members = match seal {
            Some(seal) => json::record(seal.open(text, key)?.as_bytes())?,
            None => json::record(text.as_bytes())?,
        };
        // The member `v` is missing in version 1.
        if number(&members, "v").ok()?.is_some_and(|version| version != VERSION) {
            return None;
        }
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
            aud: take("aud").ok()?,
            iss: take("iss").ok()?,
            jti: take("jti").ok()?,
            read_as: take("read_as").ok()?,
            exp: number(&members, "exp").ok()?,
            iat: number(&members, "iat").ok()?,
            asked_at: number(&members, "asked_at").ok()?,
            audiences: number(&members, "audiences").ok()?,
            key: match members.get("key") {
                None | Some(Value::Null) => None,
                Some(terms) => Some(KeyTerms::read(terms)?),
            },
            others: match members.remove("others") {
                None => Map::new(),
                Some(Value::Object(others)) => others,
                Some(_) => return None,
            },
        })
    }

    fn text(&self) -> String {
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        let number = |number: Option<u64>| number.map(Value::from);
        let others = Some(&self.others).filter(|others| !others.is_empty());
        json::write::object_text(vec![
            ("sub", Some(self.sub.as_str().into())),
            ("sid", text(&self.sid)),
            ("client_id", text(&self.client_id)),
            ("scope", Some(self.scope.as_str().into())),
            ("exp", number(self.exp)),
            ("aud", text(&self.aud)),
            ("iss", text(&self.iss)),
            ("jti", text(&self.jti)),
            ("iat", number(self.iat)),
            ("asked_at", number(self.asked_at)),
            ("read_as", text(&self.read_as)),
            ("audiences", number(self.audiences)),
            ("key", self.key.as_ref().map(KeyTerms::value)),
            ("others", others.cloned().map(Value::Object)),
        ])
    }

    /// Creates the record of an introspection response at `asked_at`.
    pub(crate) fn of(claims: &Claims, read_as: String, asked_at: UnixSeconds) -> Self {
        Self {
            sub: claims.sub.clone(),
            sid: claims.sid.clone(),
            client_id: claims.client_id.clone(),
            scope: claims.scope.clone(),
            exp: claims.exp.map(|exp| exp.0),
            aud: None,
            iss: Some(claims.iss.clone()),
            jti: claims.jti.clone(),
            iat: claims.iat.map(|iat| iat.0),
            asked_at: Some(asked_at.0),
            read_as: Some(read_as),
            audiences: Some(claims.audiences.bits()).filter(|_| claims.audiences != Audiences::OWN),
            key: claims.key.as_deref().cloned(),
            others: claims.others.clone(),
        }
    }

    /// Returns whether a provider's record is about the subject `sub`. A client that acts for
    /// itself is the subject of its JWT (RFC 9068 section 2.2), and has none in a response without
    /// `sub`.
    pub(crate) fn is_about(&self, sub: &str) -> bool {
        let client = self.client_id.as_deref().filter(|_| self.sub.is_empty());
        client.unwrap_or(&self.sub) == sub
    }

    /// Returns whether the token is for an audience of the policy. A record of the auth service
    /// must name it. The edge writes a record only after it has checked the audience of the
    /// response.
    pub fn is_for_audience(&self, issuer: &Issuer) -> bool {
        !self.audiences(issuer).is_empty()
    }

    /// Returns which audiences the token is for.
    fn audiences(&self, issuer: &Issuer) -> Audiences {
        match (self.asked_at, &self.aud) {
            (Some(_), _) => self.audiences.map_or(Audiences::OWN, Audiences::of_bits),
            (None, Some(aud)) => issuer.audiences_named(aud),
            (None, None) => Audiences::default(),
        }
    }

    /// Returns whether the auth service wrote the record for an API key.
    pub(crate) fn is_of_key(&self) -> bool {
        self.key.is_some() && self.asked_at.is_none() && self.read_as.is_none()
    }

    /// Keeps of the other claims those that the policy uses, by its `places`. The auth service
    /// writes them by their names, and the edge by these places already.
    pub(crate) fn place_claims(&mut self, places: &[String]) {
        if self.asked_at.is_some() {
            return;
        }
        let mut kept = Map::new();
        for place in places {
            if let Some(value) = json::path::find(&self.others, place) {
                kept.insert(place.clone(), value.clone());
            }
        }
        self.others = kept;
    }

    /// Returns the token's claims for an issuer; `None` if the record belongs to another issuer or
    /// audience, or does not say of which of several tenants it is.
    pub(crate) fn claims(self, issuer: &Issuer) -> Option<Claims> {
        let audiences = self.audiences(issuer);
        let iss = match self.iss {
            Some(iss) if issuer.accepts(&iss) => issuer.own_name(iss),
            None if issuer.tenants.is_none() => issuer.issuer.clone(),
            Some(_) | None => return None,
        };
        if audiences.is_empty() {
            return None;
        }
        Some(Claims {
            iss,
            sub: self.sub,
            exp: self.exp.map(UnixSeconds),
            nbf: None,
            iat: self.iat.map(UnixSeconds),
            jti: self.jti,
            sid: self.sid,
            client_id: self.client_id,
            scope: self.scope,
            key: self.key.map(Rc::new),
            others: self.others,
            audiences,
        })
    }
}

/// The version of records. A change that this reader would misunderstand needs another one.
const VERSION: u64 = 1;

/// Returns a whole number; `None` if the member is missing; an error if it is anything else.
fn number(members: &Map<String, Value>, name: &str) -> Result<Option<u64>, ()> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn record_is_decoded_as_it_was_encoded() {
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

    #[test]
    fn record_of_an_api_key_has_its_terms() {
        let decode = |key: &str| {
            let text = format!(r#"{{"sub":"alice","jti":"k1","key":{key}}}"#);
            TokenRecord::decode(&text, "k", None)
        };
        assert_eq!(decode("{}").unwrap().key, Some(KeyTerms::default()));
        assert_eq!(decode("null").unwrap().key, None);
        let record = decode(r#"{"networks":["192.0.2.0/24"],"quotas":{"api":7},"x":1}"#).unwrap();
        let terms = record.key.clone().unwrap();
        assert_eq!(terms.networks, ["192.0.2.0/24"]);
        assert_eq!(terms.quotas, [("api".to_owned(), 7)]);
        let stored = record.encode("k", None, [0; 12]);
        assert_eq!(TokenRecord::decode(&stored, "k", None), Some(record));
        for wrong in ["[]", "1", r#"{"networks":1}"#, r#"{"networks":[1]}"#, r#"{"quotas":[]}"#] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
        for quota in ["-1", "1.5", "4294967296", "\"1\""] {
            assert_eq!(decode(&format!(r#"{{"quotas":{{"api":{quota}}}}}"#)), None, "{quota}");
        }
    }

    #[test]
    fn record_of_another_version_is_not_read_and_unknown_members_are_ignored() {
        let seal = Seal::new(&format!("a:{}", "A".repeat(43)), None).unwrap();
        for (text, readable) in [
            (r#"{"sub":"alice"}"#, true),
            (r#"{"v":1,"sub":"alice"}"#, true),
            (r#"{"sub":"alice","later":{"x":[1]}}"#, true),
            (r#"{"v":2,"sub":"alice"}"#, false),
            (r#"{"v":0,"sub":"alice"}"#, false),
            (r#"{"v":"1","sub":"alice"}"#, false),
        ] {
            assert_eq!(TokenRecord::decode(text, "k", None).is_some(), readable, "{text}");
            let sealed = seal.seal(text, "k", [0; 12]).unwrap();
            assert_eq!(TokenRecord::decode(&sealed, "k", Some(&seal)).is_some(), readable);
            let newer = sealed.replacen("v1.", "v2.", 1);
            assert_eq!(TokenRecord::decode(&newer, "k", Some(&seal)), None);
        }
    }

    /// A provider's response nests at most 16 deep. Its claims are one level deeper in the record.
    #[test]
    fn record_may_nest_as_deep_as_a_response() {
        let decoded = |depth| {
            let claim = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            TokenRecord::decode(&format!(r#"{{"sub":"a","others":{{"x":{claim}}}}}"#), "k", None)
        };
        assert_eq!(decoded(15).map(|record| record.others.len()), Some(1));
        assert_eq!(decoded(16), None);
        for wrong in [r#"{"sub":"a","others":[]}"#, r#"{"sub":"a","exp":-1}"#, r#"{"sub":1}"#] {
            assert_eq!(TokenRecord::decode(wrong, "k", None), None, "{wrong}");
        }
    }

    #[test]
    fn claims_in_a_record_of_the_auth_service_are_found_by_their_places() {
        let text = r#"{"sub":"a","others":{"plan":"pro","metadata":{"tier":7},"unused":1}}"#;
        let places = ["plan", "/metadata/tier", "/metadata/none"].map(str::to_owned);
        let mut record = TokenRecord::decode(text, "k", None).unwrap();
        record.place_claims(&places);
        let others: Vec<_> = record.others.iter().map(|(place, _)| place.as_str()).collect();
        assert_eq!(others, ["/metadata/tier", "plan"]);
        // What an edge wrote has the places already.
        let text = r#"{"sub":"a","asked_at":1,"others":{"/metadata/tier":7}}"#;
        let mut record = TokenRecord::decode(text, "k", None).unwrap();
        record.place_claims(&places);
        assert_eq!(record.others.len(), 1);
    }

    #[test]
    fn record_has_claims_for_its_own_issuer_and_audience_only() {
        let issuer = crate::policy::fixtures::issuer();
        let record = |iss: Option<&str>, aud: &str| TokenRecord {
            sub: "alice".into(),
            iss: iss.map(str::to_owned),
            aud: Some(aud.into()),
            ..TokenRecord::default()
        };
        let claims = record(None, "api").claims(&issuer).unwrap();
        assert_eq!((claims.iss, claims.sub.as_str()), (issuer.issuer.clone(), "alice"));
        assert!(record(Some(&issuer.issuer), "api").claims(&issuer).is_some());
        assert!(record(Some("https://b"), "api").claims(&issuer).is_none());
        assert!(record(None, "other").claims(&issuer).is_none());
    }
}

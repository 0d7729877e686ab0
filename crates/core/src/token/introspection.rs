//! Token introspection (RFC 7662): the request to a provider, and its response. Only the boolean
//! `true` confirms a token. A malformed response is an outage.

use crate::json;
use crate::policy::introspection::{ClientAuth, Introspection};
use crate::policy::issuer::Issuer;
use crate::refusal::{Denial, Outage, Refusal};
use crate::time::UnixSeconds;
use crate::token::api_key::KeyTerms;
use crate::token::bearer::Token;
use crate::token::claims::Claims;
use crate::token::record::TokenRecord;
use crate::token_hash::TokenHash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::rc::Rc;

/// A request to an introspection endpoint (RFC 7662 section 2.1).
#[derive(Clone)]
pub struct IntrospectionRequest {
    /// The `Authorization` field (RFC 6749 section 2.3.1); `None` if the form has the credentials.
    pub authorization: Option<String>,
    /// The form (`application/x-www-form-urlencoded`).
    pub body: String,
}

impl Introspection {
    /// Builds the request about `token`.
    pub fn request(&self, token: Token<'_>) -> IntrospectionRequest {
        let mut body = format!("token={}&token_type_hint=access_token", form(token.expose()));
        let (id, secret) = (form(&self.client_id), form(self.client_secret.expose()));
        let authorization = match self.client_auth {
            ClientAuth::ClientSecretBasic => {
                Some(format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))))
            }
            ClientAuth::ClientSecretPost => {
                let _ = write!(body, "&client_id={id}&client_secret={secret}");
                None
            }
        };
        IntrospectionRequest { authorization, body }
    }

    /// Returns how many seconds from `now` a response of `asked_at` may be cached: at most until
    /// the token expires. If the provider's revocations do not reach the store, or the expiry is
    /// unknown, `revocation_delay_seconds_max` applies, too.
    pub fn cacheable_seconds(
        &self,
        exp: Option<UnixSeconds>,
        asked_at: Option<UnixSeconds>,
        revocation_delay_seconds_max: u32,
        now: UnixSeconds,
    ) -> u64 {
        // A response time in the future counts as `now`.
        let asked_at = asked_at.unwrap_or(now).min(now);
        let bound = asked_at.plus(revocation_delay_seconds_max.into()).seconds_since(now);
        let lifetime = exp.map(|exp| exp.seconds_since(now));
        match lifetime {
            Some(lifetime) if self.revocations_in_store => lifetime,
            Some(lifetime) => lifetime.min(bound),
            None => bound,
        }
    }

    /// Reads a response with `status` (RFC 7662 section 2.2).
    ///
    /// # Errors
    ///
    /// [`Denial::TokenInactive`] if `active` is `false`, or if the token is an API key, whose
    /// networks and other terms would not be checked. Another [`Denial`] if the response
    /// does not fit the issuer or has expired. [`Outage::IntrospectionBadResponse`] if the status
    /// is not 200, `active` is not a boolean, or the response is malformed.
    pub fn read(
        issuer: &Issuer,
        others: &[String],
        status: u16,
        text: &str,
        now: UnixSeconds,
    ) -> Result<TokenRecord, Refusal> {
        let (claims, members) = Self::claims(issuer, others, status, text, now)?;
        if members.get("key").is_some_and(Value::is_object) {
            return Err(Denial::TokenInactive.into());
        }
        Ok(TokenRecord::of(&claims, Self::settings_hash(issuer, others), now))
    }

    /// Reads a response about an API key as [`Introspection::read`] does. It must have the member
    /// `key`, which no response about another token may have.
    ///
    /// # Errors
    ///
    /// Those of [`Introspection::read`].
    pub fn read_key(
        issuer: &Issuer,
        others: &[String],
        status: u16,
        text: &str,
        now: UnixSeconds,
    ) -> Result<TokenRecord, Refusal> {
        let (mut claims, members) = Self::claims(issuer, others, status, text, now)?;
        let terms = members.get("key").and_then(KeyTerms::read);
        claims.key = Some(Rc::new(terms.ok_or(Outage::IntrospectionBadResponse)?));
        Ok(TokenRecord::of(&claims, Self::settings_hash(issuer, others), now))
    }

    /// Returns the claims of a response, and its other members.
    fn claims(
        issuer: &Issuer,
        others: &[String],
        status: u16,
        text: &str,
        now: UnixSeconds,
    ) -> Result<(Claims, Map<String, Value>), Refusal> {
        let malformed = Refusal::Out(Outage::IntrospectionBadResponse);
        if status != 200 {
            return Err(malformed);
        }
        let mut members = json::object(text.as_bytes()).ok_or(malformed)?;
        match members.get("active") {
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Err(Denial::TokenInactive.into()),
            Some(_) | None => return Err(malformed),
        }
        // If the response states the token's type, refresh tokens and key-bound tokens are
        // rejected.
        for name in ["token_type", "token_use"] {
            let access = |kind: &Value| {
                let kind = kind.as_str().unwrap_or_default();
                kind.eq_ignore_ascii_case("bearer") || kind.eq_ignore_ascii_case("access_token")
            };
            if members.get(name).is_some_and(|kind| !access(kind)) {
                return Err(Denial::TokenTypeRefused.into());
            }
        }
        let claims = Claims::of_introspection(&mut members, issuer, others).ok_or(malformed)??;
        claims.check_times(issuer.leeway_seconds, now)?;
        Ok((claims, members))
    }

    /// Returns a hash of the settings that affect how responses are read.
    pub fn settings_hash(issuer: &Issuer, others: &[String]) -> String {
        let audience = issuer.audiences.first().map_or("", String::as_str);
        // No place is empty, so the line between two of these separates them from the other claims.
        let scope_claims = issuer.scope_claims.join("\n\n");
        let text = [READING, &issuer.issuer, audience, &scope_claims];
        let text = text.into_iter().chain(others.iter().map(String::as_str));
        let text = text.chain(Some(issuer.reading.as_str()).filter(|reading| !reading.is_empty()));
        let mut text: String = text.flat_map(|part| [part, "\n"]).collect();
        // No claim has an empty name, so an empty line separates resources from the claims.
        for (place, audiences) in &issuer.resources {
            text.push('\n');
            text.push_str(&place.to_string());
            for audience in audiences {
                text.push('\n');
                text.push_str(audience);
            }
        }
        TokenHash::of(&text).to_string()
    }
}

/// The version of the code that reads responses. Records of another version are not used.
const READING: &str = "2";

/// Encodes one value as `application/x-www-form-urlencoded`.
fn form(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::fixtures::issuer;
    use crate::secret::Secret;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

    fn provider(client_auth: ClientAuth) -> Introspection {
        Introspection {
            url: "https://p.example/introspect".into(),
            client_id: "a:b".into(),
            client_secret: Secret::new("s &=".into()),
            client_auth,
            revocations_in_store: false,
            token_prefix: String::new(),
        }
    }

    #[test]
    fn request_encodes_the_token_and_the_credentials() {
        let request = provider(ClientAuth::ClientSecretBasic).request(Token::new("t+/=&x"));
        assert_eq!(request.body, "token=t%2B%2F%3D%26x&token_type_hint=access_token");
        let expect = format!("Basic {}", STANDARD.encode("a%3Ab:s%20%26%3D"));
        assert_eq!(request.authorization, Some(expect));
        let request = provider(ClientAuth::ClientSecretPost).request(Token::new("t"));
        assert_eq!(
            request.body,
            "token=t&token_type_hint=access_token&client_id=a%3Ab&client_secret=s%20%26%3D"
        );
        assert_eq!(request.authorization, None);
    }

    #[test]
    fn response_confirms_a_token_only_when_active_is_true() {
        fn check(status: u16, text: &str, expect: Result<&str, Refusal>) {
            let got = Introspection::read(&issuer(), &[], status, text, NOW);
            let got = got.map(|record| record.sub);
            assert_eq!(got.as_deref().map_err(|e| *e), expect, "{status} {text}");
        }
        let malformed = Err(Refusal::Out(Outage::IntrospectionBadResponse));
        let denied = |denial: Denial| Err(Refusal::Denied(denial));
        check(200, r#"{"active":true,"sub":"alice"}"#, Ok("alice"));
        check(200, r#"{"active":true,"client_id":"batch"}"#, Ok(""));
        check(200, r#"{"active":true,"sub":"a","token_type":"bearer"}"#, Ok("a"));
        check(200, r#"{"active":true,"sub":"a","token_use":"access_token"}"#, Ok("a"));
        let kind = denied(Denial::TokenTypeRefused);
        check(200, r#"{"active":true,"sub":"a","token_use":"refresh_token"}"#, kind);
        check(200, r#"{"active":true,"sub":"a","token_type":"DPoP"}"#, kind);
        check(200, r#"{"active":true,"sub":"a","token_type":7}"#, kind);
        // RFC 8705 section 3.2: the response for a token that is bound to a certificate.
        let bound = r#"{"active":true,"sub":"a","token_type":"Bearer","cnf":{"x5t#S256":"x"}}"#;
        check(200, bound, kind);
        check(200, r#"{"active":true,"sub":"a","aud":["x","api"],"exp":1700000060}"#, Ok("a"));
        // An API key, at an edge that does not know its prefix. Its networks would not count.
        let of_key = r#"{"active":true,"sub":"a","key":{"networks":["192.0.2.0/24"]}}"#;
        check(200, of_key, denied(Denial::TokenInactive));
        check(200, r#"{"active":true,"sub":"a","key":"x"}"#, Ok("a"));
        assert!(Introspection::read_key(&issuer(), &[], 200, of_key, NOW).is_ok());
        check(200, r#"{"active":false,"sub":"alice"}"#, denied(Denial::TokenInactive));
        for text in [
            r#"{"active":"true","sub":"alice"}"#,
            r#"{"active":1,"sub":"alice"}"#,
            r#"{"active":null,"sub":"alice"}"#,
            r#"{"active":true,"active":false,"sub":"alice"}"#,
            r#"{"active":true}"#,
            r#"{"active":true,"sub":7}"#,
            r#"{"active":true,"sub":"a","exp":"soon"}"#,
            r#"{"sub":"alice"}"#,
            "[true]",
            "true",
            "<html>",
            "",
        ] {
            check(200, text, malformed);
        }
        for status in [201, 204, 301, 302, 401, 403, 429, 500] {
            check(status, r#"{"active":true,"sub":"alice"}"#, malformed);
        }
        check(200, r#"{"active":true,"sub":"a","iss":"x"}"#, denied(Denial::IssuerUnknown));
        check(200, r#"{"active":true,"sub":"a","aud":"x"}"#, denied(Denial::AudienceMismatch));
        check(200, r#"{"active":true,"sub":"a","exp":1699999970}"#, denied(Denial::TokenExpired));
        check(200, r#"{"active":true,"sub":"a","exp":1699999971}"#, Ok("a"));
        check(
            200,
            r#"{"active":true,"sub":"a","nbf":1700000031}"#,
            denied(Denial::TokenNotYetValid),
        );
    }

    #[test]
    fn claims_of_a_response_are_read_by_their_places() {
        let mut issuer = issuer();
        issuer.scope_claims = vec!["scope".into(), "/realm_access/roles".into()];
        let others = ["/org/id".to_owned(), "https://a.example/tier".to_owned(), "/no".to_owned()];
        let response = r#"{"active":true,"sub":"alice","scope":"read","org":{"id":"o1"},"id":"x",
            "realm_access":{"roles":["staff","read"]},"https://a.example/tier":"pro"}"#;
        let record = Introspection::read(&issuer, &others, 200, response, NOW).unwrap();
        let key = "key";
        let stored = record.encode(key, None, [0; 12]);
        assert_eq!(TokenRecord::decode(&stored, key, None).as_ref(), Some(&record));
        let claims = record.claims(&issuer).unwrap();
        assert_eq!(claims.scope, "read staff");
        assert!(claims.has_claim("/org/id", &["o1".into()]));
        assert!(claims.has_claim("https://a.example/tier", &["pro".into()]));
        assert_eq!(claims.others.len(), 2);
    }

    /// An edge must not take a record for its own that was read by other settings.
    #[test]
    fn records_of_other_places_are_other_readings() {
        let mut hashes = Vec::new();
        for (scope_claims, others) in [
            (&["scope"][..], &[][..]),
            (&["/scope"], &[]),
            (&["scope", "a"], &[]),
            (&["a", "scope"], &[]),
            (&["scope"], &["a"]),
            (&["scope", "a", "b"], &[]),
            (&["scope", "a"], &["b"]),
            (&["scope"], &["a", "b"]),
        ] {
            let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
            let (mut issuer, others): (_, Vec<String>) = (issuer(), texts(others));
            issuer.scope_claims = texts(scope_claims);
            hashes.push(Introspection::settings_hash(&issuer, &others));
        }
        let count = hashes.len();
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
    }

    #[test]
    fn response_is_cached_within_the_tokens_lifetime_and_the_bound() {
        fn check(in_store: bool, exp: Option<u64>, asked_at: Option<u64>, bound: u32, expect: u64) {
            let mut provider = provider(ClientAuth::ClientSecretBasic);
            provider.revocations_in_store = in_store;
            let at = |seconds: u64| UnixSeconds(NOW.0 - 100 + seconds);
            let kept = provider.cacheable_seconds(exp.map(at), asked_at.map(at), bound, NOW);
            assert_eq!(kept, expect, "{in_store} {exp:?} {asked_at:?} {bound}");
        }
        check(false, Some(700), Some(100), 0, 0);
        check(false, Some(700), Some(100), 60, 60);
        check(false, Some(110), Some(100), 60, 10);
        check(false, Some(700), Some(50), 60, 10);
        check(false, Some(700), Some(30), 60, 0);
        check(false, Some(90), Some(100), 60, 0);
        check(false, None, Some(100), 60, 60);
        check(false, Some(700), Some(150), 60, 60);
        check(true, Some(700), Some(0), 0, 600);
        check(true, Some(90), Some(0), 60, 0);
        check(true, None, Some(100), 5, 5);
    }
}

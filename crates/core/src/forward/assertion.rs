//! The signed assertion of the caller's identity.

use super::permit::Permit;
use crate::json;
use crate::policy::assertion::Assertion;
use crate::time::UnixSeconds;
use crate::token::claims::Claims;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

impl<'p> Permit<'p> {
    /// Returns the assertion's settings and the text to sign (RFC 7515 section 5.1) before the
    /// request is forwarded. Returns `None` if its route requires no assertion.
    pub fn assertion_input(
        &self,
        request_id: &str,
        now: UnixSeconds,
    ) -> Option<(&'p Assertion, String)> {
        let assertion = self.policy.assertion.as_ref().filter(|_| self.route.assertion)?;
        let claims = self.verified.as_ref()?.claims();
        let audience = self.route.assertion_audience.as_ref().unwrap_or(&assertion.audience);
        Some((assertion, assertion.signing_input(claims, audience, request_id, now)))
    }
}

impl Assertion {
    /// Returns the text to sign: the first two segments of the JWT.
    fn signing_input(
        &self,
        claims: &Claims,
        audience: &str,
        request_id: &str,
        now: UnixSeconds,
    ) -> String {
        let text = |text: &str| Some(Value::from(text));
        let header = json::write::object_text(vec![
            ("alg", text(self.algorithm.name())),
            ("kid", text(&self.kid)),
            ("typ", text("portcullis-assertion+jwt")),
        ]);
        let payload = json::write::object_text(vec![
            ("aud", text(audience)),
            ("client_id", claims.client_id.as_deref().and_then(text)),
            ("exp", Some(now.plus(self.seconds.into()).0.into())),
            ("iat", Some(now.0.into())),
            ("iss", text(&self.issuer)),
            ("jti", text(request_id)),
            ("scope", text(&claims.scope)),
            ("sid", claims.sid.as_deref().and_then(text)),
            ("sub", claims.subject().and_then(text)),
            ("sub_iss", text(&claims.iss)),
        ]);
        let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}", encode(header), encode(payload))
    }

    /// Returns the whole JWT in compact form (RFC 7515 section 7.1). For ES256, `signature` is the
    /// 64 bytes of RFC 7518 section 3.4.
    pub fn compact(signing_input: &str, signature: &[u8]) -> String {
        format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixtures::policy_with;
    use crate::forward::permit::{Degraded, Target};
    use crate::policy::fixtures::issuer;
    use crate::token::record::TokenRecord;
    use crate::token::verified::VerifiedToken;
    use crate::token_hash::TokenHash;
    use serde_json::json;
    use std::rc::Rc;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"e1","alg":"EdDSA",
        "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    const ASSERTION: &str = r#"{"issuer":"https://a.example","audience":"inner"}"#;

    /// If each upstream has its own audience, an upstream can't use the assertion at another one.
    #[test]
    fn assertion_has_the_audience_of_its_route() {
        let routes = r#"[
            {"name":"a","path":"/a","access":"protected","assertion":true,"assertion_audience":"a"},
            {"name":"b","path":"/b","access":"protected","assertion":true}]"#;
        let settings = [("assertion", ASSERTION), ("ASSERTION_KEY", KEY), ("routes", routes)];
        let policy = policy_with(&settings);
        for (route, expect) in policy.routes.iter().zip(["a", "inner"]) {
            let record = TokenRecord {
                sub: "alice".into(),
                aud: Some("api".into()),
                ..TokenRecord::default()
            };
            let claims = record.claims(&issuer()).unwrap();
            let verified = VerifiedToken::new(&policy.keys, TokenHash::of("token"), 0, claims);
            let permit = Permit {
                route,
                target: Target::Upstream(&policy.upstream),
                policy: &policy,
                verified: Some(Rc::new(verified)),
                cacheable: false,
                degraded: Degraded::default(),
            };
            let (_, input) = permit.assertion_input("id", UnixSeconds(100)).unwrap();
            let payload = URL_SAFE_NO_PAD.decode(input.split('.').nth(1).unwrap()).unwrap();
            let payload: Value = serde_json::from_slice(&payload).unwrap();
            assert_eq!(payload["aud"], expect);
        }
    }

    #[test]
    fn assertion_states_the_caller_and_its_lifetime() {
        let policy = policy_with(&[("assertion", ASSERTION), ("ASSERTION_KEY", KEY)]);
        let assertion = policy.assertion.unwrap();
        let record = TokenRecord {
            sub: "alice".into(),
            scope: "a".into(),
            aud: Some("api".into()),
            ..TokenRecord::default()
        };
        let claims = record.claims(&issuer()).unwrap();
        let input = assertion.signing_input(&claims, "inner", "id", UnixSeconds(100));
        let parts: Vec<Value> = input
            .split('.')
            .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
            .collect();
        assert_eq!(
            parts,
            [
                json!({ "alg": "EdDSA", "kid": "e1", "typ": "portcullis-assertion+jwt" }),
                json!({
                    "iss": "https://a.example", "aud": "inner", "iat": 100, "exp": 160, "jti": "id",
                    "sub": "alice", "sub_iss": "https://issuer.example", "scope": "a",
                }),
            ]
        );
        let secret = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
        assert!(assertion.jwks().contains("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"));
        assert!(!assertion.jwks().contains(secret) && !format!("{assertion:?}").contains(secret));
    }
}

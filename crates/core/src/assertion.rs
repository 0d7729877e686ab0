//! A signed assertion of who asks: a short JWT with the edge's own key, for upstreams that do not want to
//! rely on the network alone. The host signs; what is signed is decided here.

use crate::claims::Claims;
use crate::json;
use crate::jose::algorithm::Algorithm;
use crate::policy::{ConfigErrorKind, SettingsReader};
use crate::request::field_names::is_available;
use crate::secret::Secret;
use crate::time::UnixSeconds;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

/// How assertions are made.
#[derive(Clone, Debug)]
pub struct Assertion {
    /// The field that carries one.
    pub field: String,
    /// The algorithm of the key.
    pub algorithm: Algorithm,
    /// The private key, as a JWK for the host to import.
    pub key: Secret,
    /// The public key, as a JWK for the host to import.
    pub public_key: String,
    kid: String,
    public: Map<String, Value>,
    issuer: String,
    audience: String,
    seconds: u32,
}

impl Assertion {
    /// `ASSERTION`, with the secret `ASSERTION_KEY`; none if neither is set.
    pub(crate) fn read(read: &mut SettingsReader<'_>) -> Option<Self> {
        if read.optional("ASSERTION").is_none() && read.optional("ASSERTION_KEY").is_none() {
            return None;
        }
        let (_, key) = (read.required("ASSERTION"), read.required("ASSERTION_KEY"));
        let key = key.and_then(|key| {
            let loaded = SigningKey::load(&key);
            if loaded.is_none() {
                read.report("ASSERTION_KEY", ConfigErrorKind::NotASigningKey);
            }
            loaded
        });
        let mut given = read.object("ASSERTION")?;
        given.need(&["issuer", "audience"]);
        let (issuer, audience) = (given.full_text("issuer"), given.full_text("audience"));
        let field = given.text("field").unwrap_or_else(|| FIELD.to_owned());
        if !is_available(&field) {
            given.report("field", ConfigErrorKind::NotAField);
        }
        let seconds = given.number("seconds", 1, 3600).unwrap_or(SECONDS);
        let SigningKey { algorithm, kid, public, private: key } = key?;
        let public_key = Value::Object(public.clone()).to_string();
        let (issuer, audience) = (issuer?, audience?);
        Some(Self { field, algorithm, key, public_key, kid, public, issuer, audience, seconds })
    }

    /// What is to be signed: the first two segments of the JWT.
    pub(crate) fn signing_input(
        &self,
        claims: &Claims,
        request_id: &str,
        now: UnixSeconds,
    ) -> String {
        let header = json!({
            "alg": self.algorithm.name(), "kid": self.kid, "typ": "portcullis-assertion+jwt",
        });
        let mut payload = json!({
            "iss": self.issuer,
            "aud": self.audience,
            "iat": now.0,
            "exp": now.plus(self.seconds.into()).0,
            "jti": request_id,
            "sub": claims.sub,
            "scope": claims.scope,
            "sub_iss": claims.iss,
        });
        for (name, value) in [("sid", &claims.sid), ("client_id", &claims.client_id)] {
            if let (Some(members), Some(value)) = (payload.as_object_mut(), value) {
                members.insert(name.to_owned(), value.clone().into());
            }
        }
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}", encode(header), encode(payload))
    }

    /// The whole JWT.
    pub fn compact(signing_input: &str, signature: &[u8]) -> String {
        format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The key set that verifies assertions.
    pub(crate) fn jwks(&self) -> String {
        json!({ "keys": [self.public] }).to_string()
    }
}

struct SigningKey {
    algorithm: Algorithm,
    kid: String,
    public: Map<String, Value>,
    private: Secret,
}

impl SigningKey {
    fn load(text: &str) -> Option<Self> {
        let jwk = json::object(text.as_bytes())?;
        let text = |name: &str| jwk.get(name).and_then(Value::as_str).map(str::to_owned);
        let algorithm = Algorithm::parse(&text("alg")?)?;
        let (kty, crv, members): (_, _, &[&str]) = match algorithm {
            Algorithm::EdDsa => ("OKP", "Ed25519", &["x"]),
            Algorithm::Es256 => ("EC", "P-256", &["x", "y"]),
            _ => return None,
        };
        if text("kty")? != kty || text("crv")? != crv {
            return None;
        }
        let kid = text("kid")?;
        let mut public = json!({ "kty": kty, "crv": crv });
        let mut private = public.clone();
        for name in members.iter().chain(&["d"]) {
            let value = text(name)?;
            if URL_SAFE_NO_PAD.decode(&value).ok()?.len() != 32 {
                return None;
            }
            if *name != "d" {
                public.as_object_mut()?.insert((*name).to_owned(), value.clone().into());
            }
            private.as_object_mut()?.insert((*name).to_owned(), value.into());
        }
        let facts = [("kid", kid.as_str()), ("alg", algorithm.name()), ("use", "sig")];
        for (name, value) in facts {
            public.as_object_mut()?.insert(name.to_owned(), value.into());
        }
        let public = public.as_object()?.clone();
        Some(Self { algorithm, kid, public, private: Secret::new(private.to_string()) })
    }
}

const SECONDS: u32 = 60;
const FIELD: &str = "portcullis-assertion";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::{faults_of, policy_with};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"e1","alg":"EdDSA",
        "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    const ASSERTION: &str = r#"{"issuer":"https://a.example","audience":"inner"}"#;

    #[test]
    fn it_says_who_asks_and_for_how_long() {
        let policy = policy_with(&[("ASSERTION", ASSERTION), ("ASSERTION_KEY", KEY)]);
        let assertion = policy.assertion.unwrap();
        let record = crate::TokenRecord {
            sub: "alice".into(),
            scope: "a".into(),
            ..crate::TokenRecord::default()
        };
        let claims = record.claims("https://issuer.example").unwrap();
        let input = assertion.signing_input(&claims, "id", UnixSeconds(100));
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

    #[test]
    fn its_settings_come_together() {
        fn check(changes: &[(&str, &str)], expect: &[&str]) {
            assert_eq!(faults_of(changes), expect, "{changes:?}");
        }
        check(&[("ASSERTION", ASSERTION)], &["ASSERTION_KEY"]);
        check(&[("ASSERTION_KEY", KEY)], &["ASSERTION"]);
        for bad in [
            KEY.replace("\"d\"", "\"e\""),
            KEY.replace("EdDSA", "ES256"),
            KEY.replace("EdDSA", "HS256"),
            KEY.replace("nWGx", ""),
            KEY.replace("kid", "kit"),
            "secret".to_owned(),
        ] {
            check(&[("ASSERTION", ASSERTION), ("ASSERTION_KEY", &bad)], &["ASSERTION_KEY"]);
        }
        let faulty = r#"{"issuer":"","audience":"","seconds":0,"field":"Cookie"}"#;
        check(
            &[("ASSERTION", faulty), ("ASSERTION_KEY", KEY)],
            &["ASSERTION.issuer", "ASSERTION.audience", "ASSERTION.field", "ASSERTION.seconds"],
        );
        let subject = r#"{"issuer":"a","audience":"b","field":"portcullis-subject"}"#;
        check(
            &[("ASSERTION", subject), ("ASSERTION_KEY", KEY)],
            &["IDENTITY_FIELDS: portcullis-subject"],
        );
    }
}

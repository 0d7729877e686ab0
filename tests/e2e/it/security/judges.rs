//! Compares core's verdicts on tokens with an independent implementation: jsonwebtoken must accept
//! whatever core accepts. No servers are involved. Core reads and selects, and aws-lc-rs verifies
//! like the Worker's platform.

use crate::support::issuer::{AUDIENCE, now};
use crate::support::signer::{Key, SECRET_ISSUER, SIGNING_ISSUER, Signer};
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, UnparsedPublicKey};
use aws_lc_rs::{error::Unspecified, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{DecodingKey, Validation};
use portcullis_core::{
    Algorithm, Check, Destination, Jwks, KeySource, Policy, RequestHead, UnixSeconds,
    UnverifiedToken,
};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::cell::Cell;

const CASES: u32 = 4000;
const LEEWAY_SECONDS: u64 = 30;

/// The description of a token: a valid one of `signer`, with changes.
#[derive(Clone, Debug)]
struct Recipe {
    signer: usize,
    /// The key that signs instead, with its own algorithm.
    signed_by: Option<usize>,
    header: Vec<(&'static str, Value)>,
    claims: Vec<(&'static str, Claim)>,
    form: Form,
}

/// A claim's new value. A time is relative to the moment when the token is made.
#[derive(Clone, Debug)]
enum Claim {
    Is(Value),
    Seconds(i64),
    Fraction(f64),
}

/// The changes of a token other than those of its members.
#[derive(Clone, Debug)]
enum Form {
    AsItIs,
    /// A second member of the same name comes first in the header.
    DuplicateAlgorithm,
    /// A second member of the same name comes first in the claims.
    DuplicateSubject,
    /// The header's JSON has spaces and an escaped name.
    EscapedHeader,
    /// After signing, one byte is replaced.
    Replaced(usize, char),
    /// After signing, one byte is removed.
    Removed(usize),
    /// After signing, this is appended.
    Appended(&'static str),
}

fn recipe(signers: usize) -> impl Strategy<Value = Recipe> {
    let header = prop_oneof![
        member(
            "kid",
            vec![
                json!("EdDSA"),
                json!("ES256"),
                json!("RS256"),
                json!("none"),
                json!(null),
                json!(7)
            ]
        ),
        member(
            "alg",
            ["none", "HS256", "RS256", "PS256", "ES256", "ES384", "EdDSA"]
                .map(|alg| json!(alg))
                .to_vec()
        ),
        member(
            "typ",
            vec![
                json!(null),
                json!("JWT"),
                json!("AT+JWT"),
                json!("application/at+jwt"),
                json!("x"),
                json!(1)
            ]
        ),
        member("crit", vec![json!(["exp"]), json!([])]),
        member("b64", vec![json!(false), json!(true)]),
        member("x", vec![json!({ "y": [1, null] }), json!("z"), json!(null)]),
        member("cty", vec![json!("json"), json!("JWT")]),
        member("zip", vec![json!("DEF")]),
    ];
    let is = |values: Vec<Value>| values.into_iter().map(Claim::Is).collect::<Vec<_>>();
    let times = || {
        let seconds = [-3600, -15, 15, 3600].map(Claim::Seconds).to_vec();
        let other = vec![
            json!("9999999999"),
            json!(null),
            json!(-1),
            json!(1e300),
            json!(u64::MAX),
            json!([1]),
        ];
        [seconds, vec![Claim::Fraction(600.5), Claim::Fraction(-3600.5)], is(other)].concat()
    };
    let texts =
        || is(vec![json!("x"), json!(""), json!(null), json!(7), json!(["alice"]), json!({})]);
    let audiences = is(vec![
        json!([AUDIENCE]),
        json!(["x", AUDIENCE]),
        json!([AUDIENCE, 7]),
        json!("x"),
        json!([]),
        json!(null),
        json!(7),
    ]);
    let issuers = is(vec![
        json!(SIGNING_ISSUER),
        json!(SECRET_ISSUER),
        json!([SIGNING_ISSUER]),
        json!("https://other.example"),
        json!(null),
    ]);
    let claims = prop_oneof![
        member("exp", times()),
        member("nbf", times()),
        member("iat", times()),
        member("aud", audiences),
        member("iss", issuers),
        member("sub", texts()),
        member("jti", texts()),
        member("scope", texts()),
        member("other", is(vec![json!({ "deep": [1, { "er": null }] }), json!(1.5)])),
    ];
    let form = prop_oneof![
        8 => Just(Form::AsItIs),
        1 => Just(Form::DuplicateAlgorithm),
        1 => Just(Form::DuplicateSubject),
        1 => Just(Form::EscapedHeader),
        3 => (any::<usize>(), proptest::char::ranges(vec!['A'..='Z', 'a'..='z', '0'..='9', '-'..='.', '_'..='_', '='..='='].into()))
            .prop_map(|(place, byte)| Form::Replaced(place, byte)),
        1 => any::<usize>().prop_map(Form::Removed),
        1 => proptest::sample::select(vec!["A", "=", ".", ".A", "AA"]).prop_map(Form::Appended),
    ];
    let signed_by = proptest::option::weighted(0.15, 0..signers);
    let changes = proptest::collection::vec(header, 0..2);
    (0..signers, signed_by, changes, proptest::collection::vec(claims, 0..3), form).prop_map(
        |(signer, signed_by, header, claims, form)| Recipe {
            signer,
            signed_by,
            header,
            claims,
            form,
        },
    )
}

fn member<T: Clone + std::fmt::Debug + 'static>(
    name: &'static str,
    values: Vec<T>,
) -> impl Strategy<Value = (&'static str, T)> {
    proptest::sample::select(values).prop_map(move |value| (name, value))
}

impl Recipe {
    fn token(&self, signers: &[Signer]) -> String {
        let (own, now) = (&signers[self.signer], now());
        let mut header = json!({ "alg": own.algorithm, "kid": own.algorithm, "typ": "at+jwt" });
        let mut claims = json!({
            "iss": own.issuer(), "sub": "alice", "aud": AUDIENCE, "exp": now + 600, "iat": now, "jti": "j1",
        });
        for (name, value) in &self.header {
            header[name] = value.clone();
        }
        for (name, claim) in &self.claims {
            claims[name] = match claim {
                Claim::Is(value) => value.clone(),
                Claim::Seconds(offset) => json!(now.checked_add_signed(*offset).unwrap()),
                Claim::Fraction(offset) => json!(now as f64 + offset),
            };
        }
        for object in [&mut header, &mut claims] {
            object.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        }
        let (mut header, mut claims) = (header.to_string(), claims.to_string());
        match self.form {
            Form::DuplicateAlgorithm => header.insert_str(1, r#""alg":"HS256","#),
            Form::DuplicateSubject => claims.insert_str(1, r#""sub":"mallory","#),
            Form::EscapedHeader => header = header.replace("\"alg\":", " \"\\u0061lg\" : "),
            _ => {}
        }
        let input =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signer = &signers[self.signed_by.unwrap_or(self.signer)];
        let mut token =
            format!("{input}.{}", URL_SAFE_NO_PAD.encode(signer.sign(input.as_bytes())));
        match self.form {
            Form::Replaced(place, byte) => {
                let place = place % token.len();
                token.replace_range(place..=place, byte.encode_utf8(&mut [0; 4]));
            }
            Form::Removed(place) => {
                token.remove(place % token.len());
            }
            Form::Appended(text) => token.push_str(text),
            _ => {}
        }
        token
    }
}

/// Core with the key sets of two issuers, and aws-lc-rs.
struct Core {
    policy: Policy,
    key_sets: [Jwks; 2],
}

impl Core {
    fn new(keys: [&[Value]; 2]) -> Self {
        let names = keys.map(|keys| keys.iter().map(|key| key["alg"].clone()).collect::<Vec<_>>());
        let issuers = json!([
            { "issuer": SIGNING_ISSUER, "audience": AUDIENCE, "algorithms": names[0], "jwks": { "keys": keys[0] },
              "token_type": "jwt", "leeway_seconds": LEEWAY_SECONDS },
            { "issuer": SECRET_ISSUER, "audience": AUDIENCE, "algorithms": names[1], "jwks_variable": "HMAC_KEY",
              "token_type": "jwt", "leeway_seconds": LEEWAY_SECONDS },
        ]);
        let secrets = json!({ "keys": keys[1] }).to_string();
        let document = json!({
            "issuers": issuers,
            "routes": [{ "name": "api", "path": "/*", "access": "protected", "require": "not_revoked" }],
            "store": { "url": "https://a.example" },
            "upstream": { "url": "https://a.example" },
        });
        let policy = Policy::parse(&document.to_string(), |name| match name {
            "HMAC_KEY" => Some(secrets.clone()),
            "STORE_TOKEN" => Some("secret".to_owned()),
            _ => None,
        });
        let key_sets = keys.map(|keys| {
            let text = json!({ "keys": keys }).to_string();
            let allowed = keys.iter().map(|key| key["alg"].as_str().unwrap());
            let allowed: Vec<Algorithm> =
                allowed.map(|name| Algorithm::parse(name).unwrap()).collect();
            let (key_set, faults) = Jwks::parse(&text, &allowed, KeySource::Secret).unwrap();
            assert!(faults.is_empty() && key_set.keys().len() == keys.len());
            key_set
        });
        Self { policy: policy.unwrap(), key_sets }
    }

    fn accepts(&self, token: &str) -> bool {
        let credential = format!("Bearer {token}");
        let fields = vec![("authorization", credential.as_str())];
        let head = RequestHead::new("GET", "https://a.example/x", fields);
        let Ok(Destination::Route(route)) = self.policy.destination(&head) else {
            panic!("every path has a route");
        };
        let check = Check::new(&head, route, &self.policy);
        let unverified = check.as_ref().map(|check| check.unverified_token(UnixSeconds(now())));
        let Ok(Ok(UnverifiedToken::Jwt(jwt))) = unverified else { return false };
        let key_set = &self.key_sets[jwt.issuer()];
        let Ok(place) = key_set.select(jwt.header()) else { return false };
        let key = &key_set.keys()[place];
        let jwk: Value = serde_json::from_str(&key.jwk).unwrap();
        verify(key.algorithm.name(), &jwk, jwt.signing_input().as_bytes(), jwt.signature()).is_ok()
    }
}

/// Verifies a signature like a platform, with a key that was imported for one algorithm.
fn verify(
    algorithm: &str,
    jwk: &Value,
    message: &[u8],
    signature: &[u8],
) -> Result<(), Unspecified> {
    let part = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let rsa = |parameters| {
        let key = PublicKeyComponents { n: part("n"), e: part("e") };
        key.verify(parameters, message, signature)
    };
    let curve = |parameters: &'static dyn signature::VerificationAlgorithm| {
        let point = [vec![4], part("x"), part("y")].concat();
        UnparsedPublicKey::new(parameters, point).verify(message, signature)
    };
    let secret = |hash| hmac::verify(&hmac::Key::new(hash, &part("k")), message, signature);
    match algorithm {
        "EdDSA" => {
            UnparsedPublicKey::new(&signature::ED25519, part("x")).verify(message, signature)
        }
        "ES256" => curve(&signature::ECDSA_P256_SHA256_FIXED),
        "ES384" => curve(&signature::ECDSA_P384_SHA384_FIXED),
        "HS256" => secret(hmac::HMAC_SHA256),
        "HS384" => secret(hmac::HMAC_SHA384),
        "HS512" => secret(hmac::HMAC_SHA512),
        "PS256" => rsa(&signature::RSA_PSS_2048_8192_SHA256),
        "PS384" => rsa(&signature::RSA_PSS_2048_8192_SHA384),
        "PS512" => rsa(&signature::RSA_PSS_2048_8192_SHA512),
        "RS256" => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        "RS384" => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
        "RS512" => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
        _ => panic!("{algorithm} is not tested here"),
    }
}

/// Returns jsonwebtoken's verdict, for the same keys, algorithms, audience, issuers and leeway.
fn judge(token: &str, keys: [&[Value]; 2]) -> Result<(), String> {
    let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
    let name = serde_json::to_value(header.alg).unwrap();
    let wanted = header.kid.map_or(("alg", name.clone()), |kid| ("kid", json!(kid)));
    let mut verdict = Err("no such key".to_owned());
    for (keys, issuer) in keys.into_iter().zip([SIGNING_ISSUER, SECRET_ISSUER]) {
        let Some(key) = keys.iter().find(|key| key[wanted.0] == wanted.1) else { continue };
        if key["alg"] != name {
            return Err("the key is for another algorithm".to_owned());
        }
        let jwk: Jwk = serde_json::from_value(key.clone()).unwrap();
        let mut validation = Validation::new(header.alg);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[issuer]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        let decoded = jsonwebtoken::decode::<Value>(
            token,
            &DecodingKey::from_jwk(&jwk).unwrap(),
            &validation,
        );
        verdict = decoded.map(drop).map_err(|error| error.to_string());
    }
    verdict
}

#[test]
fn jsonwebtoken_accepts_every_token_that_core_accepts() {
    // jsonwebtoken has no ES512.
    let signers: Vec<Signer> =
        Signer::all().into_iter().filter(|signer| signer.algorithm != "ES512").collect();
    let of = |secret: bool| -> Vec<Value> {
        let kind = |signer: &&Signer| matches!(signer.key, Key::Hmac(..)) == secret;
        signers.iter().filter(kind).map(Signer::jwk).collect()
    };
    let (public, secret) = (of(false), of(true));
    let keys = [public.as_slice(), secret.as_slice()];
    let core = Core::new(keys);
    let (accepted, rejected) = (Cell::new(0), Cell::new(0));
    let config =
        ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&recipe(signers.len()), |recipe| {
            let token = recipe.token(&signers);
            if core.accepts(&token) {
                accepted.set(accepted.get() + 1);
                let verdict = judge(&token, keys);
                proptest::prop_assert_eq!(verdict, Ok(()), "core accepts {}", token);
            } else {
                rejected.set(rejected.get() + 1);
            }
            Ok(())
        })
        .unwrap();
    let (accepted, rejected) = (accepted.get(), rejected.get());
    println!("{accepted} accepted by both, {rejected} rejected by core");
    assert!(accepted > CASES / 10 && rejected > CASES / 10, "{accepted} {rejected}");
}

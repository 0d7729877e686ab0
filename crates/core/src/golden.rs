//! The formats of core against the golden sets: what earlier versions wrote is read, and what this
//! version writes is what the newest set has.
#![cfg(not(target_arch = "wasm32"))]

use crate::check::Check;
use crate::config::fixtures::policy_with;
use crate::edge_auth::{EdgeAuthError, EdgeAuthKey, EdgeAuthKeys, EdgeStatement};
use crate::events::marks::REVOKE_SCRIPT;
use crate::forward::session::TOUCH_SCRIPT;
use crate::limits::restore::RESTORE_SCRIPT;
use crate::limits::script::{KEY_LOCKING, LIMIT_SCRIPT, QUOTA_SCRIPT};
use crate::metrics::totals::TOTALS_SCRIPT;
use crate::policy::Policy;
use crate::policy::introspection::Introspection;
use crate::refresh::lease::{LeaseState, Refresh};
use crate::refresh::response::CapturedResponse;
use crate::refresh::revocation::Revocation;
use crate::request::head::RequestHead;
use crate::routing::Destination;
use crate::store::keys::StoreKeys;
use crate::store::seal::Seal;
use crate::time::UnixSeconds;
use crate::token::api_key::KeyTerms;
use crate::token::bearer::Token;
use crate::token::record::TokenRecord;
use crate::token::unverified::UnverifiedToken;
use crate::token_hash::TokenHash;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redis_rest::{Command, Reply, decode_replies, encode_pipeline};
use serde_json::{Value, json};
use sha1::Digest as _;

#[path = "../../../tests/golden/sets.rs"]
mod sets;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const NONCE: [u8; 12] = [7; 12];
const ENCRYPTION_KEY: &str = "golden:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const EDGE_AUTH_KEY: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
const ASSERTION_KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"e1","alg":"EdDSA",
    "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const ISSUERS: &str = r#"[{"issuer":"https://issuer.example","audience":"api",
    "algorithms":["EdDSA"],"jwks_url":"https://issuer.example/jwks","sessions_in_store":true,
    "introspection":{"url":"https://issuer.example/introspect","client_id":"edge",
        "client_secret_variable":"SECRET","revocations_in_store":true}}]"#;
const ROUTES: &str = r#"[{"name":"api","path":"/api/*","access":"protected","assertion":true,
    "limit":{"quota":10,"window_seconds":60,"by":"subject"}}]"#;

fn policy() -> Policy {
    policy_with(&[
        ("issuers", ISSUERS),
        ("routes", ROUTES),
        ("assertion", r#"{"issuer":"https://edge.example","audience":"inner"}"#),
        ("ASSERTION_KEY", ASSERTION_KEY),
        ("RECORD_ENCRYPTION_KEY", ENCRYPTION_KEY),
        ("SECRET", "secret"),
    ])
}

fn keys() -> StoreKeys {
    StoreKeys::new(StoreKeys::PREFIX)
}

fn seal() -> Seal {
    Seal::new(ENCRYPTION_KEY, None).unwrap()
}

fn jwt() -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({ "alg": "EdDSA", "kid": "k1", "typ": "at+jwt" }));
    let claims = part(json!({
        "iss": "https://issuer.example", "sub": "alice", "aud": "api", "exp": NOW.0 + 900,
        "iat": NOW.0, "jti": "token-id", "sid": "session", "client_id": "web", "scope": "read",
        "later": { "claim": true },
    }));
    format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode([0; 64]))
}

/// The record that the auth service writes for [`jwt`].
fn record() -> TokenRecord {
    TokenRecord {
        sub: "alice".into(),
        sid: Some("session".into()),
        client_id: Some("web".into()),
        scope: "read".into(),
        exp: Some(NOW.0 + 900),
        aud: Some("api".into()),
        jti: Some("token-id".into()),
        iat: Some(NOW.0),
        ..TokenRecord::default()
    }
}

/// The record that the auth service writes for an API key.
fn key_record() -> TokenRecord {
    let terms = json!({ "networks": ["192.0.2.0/24"], "quotas": { "api": 100 } });
    let others = json!({ "plan": "pro", "metadata": { "tier": 1 } });
    TokenRecord {
        sub: "alice".into(),
        scope: "read".into(),
        aud: Some("api".into()),
        jti: Some("key-id".into()),
        iat: Some(NOW.0),
        key: KeyTerms::read(&terms),
        others: others.as_object().unwrap().clone(),
        ..TokenRecord::default()
    }
}

const STATEMENT: EdgeStatement<'_> = EdgeStatement {
    method: "POST",
    path: "/auth/login",
    address: "192.0.2.1",
    country: "DE",
    device: "Mozilla/5.0",
    request_id: "0af76519-16cd-43dd-8448-eb211c80319c",
};

fn refresh_head() -> RequestHead<'static> {
    let fields = vec![("content-type", "application/json")];
    RequestHead::new("POST", "https://edge.example/auth/refresh", fields)
}

const REFRESH_BODY: &str = r#"{"refresh_token":"old"}"#;

fn response() -> CapturedResponse {
    let body = json!({ "access_token": jwt(), "refresh_token": "new" }).to_string();
    let fields = vec![("content-type".into(), "application/json".into())];
    CapturedResponse { fields, body }
}

/// Everything that core writes to the store or sends to the auth service and to upstreams.
fn current() -> Value {
    let (policy, keys, authorization) = (policy(), keys(), format!("Bearer {}", jwt()));
    let commands = |commands: &[Command]| -> Value {
        serde_json::from_str(&encode_pipeline(commands)).unwrap()
    };
    let fields = vec![("authorization", authorization.as_str())];
    let head = RequestHead::new("GET", "https://edge.example/api/x", fields);
    let Ok(Destination::Route(route)) = policy.destination(&head) else { panic!("no route") };
    let check = Check::new(&head, route, &policy).unwrap();
    let Ok(UnverifiedToken::Jwt(token)) = check.unverified_token(NOW) else { panic!("no JWT") };
    let token = check.accept_signature(token, true).unwrap();
    let authenticated = check.authenticate(token, None, NOW).unwrap();
    let request = check.commands(&authenticated);
    let key = keys.token(&TokenHash::of(&jwt()));
    let sealed = record().encode(&key, Some(&seal()), NONCE);
    let admitted = [1, 9, 0, 6000].map(Reply::Integer);
    let mut results: Vec<_> =
        [Reply::Array(vec![Reply::Null; 7]), Reply::text(&sealed), Reply::Array(admitted.to_vec())]
            .map(crate::StoreResult::Reply)
            .into();
    assert!(!check.open_record(&authenticated, &mut results));
    let permit = check.decide(&authenticated, &results).unwrap();
    let assertion = permit.assertion_input("request-id", NOW).unwrap().1;
    let decoded = |part: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let assertion: Vec<Value> = assertion.split('.').map(decoded).collect();

    let refresh = Refresh::read(&refresh_head(), REFRESH_BODY, &keys).unwrap();
    let stored = refresh.store_response(&response(), "family", NONCE, 10, &keys).unwrap();
    let revocation = Revocation::read(&refresh_head(), REFRESH_BODY).unwrap();

    let issuer = &policy.issuers[0];
    let introspection = issuer.introspection.as_ref().unwrap();
    let question = introspection.request(Token::new("opaque"));
    let answer = r#"{"active":true,"sub":"alice","client_id":"web","scope":"read"}"#;
    let introspected = Introspection::read(issuer, &[], 200, answer, NOW).unwrap();

    json!({
        "store keys": {
            "token": key,
            "session": keys.session("https://issuer.example", "session"),
            "sessions": keys.sessions("https://issuer.example", "alice"),
            "revoked client": keys.revoked_client("https://issuer.example", "web"),
            "revoked token": keys.revoked_jti("https://issuer.example", "token-id"),
            "revoked session": keys.revoked_sid("https://issuer.example", "session"),
            "revoked subject": keys.revoked_sub("https://issuer.example", "alice"),
            "limit": keys.limit("api", "bucket", &StoreKeys::limit_hash("api", "192.0.2.1")),
            "attempts": keys.attempts("username", "alice"),
            "totals of counters": keys.metrics_totals(),
            "batches of counters": keys.metrics_batches(),
            "refresh": keys.refresh(&TokenHash::of("old")),
            "refresh family": keys.refresh_family(&TokenHash::of("old").to_string()),
            "refresh revoked": keys.refresh_revoked("family"),
            "reconciled": keys.reconciled("process"),
            "event": keys.event("https://issuer.example", "event-id"),
            "blocked subject": keys.block("subject", "https://issuer.example", "alice"),
            "blocked address": keys.block_address("192.0.2.1"),
            "blocked networks": keys.blocked_networks(),
        },
        "record": {
            "plain": record().encode(&key, None, NONCE),
            "sealed": sealed,
            "introspected": introspected.encode(&key, None, NONCE),
            "api key": key_record().encode(&key, None, NONCE),
        },
        "request": commands(&request),
        "session seen": commands(&permit.touch_session(NOW).unwrap().1),
        "assertion": assertion,
        "edge proof": EdgeAuthKey::parse(EDGE_AUTH_KEY).unwrap().sign(&STATEMENT, NOW),
        "introspection": { "authorization": question.authorization, "body": question.body },
        "refresh": {
            "lease": commands(&refresh.acquire("request-id", 6, &keys)),
            "response": commands(&stored),
            "refusal": commands(&[refresh.store_refusal(NONCE)]),
            "revocation": commands(&revocation.mark(Some("family"), 10, &keys)),
            "before a replay": commands(
                &response().revocation_queries(&refresh, "family", &policy, NOW)),
        },
    })
}

#[test]
fn current_formats_are_those_of_the_newest_golden_set() {
    let text = serde_json::to_string_pretty(&current()).unwrap() + "\n";
    sets::compare("edge.json", &text);
    sets::compare("scripts/limit", &format!("{KEY_LOCKING}{LIMIT_SCRIPT}"));
    sets::compare("scripts/quota", &format!("{KEY_LOCKING}{QUOTA_SCRIPT}"));
    sets::compare("scripts/restore", RESTORE_SCRIPT);
    sets::compare("scripts/totals", TOTALS_SCRIPT);
    sets::compare("scripts/session-seen", TOUCH_SCRIPT);
    sets::compare("scripts/revoke", REVOKE_SCRIPT);
}

#[test]
fn formats_of_earlier_versions_are_read() {
    for set in sets::all() {
        let golden: Value = serde_json::from_str(&sets::read(&set, "edge.json").unwrap()).unwrap();
        let text = |pointer: &str| {
            golden.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer}"))
        };
        let key = text("/store keys/token");
        assert_eq!(key, keys().token(&TokenHash::of(&jwt())));
        let plain = TokenRecord::decode(text("/record/plain"), key, None);
        let sealed = TokenRecord::decode(text("/record/sealed"), key, Some(&seal()));
        assert_eq!((plain.as_ref(), sealed.as_ref()), (Some(&record()), Some(&record())));
        let introspected = TokenRecord::decode(text("/record/introspected"), key, None).unwrap();
        assert_eq!((introspected.sub.as_str(), introspected.asked_at), ("alice", Some(NOW.0)));
        let of_key = TokenRecord::decode(text("/record/api key"), key, None);
        assert_eq!(of_key, Some(key_record()));

        let current = EdgeAuthKey::parse(EDGE_AUTH_KEY).unwrap();
        let accepted = EdgeAuthKeys { current, previous: None };
        let proof = text("/edge proof");
        assert_eq!(accepted.verify(proof, &STATEMENT, NOW), Ok(()));
        let newer = proof.replacen("v1", "v2", 1);
        let refused = Err(EdgeAuthError::Malformed);
        assert_eq!(accepted.verify(&newer, &STATEMENT, NOW), refused);

        let refresh = Refresh::read(&refresh_head(), REFRESH_BODY, &keys()).unwrap();
        let state = |value: &str| {
            let replies = [Reply::Null, Reply::text(value), Reply::text("family")];
            refresh.lease_state("another-request", &replies).unwrap()
        };
        assert!(matches!(state(text("/refresh/lease/0/2")), LeaseState::Wait));
        assert!(matches!(state(text("/refresh/refusal/0/2")), LeaseState::Alone));
        let stored = text("/refresh/response/0/2");
        let LeaseState::Replay { family, answer } = state(stored) else { panic!("{stored}") };
        assert_eq!((family.as_str(), answer), ("family", response()));
        // The auth service decides about a refresh whose state is of a newer version.
        assert!(matches!(state(&stored.replacen('A', "B", 1)), LeaseState::Alone));

        // The redis gateway of an earlier version encodes replies like this.
        let replies = sets::read(&set, "replies.json").unwrap();
        let replies: Vec<Vec<Value>> = serde_json::from_str(&replies).unwrap();
        for pair in replies {
            let [json, expected] = pair.as_slice() else { panic!("{pair:?}") };
            let reply = decode_replies(&json!([json]).to_string(), 1).unwrap();
            assert_eq!(format!("{:?}", reply[0]), expected.as_str().unwrap());
        }
    }
}

/// An edge or an auth service that is one version older sends the scripts of its own version.
#[test]
fn documented_tokens_permit_the_scripts_of_two_versions() {
    let tokens = include_str!("../../../docs/redis-gateway-tokens.toml");
    for set in sets::all().iter().rev().take(2) {
        for script in std::fs::read_dir(set.join("scripts")).unwrap() {
            let script = script.unwrap().path();
            let hash = sha1::Sha1::digest(std::fs::read(&script).unwrap());
            let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(tokens.contains(&hash), "{hash} of {}", script.display());
        }
    }
}

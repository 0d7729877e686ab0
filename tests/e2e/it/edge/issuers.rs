//! Issuers as providers have them: many tenants with one key set, two names, no URL, one key in
//! PEM, and tokens without an audience.

use crate::support::edge::start_edge;
use crate::support::http::{assert_refused, get_with};
use crate::support::issuer::{AUDIENCE, Issuer, claims, header, now, serve};
use crate::support::provider::{Behaviour, Provider};
use crate::support::signer::{Key, Signer};
use crate::support::stack::{SHARED, Stack, stop};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis_core::StoreKeys;
use serde_json::{Value, json};

const TENANTS: &str = "https://login.example/{tenant}/v2.0";
const POOL: &str = "https://cognito.example/pool";
const POOL_ALIAS: &str = "https://issuer-cognito.example/pool";
const APP: &str = "https://app.example";

/// Returns the name of a tenant, and its issuer.
fn tenant(letter: &str) -> (String, String) {
    let name = format!("{0}{0}-5f1ce6b4", letter.repeat(4));
    let issuer = TENANTS.replace("{tenant}", &name);
    (name, issuer)
}

/// Returns a public key as PEM.
fn pem(signer: &Signer) -> Option<String> {
    let der = match &signer.key {
        Key::Ecdsa(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
        Key::Ed25519(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
        Key::Rsa(pair, _) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
        Key::Hmac(..) => return None,
    };
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    Some(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n")))
}

/// The edge of these tests, and the keys that its issuers sign with.
struct Scene {
    stack: Stack,
    /// Signs for every tenant.
    shared: Issuer,
    /// Signs for the first tenant alone.
    own: Issuer,
    provider: Provider,
    pool: Issuer,
    signers: Vec<Signer>,
}

async fn start() -> Scene {
    let (shared, own, pool) = (Issuer::new(), Issuer::new(), Issuer::new());
    let provider = Provider::start(Behaviour::Hangs);
    let with_issuer = |key: &Issuer, kid: &str, issuer: &str| {
        let mut jwk = key.jwk(kid);
        jwk["issuer"] = issuer.into();
        jwk
    };
    let template = TENANTS.replace("{tenant}", "{tenantid}");
    let keys =
        [with_issuer(&shared, "shared", &template), with_issuer(&own, "own", &tenant("a").1)];
    provider.behave(Behaviour::Answers {
        containing: "GET /metadata".to_owned(),
        body: json!({ "issuer": template, "jwks_uri": provider.url("/jwks") }).to_string(),
        otherwise: json!({ "keys": keys }).to_string(),
    });
    let signers: Vec<Signer> = Signer::all();
    let by_pem = signers.iter().filter_map(|signer| {
        let issuer = format!("acme {}", signer.algorithm);
        Some(json!({ "issuer": issuer, "audience": AUDIENCE, "algorithms": [signer.algorithm],
            "public_key": pem(signer)? }))
    });
    let mut issuers = vec![
        json!({ "issuer": TENANTS, "tenants": [tenant("a").0, tenant("b").0],
            "audience": [AUDIENCE, "api://x"], "algorithms": ["EdDSA"], "token_type": "jwt",
            "metadata_url": provider.url("/metadata") }),
        json!({ "issuer": POOL, "issuer_aliases": [POOL_ALIAS], "audience": ["web", "app"],
            "audience_claim": "client_id", "algorithms": ["EdDSA"], "token_type": "jwt",
            "jwks_url": serve(pool.jwks()), "claims": { "token_use": "access" },
            "claims_required": ["/context/device"], "claims_forbidden": ["nonce", "at_hash"] }),
        json!({ "issuer": "clerk", "authorized_parties": [APP], "algorithms": ["EdDSA"],
            "token_type": "jwt", "jwks_url": serve(pool.jwks()),
            "header": { "cat": ["session", 111] }, "header_forbidden": ["nonce"] }),
    ];
    issuers.extend(by_pem);
    let vars = json!({
        "issuers": issuers,
        "routes": [
            { "name": "tenants", "path": "/api/tenants", "access": "protected",
              "require": "not_revoked", "issuers": [TENANTS], "suffixes": "same" },
            { "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked" },
        ],
    });
    let stack = start_edge(vars).await;
    Scene { stack, shared, own, provider, pool, signers }
}

impl Scene {
    /// Returns the issuer that the upstream is given, or the code of the refusal.
    async fn verdict(&self, token: &str) -> String {
        self.verdict_at("/api/x", token).await
    }

    async fn verdict_at(&self, path: &str, token: &str) -> String {
        let response = get_with(&self.stack.edge(path), token).await;
        let body: Value = response.json().await.unwrap();
        match body["code"].as_str() {
            Some(code) => code.to_owned(),
            None => body["headers"]["portcullis-issuer"].as_str().unwrap().to_owned(),
        }
    }
}

fn by(key: &Issuer, kid: &str, changes: Value) -> String {
    key.sign(&header(json!({ "kid": kid, "typ": "JWT" })), &claims(changes))
}

#[tokio::test]
async fn issuers_of_every_form_are_distinguished() {
    let scene = start().await;
    tenants_are_issuers_of_their_own(&scene).await;
    alias_means_the_issuer(&scene).await;
    access_tokens_are_told_from_others(&scene).await;
    authorized_party_replaces_the_audience(&scene).await;
    pem_of_every_algorithm_verifies(&scene).await;
    encrypted_token_has_its_own_code(&scene).await;
    stop(scene.stack).await;
}

async fn tenants_are_issuers_of_their_own(scene: &Scene) {
    let of = |letter: &str, more: Value| {
        let (name, issuer) = tenant(letter);
        let mut changes = json!({ "iss": issuer, "tid": name });
        changes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        changes
    };
    let shared = |changes: Value| by(&scene.shared, "shared", changes);
    for letter in ["a", "b"] {
        let token = shared(of(letter, json!({})));
        assert_eq!(scene.verdict(&token).await, tenant(letter).1);
        assert_eq!(scene.verdict_at("/api/tenants", &token).await, tenant(letter).1);
    }
    assert_eq!(scene.verdict(&shared(of("a", json!({ "aud": "api://x" })))).await, tenant("a").1);
    let requests = scene.provider.take().len();
    assert_eq!(requests, 2, "the metadata and the key set, once for all tenants");
    let (a, b) = (tenant("a"), tenant("b"));
    for (changes, code) in [
        (of("c", json!({})), "tenant_refused"),
        (of("a", json!({ "tid": b.0 })), "tenant_refused"),
        (of("a", json!({ "tid": a.0.to_uppercase() })), "tenant_refused"),
        (of("a", json!({ "tid": [a.0] })), "tenant_refused"),
        (of("a", json!({ "tid": null })), "claim_missing"),
        (of("a", json!({ "iss": format!("{}/", a.1) })), "issuer_unknown"),
        (of("a", json!({ "iss": TENANTS, "tid": "{tenant}" })), "issuer_unknown"),
        (of("a", json!({ "iss": TENANTS.replace("{tenant}", "{tenantid}") })), "issuer_unknown"),
        (
            of("a", json!({ "iss": TENANTS.replace("{tenant}", "a/b"), "tid": "a/b" })),
            "issuer_unknown",
        ),
        (of("a", json!({ "iss": TENANTS.replace("{tenant}/", ""), "tid": "" })), "issuer_unknown"),
        (of("a", json!({ "aud": "api://y" })), "audience_mismatch"),
        (of("a", json!({ "aud": [] })), "audience_mismatch"),
    ] {
        assert_eq!(scene.verdict(&shared(changes.clone())).await, code, "{changes}");
    }
    // A key of one tenant signs for no other, and no key is searched for.
    assert_eq!(scene.verdict(&by(&scene.own, "own", of("a", json!({})))).await, a.1);
    assert_eq!(scene.verdict(&by(&scene.own, "own", of("b", json!({})))).await, "key_unknown");
    assert_eq!(scene.provider.take().len(), 0);

    // A marker of one tenant's subject does not concern the same name in another.
    let subject = format!("tenant-{}-{}", std::process::id(), now());
    let token = |letter: &str| shared(of(letter, json!({ "sub": subject })));
    let key = StoreKeys::new("pc").revoked_sub(&a.1, &subject);
    SHARED.put(&key, &(now() + 1).to_string()).await;
    assert_eq!(scene.verdict(&token("a")).await, "token_revoked");
    assert_eq!(scene.verdict(&token("b")).await, b.1);

    let token = by(&scene.pool, "k1", pool(json!({})));
    let refused = get_with(&scene.stack.edge("/api/tenants"), &token).await;
    assert_refused(refused, 401, "issuer_refused").await;
}

fn pool(more: Value) -> Value {
    let mut changes = json!({
        "iss": POOL, "aud": null, "client_id": "web", "token_use": "access",
        "context": { "device": "d" },
    });
    changes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    changes
}

async fn alias_means_the_issuer(scene: &Scene) {
    let token = |more: Value| by(&scene.pool, "k1", pool(more));
    assert_eq!(scene.verdict(&token(json!({}))).await, POOL);
    assert_eq!(scene.verdict(&token(json!({ "iss": POOL_ALIAS }))).await, POOL);
    for other in [
        format!("{POOL_ALIAS}/"),
        POOL_ALIAS.replace("https", "http"),
        POOL.replace("https://", ""),
    ] {
        assert_eq!(scene.verdict(&token(json!({ "iss": other }))).await, "issuer_unknown");
    }
    let session = format!("alias-{}-{}", std::process::id(), now());
    SHARED.put(&StoreKeys::new("pc").revoked_sid(POOL, &session), &(now() + 1).to_string()).await;
    for iss in [POOL, POOL_ALIAS] {
        let token = token(json!({ "iss": iss, "sid": session }));
        assert_eq!(scene.verdict(&token).await, "token_revoked", "{iss}");
    }
}

async fn access_tokens_are_told_from_others(scene: &Scene) {
    for (more, code) in [
        (json!({ "client_id": "app", "aud": [] }), POOL),
        (json!({ "aud": "web" }), POOL),
        // A right client does not outweigh another audience.
        (json!({ "aud": "https://other.example" }), "audience_mismatch"),
        (json!({ "client_id": "other" }), "audience_mismatch"),
        (json!({ "client_id": null }), "claim_missing"),
        (json!({ "client_id": null, "azp": "web" }), "claim_missing"),
        (json!({ "aud": "web", "token_use": "id" }), "token_type_refused"),
        (json!({ "token_use": null }), "token_type_refused"),
        (json!({ "token_use": ["id"] }), "token_type_refused"),
        (json!({ "nonce": "n" }), "token_type_refused"),
        (json!({ "at_hash": false }), "token_type_refused"),
        (json!({ "context": {} }), "token_type_refused"),
        (json!({ "context": "device" }), "token_type_refused"),
    ] {
        let token = by(&scene.pool, "k1", pool(more.clone()));
        assert_eq!(scene.verdict(&token).await, code, "{more}");
    }
    let log = scene.stack.log("edge");
    for unmet in ["claims token_use", "claims_required /context/device", "claims_forbidden nonce"] {
        assert!(log.contains(&format!(r#""unmet":"{unmet}""#)), "{unmet}");
    }
}

async fn authorized_party_replaces_the_audience(scene: &Scene) {
    let sign = |head: Value, changes: Value| {
        let mut all = json!({ "iss": "clerk", "aud": null, "client_id": null, "azp": APP });
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let mut own = json!({ "typ": "JWT", "cat": 111 });
        own.as_object_mut().unwrap().extend(head.as_object().unwrap().clone());
        scene.pool.sign(&header(own), &claims(all))
    };
    for (head, changes, code) in [
        (json!({}), json!({}), "clerk"),
        (json!({ "cat": "session" }), json!({ "aud": [] }), "clerk"),
        (json!({}), json!({ "azp": "https://evil.example" }), "authorized_party_refused"),
        (json!({}), json!({ "azp": "https://app.example/" }), "authorized_party_refused"),
        (json!({}), json!({ "azp": null, "client_id": APP }), "claim_missing"),
        (json!({}), json!({ "aud": APP }), "audience_mismatch"),
        (json!({ "cat": "111" }), json!({}), "token_type_refused"),
        (json!({ "cat": null }), json!({}), "token_type_refused"),
        (json!({ "nonce": "n" }), json!({}), "token_type_refused"),
    ] {
        let token = sign(head.clone(), changes.clone());
        assert_eq!(scene.verdict(&token).await, code, "{head} {changes}");
    }
}

async fn pem_of_every_algorithm_verifies(scene: &Scene) {
    let (others, mut verified) = (Signer::all(), 0);
    for signer in scene.signers.iter().filter(|signer| pem(signer).is_some()) {
        let (algorithm, issuer) = (signer.algorithm, format!("acme {}", signer.algorithm));
        for kid in ["any", ""] {
            let token = signer.token(algorithm, kid, &issuer);
            assert_eq!(scene.verdict(&token).await, issuer, "{algorithm}");
        }
        // Another key of the same kind, and another algorithm of the same key.
        let other = others.iter().find(|other| other.algorithm == algorithm).unwrap();
        let forged = other.token(algorithm, "any", &issuer);
        assert_eq!(scene.verdict(&forged).await, "signature_invalid", "{algorithm}");
        let alg = if algorithm == "RS256" { "RS512" } else { "RS256" };
        let confused = signer.token(alg, "any", &issuer);
        assert_eq!(scene.verdict(&confused).await, "algorithm_refused", "{algorithm}");
        verified += 1;
    }
    assert_eq!(verified, 10);
}

async fn encrypted_token_has_its_own_code(scene: &Scene) {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let header = part(&json!({ "alg": "dir", "enc": "A256GCM", "iss": POOL }).to_string());
    let rest = format!("..{}.{}.{}", part("iv"), part("text"), part("tag"));
    let token = format!("{header}{rest}");
    assert_eq!(token.split('.').count(), 5);
    let refused = get_with(&scene.stack.edge("/api/x"), &token).await;
    assert_refused(refused, 401, "token_encrypted").await;
    for other in [format!("{}{rest}", part("{}")), format!("{token}.x"), format!("x{rest}")] {
        assert_eq!(scene.verdict(&other).await, "token_malformed", "{other}");
    }
    assert_eq!(scene.provider.take().len(), 0, "a key is searched for");
}

//! An issuer with its own key, for tokens that the auth service would never issue.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

pub const ISSUER: &str = "https://issuer.example";
pub const AUDIENCE: &str = "https://api.example";

/// An issuer that signs any header and any claims.
pub struct Issuer {
    pair: Ed25519KeyPair,
}

/// The issuer that the edges of the tests trust.
pub static TRUSTED: LazyLock<Issuer> = LazyLock::new(Issuer::new);

impl Issuer {
    pub fn new() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self { pair: Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap() }
    }

    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk("k1")] })
    }

    pub fn jwk(&self, kid: &str) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "alg": "EdDSA", "x": self.x() })
    }

    pub fn x(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref())
    }

    /// Signs exactly this header and these claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// Signs exactly these two texts, which need not be JSON.
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        self.sign_input(&format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        ))
    }

    /// Signs these two encoded segments without changes.
    pub fn sign_input(&self, input: &str) -> String {
        let signature = self.pair.sign(input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Returns the setting for an issuer with this key set.
pub fn issuer_at(jwks_url: &str) -> Value {
    json!({
        "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks_url": jwks_url,
    })
}

/// Returns a valid header with changes. A member set to null is removed.
pub fn header(changes: Value) -> Value {
    merge(json!({ "alg": "EdDSA", "kid": "k1", "typ": "at+jwt" }), changes)
}

/// Returns valid claims with changes. A member set to null is removed.
pub fn claims(changes: Value) -> Value {
    let now = now();
    let claims = json!({
        "iss": ISSUER, "sub": "alice", "aud": AUDIENCE, "exp": now + 600, "iat": now,
        "jti": "j1", "sid": "s1", "client_id": "c1", "scope": "api:read",
    });
    merge(claims, changes)
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn merge(mut base: Value, changes: Value) -> Value {
    let object = base.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            object.remove(name);
        } else {
            object.insert(name.clone(), value.clone());
        }
    }
    base
}

/// Serves a document at every path of a new port, and returns the URL.
pub fn serve(document: Value) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let answer = move || async move { axum::Json(document) };
            axum::serve(listener, axum::Router::new().fallback(answer)).await.unwrap();
        });
    });
    url
}

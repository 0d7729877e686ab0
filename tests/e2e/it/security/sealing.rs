//! Encryption of records: key rotation, and records that can't be decrypted.

use crate::support::edge::start_edge;
use crate::support::http::{assert_refused, get_with};
use crate::support::issuer::{AUDIENCE, now};
use crate::support::stack::{RECORD_ENCRYPTION_KEY, SHARED, Stack, stop};
use portcullis_core::{StoreKeys, TokenHash};
use serde_json::{Value, json};

const NEW_KEY: &str = "new:BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA";

/// Starts an edge with these keys, in front of the shared system.
async fn start(introspects: bool, keys: Value) -> Stack {
    let mut issuer = json!({
        "issuer": SHARED.fact("edge_url"), "audience": AUDIENCE, "algorithms": ["EdDSA"],
        "jwks_url": format!("{}/.well-known/jwks.json", SHARED.fact("auth_url")),
        "sessions_in_store": true,
    });
    if introspects {
        issuer["introspection"] = json!({
            "url": format!("{}/oauth/introspect", SHARED.fact("auth_url")), "client_id": "edge",
            "client_secret_variable": "INTROSPECTION_SECRET", "revocations_in_store": true,
        });
    }
    let mut vars = json!({
        "issuers": [issuer],
        "INTROSPECTION_SECRET": SHARED.fact("introspection_secret"),
        "routes": [{ "name": "api", "path": "/api/*", "access": "protected" }],
    });
    vars.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    start_edge(vars).await
}

fn redis() -> redis::Connection {
    redis::Client::open(SHARED.fact("redis_url")).unwrap().get_connection().unwrap()
}

fn record(token: &str) -> String {
    let key = StoreKeys::new("pc").token(&TokenHash::of(token));
    redis::cmd("GET").arg(key).query(&mut redis()).unwrap()
}

#[tokio::test]
async fn encryption_key_is_rotated_without_downtime() {
    let session = SHARED.login().await;
    assert!(record(&session.access).starts_with("v1.test."), "{}", record(&session.access));
    // The new key is distributed first. Then it encrypts, while the old key still decrypts.
    for keys in [
        json!({ "RECORD_ENCRYPTION_KEY_PREVIOUS": NEW_KEY }),
        json!({ "RECORD_ENCRYPTION_KEY": NEW_KEY, "RECORD_ENCRYPTION_KEY_PREVIOUS": RECORD_ENCRYPTION_KEY }),
    ] {
        let edge = start(false, keys).await;
        assert_eq!(get_with(&edge.edge("/api/x"), &session.access).await.status(), 200);
        assert!(!edge.log("edge").contains("record_unopened"));
        stop(edge).await;
    }
}

#[tokio::test]
async fn record_that_does_not_decrypt_is_a_cache_miss() {
    let session = SHARED.login().await;
    let deaf = start(false, json!({ "RECORD_ENCRYPTION_KEY": NEW_KEY })).await;
    let response = get_with(&deaf.edge("/api/x"), &session.access).await;
    assert_refused(response, 401, "token_not_registered").await;
    assert!(deaf.log("edge").contains("\"record_unopened\":true"));
    stop(deaf).await;

    // With introspection, the token is introspected once and its record is written again.
    let edge = start(true, json!({ "RECORD_ENCRYPTION_KEY": NEW_KEY })).await;
    let url = edge.edge("/api/x");
    assert_eq!(get_with(&url, &session.access).await.status(), 200);
    let mut sealed = String::new();
    for _ in 0..500 {
        sealed = record(&session.access);
        if sealed.starts_with("v1.new.") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(sealed.starts_with("v1.new."), "{sealed}");
    // Garbage, and another token's record, also count as missing.
    let other = SHARED.login().await;
    let key = StoreKeys::new("pc").token(&TokenHash::of(&other.access));
    for value in ["", "v1", "v1.new.", "v1.new.AAAA", "{}", "\u{ff}", &sealed] {
        let () =
            redis::cmd("SET").arg(&key).arg(value).arg("EX").arg(60).query(&mut redis()).unwrap();
        assert_eq!(get_with(&url, &other.access).await.status(), 200, "{value}");
    }
    stop(edge).await;
}

/// A session's last use is written after the response, and an ended session is not restored.
#[tokio::test]
async fn session_last_seen_is_updated_after_the_response() {
    let session = SHARED.login().await;
    let edge = start(false, json!({})).await;
    let claims = session.access.split('.').nth(1).unwrap();
    use base64::Engine as _;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let (iss, sub) = (claims["iss"].as_str().unwrap(), claims["sub"].as_str().unwrap());
    let sid = claims["sid"].as_str().unwrap();
    let keys = StoreKeys::new("pc");
    let (one, all) = (keys.session(iss, sid), keys.sessions(iss, sub));
    let mut redis = redis();
    // The last use is set to a time long ago.
    let () = redis::cmd("HSET").arg(&one).arg("last_seen_at").arg(7).query(&mut redis).unwrap();
    let () = redis::cmd("ZADD").arg(&all).arg(7).arg(sid).query(&mut redis).unwrap();
    assert_eq!(get_with(&edge.edge("/api/x"), &session.access).await.status(), 200);
    let mut seen: u64 = 7;
    for _ in 0..500 {
        seen = redis::cmd("HGET").arg(&one).arg("last_seen_at").query(&mut redis).unwrap();
        if seen > 7 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let score: f64 = redis::cmd("ZSCORE").arg(&all).arg(sid).query(&mut redis).unwrap();
    assert!(seen >= now() - 5 && score >= seen as f64, "{seen} {score}");
    // The last use is written at most once a minute.
    let () = redis::cmd("HSET").arg(&one).arg("last_seen_at").arg(7).query(&mut redis).unwrap();
    for _ in 0..5 {
        assert_eq!(get_with(&edge.edge("/api/x"), &session.access).await.status(), 200);
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let seen: u64 = redis::cmd("HGET").arg(&one).arg("last_seen_at").query(&mut redis).unwrap();
    assert_eq!(seen, 7);

    // Another isolate does not restore a session that was deleted from the store.
    let () = redis::cmd("DEL").arg(&one).query(&mut redis).unwrap();
    let () = redis::cmd("ZREM").arg(&all).arg(sid).query(&mut redis).unwrap();
    let other = start(false, json!({})).await;
    assert_eq!(get_with(&other.edge("/api/x"), &session.access).await.status(), 200);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let exists: bool = redis::cmd("EXISTS").arg(&one).query(&mut redis).unwrap();
    let score: Option<f64> = redis::cmd("ZSCORE").arg(&all).arg(sid).query(&mut redis).unwrap();
    assert!(!exists && score.is_none());
    stop((edge, other)).await;
}

//! API keys of the real auth service at the edge, with the example's policy: each change of a key
//! counts with the next request, and a lost record costs nothing but a moment.

use crate::auth::clients::command as auth_command;
use crate::support::environment::on_memcached;
use crate::support::http::client;
use crate::support::stack::{Stack, stop};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SCOPE: &str = "api:read api:write keys:manage keys:admin";

/// A system, and a user whose token manages keys.
pub struct Scene {
    pub stack: Stack,
    token: String,
}

impl Scene {
    /// Starts a system, with a user whose token manages keys.
    pub async fn start() -> Self {
        let stack = tokio::task::spawn_blocking(|| Stack::start(&[], None));
        let stack = stack.await.unwrap();
        auth_command(&stack, &["user", "set", "--username", stack.username(), "--scope", SCOPE]);
        let token = stack.login().await.access;
        Self { stack, token }
    }

    pub async fn manage(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let request = client().request(method, self.stack.edge(path)).bearer_auth(&self.token);
        match body {
            Some(body) => request.json(&body).send().await.unwrap(),
            None => request.send().await.unwrap(),
        }
    }

    /// Creates a key. Returns its id and its secret.
    pub async fn create(&self, terms: Value) -> (String, String) {
        let response = self.manage(Method::POST, "/auth/keys", Some(terms)).await;
        assert_eq!(response.status(), 201);
        let body: Value = response.json().await.unwrap();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        (text("id"), text("key"))
    }

    pub async fn change(&self, id: &str, change: Value) {
        let response = self.manage(Method::PATCH, &format!("/auth/keys/{id}"), Some(change)).await;
        assert_eq!(response.status(), 200);
    }

    /// Returns the code of a refusal, or `200`.
    async fn code(&self, path: &str, key: &str) -> String {
        let request = client().get(self.stack.edge(path)).header("X-API-Key", key);
        let response = request.header("cf-connecting-ip", "192.0.2.1").send().await.unwrap();
        if response.status() == 200 {
            return "200".to_owned();
        }
        let body: Value = response.json().await.unwrap();
        body["code"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn each_change_of_a_key_counts_with_the_next_request() {
    if on_memcached() {
        return;
    }
    let scene = Scene::start().await;
    let (id, key) = scene.create(json!({ "name": "ci", "scope": "api:read" })).await;
    assert_eq!(scene.code("/api/hello", &key).await, "200");
    for (change, expect) in [
        (json!({ "networks": ["198.51.100.0/24"] }), "key_network_denied"),
        (json!({ "networks": ["192.0.2.0/24"] }), "200"),
        (json!({ "networks": [] }), "200"),
    ] {
        scene.change(&id, change.clone()).await;
        assert_eq!(scene.code("/api/hello", &key).await, expect, "{change}");
    }
    // The limit admits 5, and the key 2. A caller that is over it is asked about again within 5 s.
    scene.change(&id, json!({ "quotas": { "limited": 2 } })).await;
    for expect in ["200", "200", "rate_limited"] {
        assert_eq!(scene.code("/api/limited", &key).await, expect);
    }

    // Both secrets work within the grace.
    let path = format!("/auth/keys/{id}/roll");
    let rolled = scene.manage(Method::POST, &path, Some(json!({ "grace_seconds": 3 }))).await;
    let asked = Instant::now();
    let rolled: Value = rolled.json().await.unwrap();
    let new = rolled["key"].as_str().unwrap();
    assert_eq!(scene.code("/api/hello", &key).await, "200");
    assert_eq!(scene.code("/api/hello", new).await, "200");
    tokio::time::sleep(Duration::from_millis(4200).saturating_sub(asked.elapsed())).await;
    let old = scene.code("/api/hello", &key).await;
    assert!(["token_inactive", "token_expired"].contains(&old.as_str()), "{old}");
    assert_eq!(scene.code("/api/hello", new).await, "200");

    let deleted = scene.manage(Method::DELETE, &format!("/auth/keys/{id}"), None).await;
    assert_eq!(deleted.status(), 204);
    assert_eq!(scene.code("/api/hello", new).await, "token_revoked");
    stop(scene.stack).await;
}

/// After the store lost everything, the next request with a key passes by introspection, and the
/// auth service publishes the record again. A disabled owner's keys stop, and come back.
#[tokio::test]
async fn lost_records_and_disabled_owners_are_noticed_at_once() {
    if on_memcached() {
        return;
    }
    let scene = Scene::start().await;
    let (_, key) = scene.create(json!({ "name": "ci", "scope": "api:read" })).await;
    let (_, unused) = scene.create(json!({ "name": "other", "scope": "api:read" })).await;
    assert_eq!(scene.code("/api/hello", &key).await, "200");
    let redis = redis::Client::open(scene.stack.fact("redis_url")).unwrap();
    let mut redis = redis.get_connection().unwrap();
    redis::cmd("FLUSHALL").exec(&mut redis).unwrap();
    for key in [&key, &unused] {
        assert_eq!(scene.code("/api/hello", key).await, "200", "right after the loss");
    }
    let records = || -> usize {
        let redis = redis::Client::open(scene.stack.fact("redis_url")).unwrap();
        let mut redis = redis.get_connection().unwrap();
        redis::cmd("KEYS").arg("pc:token:*").query::<Vec<String>>(&mut redis).unwrap().len()
    };
    let begun = Instant::now();
    while records() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(10), "the records do not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let user = scene.stack.username().to_owned();
    auth_command(&scene.stack, &["user", "disable", "--username", &user]);
    assert_eq!(scene.code("/api/hello", &key).await, "token_revoked");
    auth_command(&scene.stack, &["user", "enable", "--username", &user]);
    let begun = Instant::now();
    while scene.code("/api/hello", &key).await != "200" {
        assert!(begun.elapsed() < Duration::from_secs(8), "the key stays refused");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stop(scene.stack).await;
}

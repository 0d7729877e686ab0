//! Blocks, quotas and credits: what the endpoints and the commands write to the store, and what the
//! edge does with it.

use crate::support::http::{assert_refused, client, get_with};
use crate::support::stack::{Stack, Tokens, stop};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A system with limits by subject, its operator's token, and a connection to Redis.
struct Scene {
    stack: Stack,
    token: String,
    redis: redis::Connection,
}

impl Scene {
    async fn start() -> Self {
        let limits = json!([
            { "name": "few", "quota": 2, "window_seconds": 600, "by": "subject",
              "algorithm": "fixed_window", "overrides": true, "timing": "exact" },
            { "name": "calls", "algorithm": "credits", "by": "subject" },
        ]);
        let route = |name: &str, more: Value| {
            let mut route = json!({ "name": name, "path": format!("/api/{name}"),
                "access": "protected", "require": "not_revoked" });
            route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            route
        };
        let vars = json!({ "limits": limits, "block.refresh_seconds": 1, "routes": [
            route("few", json!({ "limits": ["few"] })),
            route("calls", json!({ "limits": ["calls"] })),
            route("hello", json!({})),
            { "name": "public", "path": "/public/*", "access": "public" },
            { "name": "auth", "path": "/auth/*", "access": "auth" },
        ] });
        let stack = tokio::task::spawn_blocking(|| Stack::start(&[], Some(vars))).await.unwrap();
        let redis = redis::Client::open(stack.fact("redis_url")).unwrap().get_connection().unwrap();
        let login = stack.try_login("operator", stack.password()).await;
        let token = Tokens::read(login).await.access;
        Self { stack, token, redis }
    }

    fn program(&self, arguments: &[&str]) -> Output {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/debug/portcullis-auth");
        let mut command = Command::new(path);
        command.arg("--config").arg(self.stack.fact("auth_config")).args(arguments);
        command.output().unwrap()
    }

    /// Runs a command that succeeds. Returns its lines.
    fn run(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.program(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Sends a request to the auth service through the edge.
    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        self.send_as(&self.token, method, path, body).await
    }

    async fn send_as(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Response {
        let request = client().request(method, self.stack.edge(path)).bearer_auth(token);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        request.send().await.unwrap()
    }

    async fn get(&self, path: &str, token: &str) -> Response {
        get_with(&self.stack.edge(path), token).await
    }

    /// Returns the keys of blocks and quotas in Redis, each with its remaining seconds.
    fn keys(&mut self) -> Vec<(String, i64)> {
        let mut found = Vec::new();
        for pattern in ["pc:block:*", "pc:quota:*"] {
            let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query(&mut self.redis).unwrap();
            for key in keys {
                let seconds = redis::cmd("TTL").arg(&key).query(&mut self.redis).unwrap();
                found.push((key, seconds));
            }
        }
        found.sort();
        found
    }
}

/// Returns the subject of an access token.
fn subject(token: &str) -> String {
    use base64::Engine as _;
    let part = token.split('.').nth(1).unwrap();
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
    serde_json::from_slice::<Value>(&text).unwrap()["sub"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn blocks_and_quotas_count_with_the_next_request() {
    let mut scene = Scene::start().await;
    let user = scene.stack.login().await.access;
    let (id, username) = (subject(&user), scene.stack.username().to_owned());
    assert_eq!(scene.get("/api/hello", &user).await.status(), 200);

    // A subject, by the endpoint and by the command.
    let body = json!({ "subject": id, "reason": "scraping", "seconds": 600 });
    let set = scene.send(Method::POST, "/auth/blocks", Some(body)).await;
    assert_eq!(set.status(), 201);
    let set: Value = set.json().await.unwrap();
    assert_eq!((&set["subject"], &set["reason"]), (&json!(id), &json!("scraping")), "{set}");
    assert!(set["actor"].as_str().is_some_and(|name| name.starts_with("user:")), "{set}");
    assert_refused(scene.get("/api/hello", &user).await, 403, "blocked").await;
    let keys = scene.keys();
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert!((590..=600).contains(&keys[0].1), "{keys:?}");
    let listed = scene.run(&["blocks"]);
    assert_eq!((listed.len(), &listed[0]["until"]), (1, &set["until"]), "{listed:?}");
    let path = format!("/auth/blocks?subject={id}");
    assert_eq!(scene.send(Method::DELETE, &path, None).await.status(), 204);
    assert_eq!(scene.send(Method::DELETE, &path, None).await.status(), 204, "repeated");
    assert_eq!(scene.keys(), []);
    // An isolate remembers a blocked token for a second.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(scene.get("/api/hello", &user).await.status(), 200);
    let blocked = &scene.run(&["block", "--username", &username, "--for", "10m"])[0];
    assert_eq!((&blocked["done"], &blocked["store"]), (&json!("blocked"), &json!("updated")));
    assert_eq!(blocked["actor"], "operator");
    assert_refused(scene.get("/api/hello", &user).await, 403, "blocked").await;
    scene.run(&["unblock", "--username", &username]);
    tokio::time::sleep(Duration::from_millis(1200)).await;

    // A network, for requests that ask the store nothing.
    let public = scene.stack.edge("/public/x");
    let from =
        |address: &'static str| client().get(&public).header("cf-connecting-ip", address).send();
    assert_eq!(from("203.0.113.9").await.unwrap().status(), 200);
    scene.run(&["block", "--address", "203.0.113.0/24", "--reason", "garbage", "--for", "1h"]);
    let begun = Instant::now();
    while from("203.0.113.9").await.unwrap().status() != 403 {
        assert!(begun.elapsed() < Duration::from_secs(4), "the network is never blocked");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(from("198.51.100.1").await.unwrap().status(), 200);
    scene.run(&["unblock", "--address", "203.0.113.0/24"]);

    // Another quota: two requests pass by the limit's own.
    let passed = async |scene: &Scene, path: &str, count: usize| {
        let mut passed = 0;
        for _ in 0..count {
            passed += usize::from(scene.get(path, &user).await.status() == 200);
        }
        passed
    };
    let by = json!([{ "part": "subject", "value": id }]);
    let body = json!({ "limit": "few", "by": by, "quota": 5, "seconds": 600 });
    let set = scene.send(Method::PUT, "/auth/limits", Some(body)).await;
    assert_eq!(set.status(), 200);
    assert_eq!(passed(&scene, "/api/few", 8).await, 5);
    // One for each kind of state.
    assert_eq!(scene.keys().len(), 5);
    let listed = scene.send(Method::GET, "/auth/limits", None).await;
    let listed: Value = listed.json().await.unwrap();
    assert_eq!((&listed["limits"][0]["quota"], &listed["next"]), (&json!(5), &Value::Null));
    let by_id = format!("subject={id}");
    let larger = ["limit", "set", "--limit", "few", "--by", &by_id, "--quota", "7", "--for", "7d"];
    scene.run(&larger);
    // An isolate remembers a refused caller for at most 5 s.
    tokio::time::sleep(Duration::from_millis(5200)).await;
    assert_eq!(passed(&scene, "/api/few", 4).await, 2);
    let path = format!("/auth/limits?name=few&by=subject%3D{id}");
    let one: Value = scene.send(Method::GET, &path, None).await.json().await.unwrap();
    assert_eq!(one["limits"][0]["quota"], 7, "{one}");
    assert_eq!(scene.send(Method::DELETE, &path, None).await.status(), 204);
    assert_eq!(scene.keys(), []);

    // Credits: a caller without any is refused.
    assert_eq!(passed(&scene, "/api/calls", 1).await, 0);
    let body = json!({ "limit": "calls", "by": by, "credits": 3, "id": "invoice-1" });
    for status in [201, 200] {
        let added = scene.send(Method::POST, "/auth/limits/credits", Some(body.clone())).await;
        assert_eq!(added.status(), status);
        assert_eq!(added.json::<Value>().await.unwrap()["granted"], 3);
    }
    tokio::time::sleep(Duration::from_millis(5200)).await;
    assert_eq!(passed(&scene, "/api/calls", 5).await, 3);
    let shown = &scene.run(&["credit", "show", "--limit", "calls", "--by", &by_id])[0];
    assert_eq!((&shown["granted"], &shown["by"]), (&json!(3), &by), "{shown}");
    stop(scene).await;
}

#[tokio::test]
async fn requests_without_scope_or_out_of_bounds_are_refused() {
    let scene = Scene::start().await;
    let user = scene.stack.login().await.access;
    let by = json!([{ "part": "subject", "value": "x" }]);
    let block = json!({ "subject": "x", "seconds": 60 });
    let quota = json!({ "limit": "few", "by": by, "quota": 5, "seconds": 60 });
    let credits = json!({ "limit": "calls", "by": by, "credits": 5 });
    for (method, path, body) in [
        (Method::POST, "/auth/blocks", Some(&block)),
        (Method::GET, "/auth/blocks", None),
        (Method::DELETE, "/auth/blocks?subject=x", None),
        (Method::PUT, "/auth/limits", Some(&quota)),
        (Method::GET, "/auth/limits", None),
        (Method::DELETE, "/auth/limits?name=few&by=subject%3Dx", None),
        (Method::POST, "/auth/limits/credits", Some(&credits)),
        (Method::GET, "/auth/limits/credits", None),
    ] {
        let refused = scene.send_as(&user, method.clone(), path, body.cloned()).await;
        assert_refused(refused, 403, "scope_insufficient").await;
        let refused = client().request(method, format!("{}{path}", scene.stack.fact("auth_url")));
        assert_eq!(refused.send().await.unwrap().status(), 401, "{path} without a token");
    }
    let with = |body: &Value, name: &str, value: Value| {
        let mut body = body.clone();
        body[name] = value;
        body
    };
    let without = |body: &Value, name: &str| {
        let mut body = body.clone();
        body.as_object_mut().unwrap().remove(name);
        body
    };
    let many: Vec<Value> =
        (0..9).map(|n| json!({"part": format!("claim:{n}"), "value": ""})).collect();
    for (method, path, body, code) in [
        (Method::POST, "/auth/blocks", without(&block, "seconds"), "adjustment_invalid"),
        (Method::POST, "/auth/blocks", without(&block, "subject"), "adjustment_invalid"),
        (Method::POST, "/auth/blocks", with(&block, "until", json!(1)), "adjustment_invalid"),
        (Method::POST, "/auth/blocks", with(&block, "client", json!("x")), "adjustment_invalid"),
        (Method::POST, "/auth/blocks", with(&block, "seconds", json!(0)), "adjustment_invalid"),
        (Method::POST, "/auth/blocks", with(&block, "seconds", json!(-1)), "request_malformed"),
        (Method::POST, "/auth/blocks", with(&block, "more", json!(1)), "request_malformed"),
        (
            Method::POST,
            "/auth/blocks",
            with(&block, "reason", json!("r".repeat(201))),
            "adjustment_invalid",
        ),
        (
            Method::POST,
            "/auth/blocks",
            json!({ "address": "0.0.0.0/0", "seconds": 1 }),
            "adjustment_invalid",
        ),
        (Method::PUT, "/auth/limits", with(&quota, "quota", json!(0)), "adjustment_invalid"),
        (Method::PUT, "/auth/limits", with(&quota, "limit", json!("a b")), "adjustment_invalid"),
        (Method::PUT, "/auth/limits", with(&quota, "by", json!([])), "adjustment_invalid"),
        (Method::PUT, "/auth/limits", with(&quota, "by", json!(many)), "adjustment_invalid"),
        (
            Method::POST,
            "/auth/limits/credits",
            with(&credits, "credits", json!(0)),
            "adjustment_invalid",
        ),
        (
            Method::POST,
            "/auth/limits/credits",
            with(&credits, "credits", json!(1.5)),
            "request_malformed",
        ),
        (
            Method::POST,
            "/auth/limits/credits",
            with(&credits, "credits", json!(-1)),
            "credits_out_of_range",
        ),
    ] {
        let answer = scene.send(method, path, Some(body.clone())).await;
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["code"], code, "{path} {body}: {answer}");
    }
    for (path, code) in [
        ("/auth/blocks?limit=0", "query_invalid"),
        ("/auth/blocks?limit=1001", "query_invalid"),
        ("/auth/blocks?limit=1&limit=2", "query_invalid"),
        ("/auth/blocks?subjet=x", "query_invalid"),
        ("/auth/blocks?subject=x&key=y", "adjustment_invalid"),
        ("/auth/limits?by=subject%3Dx", "query_invalid"),
        ("/auth/limits?name=few&by=subject", "query_invalid"),
    ] {
        let answer = scene.send(Method::GET, path, None).await;
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["code"], code, "{path}: {answer}");
    }
    for (path, code) in [
        ("/auth/blocks?subject=nobody", "block_unknown"),
        ("/auth/blocks", "adjustment_invalid"),
        ("/auth/limits?name=few&by=subject%3Dnobody", "quota_unknown"),
        ("/auth/limits", "adjustment_invalid"),
    ] {
        let answer = scene.send(Method::DELETE, path, None).await;
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["code"], code, "{path}: {answer}");
    }
    assert!(!scene.program(&["unblock", "--subject", "nobody"]).status.success());
    assert!(!scene.program(&["block", "--username", "nobody", "--for", "1h"]).status.success());
    // Pages of a list.
    for name in ["a", "b", "c"] {
        let body = json!({ "client": name, "seconds": 60 });
        assert_eq!(scene.send(Method::POST, "/auth/blocks", Some(body)).await.status(), 201);
    }
    let (mut names, mut path) = (Vec::new(), "/auth/blocks?limit=2".to_owned());
    loop {
        let page: Value = scene.send(Method::GET, &path, None).await.json().await.unwrap();
        let blocks = page["blocks"].as_array().unwrap();
        names.extend(blocks.iter().map(|own| own["client"].as_str().unwrap().to_owned()));
        assert!(names.len() <= 3, "{names:?}");
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/auth/blocks?limit=2&after={next}");
    }
    names.sort();
    assert_eq!(names, ["a", "b", "c"]);
    stop(scene).await;
}

/// The auth service is killed before it can deliver.
#[tokio::test]
async fn last_change_of_an_outage_reaches_the_store_after_a_crash() {
    let mut scene = Scene::start().await;
    let user = scene.stack.login().await.access;
    let id = subject(&user);
    // The edge fetches the keys of the auth service, which dies below.
    assert_eq!(scene.get("/api/hello", &user).await.status(), 200);
    let auth = format!("{}/auth/blocks", scene.stack.fact("auth_url"));
    let block = async |scene: &Scene, reason: &str| {
        let body = json!({ "subject": id, "reason": reason, "seconds": 600 });
        let request = client().post(&auth).bearer_auth(&scene.token).json(&body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    scene.stack.signal("redis-gateway", "-STOP");
    let (status, body) = block(&scene, "first").await;
    assert_eq!((status, body["pending"].is_string()), (202, true), "{body}");
    let clear = client().delete(format!("{auth}?subject={id}")).bearer_auth(&scene.token);
    assert_eq!(clear.send().await.unwrap().status(), 202);
    assert_eq!(block(&scene, "second").await.0, 202);
    assert_eq!(scene.keys(), []);
    scene.stack.signal("auth", "-KILL");
    scene.stack.signal("redis-gateway", "-CONT");
    // Another process delivers what the dead one left.
    let reconciled = &scene.run(&["reconcile"])[0];
    assert_eq!(reconciled["outbox_empty"], true, "{reconciled}");
    let keys = scene.keys();
    assert_eq!(keys.len(), 1, "{keys:?}");
    let value: String = redis::cmd("GET").arg(&keys[0].0).query(&mut scene.redis).unwrap();
    assert!(value.contains("second"), "{value}");
    assert_refused(scene.get("/api/hello", &user).await, 403, "blocked").await;
    // A store that lost everything has it again.
    redis::cmd("FLUSHALL").exec(&mut scene.redis).unwrap();
    assert_eq!(scene.get("/api/hello", &user).await.status(), 403, "remembered");
    scene.run(&["reconcile"]);
    assert_eq!(scene.keys().len(), 1);
    stop(scene).await;
}

//! API keys at the auth service: its endpoints and commands, and the records that they write.

use crate::support::http::{assert_refused, client};
use crate::support::process::{Folder, Process};
use crate::support::stack::{RECORD_ENCRYPTION_KEY, Stack, Tokens, stop};
use portcullis_core::{Seal, StoreKeys, TokenHash, TokenRecord};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A system, a user whose tokens manage keys, and a connection to Redis.
struct Scene {
    stack: Stack,
    token: String,
    redis: redis::Connection,
}

const SCOPE: &str = "api:read api:write keys:manage";
/// The scope of a user who may also set plan, quotas and metadata of keys.
const ADMIN_SCOPE: &str = "api:read api:write keys:manage keys:admin";

impl Scene {
    async fn start() -> Self {
        let stack = tokio::task::spawn_blocking(|| Stack::start(&[], None)).await.unwrap();
        let redis = redis::Client::open(stack.fact("redis_url")).unwrap().get_connection().unwrap();
        let mut scene = Self { stack, token: String::new(), redis };
        scene.token = scene.user("manager", SCOPE).await;
        scene
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/debug/portcullis-auth");
        let mut command = Command::new(path);
        command.arg("--config").arg(self.stack.fact("auth_config")).args(arguments);
        command
    }

    /// Runs a command that succeeds. Returns its lines.
    fn run(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.program(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Adds a user, and returns an access token of the user.
    async fn user(&self, name: &str, scope: &str) -> String {
        let mut add = self.program(&["user", "add", "--username", name, "--scope", scope]);
        let mut add = add.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        add.stdin.take().unwrap().write_all(b"password").unwrap();
        assert!(add.wait().unwrap().success());
        let body = json!({ "username": name, "password": "password" });
        let login = client().post(self.at("/auth/login")).json(&body).send().await.unwrap();
        Tokens::read(login).await.access
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.stack.fact("auth_url"))
    }

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
        let request = client().request(method, self.at(path)).bearer_auth(token);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        request.send().await.unwrap()
    }

    async fn create(&self, terms: Value) -> Value {
        let created = self.send(Method::POST, "/auth/keys", Some(terms)).await;
        assert_eq!(created.status(), 201);
        assert_eq!(created.headers()["cache-control"], "no-store");
        created.json().await.unwrap()
    }

    /// Returns the record of a key in the store, and the seconds until it ends.
    fn record(&mut self, secret: &str) -> Option<(TokenRecord, i64)> {
        let key = StoreKeys::new("pc").token(&TokenHash::of(secret));
        let text: Option<String> = redis::cmd("GET").arg(&key).query(&mut self.redis).unwrap();
        let seal = Seal::new(RECORD_ENCRYPTION_KEY, None);
        let record = TokenRecord::decode(&text?, &key, seal.as_ref()).unwrap();
        let left = redis::cmd("TTL").arg(&key).query(&mut self.redis).unwrap();
        Some((record, left))
    }

    async fn introspect(&self, secret: &str) -> Value {
        let password = self.stack.fact("introspection_secret");
        let request =
            client().post(self.at("/oauth/introspect")).basic_auth("edge", Some(password));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.body(format!("token={secret}")).send().await.unwrap().json().await.unwrap()
    }

    async fn stop(self) {
        stop(self.stack).await;
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn key_is_created_changed_rolled_and_revoked_over_http() {
    let mut scene = Scene::start().await;
    scene.token = scene.user("admin", ADMIN_SCOPE).await;
    let created = scene
        .create(json!({ "name": "ci", "scope": "api:read", "plan": "pro",
            "quotas": { "api": 7 }, "networks": ["192.0.2.0/24"], "metadata": { "tier": 1 } }))
        .await;
    let (id, secret) = (text(&created, "id"), text(&created, "key"));
    assert!(secret.starts_with(&text(&created, "prefix")) && secret.len() == 58, "{created}");
    let (record, left) = scene.record(&secret).unwrap();
    assert_eq!((record.scope.as_str(), record.jti.as_deref()), ("api:read", Some(id.as_str())));
    assert_eq!(record.key.unwrap().quotas, [("api".to_owned(), 7)]);
    assert!((604_700..=604_800).contains(&left), "{left}");
    let active = scene.introspect(&secret).await;
    assert_eq!((&active["active"], &active["token_type"]), (&json!(true), &json!("Bearer")));
    assert_eq!(active["metadata"], json!({ "tier": 1 }));
    let path = format!("/auth/keys/{id}");
    let shown: Value = scene.send(Method::GET, &path, None).await.json().await.unwrap();
    assert_eq!((&shown["id"], &shown["key"]), (&json!(id), &Value::Null), "shown once");
    let patch = json!({ "scope": "api:write", "plan": null });
    let patched = client().patch(scene.at(&path)).bearer_auth(&scene.token);
    let patched = patched.header("content-type", "application/merge-patch+json");
    let patched = patched.body(patch.to_string()).send().await.unwrap();
    assert_eq!(patched.status(), 200);
    let (record, _) = scene.record(&secret).unwrap();
    assert_eq!((record.scope.as_str(), record.others.get("plan")), ("api:write", None));
    let roll = Some(json!({ "grace_seconds": 100 }));
    let rolled: Value =
        scene.send(Method::POST, &format!("{path}/roll"), roll).await.json().await.unwrap();
    let next = text(&rolled, "key");
    assert!(next != secret && scene.record(&next).is_some());
    let (_, left) = scene.record(&secret).unwrap();
    assert!((95..=100).contains(&left), "{left}");
    assert_eq!(scene.introspect(&secret).await["active"], true);
    let list: Value = scene.send(Method::GET, "/auth/keys", None).await.json().await.unwrap();
    assert_eq!((list["keys"].as_array().unwrap().len(), &list["next"]), (1, &Value::Null));
    for _ in 0..2 {
        assert_eq!(scene.send(Method::DELETE, &path, None).await.status(), 204);
    }
    for secret in [&secret, &next] {
        assert!(scene.record(secret).is_none());
        assert_eq!(scene.introspect(secret).await, json!({ "active": false }));
    }
    let marker = StoreKeys::new("pc").revoked_jti(&text(&active, "iss"), &id);
    let left: i64 = redis::cmd("TTL").arg(marker).query(&mut scene.redis).unwrap();
    assert!(left > 604_800, "the marker outlives each record: {left}");
    let log = scene.stack.log_with("auth", "\"event\":\"key_revoked\"");
    for event in ["key_created", "key_changed", "key_rolled", "key_revoked"] {
        assert_eq!(log.matches(&format!("\"event\":\"{event}\"")).count(), 1, "{event}");
    }
    assert!(!log.contains(&secret[9..]) && !log.contains(&next[9..]), "a secret is logged");
    scene.stop().await;
}

#[tokio::test]
async fn requests_outside_of_scope_and_bounds_are_refused() {
    let scene = Scene::start().await;
    let created = scene.create(json!({ "name": "own" })).await;
    let own = format!("/auth/keys/{}", text(&created, "id"));
    let (other, none) = (scene.user("other", SCOPE).await, scene.user("none", "api:read").await);
    let admin = scene.user("admin", "keys:admin").await;
    let post = |token: &str, path: &str, body: Value| {
        let (token, path) = (token.to_owned(), path.to_owned());
        let scene = &scene;
        async move { scene.send_as(&token, Method::POST, &path, Some(body)).await }
    };
    let name = json!({ "name": "x" });
    assert_refused(post(&none, "/auth/keys", name.clone()).await, 403, "scope_insufficient").await;
    for method in [Method::GET, Method::DELETE] {
        let refused = scene.send_as(&other, method.clone(), &own, None).await;
        assert_refused(refused, 404, "api_key_unknown").await;
    }
    let refused = post(&other, &format!("{own}/roll"), json!({})).await;
    assert_refused(refused, 404, "api_key_unknown").await;
    assert_eq!(scene.send_as(&admin, Method::GET, &own, None).await.status(), 200);
    let owner = text(&created, "owner");
    let for_owner = json!({ "name": "x", "owner": owner, "scope": "api:write" });
    assert_refused(post(&other, "/auth/keys", for_owner.clone()).await, 403, "scope_insufficient")
        .await;
    assert_eq!(post(&admin, "/auth/keys", for_owner).await.status(), 201);
    let page = format!("/auth/keys?owner={owner}&limit=1");
    let page: Value = scene.send_as(&admin, Method::GET, &page, None).await.json().await.unwrap();
    let next = format!("/auth/keys?owner={owner}&after={}", text(&page, "next"));
    let rest: Value = scene.send_as(&admin, Method::GET, &next, None).await.json().await.unwrap();
    assert_eq!((rest["keys"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
    for query in ["limit=0", "limit=1001", "after=x", "x=1", "owner=x"] {
        let refused = scene.send(Method::GET, &format!("/auth/keys?{query}"), None).await;
        assert_eq!(refused.status(), 400, "{query}");
    }
    for granted in [
        json!({ "plan": "pro" }),
        json!({ "quotas": { "api": 1_000_000 } }),
        json!({ "metadata": { "tier": 9 } }),
    ] {
        let changed = scene.send(Method::PATCH, &own, Some(granted.clone())).await;
        assert_refused(changed, 403, "scope_insufficient").await;
        let mut terms = granted;
        terms["name"] = json!("x");
        let refused = post(&scene.token, "/auth/keys", terms).await;
        assert_refused(refused, 403, "scope_insufficient").await;
    }
    let unknown = json!({ "name": "x", "id": "y" });
    assert_refused(post(&scene.token, "/auth/keys", unknown).await, 400, "request_malformed").await;
    let beyond = json!({ "name": "x", "scope": "keys:admin" });
    assert_refused(post(&scene.token, "/auth/keys", beyond).await, 400, "scope_invalid").await;
    let none = json!({ "name": "" });
    assert_refused(post(&scene.token, "/auth/keys", none).await, 400, "member_invalid").await;
    // A key does not authenticate to the auth service.
    let refused = scene.send_as(&text(&created, "key"), Method::GET, "/auth/keys", None).await;
    assert_refused(refused, 401, "api_key_not_accepted").await;
    // The holder of a leaked key may revoke it.
    let leaked = text(&created, "key");
    let revoke = client().post(scene.at("/oauth/revoke"));
    let revoke = revoke.header("content-type", "application/x-www-form-urlencoded");
    let revoked = revoke.body(format!("token={leaked}")).send().await.unwrap();
    assert_eq!(revoked.status(), 200);
    assert_eq!(scene.introspect(&leaked).await["active"], false);
    scene.stop().await;
}

#[tokio::test]
async fn operators_manage_keys_by_commands() {
    let mut scene = Scene::start().await;
    let created = &scene.run(&[
        "key",
        "create",
        "--username",
        "manager",
        "--name",
        "ci",
        "--scope",
        "api:read",
        "--plan",
        "pro",
        "--network",
        "192.0.2.0/24",
        "--network",
        "2001:db8::/32",
        "--quota",
        "api=7",
        "--expires-in",
        "30",
        "--metadata",
        r#"{"tier":1}"#,
    ])[0];
    assert_eq!((&created["done"], &created["store"]), (&json!("key_created"), &json!("updated")));
    let (id, secret) = (text(created, "id"), text(created, "key"));
    let (record, left) = scene.record(&secret).unwrap();
    assert_eq!(record.key.unwrap().networks, ["192.0.2.0/24", "2001:db8::/32"]);
    assert!(left <= 604_800);
    let listed = scene.run(&["key", "list", "--username", "manager"]);
    assert_eq!((listed.len(), &listed[0]["id"]), (1, &json!(id)));
    let rolled = &scene.run(&["key", "roll", "--id", &id, "--grace-seconds", "0"])[0];
    let next = text(rolled, "key");
    assert!(scene.record(&secret).is_none() && scene.record(&next).is_some());
    // A disabled user's keys stop, and work again.
    scene.run(&["user", "disable", "--username", "manager"]);
    assert!(scene.record(&next).is_none());
    assert_eq!(scene.introspect(&next).await["active"], false);
    scene.run(&["user", "enable", "--username", "manager"]);
    assert!(scene.record(&next).is_some());
    scene.run(&["key", "create", "--username", "manager", "--name", "second"]);
    let revoked = &scene.run(&["key", "revoke", "--username", "manager"])[0];
    assert_eq!((&revoked["keys"], &revoked["store"]), (&json!(2), &json!("updated")));
    assert!(scene.record(&next).is_none());
    for (arguments, code) in [
        (&["key", "revoke", "--id", "-x"][..], "api_key_unknown"),
        (&["key", "create", "--client", "c", "--name", "x"], "owner_unknown"),
        (&["key", "create", "--username", "manager", "--name", ""], "member_invalid"),
        (&["key", "roll", "--id", &id], "api_key_ended"),
    ] {
        let output = scene.program(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stdout).unwrap().contains(code), "{arguments:?}");
    }
    scene.stop().await;
}

/// The auth service dies between the commit of a change and its delivery, and Redis is flushed.
#[tokio::test]
async fn no_change_is_lost_when_the_service_dies_or_the_store_is_flushed() {
    let mut scene = Scene::start().await;
    let port = scene.stack.fact("auth_url").rsplit(':').next().unwrap().to_owned();
    let folder = Folder::new();
    let mut secrets = Vec::new();
    let mut auth: Option<Process> = None;
    let kept = scene.create(json!({ "name": "kept" })).await;
    for round in 0..4 {
        let created = scene.create(json!({ "name": "doomed", "scope": "api:read" })).await;
        let path = format!("/auth/keys/{}", text(&created, "id"));
        // The store does not answer, so the change is committed and not delivered.
        scene.stack.signal("redis-gateway", "-STOP");
        let request = match round % 2 {
            0 => client().delete(scene.at(&path)),
            _ => client().patch(scene.at(&path)).json(&json!({ "scope": "" })),
        };
        let request = tokio::spawn(request.bearer_auth(&scene.token).send());
        tokio::time::sleep(Duration::from_millis(500)).await;
        match auth.take() {
            None => scene.stack.signal("auth", "-KILL"),
            Some(process) => process.signal("-KILL"),
        }
        drop(request.await);
        scene.stack.signal("redis-gateway", "-CONT");
        let mut serve = scene.program(&["serve"]);
        let process = Process::start(&mut serve, folder.file("auth.log"));
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(format!("127.0.0.1:{port}")).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", process.text());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        auth = Some(process);
        let secret = text(&created, "key");
        let is_delivered = |record: Option<(TokenRecord, i64)>| match round % 2 {
            0 => record.is_none(),
            _ => record.is_some_and(|(record, _)| record.scope.is_empty()),
        };
        let begun = Instant::now();
        while !is_delivered(scene.record(&secret)) {
            assert!(begun.elapsed() < Duration::from_secs(5), "the change is lost");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        secrets.push(secret);
    }
    redis::cmd("FLUSHALL").exec(&mut scene.redis).unwrap();
    let begun = Instant::now();
    while scene.record(&text(&kept, "key")).is_none() || scene.record(&secrets[3]).is_none() {
        assert!(begun.elapsed() < Duration::from_secs(5), "the keys do not return");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("after a flush, the keys were back in {:?}", begun.elapsed());
    assert!(scene.record(&secrets[0]).is_none() && scene.record(&secrets[2]).is_none());
    drop(auth);
    scene.stop().await;
}

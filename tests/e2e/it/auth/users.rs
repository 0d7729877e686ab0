//! Users: their claims in tokens, their lists, and their end.

use super::clients::command;
use crate::support::http::{assert_refused, client, field, get_with};
use crate::support::stack::{Stack, Tokens, stop};
use reqwest::Method;
use serde_json::{Value, json};

/// The limit of the README.
fn plans() -> Value {
    json!({
        "limits": [{
            "name": "per-plan", "quota": 100, "window_seconds": 60, "by": "subject",
            "plans": { "claim": "plan", "quotas": { "pro": 5000 } }, "headers": true,
        }],
        "routes": [
            { "name": "auth", "path": "/auth/*", "access": "auth" },
            { "name": "api", "path": "/api/*", "access": "protected", "limits": ["per-plan"] },
        ],
    })
}

#[tokio::test]
async fn plan_of_a_user_sets_the_quota_from_the_next_refresh_or_at_once() {
    for options in
        [&[][..], &["--auth-env", "ACCESS_TOKEN_FORMAT=opaque", "--opaque"], &["--db", "postgres"]]
    {
        let start = move || Stack::start(options, Some(plans()));
        let stack = tokio::task::spawn_blocking(start).await.unwrap();
        let api = stack.edge("/api/hello");
        let quota = async |token: &str| {
            let response = get_with(&api, token).await;
            assert_eq!(response.status(), 200);
            field(&response, "ratelimit-policy")
        };
        let set = |arguments: &[&str]| {
            let own = ["user", "set", "--username", stack.username()];
            command(&stack, &[&own[..], arguments].concat())
        };
        let first = stack.login().await;
        assert_eq!(quota(&first.access).await, "\"per-plan\";q=100;w=60");
        let said = set(&["--claim", "plan=pro", "--claim", "org={\"id\":7}"]);
        assert_eq!((&said["done"], &said["store"]), (&json!("user_set"), &json!("updated")));
        assert_eq!(said["claims"], json!({ "plan": "pro", "org": { "id": 7 } }));
        assert_eq!(quota(&first.access).await, "\"per-plan\";q=100;w=60", "not yet");
        let second = Tokens::read(stack.refresh(&first.refresh).await).await;
        assert_eq!(quota(&second.access).await, "\"per-plan\";q=5000;w=60");

        // At once: the access tokens end with the next request, the session goes on.
        set(&["--remove-claim", "plan", "--now"]);
        for token in [&first.access, &second.access] {
            assert_refused(get_with(&api, token).await, 401, "token_revoked").await;
        }
        let third = Tokens::read(stack.refresh(&second.refresh).await).await;
        assert_eq!(quota(&third.access).await, "\"per-plan\";q=100;w=60");
        stop(stack).await;
    }
}

#[tokio::test]
async fn callers_with_the_scope_manage_users_and_a_deleted_one_is_gone() {
    let stack = tokio::task::spawn_blocking(|| Stack::start(&[], None)).await.unwrap();
    let name = stack.username().to_owned();
    let client_of = |scope: &str| {
        let new = command(&stack, &["client", "create", "--name", "admin", "--scope", scope]);
        let text = |name: &str| new[name].as_str().unwrap().to_owned();
        (text("client_id"), text("client_secret"))
    };
    let token = async |scope: &str| {
        let (id, secret) = client_of(scope);
        let request = client().post(stack.edge("/oauth/token")).basic_auth(id, Some(secret));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let response = request.body("grant_type=client_credentials").send().await.unwrap();
        let body: Value = response.json().await.unwrap();
        body["access_token"].as_str().unwrap().to_owned()
    };
    // A machine manages the users.
    let (admin, other) = (token("users:admin").await, token("clients:admin").await);
    let send = async |method: Method, path: &str, token: &str, body: Option<Value>| {
        let request = client().request(method, stack.edge(path)).bearer_auth(token);
        match body {
            Some(body) => request.json(&body).send().await.unwrap(),
            None => request.send().await.unwrap(),
        }
    };
    let refused = send(Method::GET, "/auth/users", &other, None).await;
    assert_refused(refused, 403, "scope_insufficient").await;
    let list: Value = send(Method::GET, "/auth/users", &admin, None).await.json().await.unwrap();
    let users = list["users"].as_array().unwrap();
    // Users of one second are in the order of their ids.
    let demo = users.iter().find(|user| user["username"] == name.as_str()).unwrap();
    assert_eq!(list["next"], Value::Null);
    assert!(!list.to_string().contains("argon2"), "{list}");
    let query = format!("/auth/users?username={name}");
    let found: Value = send(Method::GET, &query, &admin, None).await.json().await.unwrap();
    assert_eq!(found["users"].as_array().map(Vec::len), Some(1));
    assert_eq!(&found["users"][0], demo);
    let id = demo["id"].as_str().unwrap();
    let own = format!("/auth/users/{id}");

    let tokens = stack.login().await;
    let patch = json!({ "claims": { "plan": "pro" }, "now": true });
    let changed = send(Method::PATCH, &own, &admin, Some(patch)).await;
    assert_eq!(changed.status(), 200);
    assert_eq!(changed.json::<Value>().await.unwrap()["claims"], json!({ "plan": "pro" }));
    let api = stack.edge("/api/hello");
    assert_refused(get_with(&api, &tokens.access).await, 401, "token_revoked").await;
    let reserved = send(Method::PATCH, &own, &admin, Some(json!({ "claims": { "sub": "x" } })));
    assert_refused(reserved.await, 400, "member_invalid").await;
    let tokens = Tokens::read(stack.refresh(&tokens.refresh).await).await;
    assert_eq!(get_with(&api, &tokens.access).await.status(), 200);

    assert_eq!(send(Method::DELETE, &own, &admin, None).await.status(), 204);
    assert_refused(get_with(&api, &tokens.access).await, 401, "token_revoked").await;
    assert_refused(stack.refresh(&tokens.refresh).await, 401, "session_ended").await;
    let login = stack.try_login(&name, stack.password()).await;
    assert_refused(login, 401, "credentials_invalid").await;
    assert_refused(send(Method::GET, &own, &admin, None).await, 404, "user_unknown").await;
    let left: Value = send(Method::GET, "/auth/users", &admin, None).await.json().await.unwrap();
    let names = left["users"].as_array().unwrap().iter().map(|user| user["username"].as_str());
    let names: std::collections::BTreeSet<_> = names.flatten().collect();
    assert_eq!(names, ["operator", "viewer"].into());
    stop(stack).await;
}

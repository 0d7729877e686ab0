//! Clients that get tokens for themselves, from the command that adds them to the edge that
//! refuses them.

use crate::support::http::{assert_refused, client, field, get_with, post};
use crate::support::stack::{SHARED, Stack, stop};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::process::Command;

/// Runs a command of the auth service, and returns the last line of its output.
pub fn command(stack: &Stack, arguments: &[&str]) -> Value {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/debug/portcullis-auth");
    let mut command = Command::new(root);
    let output = command.arg("--config").arg(stack.fact("auth_config")).args(arguments).output();
    let output = output.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    text.lines().last().map_or(Value::Null, |line| serde_json::from_str(line).unwrap())
}

/// Asks the token endpoint behind the edge.
async fn grant(stack: &Stack, id: &str, secret: &str, scope: &str) -> Response {
    let form = match scope {
        "" => "grant_type=client_credentials".to_owned(),
        scope => format!("grant_type=client_credentials&scope={scope}"),
    };
    let request = client().post(stack.edge("/oauth/token")).basic_auth(id, Some(secret));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    request.body(form).send().await.unwrap()
}

async fn token(stack: &Stack, id: &str, secret: &str) -> String {
    let response = grant(stack, id, secret, "").await;
    assert_eq!(response.status(), 200);
    assert_eq!(field(&response, "cache-control"), "no-store");
    let body: Value = response.json().await.unwrap();
    assert!(body.get("refresh_token").is_none(), "{body}");
    assert_eq!(body["token_type"], "Bearer");
    body["access_token"].as_str().unwrap().to_owned()
}

async fn assert_invalid_client(response: Response) {
    assert_eq!(response.status(), 401);
    assert!(field(&response, "www-authenticate").starts_with("Basic "));
    let body: Value = response.json().await.unwrap();
    assert_eq!(
        (&body["error"], &body["code"]),
        (&json!("invalid_client"), &json!("client_invalid"))
    );
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}"))
}

#[tokio::test]
async fn change_of_a_client_takes_effect_with_the_next_request() {
    for options in
        [&[][..], &["--db", "postgres"], &["--auth-env", "ACCESS_TOKEN_FORMAT=opaque", "--opaque"]]
    {
        let start = move || Stack::start(options, None);
        let stack = tokio::task::spawn_blocking(start).await.unwrap();
        let create = ["client", "create", "--name", "batch", "--scope", "api:read api:write"];
        let new = command(&stack, &[&create[..], &["--plan", "pro", "--claim", "org=7"]].concat());
        let (id, secret) = (text(&new, "client_id"), text(&new, "client_secret"));
        let first = token(&stack, id, secret).await;
        let api = stack.edge("/api/hello");
        let response = get_with(&api, &first).await;
        assert_eq!(response.status(), 200);
        let seen: Value = response.json().await.unwrap();
        assert_eq!(seen["headers"]["portcullis-subject"], id);
        assert_eq!(seen["headers"]["portcullis-scope"], "api:read api:write");
        // Scope, secret and client are checked.
        let wide = grant(&stack, id, secret, "admin").await;
        assert_eq!(wide.status(), 400);
        assert_eq!(wide.json::<Value>().await.unwrap()["error"], "invalid_scope");
        assert_invalid_client(grant(&stack, id, "wrong", "").await).await;
        assert_invalid_client(grant(&stack, "unknown", secret, "").await).await;

        // A new secret, with the old one for a while.
        let roll = ["client", "roll", "--client", id, "--grace-seconds"];
        let rolled = command(&stack, &[&roll[..], &["60"]].concat());
        token(&stack, id, secret).await;
        token(&stack, id, text(&rolled, "client_secret")).await;
        let rolled = command(&stack, &[&roll[..], &["0"]].concat());
        assert_invalid_client(grant(&stack, id, secret, "").await).await;
        let secret = text(&rolled, "client_secret");
        assert_eq!(get_with(&api, &first).await.status(), 200, "the token lives on");

        // Disabled: the token is refused with the next request, and stays so.
        let said = command(&stack, &["client", "disable", "--client", id]);
        assert_eq!((&said["done"], &said["store"]), (&json!("client_disabled"), &json!("updated")));
        assert_refused(get_with(&api, &first).await, 401, "token_revoked").await;
        assert_invalid_client(grant(&stack, id, secret, "").await).await;
        command(&stack, &["client", "enable", "--client", id]);
        let second = token(&stack, id, secret).await;
        assert_eq!(get_with(&api, &second).await.status(), 200);
        assert_refused(get_with(&api, &first).await, 401, "token_revoked").await;

        // One token (RFC 7009).
        let form = format!("token={second}&client_id={id}");
        let request = client().post(stack.edge("/oauth/revoke")).body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        assert_eq!(request.send().await.unwrap().status(), 200);
        assert_refused(get_with(&api, &second).await, 401, "token_revoked").await;

        let third = token(&stack, id, secret).await;
        assert_eq!(get_with(&api, &third).await.status(), 200);
        let said = command(&stack, &["client", "delete", "--client", id]);
        assert_eq!(said["store"], "updated");
        assert_refused(get_with(&api, &third).await, 401, "token_revoked").await;
        assert_invalid_client(grant(&stack, id, secret, "").await).await;
        assert_eq!(command(&stack, &["client", "list"]), Value::Null);
        assert!(!stack.log("auth").contains("pcs_"), "a secret is logged");
        stop(stack).await;
    }
}

#[tokio::test]
async fn callers_with_the_scope_manage_clients() {
    let stack = tokio::task::spawn_blocking(|| Stack::start(&[], None)).await.unwrap();
    let plain = stack.login().await;
    let new = json!({ "name": "batch", "scope": "api:read" });
    let clients = stack.edge("/auth/clients");
    let send = async |method: Method, url: &str, token: &str, body: Option<Value>| {
        let request = client().request(method, url).bearer_auth(token);
        match body {
            Some(body) => request.json(&body).send().await.unwrap(),
            None => request.send().await.unwrap(),
        }
    };
    let refused = send(Method::POST, &clients, &plain.access, Some(new.clone())).await;
    assert_refused(refused, 403, "scope_insufficient").await;
    assert_refused(post(&clients, new.clone()).await, 401, "credentials_missing").await;

    let name = stack.username();
    command(&stack, &["user", "set", "--username", name, "--scope", "api:read clients:admin"]);
    let admin = stack.login().await.access;
    let response = send(Method::POST, &clients, &admin, Some(new)).await;
    assert_eq!(response.status(), 201);
    assert_eq!(field(&response, "cache-control"), "no-store");
    let new: Value = response.json().await.unwrap();
    let (id, secret) = (text(&new, "client_id"), text(&new, "client_secret"));
    let own = format!("{clients}/{id}");
    let first = token(&stack, id, secret).await;

    let shown: Value = send(Method::GET, &own, &admin, None).await.json().await.unwrap();
    assert!(shown.get("client_secret").is_none() && shown["name"] == "batch", "{shown}");
    let patch = json!({ "scope": "api:read api:write", "token_seconds": 60, "claims": { "a": 1 } });
    let response = send(Method::PATCH, &own, &admin, Some(patch)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.json::<Value>().await.unwrap()["token_seconds"], 60);
    for bad in [
        json!({ "claims": { "sub": "x" } }),
        json!({ "token_seconds": 86_401 }),
        json!({ "name": "" }),
        json!({ "jwks": { "keys": [] } }),
    ] {
        let response = send(Method::PATCH, &own, &admin, Some(bad)).await;
        assert_refused(response, 400, "member_invalid").await;
    }
    let unknown = send(Method::PATCH, &own, &admin, Some(json!({ "nam": "x" }))).await;
    assert_refused(unknown, 400, "request_malformed").await;

    let (roll, grace) = (format!("{own}/roll"), json!({ "grace_seconds": 0 }));
    let rolled = send(Method::POST, &roll, &admin, Some(grace)).await;
    let rolled: Value = rolled.json().await.unwrap();
    assert_invalid_client(grant(&stack, id, secret, "").await).await;
    token(&stack, id, text(&rolled, "client_secret")).await;

    send(Method::POST, &clients, &admin, Some(json!({ "name": "second" }))).await;
    let page = async |query: &str| -> Value {
        send(Method::GET, &format!("{clients}?{query}"), &admin, None).await.json().await.unwrap()
    };
    let one = page("limit=1").await;
    let after = text(&one, "next");
    let two = page(&format!("limit=1&after={after}")).await;
    assert_ne!(one["clients"][0]["client_id"], two["clients"][0]["client_id"]);
    let invalid = send(Method::GET, &format!("{clients}?limit=0"), &admin, None).await;
    assert_refused(invalid, 400, "query_invalid").await;

    let disabled = send(Method::PATCH, &own, &admin, Some(json!({ "disabled": true }))).await;
    assert_eq!(disabled.status(), 200);
    assert_refused(get_with(&stack.edge("/api/hello"), &first).await, 401, "token_revoked").await;
    assert_eq!(send(Method::DELETE, &own, &admin, None).await.status(), 204);
    for method in [Method::GET, Method::DELETE] {
        assert_refused(send(method, &own, &admin, None).await, 404, "client_unknown").await;
    }
    stop(stack).await;
}

#[tokio::test]
async fn request_with_two_credentials_or_another_grant_is_refused() {
    let send = async |form: &'static str, basic: bool| -> (u16, Value) {
        let request = client().post(SHARED.edge("/oauth/token")).body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let request = if basic { request.basic_auth("c", Some("s")) } else { request };
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    };
    let grant = "grant_type=client_credentials";
    for (form, basic, status, error) in [
        (grant, false, 401, "invalid_client"),
        ("grant_type=client_credentials&client_id=c", false, 401, "invalid_client"),
        ("grant_type=client_credentials&client_id=c&client_secret=s", true, 400, "invalid_request"),
        ("grant_type=client_credentials&client_secret=s", false, 400, "invalid_request"),
        // An empty parameter counts as omitted (RFC 6749 section 3.2).
        ("grant_type=client_credentials&client_secret=&client_id=c", true, 401, "invalid_client"),
        ("grant_type=client_credentials&client_id=", false, 401, "invalid_client"),
        ("grant_type=", false, 400, "invalid_request"),
        ("scope=a", false, 400, "invalid_request"),
        ("grant_type=refresh_token&refresh_token=", false, 400, "invalid_request"),
        ("grant_type=client_credentials&client_assertion=x", false, 400, "invalid_request"),
        ("grant_type=client_credentials&grant_type=refresh_token", true, 400, "invalid_request"),
        ("grant_type=password&username=a&password=b", false, 400, "unsupported_grant_type"),
    ] {
        let (got, body) = send(form, basic).await;
        assert_eq!((got, &body["error"]), (status, &json!(error)), "{form}");
    }
}

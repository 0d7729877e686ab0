//! Login, refresh and logout, as a client sees them.

use crate::support::edge::start_edge;
use crate::support::http::{assert_refused, client, field, get, get_with, post};
use crate::support::stack::{SHARED, Stack, Tokens, stop};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[tokio::test]
async fn missing_token_challenge_has_no_error_code() {
    let response = get(&SHARED.edge("/api/hello")).send().await.unwrap();
    assert!(!field(&response, "x-request-id").is_empty());
    assert_eq!(assert_refused(response, 401, "token_missing").await, "Bearer");
}

#[tokio::test]
async fn login_returns_a_token_pair() {
    let response = SHARED.try_login(SHARED.username(), SHARED.password()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(field(&response, "cache-control"), "no-store");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 900);
    assert_eq!(body["scope"], "api:read api:write");
    let refresh = body["refresh_token"].as_str().unwrap();
    assert!(refresh.starts_with("pcr_") && refresh.len() == 52, "{refresh}");

    let token = body["access_token"].as_str().unwrap();
    let part = |place: usize| -> Value {
        let text = URL_SAFE_NO_PAD.decode(token.split('.').nth(place).unwrap()).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    let (header, claims) = (part(0), part(1));
    assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("EdDSA")));
    assert_eq!(claims["iss"], SHARED.fact("edge_url"));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 900);
    for name in ["sub", "aud", "jti", "sid", "client_id"] {
        assert!(claims[name].is_string(), "{name}");
    }
}

#[tokio::test]
async fn unknown_user_is_answered_like_a_wrong_password() {
    async fn time(username: &str) -> (Duration, Value) {
        let begun = Instant::now();
        let response = SHARED.try_login(username, "wrong").await;
        let elapsed = begun.elapsed();
        assert_eq!(response.status(), 401);
        let mut body: Value = response.json().await.unwrap();
        assert!(body.as_object_mut().unwrap().remove("request_id").is_some(), "{body}");
        (elapsed, body)
    }
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        let (wrong, unknown_user) = (time(SHARED.username()).await, time("unknown-user").await);
        assert_eq!(wrong.1, unknown_user.1);
        assert_eq!(wrong.1["code"], "credentials_invalid", "{}", wrong.1);
        known.push(wrong.0);
        unknown.push(unknown_user.0);
    }
    known.sort();
    unknown.sort();
    let ratio = known[4].as_secs_f64() / unknown[4].as_secs_f64();
    // Without a password hash, the response for an unknown user would take a tenth of the time.
    assert!((0.5..2.0).contains(&ratio), "{ratio}: {known:?} {unknown:?}");
}

#[tokio::test]
async fn malformed_login_is_rejected_with_a_reason() {
    let url = SHARED.edge("/auth/login");
    let send = |content_type: &str, body: String| {
        client().post(&url).header("content-type", content_type).body(body).send()
    };
    assert_refused(send("application/json", "{".into()).await.unwrap(), 400, "request_malformed")
        .await;
    assert_refused(send("application/json", "{}".into()).await.unwrap(), 400, "request_malformed")
        .await;
    let deep = "[".repeat(10_000);
    assert_refused(send("application/json", deep).await.unwrap(), 400, "request_malformed").await;
    assert_refused(send("text/plain", "{}".into()).await.unwrap(), 415, "media_type_unsupported")
        .await;
    assert_refused(get(&url).send().await.unwrap(), 405, "method_not_allowed").await;
    let nowhere = post(&SHARED.edge("/auth/nowhere"), json!({})).await;
    assert_refused(nowhere, 404, "not_found").await;
}

/// Starts a system without grace periods, so that reuse of a token is always detected.
async fn strict(options: &'static [&'static str]) -> Stack {
    let vars = json!({ "store.timeout_ms": 3000, "auth.refresh_replay_seconds": 0 });
    let strict = ["--auth-env", "REFRESH_GRACE_SECONDS=0"];
    let options = [&strict, options].concat();
    tokio::task::spawn_blocking(move || Stack::start(&options, Some(vars))).await.unwrap()
}

#[tokio::test]
async fn refresh_rotates_the_token_pair() {
    for options in [&[][..], &["--db", "postgres"]] {
        let stack = strict(options).await;
        let first = stack.login().await;
        let response = stack.refresh(&first.refresh).await;
        assert_eq!(response.status(), 200);
        assert_eq!(field(&response, "cache-control"), "no-store");
        let second = Tokens::read(response).await;
        assert_ne!(first.refresh, second.refresh);
        assert_eq!(get_with(&stack.edge("/api/hello"), &second.access).await.status(), 200);

        assert_refused(stack.refresh(&first.refresh).await, 401, "refresh_token_reused").await;
        for access in [&first.access, &second.access] {
            let response = get_with(&stack.edge("/api/hello"), access).await;
            let challenge = assert_refused(response, 401, "token_revoked").await;
            assert!(challenge.starts_with("Bearer error=\"invalid_token\""), "{challenge}");
        }
        assert_refused(stack.refresh(&second.refresh).await, 401, "session_ended").await;

        let first = stack.login().await;
        let both = || stack.refresh(&first.refresh);
        let (a, b) = tokio::join!(both(), both());
        let statuses = [a.status().as_u16(), b.status().as_u16()];
        assert!(statuses.contains(&200) && statuses.contains(&401), "{statuses:?}");
        stop(stack).await;
    }
}

#[tokio::test]
async fn unknown_refresh_token_is_rejected() {
    assert_refused(SHARED.refresh("never-issued").await, 401, "refresh_token_invalid").await;
    assert_refused(SHARED.refresh("").await, 401, "refresh_token_invalid").await;
}

#[tokio::test]
async fn token_endpoint_returns_oauth_errors() {
    let first = SHARED.login().await;
    let url = SHARED.edge("/oauth/token");
    let send = |form: String| {
        let request =
            client().post(&url).header("content-type", "application/x-www-form-urlencoded");
        request.body(form).send()
    };
    let form = format!("grant_type=refresh_token&refresh_token={}", first.refresh);
    let answer = send(form.clone()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let second = Tokens::read(answer).await;
    let refusal = async |form: String| -> Value {
        let response = send(form).await.unwrap();
        assert_eq!(response.status(), 400);
        response.json().await.unwrap()
    };
    let grant = format!("grant_type=refresh_token&refresh_token={}", second.refresh);
    let wider = refusal(format!("{grant}&scope=admin")).await;
    assert_eq!(
        (&wider["error"], &wider["code"]),
        (&json!("invalid_scope"), &json!("scope_invalid"))
    );
    let other = refusal(format!("{grant}&client_id=other")).await;
    assert_eq!(
        (&other["error"], &other["code"]),
        (&json!("invalid_grant"), &json!("client_mismatch"))
    );
    let answer = send(format!("{grant}&scope=api:read&client_id=portcullis")).await.unwrap();
    let narrow: Value = answer.json().await.unwrap();
    assert_eq!(narrow["scope"], "api:read");
    let access = narrow["access_token"].as_str().unwrap();
    assert_eq!(get_with(&SHARED.edge("/api/hello"), access).await.status(), 200);
    let unknown = refusal("grant_type=refresh_token&refresh_token=x".into()).await;
    assert_eq!(unknown["error"], "invalid_grant");
    assert_eq!(refusal("grant_type=refresh_token".into()).await["error"], "invalid_request");
    let other: Value = send("grant_type=password".into()).await.unwrap().json().await.unwrap();
    assert_eq!(other["error"], "unsupported_grant_type");
}

#[tokio::test]
async fn logout_ends_the_session_at_once() {
    let url = SHARED.edge("/api/hello");
    let by_bearer = SHARED.login().await;
    assert_eq!(get_with(&url, &by_bearer.access).await.status(), 200);
    let logout = client().post(SHARED.edge("/auth/logout")).bearer_auth(&by_bearer.access);
    assert_eq!(logout.send().await.unwrap().status(), 204);
    assert_refused(get_with(&url, &by_bearer.access).await, 401, "token_revoked").await;
    assert_refused(SHARED.refresh(&by_bearer.refresh).await, 401, "session_ended").await;

    let by_refresh = SHARED.login().await;
    let body = json!({ "refresh_token": by_refresh.refresh });
    let logout = post(&SHARED.edge("/auth/logout"), body).await;
    assert_eq!(logout.status(), 204);
    assert_refused(get_with(&url, &by_refresh.access).await, 401, "token_revoked").await;

    let anonymous = client().post(SHARED.edge("/auth/logout")).send().await.unwrap();
    assert_refused(anonymous, 401, "credentials_missing").await;
    let forged =
        client().post(SHARED.edge("/auth/logout")).bearer_auth("a.b.c").send().await.unwrap();
    assert_refused(forged, 401, "access_token_invalid").await;
}

#[tokio::test]
async fn logout_leaves_other_sessions_active() {
    let (ended, other) = (SHARED.login().await, SHARED.login().await);
    let logout = client().post(SHARED.edge("/auth/logout")).bearer_auth(&ended.access);
    assert_eq!(logout.send().await.unwrap().status(), 204);
    assert_eq!(get_with(&SHARED.edge("/api/hello"), &other.access).await.status(), 200);
}

#[tokio::test]
async fn auth_service_documents_are_served() {
    let jwks: Value =
        get(&SHARED.edge("/.well-known/jwks.json")).send().await.unwrap().json().await.unwrap();
    assert_eq!(jwks["keys"][0]["alg"], "EdDSA");
    assert!(jwks["keys"][0].get("d").is_none());
    let url = SHARED.edge("/.well-known/oauth-authorization-server");
    let metadata: Value = get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(metadata["issuer"], SHARED.fact("edge_url"));
    assert_eq!(metadata["jwks_uri"], SHARED.edge("/.well-known/jwks.json"));
}

#[tokio::test]
async fn tokens_are_revoked_as_rfc_7009_requires() {
    let revoke = async |token: &str| {
        let form = format!("token={token}&token_type_hint=access_token&client_id=");
        let request = client().post(SHARED.edge("/oauth/revoke")).body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.send().await.unwrap().status().as_u16()
    };
    let session = SHARED.login().await;
    let url = SHARED.edge("/api/hello");
    assert_eq!(get_with(&url, &session.access).await.status(), 200);
    assert_eq!(revoke(&session.access).await, 200);
    assert_refused(get_with(&url, &session.access).await, 401, "token_revoked").await;
    let next = Tokens::read(SHARED.refresh(&session.refresh).await).await;
    assert_eq!(get_with(&url, &next.access).await.status(), 200);
    assert_eq!(revoke(&next.refresh).await, 200);
    assert_refused(get_with(&url, &next.access).await, 401, "token_revoked").await;
    assert_refused(SHARED.refresh(&next.refresh).await, 401, "session_ended").await;
    assert_eq!(revoke("never-issued").await, 200);
    assert_eq!(revoke(&next.refresh).await, 200);
    assert_eq!(revoke("").await, 400);
    let nothing = client().post(SHARED.edge("/oauth/revoke")).send().await.unwrap();
    assert_eq!(nothing.json::<Value>().await.unwrap()["error"], "invalid_request");
    let url = format!("{}/oauth/token", SHARED.fact("auth_url"));
    let large = client().post(url).body("x".repeat(20_000));
    let large = large.header("content-type", "application/x-www-form-urlencoded");
    let large = large.send().await.unwrap();
    assert_eq!(large.status(), 413);
    assert_eq!(large.json::<Value>().await.unwrap()["error"], "invalid_request");
}

#[tokio::test]
async fn user_lists_and_ends_sessions() {
    let stack = tokio::task::spawn_blocking(|| Stack::start(&[], None)).await.unwrap();
    let (own, other, third) = (stack.login().await, stack.login().await, stack.login().await);
    let (api, url) = (stack.edge("/api/hello"), stack.edge("/auth/sessions"));
    assert_eq!(get_with(&api, &own.access).await.status(), 200);
    let answer = client().get(&url).bearer_auth(&own.access).header("user-agent", "x").send();
    let answer = answer.await.unwrap();
    assert_eq!(field(&answer, "cache-control"), "no-store");
    let list: Value = answer.json().await.unwrap();
    let sessions = list["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 3);
    assert_eq!(sessions.iter().filter(|session| session["current"] == true).count(), 1);
    assert!(sessions.iter().all(|session| session["last_seen_at"].as_u64().unwrap() > 0));
    let by = |token: &str, method: reqwest::Method, url: String| {
        client().request(method, url).bearer_auth(token).send()
    };
    use reqwest::Method;
    let theirs: Value = get_with(&url, &other.access).await.json().await.unwrap();
    let current = |list: &Value| {
        let mut all = list["sessions"].as_array().unwrap().iter();
        all.find(|session| session["current"] == true).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let id = current(&theirs);
    let unknown = by(&own.access, Method::DELETE, format!("{url}/unknown")).await.unwrap();
    assert_refused(unknown, 404, "session_unknown").await;
    let ended = by(&own.access, Method::DELETE, format!("{url}/{id}")).await.unwrap();
    assert_eq!(ended.status(), 204);
    assert_refused(get_with(&api, &other.access).await, 401, "token_revoked").await;
    assert_refused(get_with(&url, &other.access).await, 401, "access_token_invalid").await;

    let change = |token: &str, old: &str, new: &str| {
        let body = json!({ "old_password": old, "new_password": new });
        client().post(stack.edge("/auth/password")).bearer_auth(token).json(&body).send()
    };
    let password = stack.password();
    assert_refused(
        change(&own.access, "wrong", "battery staple").await.unwrap(),
        401,
        "credentials_invalid",
    )
    .await;
    assert_refused(
        change(&own.access, password, "short").await.unwrap(),
        400,
        "password_unacceptable",
    )
    .await;
    assert_eq!(change(&own.access, password, "battery staple").await.unwrap().status(), 204);
    assert_refused(get_with(&api, &third.access).await, 401, "token_revoked").await;
    assert_eq!(get_with(&api, &own.access).await.status(), 200);
    assert_refused(stack.try_login(stack.username(), password).await, 401, "credentials_invalid")
        .await;
    let again = stack.try_login(stack.username(), "battery staple").await;
    let again = Tokens::read(again).await;
    assert_eq!(by(&own.access, Method::DELETE, url.clone()).await.unwrap().status(), 204);
    for token in [&own.access, &again.access] {
        assert_refused(get_with(&api, token).await, 401, "token_revoked").await;
    }
    for event in ["login", "password_changed", "session_revoked", "logout"] {
        stack.log_with("auth", &format!("\"event\":\"{event}\""));
    }
    stop(stack).await;
}

#[tokio::test]
async fn opaque_access_token_is_validated_by_its_record() {
    let vars = json!({
        "store.timeout_ms": 3000,
        "routes": [
            { "name": "refresh", "path": "/auth/refresh", "access": "auth", "endpoint": "token" },
            { "name": "auth", "path": "/auth/*", "access": "auth" },
            { "name": "oauth", "path": "/oauth/*", "access": "auth" },
            { "name": "api", "path": "/api/*", "access": "protected" },
        ],
    });
    let options = ["--auth-env", "ACCESS_TOKEN_FORMAT=opaque", "--opaque"];
    let stack = tokio::task::spawn_blocking(move || Stack::start(&options, Some(vars)));
    let stack = stack.await.unwrap();
    let first = stack.login().await;
    assert!(first.access.starts_with("pca_") && first.access.len() == 52);
    let url = stack.edge("/api/hello");
    assert_eq!(get_with(&url, &first.access).await.status(), 200);
    let second = Tokens::read(stack.refresh(&first.refresh).await).await;
    assert_eq!(get_with(&url, &second.access).await.status(), 200);
    // The edge of another service on the same store does not accept the token.
    let introspection = json!({
        "url": format!("{}/oauth/introspect", stack.fact("auth_url")), "client_id": "edge",
        "client_secret_variable": "INTROSPECTION_SECRET", "revocations_in_store": true,
        "token_prefix": "pca_",
    });
    let other = start_edge(json!({
        "issuers": [{
            "issuer": stack.fact("edge_url"), "audience": "https://other.example",
            "introspection": introspection,
        }],
        "INTROSPECTION_SECRET": stack.fact("introspection_secret"),
        "store.url": stack.fact("store_url"),
        "STORE_TOKEN": stack.fact("edge_store_token"),
    }));
    let other = other.await;
    let response = get_with(&other.edge("/api/hello"), &second.access).await;
    assert_refused(response, 401, "audience_mismatch").await;
    stop(other).await;
    // One token is revoked, although the isolate has it cached.
    let form = format!("token={}", second.access);
    let request = client().post(stack.edge("/oauth/revoke")).body(form);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_refused(get_with(&url, &second.access).await, 401, "token_revoked").await;
    let second = Tokens::read(stack.refresh(&second.refresh).await).await;
    assert_eq!(get_with(&url, &second.access).await.status(), 200);
    let made_up = format!("pca_{}", "A".repeat(48));
    assert_refused(get_with(&url, &made_up).await, 401, "token_inactive").await;
    let logout = client().post(stack.edge("/auth/logout")).bearer_auth(&second.access);
    assert_eq!(logout.send().await.unwrap().status(), 204);
    for token in [&first.access, &second.access] {
        let response = get_with(&url, token).await;
        assert_eq!(response.status(), 401, "{}", response.text().await.unwrap());
    }
    // The response that was stored for a second tab is not replayed after the session has ended.
    assert_refused(stack.refresh(&first.refresh).await, 401, "session_ended").await;
    stop(stack).await;
}

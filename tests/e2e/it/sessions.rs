//! Login, refresh, logout: what a client sees of its session.

use crate::stack::{SHARED, Stack, client, field, get, get_with, post, refused, tokens};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[tokio::test]
async fn no_token_is_a_challenge_without_an_error_code() {
    let response = get(&SHARED.edge("/api/hello")).send().await.unwrap();
    assert!(!field(&response, "x-request-id").is_empty());
    assert_eq!(refused(response, 401, "token_missing").await, "Bearer");
}

#[tokio::test]
async fn a_login_gives_a_pair_of_tokens() {
    let response = SHARED.try_login(SHARED.username(), SHARED.password()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(field(&response, "cache-control"), "no-store");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 900);
    assert_eq!(body["scope"], "api:read api:write");
    assert_eq!(URL_SAFE_NO_PAD.decode(body["refresh_token"].as_str().unwrap()).unwrap().len(), 32);

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
async fn a_wrong_password_and_an_unknown_user_are_answered_alike() {
    async fn time(username: &str) -> (Duration, String) {
        let begun = Instant::now();
        let response = SHARED.try_login(username, "wrong").await;
        let elapsed = begun.elapsed();
        assert_eq!(response.status(), 401);
        (elapsed, response.text().await.unwrap())
    }
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        let (wrong, nobody) = (time(SHARED.username()).await, time("nobody").await);
        assert_eq!(wrong.1, nobody.1);
        assert!(wrong.1.contains("credentials_invalid"), "{}", wrong.1);
        known.push(wrong.0);
        unknown.push(nobody.0);
    }
    known.sort();
    unknown.sort();
    let ratio = known[4].as_secs_f64() / unknown[4].as_secs_f64();
    // Without the same work for both, an unknown user would be answered in a tenth of the time.
    assert!((0.5..2.0).contains(&ratio), "{ratio}: {known:?} {unknown:?}");
}

#[tokio::test]
async fn a_malformed_login_says_what_is_wrong() {
    let url = SHARED.edge("/auth/login");
    let send = |content_type: &str, body: String| {
        client().post(&url).header("content-type", content_type).body(body).send()
    };
    refused(send("application/json", "{".into()).await.unwrap(), 400, "request_malformed").await;
    refused(send("application/json", "{}".into()).await.unwrap(), 400, "request_malformed").await;
    let deep = "[".repeat(10_000);
    refused(send("application/json", deep).await.unwrap(), 400, "request_malformed").await;
    refused(send("text/plain", "{}".into()).await.unwrap(), 415, "media_type_unsupported").await;
    refused(get(&url).send().await.unwrap(), 405, "method_not_allowed").await;
    let nowhere = post(&SHARED.edge("/auth/nowhere"), json!({})).await;
    refused(nowhere, 404, "not_found").await;
}

#[tokio::test]
async fn a_refresh_gives_a_new_pair_and_spends_the_old_token() {
    let first = SHARED.login().await;
    let response = SHARED.refresh(&first.refresh).await;
    assert_eq!(response.status(), 200);
    assert_eq!(field(&response, "cache-control"), "no-store");
    let second = tokens(response).await;
    assert_ne!(first.refresh, second.refresh);
    assert_eq!(get_with(&SHARED.edge("/api/hello"), &second.access).await.status(), 200);

    refused(SHARED.refresh(&first.refresh).await, 401, "refresh_token_reused").await;
    for access in [&first.access, &second.access] {
        let response = get_with(&SHARED.edge("/api/hello"), access).await;
        let challenge = refused(response, 401, "token_revoked").await;
        assert!(challenge.starts_with("Bearer error=\"invalid_token\""), "{challenge}");
    }
    refused(SHARED.refresh(&second.refresh).await, 401, "session_ended").await;
}

#[tokio::test]
async fn of_two_refreshes_at_once_one_wins() {
    let first = SHARED.login().await;
    let attempts = (0..8).map(|_| {
        let refresh = first.refresh.clone();
        tokio::spawn(async move { SHARED.refresh(&refresh).await.status().as_u16() })
    });
    let mut statuses = Vec::new();
    for attempt in attempts.collect::<Vec<_>>() {
        statuses.push(attempt.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401, 401, 401, 401, 401, 401, 401]);
}

#[tokio::test]
async fn an_unknown_refresh_token_is_refused() {
    refused(SHARED.refresh("nobody-was-given-this").await, 401, "refresh_token_invalid").await;
    refused(SHARED.refresh("").await, 401, "refresh_token_invalid").await;
}

#[tokio::test]
async fn the_token_endpoint_speaks_oauth() {
    let first = SHARED.login().await;
    let url = SHARED.edge("/oauth/token");
    let send = |form: String| {
        let request =
            client().post(&url).header("content-type", "application/x-www-form-urlencoded");
        request.body(form).send()
    };
    let form = format!("grant_type=refresh_token&refresh_token={}", first.refresh);
    assert_eq!(send(form.clone()).await.unwrap().status(), 200);
    let again = send(form).await.unwrap();
    assert_eq!(again.status(), 400);
    let body: Value = again.json().await.unwrap();
    assert_eq!(body["error"], "invalid_grant");
    let other: Value = send("grant_type=password".into()).await.unwrap().json().await.unwrap();
    assert_eq!(other["error"], "unsupported_grant_type");
}

#[tokio::test]
async fn a_logout_ends_the_session_at_once() {
    let url = SHARED.edge("/api/hello");
    let by_bearer = SHARED.login().await;
    assert_eq!(get_with(&url, &by_bearer.access).await.status(), 200);
    let logout = client().post(SHARED.edge("/auth/logout")).bearer_auth(&by_bearer.access);
    assert_eq!(logout.send().await.unwrap().status(), 204);
    refused(get_with(&url, &by_bearer.access).await, 401, "token_revoked").await;
    refused(SHARED.refresh(&by_bearer.refresh).await, 401, "session_ended").await;

    let by_refresh = SHARED.login().await;
    let body = json!({ "refresh_token": by_refresh.refresh });
    let logout = post(&SHARED.edge("/auth/logout"), body).await;
    assert_eq!(logout.status(), 204);
    refused(get_with(&url, &by_refresh.access).await, 401, "token_revoked").await;

    let nobody = client().post(SHARED.edge("/auth/logout")).send().await.unwrap();
    refused(nobody, 401, "credentials_missing").await;
    let forged =
        client().post(SHARED.edge("/auth/logout")).bearer_auth("a.b.c").send().await.unwrap();
    refused(forged, 401, "access_token_invalid").await;
}

#[tokio::test]
async fn one_session_ends_and_another_goes_on() {
    let (ended, other) = (SHARED.login().await, SHARED.login().await);
    let logout = client().post(SHARED.edge("/auth/logout")).bearer_auth(&ended.access);
    assert_eq!(logout.send().await.unwrap().status(), 204);
    assert_eq!(get_with(&SHARED.edge("/api/hello"), &other.access).await.status(), 200);
}

#[tokio::test]
async fn the_origins_documents_are_served() {
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
async fn a_session_lives_the_same_on_postgres() {
    let stack =
        tokio::task::spawn_blocking(|| Stack::start(&["--db", "postgres"], None)).await.unwrap();
    let first = stack.login().await;
    let url = stack.edge("/api/hello");
    assert_eq!(get_with(&url, &first.access).await.status(), 200);
    let second = tokens(stack.refresh(&first.refresh).await).await;
    let attempts: Vec<_> = {
        let both = || stack.refresh(&second.refresh);
        let (a, b) = tokio::join!(both(), both());
        vec![a.status().as_u16(), b.status().as_u16()]
    };
    assert!(attempts.contains(&200) && attempts.contains(&401), "{attempts:?}");
    refused(get_with(&url, &second.access).await, 401, "token_revoked").await;
    tokio::task::spawn_blocking(move || drop(stack)).await.unwrap();
}

//! Refresh tokens in cookies.

use super::scene::{done, start};
use crate::support::http::{assert_refused, client, field, get_with};
use crate::support::stack::stop;
use reqwest::Response;
use serde_json::{Value, json};

#[tokio::test]
async fn refresh_cookie_is_hidden_from_scripts_and_upstreams() {
    let stack = start(&[]).await;
    let own = stack.fact("edge_url").to_owned();
    let login = async |origin: Option<&str>| {
        let body =
            json!({ "username": stack.username(), "password": stack.password(), "cookie": true });
        let mut request = client().post(stack.edge("/auth/login")).json(&body);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.send().await.unwrap()
    };
    assert_refused(login(None).await, 403, "cross_site_denied").await;
    assert_refused(login(Some("https://evil.example")).await, 403, "cross_site_denied").await;
    let set = |response: &Response| field(response, "set-cookie");
    let response = login(Some(&own)).await;
    assert_eq!(response.status(), 200);
    let field_of = set(&response);
    for part in [
        "__Host-portcullis-refresh=pcr_",
        "Path=/",
        "Secure",
        "HttpOnly",
        "SameSite=Strict",
        "Max-Age=2592000",
    ] {
        assert!(field_of.contains(part), "{field_of}");
    }
    let body: Value = response.json().await.unwrap();
    assert!(body.get("refresh_token").is_none() && body["access_token"].is_string());
    let pair = |field: &str| field.split(';').next().unwrap().to_owned();
    let cookie = pair(&field_of);
    let send = async |path: &str, cookie: &str, origin: Option<&str>| {
        let mut request =
            client().post(stack.edge(path)).header("cookie", format!("a=b; {cookie}"));
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.send().await.unwrap()
    };
    // The cookie is not forwarded to the upstream.
    let request = client().get(stack.edge("/api/hello")).header("cookie", format!("a=b; {cookie}"));
    let seen = request.bearer_auth(body["access_token"].as_str().unwrap()).send().await.unwrap();
    let seen: Value = seen.json().await.unwrap();
    assert_eq!(seen["headers"]["cookie"], "a=b");

    let before = done(&stack).await;
    let both = || send("/auth/refresh", &cookie, Some(&own));
    let (one, two) = tokio::join!(both(), both());
    assert_eq!((one.status().as_u16(), two.status().as_u16()), (200, 200));
    assert_eq!(set(&one), set(&two));
    let next = pair(&set(&one));
    assert_ne!(next, cookie);
    let (one, two) = (one.text().await.unwrap(), two.text().await.unwrap());
    assert!(one == two && !one.contains("refresh_token"), "{one}");
    assert_eq!(done(&stack).await - before, 1);
    // A page of another origin does not receive the response of ours.
    for origin in [None, Some("https://evil.example"), Some("null")] {
        assert_refused(send("/auth/refresh", &next, origin).await, 403, "cross_site_denied").await;
    }
    assert_eq!(done(&stack).await - before, 1, "and the auth service spends nothing for it");
    assert_refused(
        send("/auth/logout", &next, Some("https://evil.example")).await,
        403,
        "cross_site_denied",
    )
    .await;
    let out = send("/auth/logout", &next, Some(&own)).await;
    assert_eq!(out.status(), 204);
    assert!(
        set(&out).starts_with("__Host-portcullis-refresh=;") && set(&out).contains("Max-Age=0")
    );
    for spent in [&cookie, &next] {
        assert_refused(send("/auth/refresh", spent, Some(&own)).await, 401, "session_ended").await;
    }
    let access = body["access_token"].as_str().unwrap();
    assert_refused(get_with(&stack.edge("/api/hello"), access).await, 401, "token_revoked").await;
    assert_refused(send("/auth/refresh", "c=d", Some(&own)).await, 401, "credentials_missing")
        .await;
    stop(vec![stack]).await;
}

//! Refreshes through the edge, before an auth service that is strict: each token once, and no grace. Two tabs, lost answers,
//! slow auth services and holders that die must not end a session; a revocation must.

use crate::issuer::edge;
use crate::proxy::{Fault, Proxy, said};
use crate::stack::{SHARED, Stack, client, field, get_with, post, refused, tokens};
use futures_util::future::join_all;
use reqwest::Response;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const STRICT: [&str; 2] = ["--auth-env", "REFRESH_GRACE_SECONDS=0"];

fn routes() -> Value {
    json!([
        { "name": "refresh", "path": "/auth/refresh", "access": "auth", "endpoint": "token" },
        { "name": "token", "path": "/oauth/token", "access": "auth", "endpoint": "token" },
        { "name": "logout", "path": "/auth/logout", "access": "auth", "endpoint": "revocation" },
        { "name": "revoke", "path": "/oauth/revoke", "access": "auth", "endpoint": "revocation" },
        { "name": "auth", "path": "/auth/*", "access": "auth" },
        { "name": "api", "path": "/api/*", "access": "protected" },
    ])
}

async fn start(options: &'static [&'static str]) -> Stack {
    let vars = json!({ "STORE_DEADLINE_MS": "3000", "ROUTES": routes() });
    let options = [&STRICT, options].concat();
    tokio::task::spawn_blocking(move || Stack::start(&options, Some(vars))).await.unwrap()
}

/// Another isolate before the same parts, and before `auth service`.
async fn another(stack: &Stack, auth: &str, more: Value) -> Stack {
    let mut vars = json!({
        "STORE_URL": stack.fact("store_url"), "STORE_TOKEN": stack.fact("edge_store_token"),
        "UPSTREAM_URL": stack.fact("upstream_url"), "AUTH_URL": auth, "ROUTES": routes(),
        "ISSUERS": [{
            "issuer": stack.fact("edge_url"), "audience": "https://api.example", "algorithms": ["EdDSA"],
            "jwks_url": format!("{}/.well-known/jwks.json", stack.fact("auth_url")),
        }],
    });
    vars.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    tokio::task::spawn_blocking(move || edge(vars)).await.unwrap()
}

async fn stop(stacks: Vec<Stack>) {
    tokio::task::spawn_blocking(move || drop(stacks)).await.unwrap();
}

/// How many refreshes the auth service did.
async fn done(stack: &Stack) -> u64 {
    let name = "portcullis_auth_outcomes_total";
    stack.metric("auth_url", name, "endpoint=\"refresh\",outcome=\"done\"").await
}

async fn ask(edge: &Stack, token: &str) -> Response {
    post(&edge.edge("/auth/refresh"), json!({ "refresh_token": token })).await
}

#[tokio::test]
async fn ten_at_once_in_two_isolates_get_one_answer_of_a_strict_auth_service() {
    let stack = start(&[]).await;
    let other = another(&stack, stack.fact("auth_url"), json!({})).await;
    let session = stack.login().await;
    for (round, token) in
        [session.refresh.clone(), stack.login().await.refresh].into_iter().enumerate()
    {
        let before = done(&stack).await;
        let ten = (0..10).map(|place| {
            let edge = if place % 2 == 0 { &stack } else { &other };
            async {
                let response = ask(edge, &token).await;
                assert_eq!(response.status(), 200);
                assert_eq!(field(&response, "cache-control"), "no-store");
                assert_eq!(field(&response, "content-type"), "application/json");
                response.text().await.unwrap()
            }
        });
        let answers = join_all(ten).await;
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{round}: {answers:?}");
        assert_eq!(done(&stack).await - before, 1);
        let pair: Value = serde_json::from_str(&answers[0]).unwrap();
        // It is good at once, everywhere; and the session lives on.
        for edge in [&stack, &other] {
            let url = edge.edge("/api/hello");
            assert_eq!(get_with(&url, pair["access_token"].as_str().unwrap()).await.status(), 200);
        }
        let next = ask(&other, pair["refresh_token"].as_str().unwrap()).await;
        assert_eq!(next.status(), 200);
        tokens(next).await;
    }
    // What is kept opens for nobody who does not hold the token.
    let mut redis = redis::Client::open(stack.fact("redis_url")).unwrap().get_connection().unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("pc:refresh:*").query(&mut redis).unwrap();
    assert!(keys.len() >= 4, "{keys:?}");
    for key in &keys {
        let value: String = redis::cmd("GET").arg(key).query(&mut redis).unwrap_or_default();
        assert!(
            !key.contains("pcr_") && !value.contains("eyJ") && !value.contains("pcr_"),
            "{value}"
        );
        let left: i64 = redis::cmd("TTL").arg(key).query(&mut redis).unwrap();
        assert!((0..=10).contains(&left), "{key}: {left}");
    }
    let log = stack.log("edge") + &other.log("edge");
    assert!(log.contains("\"refresh\":\"first\"") && log.contains("\"refresh\":\"replayed\""));
    stop(vec![other, stack]).await;
}

#[tokio::test]
async fn a_lost_answer_is_given_again_and_a_late_one_waits() {
    let stack = start(&[]).await;
    let auth = Proxy::start(stack.fact("auth_url"));
    let edge = another(&stack, &auth.url(), json!({ "AUTH_DEADLINE_MS": "600" })).await;

    // The client has gone before the answer comes.
    let session = stack.login().await;
    let before = done(&stack).await;
    auth.set(Fault::Late { ms: 300 });
    let impatient = reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(100));
    let request = impatient.build().unwrap().post(edge.edge("/auth/refresh"));
    let lost = request.json(&json!({ "refresh_token": session.refresh })).send().await;
    assert!(lost.unwrap_err().is_timeout());
    auth.set(Fault::None);
    let answer = ask(&edge, &session.refresh).await;
    assert_eq!(answer.status(), 200);
    let next = tokens(answer).await;
    assert_eq!(done(&stack).await - before, 1);
    assert_eq!(ask(&edge, &next.refresh).await.status(), 200);

    // The auth service takes longer than the client is let wait: what it said is there when the client asks again.
    let session = stack.login().await;
    let before = done(&stack).await;
    auth.set(Fault::Late { ms: 1500 });
    refused(ask(&edge, &session.refresh).await, 503, "auth_timeout").await;
    let begun = Instant::now();
    let answer = ask(&edge, &session.refresh).await;
    assert_eq!(answer.status(), 200, "{:?}", begun.elapsed());
    let next = tokens(answer).await;
    assert_eq!(done(&stack).await - before, 1);
    auth.set(Fault::None);
    assert_eq!(ask(&edge, &next.refresh).await.status(), 200);
    stop(vec![edge, stack]).await;
}

#[tokio::test]
async fn a_lease_whose_holder_died_is_taken_over_and_an_error_is_not_kept() {
    let stack = start(&[]).await;
    let auth = Proxy::start(stack.fact("auth_url"));
    let short = json!({ "AUTH_DEADLINE_MS": "1500", "STORE_DEADLINE_MS": "500" });
    let dying = another(&stack, &auth.url(), short.clone()).await;
    let edge = another(&stack, &auth.url(), short).await;
    let session = stack.login().await;
    auth.set(Fault::Hangs);
    let url = dying.edge("/auth/refresh");
    let body = json!({ "refresh_token": session.refresh });
    let held = tokio::spawn(async move { client().post(url).json(&body).send().await });
    let mut redis = redis::Client::open(stack.fact("redis_url")).unwrap().get_connection().unwrap();
    let begun = Instant::now();
    loop {
        let leases: Vec<String> = redis::cmd("KEYS").arg("pc:refresh:*").query(&mut redis).unwrap();
        if !leases.is_empty() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "nobody took the lease");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    dying.signal("edge", "-KILL");
    assert!(held.await.unwrap().is_err());
    auth.set(Fault::None);
    let begun = Instant::now();
    let answer = ask(&edge, &session.refresh).await;
    assert_eq!(answer.status(), 200);
    let waited = begun.elapsed();
    // The lease: the deadline, two trips and a second, in whole seconds.
    assert!(waited > Duration::from_secs(1) && waited < Duration::from_secs(6), "{waited:?}");
    let next = tokens(answer).await;

    // Nobody is given an error again.
    auth.set(said("503 Service Unavailable", "application/json", r#"{"code":"overloaded"}"#));
    let failed = ask(&edge, &next.refresh).await;
    assert_eq!(failed.status(), 503);
    assert_eq!(failed.json::<Value>().await.unwrap()["code"], "overloaded");
    // What a server says of itself when it fails is for nobody.
    let page = "<html>Traceback: password=x at db.internal</html>";
    auth.set(said("500 Internal Server Error", "text/html", page));
    refused(ask(&edge, &next.refresh).await, 502, "auth_bad_response").await;
    auth.set(Fault::Resets);
    refused(ask(&edge, &next.refresh).await, 503, "auth_unreachable").await;
    auth.set(Fault::None);
    assert_eq!(ask(&edge, &next.refresh).await.status(), 200);
    let wrong = ask(&edge, "made-up").await;
    refused(wrong, 401, "refresh_token_invalid").await;
    stop(vec![dying, edge, stack]).await;
}

#[tokio::test]
async fn after_a_revocation_nothing_is_given_again() {
    let stack = start(&[]).await;
    let command = |arguments: &[&str]| {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/debug/portcullis-auth");
        let mut command = std::process::Command::new(root);
        let output =
            command.arg("--config").arg(stack.fact("auth_config")).args(arguments).output();
        let output = output.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        text
    };
    for way in ["logout", "revoke", "bearer", "session", "user"] {
        let first = stack.login().await;
        let second = tokens(ask(&stack, &first.refresh).await).await;
        let third = tokens(ask(&stack, &second.refresh).await).await;
        for old in [&first, &second] {
            assert_eq!(ask(&stack, &old.refresh).await.status(), 200, "{way}");
        }
        match way {
            "logout" => {
                let body = json!({ "refresh_token": third.refresh });
                assert_eq!(post(&stack.edge("/auth/logout"), body).await.status(), 204);
            }
            "revoke" => {
                let form = format!("token={}", third.refresh);
                let request = client().post(stack.edge("/oauth/revoke")).body(form);
                let request = request.header("content-type", "application/x-www-form-urlencoded");
                assert_eq!(request.send().await.unwrap().status(), 200);
            }
            "bearer" => {
                let request = client().post(stack.edge("/auth/logout")).bearer_auth(&third.access);
                assert_eq!(request.send().await.unwrap().status(), 204);
            }
            "session" => {
                let list = command(&["sessions", "list", "--username", stack.username()]);
                let newest: Value = serde_json::from_str(list.lines().next().unwrap()).unwrap();
                let id = newest["session"].as_str().unwrap();
                let said = command(&["sessions", "revoke", "--session", id]);
                assert!(said.contains("\"store\":\"told\""), "{said}");
            }
            _ => {
                let said = command(&["user", "disable", "--username", stack.username()]);
                assert!(said.contains("\"store\":\"told\""), "{said}");
            }
        }
        for old in [&first, &second, &third] {
            let again = ask(&stack, &old.refresh).await;
            let status = again.status();
            assert_eq!(status, 401, "{way}: {}", again.text().await.unwrap());
            refused(get_with(&stack.edge("/api/hello"), &old.access).await, 401, "token_revoked")
                .await;
        }
    }
    let login = stack.try_login(stack.username(), stack.password()).await;
    refused(login, 401, "credentials_invalid").await;
    command(&["user", "enable", "--username", stack.username()]);
    let back = stack.login().await;
    assert_eq!(get_with(&stack.edge("/api/hello"), &back.access).await.status(), 200);
    stop(vec![stack]).await;
}

#[tokio::test]
async fn without_the_store_a_refresh_goes_on() {
    let stack = tokio::task::spawn_blocking(|| {
        let vars = json!({ "STORE_DEADLINE_MS": "300", "ROUTES": routes() });
        Stack::start(&[], Some(vars))
    });
    let stack = stack.await.unwrap();
    let session = stack.login().await;
    stack.signal("redis-gateway", "-STOP");
    // The auth service itself gives the same answer to the same token, for its grace.
    let answers = join_all((0..4).map(|_| async {
        let response = ask(&stack, &session.refresh).await;
        assert_eq!(response.status(), 200);
        tokens(response).await.refresh
    }));
    let answers = answers.await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    stack.signal("redis-gateway", "-CONT");
    assert_eq!(ask(&stack, &answers[0]).await.status(), 200);
    stop(vec![stack]).await;
}

#[tokio::test]
async fn a_store_that_fails_in_the_middle_ends_no_session() {
    let stack = start(&[]).await;
    let (auth, store) =
        (Proxy::start(stack.fact("auth_url")), Proxy::start(stack.fact("store_url")));
    let patient = json!({ "AUTH_DEADLINE_MS": "15000" });
    let edge = another(&stack, &auth.url(), patient).await;
    let own =
        json!({ "STORE_URL": store.url(), "BREAKER_FAILURES": "0", "AUTH_DEADLINE_MS": "15000" });
    let other = another(&stack, &auth.url(), own).await;
    let failing = said("500 Internal Server Error", "text/plain", "no");

    // Somebody waits, and the store says nothing for a while.
    let session = stack.login().await;
    for isolate in [&edge, &other] {
        assert_eq!(get_with(&isolate.edge("/api/hello"), &session.access).await.status(), 200);
    }
    let before = done(&stack).await;
    auth.set(Fault::Late { ms: 3600 });
    let wait = async {
        tokio::time::sleep(Duration::from_millis(900)).await;
        ask(&other, &session.refresh).await
    };
    let harm = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        store.set(failing.clone());
        tokio::time::sleep(Duration::from_millis(2700)).await;
        store.set(Fault::None);
    };
    let (first, second, ()) = tokio::join!(ask(&edge, &session.refresh), wait, harm);
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    assert_eq!(first.text().await.unwrap(), second.text().await.unwrap());
    assert_eq!(done(&stack).await - before, 1);

    // It does not take the answer at once: it has it a moment later.
    let session = stack.login().await;
    let before = done(&stack).await;
    let harm = async {
        tokio::time::sleep(Duration::from_millis(1800)).await;
        store.set(failing.clone());
        tokio::time::sleep(Duration::from_millis(3000)).await;
        store.set(Fault::None);
    };
    let (first, ()) = tokio::join!(ask(&other, &session.refresh), harm);
    auth.set(Fault::None);
    let second = ask(&edge, &session.refresh).await;
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    assert_eq!(first.text().await.unwrap(), second.text().await.unwrap());
    assert_eq!(done(&stack).await - before, 1);

    // One that takes no writes is as good as none.
    let mut redis = redis::Client::open(stack.fact("redis_url")).unwrap().get_connection().unwrap();
    let session = stack.login().await;
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(1).exec(&mut redis).unwrap();
    let begun = Instant::now();
    assert_eq!(ask(&edge, &session.refresh).await.status(), 200);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(0).exec(&mut redis).unwrap();
    stop(vec![edge, other, stack]).await;
}

#[tokio::test]
async fn what_the_auth_service_says_is_given_as_it_is() {
    let stack = start(&[]).await;
    let auth = Proxy::start(stack.fact("auth_url"));
    let edge = another(&stack, &auth.url(), json!({})).await;
    let raw = |fields: &str, body: &str| {
        let length = body.len();
        Fault::Says(
            format!("HTTP/1.1 200 OK\r\n{fields}content-length: {length}\r\n\r\n{body}")
                .into_bytes(),
        )
    };
    let given = async |token: &str| {
        let response = ask(&edge, token).await;
        assert_eq!(response.status(), 200);
        let cookies: Vec<String> = response
            .headers()
            .get_all("set-cookie")
            .iter()
            .map(|value| value.to_str().unwrap().to_owned())
            .collect();
        let who = field(&response, "access-control-allow-origin");
        (who, cookies, response.text().await.unwrap())
    };
    let fields = "content-type: application/json\r\naccess-control-allow-origin: https://app.example\r\n\
         set-cookie: a=1; Path=/\r\nset-cookie: b=2; Expires=Wed, 01 Jan 2031 00:00:00 GMT\r\n";
    let body = "{\"access_token\": \"a\",\n \"x\":\n\n \"\u{e9}\" }";
    auth.set(raw(fields, body));
    let first = given("one").await;
    assert_eq!(
        (first.0.as_str(), first.1.len(), first.2.as_str()),
        ("https://app.example", 2, body)
    );
    auth.set(Fault::Refuses);
    assert_eq!(given("one").await, first);
    // Without a field, and with nothing that is granted: it goes through, and is not kept.
    for (name, body) in [("two", "{\"a\": 1,\n \"b\":\n\n 2 }"), ("three", "<html>"), ("four", "")]
    {
        auth.set(raw("", body));
        assert_eq!(given(name).await.2, body);
        auth.set(Fault::Refuses);
        refused(ask(&edge, name).await, 503, "auth_unreachable").await;
    }
    // Longer than what is kept.
    let long = json!({ "access_token": "x".repeat(60_000) }).to_string();
    auth.set(raw("content-type: application/json\r\n", &long));
    assert_eq!(given("five").await.2, long);
    // A refusal lets all that wait ask at once.
    auth.set(Fault::None);
    let begun = Instant::now();
    let many = join_all((0..12).map(|_| ask(&edge, "made-up"))).await;
    assert!(many.iter().all(|answer| answer.status() == 401));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    stop(vec![edge, stack]).await;
}

#[tokio::test]
async fn a_page_refreshes_by_a_cookie_that_no_script_and_no_upstream_sees() {
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
    refused(login(None).await, 403, "cross_site_denied").await;
    refused(login(Some("https://evil.example")).await, 403, "cross_site_denied").await;
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
    let ask = async |path: &str, cookie: &str, origin: Option<&str>| {
        let mut request =
            client().post(stack.edge(path)).header("cookie", format!("a=b; {cookie}"));
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.send().await.unwrap()
    };
    // It travels no further than it must.
    let request = client().get(stack.edge("/api/hello")).header("cookie", format!("a=b; {cookie}"));
    let seen = request.bearer_auth(body["access_token"].as_str().unwrap()).send().await.unwrap();
    let seen: Value = seen.json().await.unwrap();
    assert_eq!(seen["headers"]["cookie"], "a=b");

    let before = done(&stack).await;
    let both = || ask("/auth/refresh", &cookie, Some(&own));
    let (one, two) = tokio::join!(both(), both());
    assert_eq!((one.status().as_u16(), two.status().as_u16()), (200, 200));
    assert_eq!(set(&one), set(&two));
    let next = pair(&set(&one));
    assert_ne!(next, cookie);
    let (one, two) = (one.text().await.unwrap(), two.text().await.unwrap());
    assert!(one == two && !one.contains("refresh_token"), "{one}");
    assert_eq!(done(&stack).await - before, 1);
    // A page of another origin is not given what a page of ours was.
    for origin in [None, Some("https://evil.example"), Some("null")] {
        refused(ask("/origin/refresh", &next, origin).await, 403, "cross_site_denied").await;
    }
    assert_eq!(done(&stack).await - before, 1, "and the auth service spends nothing for it");
    refused(
        ask("/auth/logout", &next, Some("https://evil.example")).await,
        403,
        "cross_site_denied",
    )
    .await;
    let out = ask("/auth/logout", &next, Some(&own)).await;
    assert_eq!(out.status(), 204);
    assert!(
        set(&out).starts_with("__Host-portcullis-refresh=;") && set(&out).contains("Max-Age=0")
    );
    for spent in [&cookie, &next] {
        refused(ask("/auth/refresh", spent, Some(&own)).await, 401, "session_ended").await;
    }
    let access = body["access_token"].as_str().unwrap();
    refused(get_with(&stack.edge("/api/hello"), access).await, 401, "token_revoked").await;
    refused(ask("/auth/refresh", "c=d", Some(&own)).await, 401, "credentials_missing").await;
    stop(vec![stack]).await;
}

#[tokio::test]
async fn the_endpoints_have_limits_bounds_and_deadlines_of_their_own() {
    let slow = Proxy::start(SHARED.fact("auth_url"));
    let edge = another(&SHARED, &slow.url(), json!({ "ROUTES": [
        { "name": "login", "path": "/auth/login", "access": "auth", "deadline_ms": 2000,
          "limit": { "quota": 3, "window_seconds": 60, "by": "address", "algorithm": "fixed_window" } },
        { "name": "token", "path": "/oauth/token", "access": "auth", "endpoint": "token" },
        { "name": "auth", "path": "/auth/*", "access": "auth" },
        { "name": "jwks", "path": "/.well-known/*", "access": "auth" },
    ] })).await;
    let url = edge.edge("/auth/login");
    let login = || post(&url, json!({ "username": "nobody", "password": "x" }));
    let answer = login().await;
    assert_eq!(field(&answer, "cache-control"), "no-store");
    refused(answer, 401, "credentials_invalid").await;
    // Sooner than the deadline of all.
    slow.set(Fault::Late { ms: 4000 });
    refused(login().await, 503, "auth_timeout").await;
    slow.set(Fault::None);
    login().await;
    refused(login().await, 429, "rate_limited").await;
    let big = "x".repeat(17 * 1024);
    let request = client().post(edge.edge("/oauth/token")).body(format!("refresh_token={big}"));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    refused(request.send().await.unwrap(), 413, "body_too_large").await;
    let documents = client().get(edge.edge("/.well-known/jwks.json")).send().await.unwrap();
    assert_eq!(field(&documents, "cache-control"), "public, max-age=300");
    let tag = field(&documents, "etag");
    let again = client().get(edge.edge("/.well-known/jwks.json")).header("if-none-match", tag);
    assert_eq!(again.send().await.unwrap().status(), 304);
    let telling = "HTTP/1.1 400 Bad Request\r\nserver: auth-7.internal\r\nx-powered-by: x\r\n\
         content-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    slow.set(Fault::Says(telling.into()));
    let answer = post(&edge.edge("/auth/nothing"), json!({})).await;
    assert_eq!(
        (answer.status().as_u16(), field(&answer, "server"), field(&answer, "x-powered-by")),
        (400, String::new(), String::new())
    );
    stop(vec![edge]).await;
}

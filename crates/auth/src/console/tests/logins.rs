//! Logins to the console.

use super::harness::{Browser, ORIGIN, Reply, TestConsole, call};
use crate::testing::{PASSWORD, TestService, on_each_database};
use axum::body::Body;
use axum::http::{Request, header};
use serde_json::json;

fn cookie(reply: &Reply) -> String {
    let mut fields = reply.headers.get_all(header::SET_COOKIE).iter();
    let field = fields.next().unwrap().to_str().unwrap().to_owned();
    assert!(fields.next().is_none());
    field
}

#[tokio::test]
async fn login_sets_a_cookie_that_scripts_and_other_sites_cannot_use() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let console = TestConsole::open(service);
            console.add("olga", "api:read console:read console:act").await;
            let reply = console.try_login("olga", PASSWORD).await;
            reply.assert(200, "");
            let field = cookie(&reply);
            let (pair, attributes) = field.split_once("; ").unwrap();
            let token = pair.strip_prefix("__Host-console=").unwrap();
            assert!(token.starts_with("pcc_") && token.len() == 52);
            let attributes: Vec<&str> = attributes.split("; ").collect();
            assert_eq!(
                attributes,
                ["Path=/", "Secure", "HttpOnly", "SameSite=Strict", "Max-Age=3600"]
            );
            // The body has no part of the cookie.
            assert!(!reply.text.contains(token));
            let body = reply.json();
            assert_eq!(body["username"], "olga");
            assert_eq!(body["scope"], json!(["console:read", "console:act"]));
            assert_eq!(body["may_act"], true);
            assert_eq!(body["csrf"].as_str().unwrap().len(), 43);
            assert!(body["ends_at"].as_u64().unwrap() > crate::clock::now().0 + 3500);
            let own = console.get(&Browser::of(&reply), "/console/api/session").await;
            assert_eq!(own.json(), body);
            // The database has its hash alone.
            let stored = format!("SELECT COUNT(*) FROM console_sessions WHERE hash = '{token}'");
            assert_eq!(console.sql(&stored).await, 0);
            assert_eq!(console.sql("SELECT COUNT(*) FROM console_sessions").await, 1);
            let audited = "SELECT COUNT(*) FROM audit WHERE event = 'console_login' \
                           AND actor = 'user' AND user_id IS NOT NULL AND by_user_id IS NULL";
            assert_eq!(console.sql(audited).await, 1);
            // No session of the auth service has begun.
            assert_eq!(console.sql("SELECT COUNT(*) FROM sessions").await, 0);
        },
    )
    .await;
}

#[tokio::test]
async fn plain_http_has_a_cookie_of_the_console_alone() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let console = TestConsole::open_at(service, "http://127.0.0.1:8790");
            console.add("olga", "console:read").await;
            let body = json!({ "username": "olga", "password": PASSWORD });
            let mut request = call("POST", "/console/api/session", None, &body);
            let origin = "http://127.0.0.1:8790".parse().unwrap();
            request.headers_mut().insert(header::ORIGIN, origin);
            let field = cookie(&console.send(request).await);
            assert!(field.starts_with("console=pcc_"), "{field}");
            assert!(field.ends_with("; Path=/console; HttpOnly; SameSite=Strict; Max-Age=3600"));
        },
    )
    .await;
}

#[tokio::test]
async fn login_needs_the_console_in_the_scope() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let console = TestConsole::open(service);
            for (name, scope) in
                [("a", "api:read users:admin"), ("b", "console:readx xconsole:act"), ("c", "")]
            {
                console.add(name, scope).await;
                let reply = console.try_login(name, PASSWORD).await;
                reply.assert(403, "scope_insufficient");
                assert!(reply.headers.get(header::SET_COOKIE).is_none());
            }
            let denied = "SELECT COUNT(*) FROM audit WHERE event = 'console_login_failed' \
                          AND user_id IS NOT NULL";
            assert_eq!(console.sql(denied).await, 3);
            for (name, scope, may_act) in [("d", "console:read", false), ("e", "console:act", true)]
            {
                console.add(name, scope).await;
                let reply = console.try_login(name, PASSWORD).await;
                assert_eq!(reply.json()["may_act"], may_act);
            }
        },
    )
    .await;
}

#[tokio::test]
async fn wrong_logins_are_refused_alike_and_audited_without_the_name() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let console = TestConsole::open(service);
            let user = console.add("olga", "console:act").await;
            let off = console.add("off", "console:act").await;
            let disable =
                format!("UPDATE users SET disabled_at = 1 WHERE id = '{}' RETURNING 1", off.id);
            console.sql(&disable).await;
            let long = "x".repeat(257);
            for (name, password) in [
                ("olga", "wrong password"),
                ("nobody", PASSWORD),
                ("off", PASSWORD),
                ("ol\0ga", PASSWORD),
                (long.as_str(), PASSWORD),
                ("olga", "x".repeat(1025).as_str()),
            ] {
                let reply = console.try_login(name, password).await;
                reply.assert(401, "credentials_invalid");
                assert!(reply.headers.get(header::SET_COOKIE).is_none());
            }
            let failed = "SELECT COUNT(*) FROM audit WHERE event = 'console_login_failed'";
            assert_eq!(console.sql(failed).await, 3);
            let named = "SELECT COUNT(*) FROM audit WHERE detail LIKE '%olga%'";
            assert_eq!(console.sql(named).await, 0);
            let left = format!("SELECT COUNT(*) FROM audit WHERE user_id = '{}'", user.id);
            assert_eq!(console.sql(&left).await, 0);
        },
    )
    .await;
}

#[tokio::test]
async fn logins_are_throttled_with_those_of_the_auth_service() {
    on_each_database(
        |config| config.attempts.per_username = 3,
        async |service: TestService| {
            let console = TestConsole::open(service);
            console.add("olga", "console:act").await;
            for _ in 0..3 {
                console
                    .try_login("olga", "wrong password")
                    .await
                    .assert(401, "credentials_invalid");
            }
            let reply = console.try_login("olga", PASSWORD).await;
            reply.assert(429, "login_throttled");
            assert!(reply.headers.contains_key(header::RETRY_AFTER));
            let client = crate::audit::ClientInfo::default();
            let now = crate::clock::now();
            let login = console.state.app.sessions.login("olga", PASSWORD.into(), &client, now);
            assert_eq!(login.await.err().unwrap().code(), "login_throttled");
        },
    )
    .await;
}

#[tokio::test]
async fn login_takes_json_from_its_own_pages_alone() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let console = TestConsole::open(service);
            console.add("olga", "console:act").await;
            let good = json!({ "username": "olga", "password": PASSWORD });
            let path = "/console/api/session";
            for origin in [
                "null",
                "https://evil.example",
                "http://console.example",
                "",
                "https://console.example.",
            ] {
                let mut request = call("POST", path, None, &good);
                request.headers_mut().insert(header::ORIGIN, origin.parse().unwrap());
                console.send(request).await.assert(403, "origin_forbidden");
            }
            let mut request = call("POST", path, None, &good);
            request.headers_mut().append(header::ORIGIN, ORIGIN.parse().unwrap());
            console.send(request).await.assert(403, "origin_forbidden");
            let mut request = call("POST", path, None, &good);
            request.headers_mut().remove(header::ORIGIN);
            console.send(request).await.assert(403, "origin_forbidden");
            for media_type in ["text/plain", "application/x-www-form-urlencoded", ""] {
                let mut request = call("POST", path, None, &good);
                request.headers_mut().insert(header::CONTENT_TYPE, media_type.parse().unwrap());
                console.send(request).await.assert(415, "media_type_unsupported");
            }
            for bad in [
                json!({}),
                json!({ "username": "olga" }),
                json!({ "username": "olga", "password": PASSWORD, "x": 1 }),
                json!({ "username": 1, "password": PASSWORD }),
                json!([]),
                json!("x"),
            ] {
                console.send(call("POST", path, None, &bad)).await.assert(400, "request_malformed");
            }
            let large = json!({ "username": "x".repeat(16 * 1024), "password": "" });
            console.send(call("POST", path, None, &large)).await.assert(413, "body_too_large");
            let twice = r#"{"username":"olga","username":"x","password":"p"}"#;
            let request = Request::post(path).header(header::ORIGIN, ORIGIN);
            let request = request.header(header::CONTENT_TYPE, "application/json");
            let reply = console.send(request.body(Body::from(twice)).unwrap()).await;
            reply.assert(400, "request_malformed");
            assert_eq!(console.sql("SELECT COUNT(*) FROM console_sessions").await, 0);
        },
    )
    .await;
}

/// A cookie that was planted before the login is worth nothing after it.
#[tokio::test]
async fn login_begins_a_new_session_whatever_cookie_is_sent() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let console = TestConsole::open(service);
            let old = console.browser("olga", "console:act").await;
            console.add("eve", "console:read").await;
            let planted = console.login("eve").await;
            let body = json!({ "username": "olga", "password": PASSWORD });
            for before in [&planted, &old] {
                let mut request = call("POST", "/console/api/session", None, &body);
                request.headers_mut().insert(header::COOKIE, before.cookie.parse().unwrap());
                let reply = console.send(request).await;
                reply.assert(200, "");
                let new = Browser::of(&reply);
                assert!(new.cookie != before.cookie && new.csrf != before.csrf);
                let stale = console.get(before, "/console/api/session").await;
                stale.assert(401, "session_missing");
                console.get(&new, "/console/api/session").await.assert(200, "");
            }
        },
    )
    .await;
}

#[tokio::test]
async fn a_user_has_a_bounded_number_of_sessions() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let console = TestConsole::open(service);
            let user = console.add("olga", "console:act").await;
            for number in 0..25 {
                let insert = format!(
                    "INSERT INTO console_sessions (hash, user_id, created_at, seen_at, ends_at)
                     VALUES ('h{number}', '{}', {number}, {number}, 9000000000) RETURNING 1",
                    user.id
                );
                console.sql(&insert).await;
            }
            let browser = console.login("olga").await;
            assert_eq!(console.sql("SELECT COUNT(*) FROM console_sessions").await, 20);
            let oldest = "SELECT MIN(created_at) FROM console_sessions";
            assert_eq!(console.sql(oldest).await, 6, "the least recently used end");
            console.get(&browser, "/console/api/session").await.assert(200, "");
        },
    )
    .await;
}

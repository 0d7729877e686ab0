//! How sessions in the console end.

use super::harness::{Browser, TestConsole, call};
use crate::audit::ClientInfo;
use crate::clock::now;
use crate::db::{AuditedChange, EndedSession, PasswordChange, SessionSelector};
use crate::directory::users::UserEdit;
use crate::directory::{By, Directory};
use crate::testing::{T, TestService, after, on_each_database};
use axum::body::Body;
use axum::http::{HeaderValue, Request, header};
use serde_json::{Value, json};

async fn status(console: &TestConsole, browser: &Browser) -> u16 {
    console.get(browser, "/console/api/session").await.status.as_u16()
}

#[tokio::test]
async fn logout_ends_the_session_and_deletes_the_cookie() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let console = TestConsole::open(service);
            // A reader may log out, too.
            let one = console.browser("olga", "console:read").await;
            let other = console.login("olga").await;
            let mut request = call("DELETE", "/console/api/session", Some(&one), &Value::Null);
            request.headers_mut().remove(header::CONTENT_TYPE);
            *request.body_mut() = Body::empty();
            let reply = console.send(request).await;
            reply.assert(204, "");
            let field = reply.headers[header::SET_COOKIE].to_str().unwrap();
            assert_eq!(
                field,
                "__Host-console=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0"
            );
            assert_eq!((status(&console, &one).await, status(&console, &other).await), (401, 200));
            let audited = "SELECT COUNT(*) FROM audit WHERE event = 'console_logout'";
            assert_eq!(console.sql(audited).await, 1);
        },
    )
    .await;
}

#[tokio::test]
async fn sessions_end_by_age_and_by_idleness() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let console = TestConsole::open(service);
            let browser = console.browser("olga", "console:act").await;
            let set = async |column: &str, seconds: i64| {
                let at = i64::try_from(now().0).unwrap() + seconds;
                let update = format!("UPDATE console_sessions SET {column} = {at} RETURNING 1");
                console.sql(&update).await;
            };
            // A use counts, once a minute.
            set("seen_at", -30).await;
            assert_eq!(status(&console, &browser).await, 200);
            let age = || format!("SELECT {} - seen_at FROM console_sessions", now().0);
            assert!(console.sql(&age()).await >= 30);
            set("seen_at", -800).await;
            // Neither a poll nor the stream is a use. The stream's query is refused afterwards.
            for (path, value, status) in [("session", "1", 200), ("now/events?x=1", "0", 400)] {
                let poll = Request::get(format!("/console/api/{path}"))
                    .header("cookie", &browser.cookie)
                    .header("x-background", value);
                let reply = console.send(poll.body(Body::empty()).unwrap()).await;
                assert_eq!(reply.status.as_u16(), status, "{}", reply.text);
                assert!(console.sql(&age()).await >= 800, "{path}");
            }
            set("seen_at", -890).await;
            assert_eq!(status(&console, &browser).await, 200);
            assert!(console.sql(&age()).await < 5);
            set("seen_at", -901).await;
            assert_eq!(status(&console, &browser).await, 401);
            // Not even the refused request was a use.
            assert!(console.sql(&age()).await > 900);
            set("seen_at", 0).await;
            assert_eq!(status(&console, &browser).await, 200);
            set("ends_at", -1).await;
            assert_eq!(status(&console, &browser).await, 401);
            let operator = console.state.sessions.authenticate(
                browser.cookie.split_once('=').unwrap().1,
                ClientInfo::default(),
                true,
                now(),
            );
            assert!(operator.await.is_err());
            // Cleanup deletes it when the clocks of all processes agree.
            set("ends_at", -4000).await;
            let none = |_: &str, _: &str| Vec::new();
            console.db.delete_expired(now(), 3000, 400 * 86_400, none).await.unwrap();
            assert_eq!(console.sql("SELECT COUNT(*) FROM console_sessions").await, 0);
        },
    )
    .await;
}

/// Each change of the user counts with the next request, in each process.
#[tokio::test]
async fn sessions_end_with_the_user_the_scope_and_the_password() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let publisher = std::sync::Arc::clone(&service.publisher);
            let console = TestConsole::open(service);
            let revoke = |ended: &EndedSession| publisher.commands().session_ended(ended, now());
            let change = || AuditedChange { now: now(), events: &[] };
            let unknown = ClientInfo::default();
            let by =
                || By { actor: crate::audit::Actor::Operator, subject: None, client: &unknown };
            let (db, publisher) = (&console.db, &publisher);
            let directory = || Directory { db, publisher, audit: None, by: by(), now: now() };

            // A change of the password. Enabling a user, or a scope that comes back, revives none.
            let user = console.add("a", "console:act").await;
            let browser = console.login("a").await;
            let password = PasswordChange {
                user_id: &user.id,
                old_hash: None,
                new_hash: "new",
                except_session: Some("the session of the user that changes it"),
            };
            console.db.set_password(&password, &change(), revoke).await.unwrap();
            assert_eq!(status(&console, &browser).await, 401);

            let user = console.add("b", "console:act").await;
            let browser = console.login("b").await;
            for disabled in [true, false] {
                console
                    .db
                    .set_disabled(&user.id, disabled, vec![], &change(), revoke, &|_| Vec::new())
                    .await
                    .unwrap();
                assert_eq!(status(&console, &browser).await, 401);
            }

            let user = console.add("c", "console:act").await;
            let browser = console.login("c").await;
            let edit = |scope: &str| UserEdit { scope: Some(scope.into()), ..UserEdit::default() };
            directory().change_user(&user.id, &edit("console:read")).await.unwrap();
            assert_eq!(status(&console, &browser).await, 200);
            let reply = console.call(&browser, "POST", "/console/api/x", &json!({})).await;
            reply.assert(403, "scope_insufficient");
            for scope in ["api:read", "console:act"] {
                directory().change_user(&user.id, &edit(scope)).await.unwrap();
                assert_eq!(status(&console, &browser).await, 401);
            }

            let user = console.add("d", "console:act").await;
            let browser = console.login("d").await;
            directory().delete_user(&user.id).await.unwrap();
            assert_eq!(status(&console, &browser).await, 401);

            // The end of all sessions, even of a user who has none but in the console.
            let user = console.add("e", "console:act").await;
            let browser = console.login("e").await;
            let all = SessionSelector::OfUser { user_id: &user.id, except: None };
            let end = async || console.db.end_sessions(all, "logout", &change(), revoke).await;
            assert!(end().await.unwrap().is_some_and(|ended| ended.is_empty()));
            assert!(end().await.unwrap().is_none(), "nothing is left to end");
            assert_eq!(status(&console, &browser).await, 401);

            // A change of the table by hand.
            for change in ["disabled_at = 1", "scope = 'api:read'"] {
                let user = console.add(change, "console:act").await;
                let browser = console.login(change).await;
                let update =
                    format!("UPDATE users SET {change} WHERE id = '{}' RETURNING 1", user.id);
                console.sql(&update).await;
                assert_eq!(status(&console, &browser).await, 401, "{change}");
            }
        },
    )
    .await;
}

#[tokio::test]
async fn a_stream_sees_the_end_of_its_session_without_keeping_it() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let console = TestConsole::open(service);
            let browser = console.browser("olga", "console:read").await;
            let token = browser.cookie.split_once('=').unwrap().1;
            let sessions = &console.state.sessions;
            let operator =
                sessions.authenticate(token, ClientInfo::default(), true, now()).await.unwrap();
            assert!(sessions.is_active(&operator, now().plus(800)).await.unwrap());
            assert!(!sessions.is_active(&operator, now().plus(901)).await.unwrap());
            let age = format!("SELECT {} - seen_at FROM console_sessions", now().0);
            assert!(console.sql(&age).await < 5, "asking is no use");
            sessions.end(&operator, now()).await.unwrap();
            assert!(!sessions.is_active(&operator, now()).await.unwrap());
            assert!(sessions.end(&operator, now()).await.unwrap().is_empty());
        },
    )
    .await;
}

#[tokio::test]
async fn cookies_and_tokens_do_not_replace_each_other() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            service.add("alice").await;
            let tokens = service.login("alice", T).await;
            let console = TestConsole::open(service);
            let browser = console.browser("olga", "console:act users:admin keys:admin").await;
            let cookie = browser.cookie.split_once('=').unwrap().1.to_owned();
            // As a token of the auth service:
            let app = &console.state.app;
            assert!(app.sessions.authenticate(&cookie, now()).await.is_err());
            assert!(app.sessions.introspect(&cookie, now()).await.unwrap().is_none());
            let unknown = ClientInfo::default();
            assert!(app.sessions.refresh(&cookie, None, None, &unknown, after(1)).await.is_err());
            // As a cookie or a bearer token of the console:
            for token in [&tokens.access_token, &tokens.refresh_token] {
                let stolen = Browser {
                    cookie: format!("__Host-console={token}"),
                    csrf: browser.csrf.clone(),
                };
                let reply = console.get(&stolen, "/console/api/session").await;
                reply.assert(401, "session_missing");
                let request = Request::get("/console/api/session")
                    .header(header::AUTHORIZATION, format!("Bearer {token}"));
                let reply = console.send(request.body(Body::empty()).unwrap()).await;
                reply.assert(401, "session_missing");
            }
            let request = Request::get("/console/api/session")
                .header(header::AUTHORIZATION, format!("Bearer {cookie}"));
            let reply = console.send(request.body(Body::empty()).unwrap()).await;
            reply.assert(401, "session_missing");
            // The cookie of plain HTTP is not that of https, which other hosts can't set.
            for name in ["console", "__Host-consol", "__host-console", "__Host-console "] {
                let other = Browser { cookie: format!("{name}={cookie}"), ..browser.clone() };
                assert_eq!(status(&console, &other).await, 401, "{name}");
            }
            let twice = Browser {
                cookie: format!("__Host-console={cookie}; __Host-console={cookie}"),
                ..browser.clone()
            };
            assert_eq!(status(&console, &twice).await, 401);
            let among = Browser { cookie: format!("a=b; {}; c", browser.cookie), ..browser };
            assert_eq!(status(&console, &among).await, 200);
            // A cookie of another program, in Latin-1.
            let field = [b"other=\xe9; ", among.cookie.as_bytes()].concat();
            let request = Request::get("/console/api/session")
                .header(header::COOKIE, HeaderValue::from_bytes(&field).unwrap());
            console.send(request.body(Body::empty()).unwrap()).await.assert(200, "");
        },
    )
    .await;
}

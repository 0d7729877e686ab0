//! Custom claims, changes and the deletion of users.

use crate::audit::{Actor, ClientInfo};
use crate::config::AccessTokenFormat;
use crate::db::AuditedChange;
use crate::directory::users::UserEdit;
use crate::directory::{By, Directory};
use crate::outbox::Delivery;
use crate::problem::Problem;
use crate::sessions::Tokens;
use crate::testing::{PASSWORD, T, TestService, after, on_each_database};
use portcullis_core::UnixSeconds;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection as _};
use std::sync::LazyLock;
use std::time::Duration;

static NOBODY: LazyLock<ClientInfo> = LazyLock::new(ClientInfo::default);

async fn set(
    service: &TestService,
    id: &str,
    patch: Value,
    now: UnixSeconds,
) -> Result<Delivery, Problem> {
    let edit: UserEdit = serde_json::from_value(patch).unwrap();
    directory(service, now).change_user(id, &edit).await.map(|(_, delivery)| delivery)
}

fn directory(service: &TestService, now: UnixSeconds) -> Directory<'_> {
    let by = By { actor: Actor::Operator, subject: None, client: &NOBODY };
    Directory { db: &service.db, publisher: &service.publisher, audit: None, by, now }
}

/// Returns scope and custom claims of an active token.
async fn seen(service: &TestService, token: &str, now: UnixSeconds) -> Option<(String, Value)> {
    let claims = service.sessions.introspect(token, now).await.unwrap()?;
    Some((claims.scope, Value::Object(claims.others)))
}

async fn on_each_format(test: impl AsyncFn(TestService)) {
    for format in [AccessTokenFormat::Jwt, AccessTokenFormat::Opaque] {
        on_each_database(|config| config.access_token_format = format, &test).await;
    }
}

#[tokio::test]
async fn claims_and_scope_are_in_tokens_from_the_next_refresh() {
    on_each_format(async |service: TestService| {
        let user = service.add("alice").await;
        let first = service.login("alice", T).await;
        let patch = json!({ "scope": "read", "claims": { "plan": "pro", "org": [1] } });
        // The store has nothing to learn.
        assert_eq!(set(&service, &user.id, patch, after(1)).await, Ok(Delivery::Done));
        let old = seen(&service, &first.access_token, after(1)).await.unwrap();
        assert_eq!(old, ("read write".to_owned(), json!({})));
        let second = service.refresh(&first.refresh_token, after(2)).await.unwrap();
        let expected = ("read".to_owned(), json!({ "plan": "pro", "org": [1] }));
        assert_eq!(seen(&service, &second.access_token, after(2)).await, Some(expected.clone()));
        let rows = service.outbox().await;
        assert!(rows.iter().any(|row| row.contains("\\\"plan\\\":\\\"pro\\\"")), "{rows:?}");
        // The repeated refresh returns the same response, also after another change.
        let patch = json!({ "scope": "read write", "claims": { "plan": null } });
        set(&service, &user.id, patch, after(3)).await.unwrap();
        let again = service.refresh(&first.refresh_token, after(4)).await.unwrap();
        let pair = |tokens: &Tokens| (tokens.access_token.clone(), tokens.refresh_token.clone());
        assert_eq!(pair(&again), pair(&second));
        set(&service, &user.id, json!({ "claims": null }), after(4)).await.unwrap();
        let login = service.login("alice", after(4)).await;
        let (_, claims) = seen(&service, &login.access_token, after(4)).await.unwrap();
        assert_eq!(claims, json!({}), "null removes all claims");
        set(&service, &user.id, json!({ "claims": { "org": [1] } }), after(4)).await.unwrap();
        let login = service.login("alice", after(5)).await;
        let (scope, claims) = seen(&service, &login.access_token, after(5)).await.unwrap();
        assert_eq!((scope.as_str(), claims), ("read write", json!({ "org": [1] })));
        let third = service.refresh(&second.refresh_token, after(20)).await.unwrap();
        assert_eq!(third.scope, "read write");
        assert_eq!(service.audited("user_changed").await, 4);
        // Without a change nothing is written.
        let rows = service.outbox().await.len();
        set(&service, &user.id, json!({ "claims": { "org": [1] } }), after(30)).await.unwrap();
        assert_eq!(
            (service.outbox().await.len(), service.audited("user_changed").await),
            (rows, 4)
        );
    })
    .await;
}

/// The login has verified the password before the change is committed, and waits for the user's
/// row.
#[tokio::test]
async fn login_that_overlaps_a_change_of_the_scope_is_a_conflict() {
    on_each_format(async |service: TestService| {
        service.add("alice").await;
        let mut change = AnyConnection::connect(&service.url).await.unwrap();
        for statement in ["BEGIN", "UPDATE users SET scope = 'read'"] {
            sqlx::query(statement).execute(&mut change).await.unwrap();
        }
        let commit = async {
            tokio::time::sleep(Duration::from_millis(1000)).await;
            sqlx::query("COMMIT").execute(&mut change).await.unwrap();
        };
        let client = ClientInfo::default();
        let login = service.sessions.login("alice", PASSWORD.into(), &client, after(1));
        let (login, ()) = tokio::join!(login, commit);
        assert_eq!(login.err(), Some(Problem::ChangedMeanwhile));
        service.login("alice", after(2)).await;
    })
    .await;
}

#[tokio::test]
async fn change_of_what_another_has_changed_since_is_refused() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let user = service.add("alice").await;
            let first = json!({ "scope": "read", "was": { "scope": user.scope } });
            set(&service, &user.id, first, T).await.unwrap();
            let second = json!({ "scope": "read write admin", "was": { "scope": user.scope } });
            let refused = set(&service, &user.id, second, after(1)).await;
            assert_eq!(refused, Err(Problem::ChangedMeanwhile));
            let scope = directory(&service, after(1)).user(&user.id).await.unwrap().scope;
            assert_eq!(scope, "read");
            assert_eq!(service.audited("user_changed").await, 1);
            for was in [json!({}), json!({ "scope": "read", "unknown": null })] {
                let third = json!({ "scope": "write", "was": was });
                set(&service, &user.id, third, after(2)).await.unwrap();
                set(&service, &user.id, json!({ "scope": "read" }), after(3)).await.unwrap();
            }
        },
    )
    .await;
}

/// The refresh has found its session before the change is committed, and waits for the user's row.
#[tokio::test]
async fn refresh_that_waits_for_a_change_of_the_scope_has_the_new_one() {
    on_each_format(async |service: TestService| {
        service.add("alice").await;
        let tokens = service.login("alice", T).await;
        let mut change = AnyConnection::connect(&service.url).await.unwrap();
        for statement in
            ["BEGIN", "UPDATE users SET scope = 'read'", "UPDATE sessions SET scope = 'read'"]
        {
            sqlx::query(statement).execute(&mut change).await.unwrap();
        }
        let commit = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            sqlx::query("COMMIT").execute(&mut change).await.unwrap();
        };
        let (refreshed, ()) =
            tokio::join!(service.refresh(&tokens.refresh_token, after(1)), commit);
        let refreshed = refreshed.unwrap();
        let (scope, _) = seen(&service, &refreshed.access_token, after(1)).await.unwrap();
        assert_eq!((refreshed.scope.as_str(), scope.as_str()), ("read", "read"));
    })
    .await;
}

#[tokio::test]
async fn change_with_now_revokes_access_tokens_and_no_session() {
    on_each_format(async |service: TestService| {
        let user = service.add("alice").await;
        let first = service.login("alice", T).await;
        let patch = json!({ "claims": { "plan": "pro" }, "now": true });
        assert_eq!(set(&service, &user.id, patch, T).await, Ok(Delivery::Pending));
        assert!(!service.is_active(&first.access_token, T).await);
        let rows = service.outbox().await;
        let marker = format!("\"{}\",\"EX\"", T.0);
        let row = rows.iter().find(|row| row.contains("pc:revoked:sub:")).unwrap();
        assert!(row.contains(&marker) && row.contains("[\"DEL\",\"pc:token:"), "{rows:?}");
        // In the same second, and again.
        let second = service.refresh(&first.refresh_token, T).await.unwrap();
        assert!(service.is_active(&second.access_token, T).await);
        set(&service, &user.id, json!({ "now": true }), T).await.unwrap();
        assert!(!service.is_active(&second.access_token, T).await);
        let third = service.refresh(&second.refresh_token, T).await.unwrap();
        assert!(service.is_active(&third.access_token, T).await);
        let (_, claims) = seen(&service, &third.access_token, T).await.unwrap();
        assert_eq!(claims, json!({ "plan": "pro" }));
        // A login needs no refresh first.
        let login = service.login("alice", T).await;
        assert!(service.is_active(&login.access_token, T).await);
    })
    .await;
}

#[tokio::test]
async fn revocation_by_time_comes_back_when_a_user_is_enabled_again() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let user = service.add("alice").await;
            set(&service, &user.id, json!({ "now": true }), T).await.unwrap();
            let commands = service.publisher.commands();
            let change = |now| AuditedChange { now, events: &[] };
            let revoke = |_: &crate::db::EndedSession| Vec::new();
            let disabled = commands.user_disabled(&user.id);
            let rows = service
                .db
                .set_disabled(&user.id, true, disabled, &change(after(1)), revoke, &|_| Vec::new())
                .await;
            assert_eq!(rows.unwrap().len(), 1);
            // A disabled user stays so.
            set(&service, &user.id, json!({ "now": true }), after(2)).await.unwrap();
            let rows = service.outbox().await;
            assert!(rows.len() == 1 && rows[0].contains("\"disabled\""), "{rows:?}");
        },
    )
    .await;
}

#[tokio::test]
async fn changes_out_of_bounds_are_refused() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let user = service.add("alice").await;
            for bad in [
                json!({ "claims": { "sub": "root" } }),
                json!({ "claims": { "scope": "admin" } }),
                json!({ "claims": { "a": "x".repeat(5000) } }),
                json!({ "scope": "a\\b" }),
            ] {
                let refused = set(&service, &user.id, bad.clone(), T).await;
                assert!(matches!(refused, Err(Problem::MemberInvalid(_))), "{bad}");
            }
            for id in ["", "nobody", "a\0", "../x"] {
                assert_eq!(set(&service, id, json!({}), T).await, Err(Problem::UserUnknown));
            }
            assert_eq!(service.audited("user_changed").await, 0);
        },
    )
    .await;
}

#[tokio::test]
async fn deleted_user_leaves_an_id_and_the_audit() {
    on_each_format(async |service: TestService| {
        let user = service.add("alice").await;
        let client = ClientInfo {
            address: "192.0.2.7".into(),
            device: "phone".into(),
            country: Some("CH".into()),
            ..ClientInfo::default()
        };
        let tokens = service.sessions.login("alice", PASSWORD.into(), &client, T).await.unwrap();
        set(&service, &user.id, json!({ "claims": { "plan": "pro" } }), T).await.unwrap();
        let own = directory(&service, after(1));
        assert_eq!(own.delete_user(&user.id).await, Ok(Delivery::Pending));
        assert_eq!(own.delete_user(&user.id).await, Err(Problem::UserUnknown));
        assert!(own.user(&user.id).await.is_err());
        assert!(service.db.user_by_name(&format!("deleted:{}", user.id)).await.unwrap().is_none());
        assert!(service.db.users(None, 10).await.unwrap().is_empty());
        assert!(!service.is_active(&tokens.access_token, after(1)).await);
        let refresh = service.refresh(&tokens.refresh_token, after(1)).await;
        assert_eq!(refresh.err(), Some(Problem::SessionEnded));
        let login = service.sessions.login("alice", PASSWORD.into(), &client, after(1)).await;
        assert_eq!(login.err(), Some(Problem::CredentialsInvalid));
        for (table, condition) in [
            ("users", "username LIKE '%alice%' OR password_hash <> '' OR scope <> ''"),
            ("users", "claims IS NOT NULL OR disabled_at IS NULL"),
            ("sessions", "device <> '' OR address <> '' OR revoked_at IS NULL"),
            ("user_countries", "1 = 1"),
        ] {
            let text = format!("SELECT COUNT(*) FROM {table} WHERE {condition}");
            assert_eq!(service.db.query_number(&text).await.unwrap(), 0, "{text}");
        }
        assert_eq!(service.audited("user_deleted").await, 1);
        let rows = service.outbox().await;
        assert!(rows.iter().any(|row| row.contains("pc:revoked:sid:")), "{rows:?}");
        assert!(rows.iter().any(|row| row.contains("pc:revoked:sub:")), "{rows:?}");
        // The name is free again.
        let again = service.add("alice").await;
        assert_ne!(again.id, user.id);
        let tokens = service.login("alice", after(2)).await;
        assert!(service.is_active(&tokens.access_token, after(2)).await);
    })
    .await;
}

/// A refresh that has read the old claims must not outlive a revocation that commits meanwhile.
#[tokio::test]
async fn concurrent_refreshes_and_revocations_leave_no_token_with_old_claims() {
    on_each_database(
        |config| config.refresh_grace_seconds = 0,
        async |service: TestService| {
            let user = service.add("alice").await;
            for round in 0..10_u64 {
                let now = after(100 * round);
                let tokens = service.login("alice", now).await;
                let patch = json!({ "claims": { "round": round }, "now": true });
                // The refresh's clock is ahead.
                let refresh = service.refresh(&tokens.refresh_token, now.plus(1));
                let (refreshed, changed) =
                    tokio::join!(refresh, set(&service, &user.id, patch, now));
                changed.unwrap();
                let token = refreshed.unwrap().access_token;
                let own = seen(&service, &token, now.plus(1)).await;
                assert!(own.is_none_or(|(_, claims)| claims == json!({ "round": round })));
            }
        },
    )
    .await;
}

//! Revocations.

use crate::audit::{Actor, ClientInfo, Event, EventKind};
use crate::config::AccessTokenFormat;
use crate::db::{AuditedChange, EndedSession};
use crate::outbox::Delivery;
use crate::problem::Problem;
use crate::sessions::Tokens;
use crate::testing::{PASSWORD, T, TestService, after, on_each_database};
use crate::token::{OpaqueToken, token_hash};

#[tokio::test]
async fn disabled_user_is_logged_out_at_once_until_enabled() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let user = service.add("alice").await;
            let tokens = service.login("alice", T).await;
            let revoke =
                |ended: &EndedSession| service.publisher.commands().session_ended(ended, after(1));
            let change = AuditedChange { now: after(1), events: &[] };
            let commands = service.publisher.commands().user_disabled(&user.id);
            service
                .db
                .set_disabled(&user.id, true, commands, &change, revoke, &|_| Vec::new())
                .await
                .unwrap();
            assert!(!service.is_active(&tokens.access_token, after(1)).await);
            assert_eq!(
                service.refresh(&tokens.refresh_token, after(1)).await,
                Err(Problem::SessionEnded)
            );
            let login = async |now| {
                service.sessions.login("alice", PASSWORD.into(), &ClientInfo::default(), now).await
            };
            assert_eq!(login(after(2)).await, Err(Problem::CredentialsInvalid));
            assert!(
                service
                    .outbox()
                    .await
                    .iter()
                    .any(|row| row.contains("pc:revoked:sub:") && row.contains("SET"))
            );
            let commands = service.publisher.commands().user_enabled(&user.id, None, after(1));
            service
                .db
                .set_disabled(&user.id, false, commands, &change, revoke, &|_| Vec::new())
                .await
                .unwrap();
            // The undelivered revocation of the user is discarded.
            let outbox = service.outbox().await;
            let of_subject: Vec<_> =
                outbox.iter().filter(|row| row.contains("pc:revoked:sub:")).collect();
            let marker = format!("\"{}\"", after(1).0);
            assert!(matches!(of_subject.as_slice(), [row] if row.contains(&marker)), "{outbox:?}");
            let back = login(after(3)).await.unwrap();
            assert!(service.is_active(&back.access_token, after(3)).await);
            assert!(!service.is_active(&tokens.access_token, after(3)).await);
        },
    )
    .await;
}

#[tokio::test]
async fn user_lists_and_ends_own_sessions_only() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            service.add("alice").await;
            service.add("bob").await;
            let (one, two) =
                (service.login("alice", T).await, service.login("alice", after(1)).await);
            let bobs = service.login("bob", T).await;
            let list = async |tokens: &Tokens| {
                service.sessions.list(&tokens.access_token, after(2)).await.unwrap()
            };
            let listed = list(&one).await;
            assert_eq!(listed.iter().map(|s| s.current).collect::<Vec<_>>(), [false, true]);
            assert!(listed.iter().all(|session| session.device == "test"));
            let theirs = list(&bobs).await[0].id.clone();
            let client = ClientInfo::default();
            let remove = async |id: &str| {
                service.sessions.remove(&one.access_token, id, &client, after(2)).await
            };
            assert_eq!(remove(&theirs).await, Err(Problem::SessionUnknown));
            assert_eq!(remove("nothing").await, Err(Problem::SessionUnknown));
            assert_eq!(remove(&listed[0].id).await, Ok(Delivery::Pending));
            assert!(!service.is_active(&two.access_token, after(2)).await);
            assert!(service.is_active(&bobs.access_token, after(2)).await);
            let three = service.login("alice", after(3)).await;
            service.sessions.logout_everywhere(&one.access_token, &client, after(4)).await.unwrap();
            for tokens in [&one, &three] {
                assert!(!service.is_active(&tokens.access_token, after(4)).await);
            }
            // A login in the same second begins a new session.
            let four = service.login("alice", after(4)).await;
            assert!(service.is_active(&four.access_token, after(4)).await);
            let ended = service.sessions.list(&one.access_token, after(4)).await;
            assert!(matches!(ended, Err(Problem::AccessTokenInvalid)));
        },
    )
    .await;
}

#[tokio::test]
async fn tokens_are_revoked_alone_or_with_the_session() {
    for format in [AccessTokenFormat::Jwt, AccessTokenFormat::Opaque] {
        on_each_database(
            |config| config.access_token_format = format,
            async |service: TestService| {
                service.add("alice").await;
                let tokens = service.login("alice", T).await;
                let revoke = async |token: &str, client_id: Option<&str>| {
                    service
                        .sessions
                        .revoke(token, client_id, &ClientInfo::default(), after(1))
                        .await
                };
                assert!(service.is_active(&tokens.access_token, after(1)).await);
                let claims = service
                    .sessions
                    .introspect(&tokens.access_token, after(1))
                    .await
                    .unwrap()
                    .unwrap();
                assert_eq!((claims.exp, claims.scope.as_str()), (after(900).0, "read write"));
                for unknown in
                    ["", "x", &OpaqueToken::Refresh.generate(), &OpaqueToken::Access.generate()]
                {
                    assert_eq!(revoke(unknown, None).await, Ok(Delivery::Done), "{unknown}");
                }
                assert_eq!(
                    revoke(&tokens.access_token, Some("x")).await,
                    Err(Problem::ClientMismatch)
                );
                assert_eq!(revoke(&tokens.access_token, None).await, Ok(Delivery::Pending));
                assert!(!service.is_active(&tokens.access_token, after(1)).await);
                let next = service.refresh(&tokens.refresh_token, after(2)).await.unwrap();
                assert!(service.is_active(&next.access_token, after(2)).await);
                assert_eq!(
                    revoke(&next.refresh_token, Some("x")).await,
                    Err(Problem::ClientMismatch)
                );
                assert_eq!(
                    revoke(&next.refresh_token, Some("portcullis")).await,
                    Ok(Delivery::Pending)
                );
                assert!(!service.is_active(&next.access_token, after(2)).await);
                // A response is not returned again, even within the grace period.
                assert_eq!(
                    service.refresh(&tokens.refresh_token, after(3)).await,
                    Err(Problem::SessionEnded)
                );
            },
        )
        .await;
    }
}

#[tokio::test]
async fn undelivered_rows_are_discarded_when_the_session_ends() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            service.add("alice").await;
            let (one, two) = (service.login("alice", T).await, service.login("alice", T).await);
            assert_eq!(service.outbox().await.len(), 2);
            service
                .sessions
                .logout(&one.refresh_token, &ClientInfo::default(), after(1))
                .await
                .unwrap();
            let outbox = service.outbox().await;
            assert_eq!(outbox.len(), 2, "{outbox:?}");
            let is_in_outbox = |tokens: &Tokens| {
                let key = format!("[\"SET\",\"pc:token:{}\"", token_hash(&tokens.access_token));
                outbox.iter().any(|row| row.contains(&key))
            };
            assert!(is_in_outbox(&two) && !is_in_outbox(&one));
        },
    )
    .await;
}

#[tokio::test]
async fn undelivered_record_is_discarded_when_the_token_is_revoked() {
    on_each_database(
        |config| config.access_token_format = AccessTokenFormat::Opaque,
        async |service: TestService| {
            service.add("alice").await;
            let tokens = service.login("alice", T).await;
            let record = format!("[\"SET\",\"pc:token:{}\"", token_hash(&tokens.access_token));
            assert!(service.outbox().await.iter().any(|row| row.contains(&record)));
            let client = ClientInfo::default();
            service.sessions.revoke(&tokens.access_token, None, &client, after(1)).await.unwrap();
            let outbox = service.outbox().await;
            assert!(!outbox.iter().any(|row| row.contains(&record)), "{outbox:?}");
            assert!(outbox.iter().any(|row| row.contains("pc:revoked:jti:")), "{outbox:?}");
        },
    )
    .await;
}

#[tokio::test]
async fn repeated_revocations_write_nothing() {
    for format in [AccessTokenFormat::Jwt, AccessTokenFormat::Opaque] {
        on_each_database(
            |config| config.access_token_format = format,
            async |service: TestService| {
                service.add("alice").await;
                let ended = service.login("alice", T).await;
                let live = service.login("alice", T).await;
                let (sessions, client) = (&service.sessions, ClientInfo::default());
                let revoke =
                    async |token: &str| sessions.revoke(token, None, &client, after(1)).await;
                let all = async || {
                    [
                        sessions.logout(&ended.refresh_token, &client, after(1)).await,
                        sessions.logout_bearer(&ended.access_token, &client, after(1)).await,
                        revoke(&ended.refresh_token).await,
                        revoke(&ended.access_token).await,
                        revoke(&live.access_token).await,
                    ]
                };
                assert_eq!(all().await, [Ok(Delivery::Pending); 5]);
                let written = async || {
                    let audit = service.db.query_number("SELECT COUNT(*) FROM audit").await;
                    (audit.unwrap(), service.outbox().await)
                };
                let once = written().await;
                // The store is unreachable, and the response says so each time.
                for _ in 0..20 {
                    assert_eq!(all().await, [Ok(Delivery::Pending); 5]);
                }
                assert_eq!(written().await, once, "{format:?}");
                assert_eq!(service.audited("logout").await, 1);
                assert_eq!(service.audited("token_revoked").await, 1);
                service.db.query_number("DELETE FROM outbox RETURNING 1").await.unwrap();
                assert_eq!(all().await, [Ok(Delivery::Done); 5], "the store has it");
                assert!(service.outbox().await.is_empty());
            },
        )
        .await;
    }
}

#[tokio::test]
async fn disabling_a_disabled_user_writes_nothing() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let user = service.add("alice").await;
            let revoke =
                |ended: &EndedSession| service.publisher.commands().session_ended(ended, T);
            for (disabled, kind) in [
                (true, EventKind::UserDisabled),
                (true, EventKind::UserDisabled),
                (false, EventKind::UserEnabled),
                (false, EventKind::UserEnabled),
            ] {
                let events = [Event::new(kind, Actor::Operator, &ClientInfo::default())];
                let change = AuditedChange { now: T, events: &events };
                let commands = service.publisher.commands().user_disabled(&user.id);
                let set =
                    service.db.set_disabled(&user.id, disabled, commands, &change, revoke, &|_| {
                        Vec::new()
                    });
                set.await.unwrap();
            }
            let counts =
                (service.audited("user_disabled").await, service.audited("user_enabled").await);
            assert_eq!(counts, (1, 1));
        },
    )
    .await;
}

#[tokio::test]
async fn revoked_token_keeps_the_undelivered_end_of_its_session() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            service.add("alice").await;
            let (tokens, client) = (service.login("alice", T).await, ClientInfo::default());
            service.sessions.logout(&tokens.refresh_token, &client, after(1)).await.unwrap();
            service.sessions.revoke(&tokens.access_token, None, &client, after(2)).await.unwrap();
            let outbox = service.outbox().await;
            assert!(outbox.iter().any(|row| row.contains("pc:revoked:sid:")), "{outbox:?}");
            let record = format!("[\"DEL\",\"pc:token:{}\"]", token_hash(&tokens.access_token));
            assert!(outbox.iter().any(|row| row.contains(&record)), "{outbox:?}");
        },
    )
    .await;
}

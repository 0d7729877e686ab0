//! Refreshes.

use crate::audit::ClientInfo;
use crate::problem::Problem;
use crate::testing::{T, TestService, after, on_each_database};
use crate::token::{OpaqueToken, token_hash};
use portcullis_core::UnixSeconds;
use std::sync::Arc;

#[tokio::test]
async fn used_token_returns_the_same_response_within_the_grace_period_then_ends_the_session() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            service.add("alice").await;
            let first = service.login("alice", T).await;
            let second = service.refresh(&first.refresh_token, after(60)).await.unwrap();
            assert_ne!(first.refresh_token, second.refresh_token);
            for late in [60, 65, 69] {
                let again = service.refresh(&first.refresh_token, after(late)).await.unwrap();
                assert_eq!(
                    (&again.access_token, &again.refresh_token),
                    (&second.access_token, &second.refresh_token)
                );
            }
            // The session continues, and a repeated response does not restore a used token.
            let third = service.refresh(&second.refresh_token, after(66)).await.unwrap();
            assert!(service.is_active(&third.access_token, after(69)).await);
            let reused = service.refresh(&first.refresh_token, after(70)).await;
            assert_eq!(reused, Err(Problem::RefreshTokenReused));
            assert_eq!(
                service.refresh(&third.refresh_token, after(71)).await,
                Err(Problem::SessionEnded)
            );
            assert_eq!(
                service.refresh(&second.refresh_token, after(71)).await,
                Err(Problem::SessionEnded)
            );
            for tokens in [&first, &second, &third] {
                assert!(!service.is_active(&tokens.access_token, after(71)).await);
            }
            assert_eq!(service.audited("refresh_token_reused").await, 1);
            // The store loses the records, and the responses that the edge may have stored.
            let outbox = service.outbox().await;
            let [row] = outbox.as_slice() else { panic!("{outbox:?}") };
            for tokens in [&first, &second, &third] {
                assert!(
                    row.contains(&format!("pc:token:{}", token_hash(&tokens.access_token))),
                    "{row}"
                );
                assert!(
                    row.contains(&format!("pc:refresh:{}", token_hash(&tokens.refresh_token))),
                    "{row}"
                );
            }
            assert!(row.contains("pc:revoked:sid:"));
        },
    )
    .await;
}

#[tokio::test]
async fn concurrent_refreshes_return_one_new_pair() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            service.add("alice").await;
            let first = service.login("alice", T).await;
            let service = Arc::new(service);
            let many = (0..32).map(|_| {
                let (service, token) = (Arc::clone(&service), first.refresh_token.clone());
                tokio::spawn(async move { service.refresh(&token, after(1)).await.unwrap() })
            });
            let mut answers = Vec::new();
            for task in many.collect::<Vec<_>>() {
                answers.push(task.await.unwrap());
            }
            assert!(answers.iter().all(|tokens| *tokens == answers[0]), "{answers:?}");
            assert!(service.refresh(&answers[0].refresh_token, after(100)).await.is_ok());
        },
    )
    .await;
}

#[tokio::test]
async fn concurrent_refreshes_end_the_session_without_a_grace_period() {
    on_each_database(
        |config| config.refresh_grace_seconds = 0,
        async |service: TestService| {
            service.add("alice").await;
            let first = service.login("alice", T).await;
            let service = Arc::new(service);
            let many = (0..16).map(|_| {
                let (service, token) = (Arc::clone(&service), first.refresh_token.clone());
                tokio::spawn(async move { service.refresh(&token, after(1)).await })
            });
            let mut won = Vec::new();
            let mut codes = Vec::new();
            for task in many.collect::<Vec<_>>() {
                match task.await.unwrap() {
                    Ok(tokens) => won.push(tokens),
                    Err(problem) => codes.push(problem.code()),
                }
            }
            assert_eq!(won.len(), 1);
            assert!(codes.contains(&"refresh_token_reused"), "{codes:?}");
            let last = service.refresh(&won[0].refresh_token, after(2)).await;
            assert_eq!(last, Err(Problem::SessionEnded));
        },
    )
    .await;
}

#[tokio::test]
async fn session_ends_when_expired_or_idle() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            service.add("alice").await;
            let idle = service.login("alice", T).await;
            assert_eq!(
                service.refresh(&idle.refresh_token, after(3000)).await,
                Err(Problem::SessionEnded)
            );
            assert!(
                !service.is_active(&idle.access_token, after(900)).await,
                "access token expired"
            );

            let mut tokens = service.login("alice", T).await;
            for moment in [2999, 5998, 8997] {
                tokens = service.refresh(&tokens.refresh_token, after(moment)).await.unwrap();
            }
            assert_eq!(tokens.session_seconds, 1003);
            tokens = service.refresh(&tokens.refresh_token, after(9999)).await.unwrap();
            assert!(service.is_active(&tokens.access_token, after(9999)).await);
            assert!(!service.is_active(&tokens.access_token, after(10_000)).await);
            assert_eq!(
                service.refresh(&tokens.refresh_token, after(10_000)).await,
                Err(Problem::SessionEnded)
            );
        },
    )
    .await;
}

#[tokio::test]
async fn refresh_narrows_the_scope_and_never_widens_it() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            service.add("alice").await;
            let first = service.login("alice", T).await;
            let refresh = async |token: &str, scope: &str, now: UnixSeconds| {
                service.sessions.refresh(token, Some(scope), None, &ClientInfo::default(), now).await
            };
            // A rejected request does not use up the token.
            for wider in ["read admin", "admin", "READ"] {
                let refused = refresh(&first.refresh_token, wider, after(1)).await;
                assert_eq!(refused, Err(Problem::ScopeInvalid), "{wider}");
            }
            let narrow = refresh(&first.refresh_token, "read read", after(2)).await.unwrap();
            assert_eq!(narrow.scope, "read");
            let claims = service.sessions.introspect(&narrow.access_token, after(2)).await.unwrap();
            assert_eq!(claims.unwrap().scope, "read");
            assert_eq!(service.refresh(&first.refresh_token, after(3)).await, Err(Problem::ScopeInvalid));
            let again = refresh(&first.refresh_token, "read", after(3)).await.unwrap();
            assert_eq!(again.access_token, narrow.access_token);
            // The refresh token still has the whole scope.
            let whole = service.refresh(&narrow.refresh_token, after(60)).await.unwrap();
            assert_eq!(whole.scope, "read write");

            let refresh_as = |client_id| {
                let client = ClientInfo::default();
                let (sessions, token) = (&service.sessions, whole.refresh_token.clone());
                async move { sessions.refresh(&token, None, Some(client_id), &client, after(120)).await }
            };
            assert_eq!(refresh_as("other").await, Err(Problem::ClientMismatch));
            assert!(refresh_as("portcullis").await.is_ok());
        },
    )
    .await;
}

#[tokio::test]
async fn burst_of_refreshes_is_recorded_once() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            service.add("alice").await;
            let mut tokens = service.login("alice", T).await;
            for second in 1..=15 {
                tokens = service.refresh(&tokens.refresh_token, after(second)).await.unwrap();
            }
            assert_eq!(service.audited("refresh_burst").await, 1);
        },
    )
    .await;
}

#[tokio::test]
async fn malformed_refresh_token_costs_no_query() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let queries = || service.db.queries().with_label_values(&["request"]).get();
            let before = queries();
            for malformed in ["", "x", &format!("pcr_{}", "A".repeat(48))] {
                assert_eq!(service.refresh(malformed, T).await, Err(Problem::RefreshTokenInvalid));
            }
            assert_eq!(queries(), before);
            let formed = service.refresh(&OpaqueToken::Refresh.generate(), T).await;
            assert_eq!(formed, Err(Problem::RefreshTokenInvalid));
        },
    )
    .await;
}

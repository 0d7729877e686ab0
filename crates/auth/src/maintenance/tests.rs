//! The deletion of expired rows.

use crate::maintenance::Maintenance;
use crate::problem::Problem;
use crate::testing::{T, TestService, after, on_each_database};
use std::sync::Arc;

#[tokio::test]
async fn expired_rows_are_deleted_and_active_ones_stay() {
    on_each_database(
        |config| config.sessions_per_user_max = 1000,
        async |service: TestService| {
            service.add("alice").await;
            let (expired, idle) =
                (service.login("alice", T).await, service.login("alice", T).await);
            let mut tokens = expired.clone();
            for moment in [2000, 4000, 6000, 8000] {
                tokens = service.refresh(&tokens.refresh_token, after(moment)).await.unwrap();
            }
            let day = 98_000;
            let live = service.login("alice", after(day)).await;
            let live = service.refresh(&live.refresh_token, after(day + 1)).await.unwrap();
            let count = async |table: &str| {
                service.db.query_number(&format!("SELECT COUNT(*) FROM {table}")).await.unwrap()
            };
            assert_eq!((count("sessions").await, count("refresh_tokens").await), (3, 8));
            let maintenance = Maintenance {
                db: Arc::clone(&service.db),
                publisher: Arc::clone(&service.publisher),
                idle_seconds: 3000,
                audit_seconds: 400 * 86_400,
                usage_seconds: 90 * 86_400,
            };
            let outbox = service.outbox().await.len();
            assert!(
                maintenance.delete_expired(after(3000)).await.unwrap() >= 1,
                "the idle session has ended"
            );
            assert!(service.outbox().await.len() > outbox, "the store is updated");
            maintenance.delete_expired(after(93_001)).await.unwrap();
            assert_eq!(
                count("sessions").await,
                2,
                "the expired session is retained while a marker may be live"
            );
            maintenance.delete_expired(after(100_001)).await.unwrap();
            assert_eq!((count("sessions").await, count("refresh_tokens").await), (1, 2));
            let answers = "SELECT COUNT(*) FROM refresh_tokens WHERE answer IS NOT NULL";
            assert_eq!(service.db.query_number(answers).await.unwrap(), 0);
            assert!(service.is_active(&live.access_token, after(day + 2)).await);
            for gone in [&expired, &idle] {
                let refused = service.refresh(&gone.refresh_token, after(day + 2)).await;
                assert_eq!(refused, Err(Problem::RefreshTokenInvalid));
            }
            assert_eq!(maintenance.delete_expired(after(100_001)).await.unwrap(), 0);
            assert_eq!(service.audited("login").await, 3);
        },
    )
    .await;
}

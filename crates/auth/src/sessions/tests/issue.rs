//! The issuance of tokens.

use crate::testing::{T, TestService, after, on_each_database};

#[tokio::test]
async fn token_expires_with_its_session_and_the_newest_session_stays() {
    on_each_database(
        |config| {
            config.sessions_per_user_max = 1;
            config.refresh_token_seconds = 1000;
        },
        async |service: TestService| {
            service.add("alice").await;
            let (one, two) = (service.login("alice", T).await, service.login("alice", T).await);
            assert!(!service.is_active(&one.access_token, T).await);
            assert!(service.is_active(&two.access_token, T).await);
            let late = service.refresh(&two.refresh_token, after(900)).await.unwrap();
            assert_eq!(late.expires_in, 100);
            assert!(service.is_active(&late.access_token, after(999)).await);
            assert!(!service.is_active(&late.access_token, after(1000)).await);
        },
    )
    .await;
}

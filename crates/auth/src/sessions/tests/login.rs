//! Logins.

use crate::audit::ClientInfo;
use crate::testing::{PASSWORD, TestService, after, on_each_database};

#[tokio::test]
async fn login_ends_the_oldest_session_over_the_maximum_and_records_a_new_country() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let user = service.add("alice").await;
            let mut all = Vec::new();
            for (second, country) in ["DE", "DE", "FR", "DE"].into_iter().enumerate() {
                let client = ClientInfo { country: Some(country.into()), ..ClientInfo::default() };
                let now = after(second as u64);
                all.push(
                    service.sessions.login("alice", PASSWORD.into(), &client, now).await.unwrap(),
                );
            }
            assert_eq!(service.audited("country_new").await, 1);
            assert_eq!(service.audited("sessions_over_max").await, 1);
            assert!(!service.is_active(&all[0].access_token, after(4)).await);
            for tokens in &all[1..] {
                assert!(service.is_active(&tokens.access_token, after(4)).await);
            }
            assert_eq!(
                service.db.active_sessions(&user.id, after(4), 3000).await.unwrap().len(),
                3
            );
        },
    )
    .await;
}

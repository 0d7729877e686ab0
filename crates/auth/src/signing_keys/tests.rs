//! Tests of signing keys in the database.

use crate::signing_keys::{KeyAlgorithm, KeyRing, SigningSettings};
use crate::testing::{T, TestService, after, on_each_database, signing};
use portcullis_core::Seal;
use std::sync::Arc;

#[tokio::test]
async fn keys_rotate_without_a_rejected_token() {
    for algorithm in [KeyAlgorithm::EdDsa, KeyAlgorithm::Es256] {
        on_each_database(
            |config| config.signing = signing(algorithm),
            async |service: TestService| {
                service.add("alice").await;
                let (mut now, mut kids) = (T, Vec::new());
                let mut tokens = service.login("alice", now).await;
                let end = after(9000);
                while now < end {
                    now = now.plus(600);
                    service.sessions.keys().maintain(now).await.unwrap();
                    let before = service.sessions.keys().key_set().jwks().to_string();
                    tokens = service.refresh(&tokens.refresh_token, now).await.unwrap();
                    let header = jsonwebtoken::decode_header(&tokens.access_token).unwrap();
                    let kid = header.kid.unwrap();
                    assert!(before.contains(&kid), "signs with a published key");
                    kids.push(kid);
                    assert!(service.is_active(&tokens.access_token, now).await);
                }
                // The next key was published long before it signs.
                let known = service.sessions.keys().key_set().jwks();
                assert_eq!(known["keys"].as_array().unwrap().len(), 2);
                service.sessions.keys().maintain(after(10_000)).await.unwrap();
                let second = service.login("alice", after(10_000)).await;
                let kid = jsonwebtoken::decode_header(&second.access_token).unwrap().kid.unwrap();
                assert!(known.to_string().contains(&kid) && !kids.contains(&kid));
                kids.dedup();
                assert_eq!(kids.len(), 1);
                let claims = service.sessions.keys().key_set().verify(
                    &tokens.access_token,
                    "https://a.example",
                    "api",
                );
                assert!(claims.is_some(), "the previous key still verifies");
                let end = after(10_000 + 86_400 + 360);
                service.sessions.keys().maintain(end).await.unwrap();
                let jwks = service.sessions.keys().key_set().jwks().to_string();
                assert!(!jwks.contains(&kids[0]), "{jwks}");
            },
        )
        .await;
    }
}

#[tokio::test]
async fn concurrent_services_share_keys_and_a_new_master_key_replaces_the_old_one() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let open = async |master_key: Seal| {
                let signing = SigningSettings { master_key, ..signing(KeyAlgorithm::EdDsa) };
                KeyRing::open(Arc::clone(&service.db), signing, T).await
            };
            let key = |name: &str, letter: &str| format!("{name}:{}", letter.repeat(42) + "A");
            let old = Seal::new(&format!("m:{}", "A".repeat(43)), None).unwrap();
            service.db.query_number("DELETE FROM signing_keys RETURNING 1").await.unwrap();
            let (one, two) = tokio::join!(open(old.clone()), open(old));
            let (one, two) = (one.unwrap(), two.unwrap());
            one.maintain(T).await.unwrap();
            two.maintain(T).await.unwrap();
            assert_eq!(one.key_set().jwks(), two.key_set().jwks());
            assert_eq!(one.key_set().jwks()["keys"].as_array().unwrap().len(), 2);

            let before = format!("m:{}", "A".repeat(43));
            let both = Seal::new(&key("n", "B"), Some(&before)).unwrap();
            assert_eq!(open(both).await.unwrap().key_set().jwks(), one.key_set().jwks());
            // The new key is now enough, and the old one decrypts nothing.
            let new = Seal::new(&key("n", "B"), None).unwrap();
            assert_eq!(open(new).await.unwrap().key_set().jwks(), one.key_set().jwks());
            let error = open(Seal::new(&before, None).unwrap()).await.err().unwrap().to_string();
            assert!(error.starts_with("MASTER_KEY: does not open"), "{error}");
        },
    )
    .await;
}

#[tokio::test]
async fn longer_key_life_postpones_the_scheduled_key() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let scheduled = async |key_seconds: u64, now: u64| {
                let signing = SigningSettings { key_seconds, ..signing(KeyAlgorithm::EdDsa) };
                KeyRing::open(Arc::clone(&service.db), signing, after(now)).await.unwrap();
                let rows = service.db.signing_keys().await.unwrap();
                assert_eq!(rows.len(), 2);
                rows[1].active_from - T.0
            };
            assert_eq!(scheduled(10_000, 0).await, 10_000);
            assert_eq!(scheduled(20_000, 10).await, 20_000);
            assert_eq!(scheduled(10_000, 20).await, 10_000);
            // Without a schedule, it waits for an operator.
            assert!(scheduled(0, 30).await > 200_000_000_000);
            // An overdue key is published before it signs, and then no longer postponed.
            assert_eq!(scheduled(5_000, 8_000).await, 8_900);
            assert_eq!(scheduled(5_000, 8_010).await, 8_900);
        },
    )
    .await;
}

/// Two services with different settings would move the next key back and forth.
#[tokio::test]
async fn services_with_different_settings_agree_on_the_later_time() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let open = async |key_seconds: u64| {
                let signing = SigningSettings { key_seconds, ..signing(KeyAlgorithm::EdDsa) };
                KeyRing::open(Arc::clone(&service.db), signing, T).await.unwrap()
            };
            let (short, long) = (open(5000).await, open(20_000).await);
            let mut times = Vec::new();
            for round in 1..10 {
                for ring in [&short, &long] {
                    ring.maintain(after(round * 10)).await.unwrap();
                    let rows = service.db.signing_keys().await.unwrap();
                    times.push(rows.last().unwrap().active_from - T.0);
                }
            }
            assert!(times[4..].iter().all(|time| *time == 20_000), "{times:?}");
            // The service with the longer setting has ended, or was given the shorter one.
            short.maintain(after(3700)).await.unwrap();
            let rows = service.db.signing_keys().await.unwrap();
            assert_eq!(rows.last().unwrap().active_from, after(5000).0);
        },
    )
    .await;
}

//! The republication of many keys after the store lost its data.

use super::store::MemoryStore;
use crate::outbox::StoreHealth;
use crate::testing::{T, TestService, on_each_database};
use std::time::Instant;

#[tokio::test]
async fn ten_thousand_keys_are_written_again_after_a_flush() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let numbers = format!(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {KEYS})"
            );
            let keys = format!(
                "{numbers} INSERT INTO api_keys (id, owner_kind, owner_id, name, display_prefix,
                 scope, quotas, networks, metadata, created_at, changed_at)
                 SELECT 'k' || i, 'user', '{}', 'n', 'pck_live_', 'read', '{{}}', '[]', '{{}}',
                 {now} + i / 100, {now} + i / 100 FROM n RETURNING 1",
                alice.id,
                now = T.0 - 1000,
            );
            service.db.query_number(&keys).await.unwrap();
            let secrets = format!(
                "{numbers} INSERT INTO api_key_secrets (hash, key_id, created_at)
                 SELECT 'h' || i, 'k' || i, 1 FROM n RETURNING 1"
            );
            service.db.query_number(&secrets).await.unwrap();
            let check = async |round| service.publisher.check_store("p", round, T).await;
            let begun = Instant::now();
            assert_eq!(check(1).await, StoreHealth::Republished(KEYS));
            println!("{KEYS} keys were written again in {:?}", begun.elapsed());
            assert_eq!(store.count("pc:token:h"), KEYS);
            let begun = Instant::now();
            assert_eq!(check(9).await, StoreHealth::Republished(0), "they are compared only");
            println!("{KEYS} keys were compared in {:?}", begun.elapsed());
            store.flush();
        },
    )
    .await;
}

const KEYS: usize = 10_000;

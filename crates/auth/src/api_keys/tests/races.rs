//! Changes of a key at once, late writes, and crashes between the steps of a change.

use super::store::MemoryStore;
use super::{SCOPE, patch, user};
use crate::api_keys::KeyList;
use crate::clock::now;
use crate::config::Config;
use crate::db::KeyState;
use crate::outbox::{Delivery, StoreHealth};
use crate::problem::Problem;
use crate::random::random_below;
use crate::testing::{TestService, config, on_each_database};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Returns the settings of another process with the same database and store.
fn config_of(service: &TestService) -> Config {
    let mut config = config(&service.url);
    config.store = service.sessions.config().store.clone();
    config
}

impl TestService {
    /// Returns how many commands the store lacks to have the state of every key.
    async fn differences(&self) -> usize {
        let selector =
            crate::db::KeySelector::Changed { after: crate::db::ListPlace::default(), limit: 1000 };
        let (states, _) = self.db.key_states(&selector, now()).await.unwrap();
        self.publisher.settle_keys(states, now()).await.unwrap()
    }

    pub(crate) async fn wait_for_empty_outbox(&self) {
        while !self.outbox().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn change_of_a_key_that_another_has_changed_since_is_refused() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let own = user(&alice, SCOPE);
            let id =
                service.key(&alice, json!({ "scope": "read write" }), now()).await.state.key.id;
            let change = async |scope: &str| {
                let was = json!({ "scope": "read write", "networks": [] });
                let patch = patch(json!({ "scope": scope, "was": was }));
                service.api_keys.change(&own, &id, patch, now()).await.map(|_| ())
            };
            assert_eq!(change("read").await, Ok(()));
            assert_eq!(change("write").await, Err(Problem::ChangedMeanwhile));
            let state = service.api_keys.get(&own, &id, now()).await.unwrap();
            assert_eq!(state.key.spec.scope, "read");
        },
    )
    .await;
}

/// The process dies after the commit of a change, before its delivery.
#[tokio::test]
async fn committed_changes_are_delivered_by_another_process() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let own = user(&alice, SCOPE);
            store.set_down(true);
            let first = service.key(&alice, json!({}), now()).await;
            assert_eq!(first.delivery, Delivery::Pending);
            let id = first.state.key.id.as_str();
            let keys = &service.api_keys;
            let second = keys.roll(&own, id, 0, now()).await.unwrap();
            let third = keys.roll(&own, id, 1000, now()).await.unwrap();
            let renamed = patch(json!({ "name": "renamed" }));
            keys.change(&own, id, renamed, now()).await.unwrap();
            // A change supersedes the undelivered ones before it, and does all that they had to do.
            let outbox = service.outbox().await;
            assert_eq!(outbox.len(), 1, "{outbox:?}");
            let hash = |secret: &str| format!("pc:token:{}", crate::token::token_hash(secret));
            assert!(outbox[0].contains(&format!("[\"DEL\",\"{}\"]", hash(&first.secret))));
            for secret in [&second.secret, &third.secret] {
                assert!(outbox[0].contains(&format!("[\"SET\",\"{}\"", hash(secret))));
            }
            store.set_down(false);
            let other = TestService::open(&service.url, config_of(&service)).await;
            // A process that dies after the delivery leaves the row, which is delivered again.
            let rows = other.db.outbox_rows(None, 10).await.unwrap().rows;
            other.publisher.write(&rows[0].commands).await.unwrap();
            assert!(other.publisher.drain().await);
            assert!(service.outbox().await.is_empty());
            assert_eq!(store.record(&first.secret), None);
            assert!(
                store.record(&second.secret).is_some() && store.record(&third.secret).is_some()
            );
            store.set_down(true);
            assert_eq!(keys.revoke(&own, id, now()).await, Ok(Delivery::Pending));
            assert_eq!(keys.revoke(&own, id, now()).await, Ok(Delivery::Pending), "again");
            store.set_down(false);
            assert!(other.publisher.drain().await);
            assert_eq!(keys.revoke(&own, id, now()).await, Ok(Delivery::Done));
            assert_eq!((store.count("pc:token:"), store.count("pc:revoked:jti:")), (0, 1));
            store.flush();
        },
    )
    .await;
}

/// The write of an older state reaches the store after that of a newer one.
#[tokio::test]
async fn late_write_of_a_superseded_state_is_corrected() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let own = user(&alice, SCOPE);
            let service = Arc::new(service);
            for revokes in [false, true] {
                // The first delivery is held between the commit and the store.
                let mut held = store.hold("[\"SET\",\"pc:token:");
                let creating = tokio::spawn({
                    let (service, alice) = (Arc::clone(&service), alice.clone());
                    async move { service.key(&alice, json!({ "scope": "read write" }), now()).await }
                });
                let pass = held.recv().await.unwrap();
                let list = KeyList { limit: 10, ..KeyList::default() };
                let page = service.api_keys.list(&own, list, now()).await;
                let id = page.unwrap().0.pop().unwrap().key.id;
                if revokes {
                    let revoked = service.api_keys.revoke(&own, &id, now()).await;
                    assert_eq!(revoked, Ok(Delivery::Done));
                } else {
                    let narrow = patch(json!({ "scope": "read" }));
                    service.api_keys.change(&own, &id, narrow, now()).await.unwrap();
                }
                pass.send(()).unwrap();
                let issued = creating.await.unwrap();
                match (revokes, store.record(&issued.secret)) {
                    (true, record) => assert_eq!(record, None),
                    (false, record) => assert_eq!(record.unwrap()["scope"], "read"),
                }
                assert_eq!(service.differences().await, 0);
                service.api_keys.revoke(&own, &id, now()).await.unwrap();
            }
            store.flush();
        },
    )
    .await;
}

/// An introspection has read a valid key, and writes its record while the key is revoked.
#[tokio::test]
async fn key_that_is_revoked_while_its_record_is_written_again_has_no_record() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let own = user(&alice, SCOPE);
            let issued = service.key(&alice, json!({}), now()).await;
            let id = issued.state.key.id.as_str();
            store.flush();
            let mut held = store.hold("[\"SET\",\"pc:token:");
            assert!(service.is_key_active(&issued.secret, now()).await);
            let pass = held.recv().await.unwrap();
            assert_eq!(service.api_keys.revoke(&own, id, now()).await, Ok(Delivery::Done));
            pass.send(()).unwrap();
            let marker = |_: &str| store.count("pc:revoked:jti:");
            assert_eq!(marker(id), 1, "the marker refuses the key meanwhile");
            let begun = std::time::Instant::now();
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                // The record was written late, and is removed at once.
                if store.record(&issued.secret).is_none() && begun.elapsed().as_millis() > 200 {
                    break;
                }
                assert!(begun.elapsed() < Duration::from_secs(5), "the record stays");
            }
            assert_eq!(service.differences().await, 0);
            store.flush();
        },
    )
    .await;
}

/// The database fails after the write of a state that was superseded meanwhile.
#[tokio::test]
async fn record_is_deleted_if_its_state_can_not_be_read_again() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let own = user(&alice, SCOPE);
            let issued = service.key(&alice, json!({ "scope": "read write" }), now()).await;
            let id = issued.state.key.id.as_str();
            let stale = issued.state.clone();
            let fail = async |is_failing| {
                let (from, to) = if is_failing { ("", "_away") } else { ("_away", "") };
                let rename =
                    format!("ALTER TABLE api_key_secrets{from} RENAME TO api_key_secrets{to}");
                service.db.query_number(&rename).await.unwrap();
            };
            let narrow = patch(json!({ "scope": "read" }));
            service.api_keys.change(&own, id, narrow, now()).await.unwrap();
            // The states are read again before the write.
            store.flush();
            let mut held = store.hold("[\"SET\",\"pc:token:");
            let settle = async || service.publisher.settle_keys(vec![stale.clone()], now()).await;
            let (settled, ()) = tokio::join!(settle(), async {
                let pass = held.recv().await.unwrap();
                fail(true).await;
                pass.send(()).unwrap();
            });
            assert!(settled.is_err());
            assert_eq!(store.record(&issued.secret), None);
            fail(false).await;
            assert_eq!(settle().await, Ok(1));
            assert_eq!(store.record(&issued.secret).unwrap()["scope"], "read");
            // The same with the row of a change.
            let mut held = store.hold("[\"SET\",\"pc:token:");
            let wide = patch(json!({ "scope": "read write" }));
            let (changed, ()) =
                tokio::join!(service.api_keys.change(&own, id, wide, now()), async {
                    let pass = held.recv().await.unwrap();
                    let discard = format!("DELETE FROM outbox WHERE about = '{id}' RETURNING 1");
                    service.db.query_number(&discard).await.unwrap();
                    fail(true).await;
                    pass.send(()).unwrap();
                });
            assert!(changed.is_ok());
            assert_eq!(store.record(&issued.secret), None);
            fail(false).await;
            store.flush();
        },
    )
    .await;
}

/// A state is read long before it is written.
#[tokio::test]
async fn outdated_state_is_not_written() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let own = user(&alice, SCOPE);
            let issued = service.key(&alice, json!({ "scope": "read write" }), now()).await;
            let stale = vec![issued.state.clone()];
            let narrow = patch(json!({ "scope": "read" }));
            service.api_keys.change(&own, &issued.state.key.id, narrow, now()).await.unwrap();
            let mut wide = store.hold("read write");
            service.publisher.settle_keys(stale, now()).await.unwrap();
            assert_eq!(store.record(&issued.secret).unwrap()["scope"], "read");
            assert!(wide.try_recv().is_err(), "the outdated state was sent");
            store.unhold();
            store.flush();
        },
    )
    .await;
}

/// A process died after a late write of its own. The checks of the others correct the store.
#[tokio::test]
async fn stale_record_of_a_dead_process_is_corrected_by_the_next_check() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let own = user(&alice, SCOPE);
            let issued = service.key(&alice, json!({ "scope": "read write" }), now()).await;
            let id = issued.state.key.id.as_str();
            let stale: KeyState = issued.state.clone();
            let check = async |round| service.publisher.check_store("p", round, now()).await;
            assert!(matches!(check(1).await, StoreHealth::Republished(_)));
            let narrow = patch(json!({ "scope": "read" }));
            service.api_keys.change(&own, id, narrow, now()).await.unwrap();
            let late = service.publisher.commands().key(&stale, now());
            service.publisher.write(&late).await.unwrap();
            assert_eq!(store.record(&issued.secret).unwrap()["scope"], "read write");
            assert_eq!(check(2).await, StoreHealth::Intact);
            assert_eq!(store.record(&issued.secret).unwrap()["scope"], "read");
            // A flush is noticed, and all keys return.
            store.flush();
            assert!(matches!(check(3).await, StoreHealth::Republished(1)));
            assert_eq!(store.record(&issued.secret).unwrap()["scope"], "read");
            store.flush();
        },
    )
    .await;
}

/// Four tasks change, roll, introspect and disable at random, while the store answers out of order.
#[tokio::test]
async fn store_has_the_last_state_after_random_changes_at_once() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| {
            config.store.url = url.clone();
            config.api_keys.per_owner_max = 100;
        },
        async |service: TestService| {
            store.set_jitter(12);
            let alice = service.add("alice").await;
            let service = Arc::new(service);
            let issued = service.key(&alice, json!({ "scope": "read write" }), now()).await;
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..4 {
                let (service, alice) = (Arc::clone(&service), alice.clone());
                let (id, secret) = (issued.state.key.id.clone(), issued.secret.clone());
                tasks.spawn(async move {
                    let own = user(&alice, SCOPE);
                    for _ in 0..12 {
                        let keys = &service.api_keys;
                        match random_below(5) {
                            0 => drop(keys.roll(&own, &id, random_below(100), now()).await),
                            1 => drop(service.is_key_active(&secret, now()).await),
                            2 => drop(service.publisher.drain().await),
                            _ => {
                                let scope = ["", "read", "read write"][random_below(3) as usize];
                                let change = patch(json!({ "scope": scope }));
                                keys.change(&own, &id, change, now()).await.unwrap();
                            }
                        }
                    }
                });
            }
            while let Some(task) = tasks.join_next().await {
                task.unwrap();
            }
            service.publisher.drain().await;
            service.wait_for_empty_outbox().await;
            // Background corrections end.
            while !service.publisher.is_settled() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(service.differences().await, 0);
            let own = user(&alice, SCOPE);
            service.api_keys.revoke(&own, &issued.state.key.id, now()).await.unwrap();
            assert_eq!(store.count("pc:token:"), 0);
            store.set_jitter(0);
            store.flush();
        },
    )
    .await;
}

//! How keys are created, changed, rolled and revoked.

use super::store::MemoryStore;
use super::{SCOPE, patch, user};
use crate::api_keys::{KeyList, Manager, is_api_key};
use crate::audit::ClientInfo;
use crate::db::{ListPlace, Owner};
use crate::outbox::Delivery;
use crate::problem::Problem;
use crate::testing::{T, TestService, after, on_each_database};
use serde_json::json;

#[tokio::test]
async fn key_is_created_with_its_record_and_its_audit_event() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let terms = json!({ "scope": " write  read write", "plan": "pro", "expires_in": 60,
                "quotas": { "api": 7 }, "networks": ["192.0.2.0/24"], "metadata": { "tier": 1 } });
            let issued = service.key(&alice, terms, T).await;
            assert_eq!(issued.delivery, Delivery::Done);
            assert!(issued.secret.starts_with("pck_live_") && is_api_key(&issued.secret));
            assert_eq!(issued.state.key.display_prefix, issued.secret[..13]);
            let id = issued.state.key.id.clone();
            assert_eq!(
                store.record(&issued.secret).unwrap(),
                json!({ "sub": alice.id, "scope": "write read", "exp": T.0 + 60, "aud": "api",
                    "jti": id, "iat": T.0,
                    "key": { "networks": ["192.0.2.0/24"], "quotas": { "api": 7 } },
                    "others": { "plan": "pro", "metadata": { "tier": 1 } } })
            );
            assert_eq!(service.audited("key_created").await, 1);
            let detail = format!(
                "SELECT COUNT(*) FROM audit WHERE actor = 'user' AND user_id = '{0}'
                 AND detail = 'key {id} of user:{0}, by user:{0}'",
                alice.id
            );
            assert_eq!(service.db.query_number(&detail).await.unwrap(), 1);
            // Neither the database nor a debug text has the secret.
            let secret = format!(
                "SELECT COUNT(*) FROM api_key_secrets WHERE hash = '{}'",
                crate::token::token_hash(&issued.secret)
            );
            assert_eq!(service.db.query_number(&secret).await.unwrap(), 1);
            assert!(!format!("{issued:?}").contains(&issued.secret[9..]));
            store.flush();
        },
    )
    .await;
}

#[tokio::test]
async fn managers_see_their_own_keys_and_admins_all() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (alice, bob) = (service.add("alice").await, service.add("bob").await);
            let issued = service.key(&alice, json!({}), T).await;
            let id = issued.state.key.id.as_str();
            let keys = &service.api_keys;
            let (own, other) = (user(&alice, SCOPE), user(&bob, SCOPE));
            let admin = user(&bob, "keys:admin");
            assert!(keys.get(&own, id, T).await.is_ok() && keys.get(&admin, id, T).await.is_ok());
            let unknown = Problem::ApiKeyUnknown;
            assert_eq!(keys.get(&other, id, T).await.err(), Some(unknown));
            assert_eq!(keys.change(&other, id, patch(json!({})), T).await.err(), Some(unknown));
            assert_eq!(keys.roll(&other, id, 0, T).await.err(), Some(unknown));
            assert_eq!(keys.revoke(&other, id, T).await.err(), Some(unknown));
            for id in ["", "x", "\0", &"x".repeat(1000)] {
                assert_eq!(keys.get(&admin, id, T).await.err(), Some(unknown), "{id:?}");
            }
            let owner = Owner::user(&alice.id);
            let denied = Some(Problem::ScopeInsufficient);
            let create = async |by: &Manager, owner: Option<Owner>, scope: &str| {
                let terms = json!({ "name": "x", "scope": scope });
                keys.create(by, owner, patch(terms), T).await.map(|issued| issued.state)
            };
            assert_eq!(create(&other, Some(owner.clone()), "").await.err(), denied);
            let list = async |by: &Manager, owner: Option<&Owner>| {
                let list = KeyList { owner, limit: 100, ..KeyList::default() };
                let page = keys.list(by, list, T).await;
                page.map(|(keys, _)| keys.len())
            };
            assert_eq!(list(&other, Some(&owner)).await.err(), denied);
            assert_eq!(list(&other, None).await, Ok(0));
            assert_eq!((list(&own, None).await, list(&admin, None).await), (Ok(1), Ok(1)));
            // An admin's key for alice has alice's scope, whatever the admin's token has.
            let given = create(&admin, Some(owner.clone()), "write").await.unwrap();
            assert_eq!((given.key.owner, given.key.spec.scope), (owner, "write".into()));
            for unknown in [Owner::user("x"), Owner::client("x")] {
                let refused = create(&admin, Some(unknown), "").await;
                assert_eq!(refused.err(), Some(Problem::OwnerUnknown));
            }
        },
    )
    .await;
}

/// A token whose scope was narrowed must not gain the rest by a key.
#[tokio::test]
async fn key_has_no_scope_beyond_its_owner_and_the_token_that_receives_it() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let narrow = user(&alice, "read keys:manage");
            let keys = &service.api_keys;
            let create = async |by: &Manager, scope: &str| {
                let terms = json!({ "name": "x", "scope": scope });
                keys.create(by, None, patch(terms), T).await.map(|issued| issued.state.key)
            };
            let wide = create(&user(&alice, SCOPE), "read write").await.unwrap();
            let denied = Some(Problem::ScopeInsufficient);
            assert_eq!(create(&narrow, "read write").await.err(), denied);
            assert_eq!(
                create(&user(&alice, SCOPE), "admin").await.err(),
                Some(Problem::ScopeInvalid)
            );
            let own = create(&narrow, "read").await.unwrap();
            let change = async |id: &str, scope: &str| {
                let patch = patch(json!({ "scope": scope }));
                keys.change(&narrow, id, patch, T).await.map(|(state, _)| state.key.spec.scope)
            };
            assert_eq!(change(&own.id, "write").await.err(), denied);
            assert_eq!(keys.roll(&narrow, &wide.id, 0, T).await.err(), denied);
            // It may not change a wider key at all, not even reduce it.
            for wider in [json!({ "scope": "read" }), json!({ "name": "y" }), json!({})] {
                let changed = keys.change(&narrow, &wide.id, patch(wider.clone()), T).await;
                assert_eq!(changed.err(), denied, "{wider}");
            }
            assert_eq!(change(&wide.id, "read write").await.err(), denied);
        },
    )
    .await;
}

/// A plan, quotas and metadata are what the owner is granted. Others than administrators keep them.
#[tokio::test]
async fn only_admins_choose_plan_quotas_and_metadata() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let (own, admin) = (user(&alice, SCOPE), user(&alice, "keys:admin"));
            let keys = &service.api_keys;
            let denied = Some(Problem::ScopeInsufficient);
            let plain = service.key(&alice, json!({}), T).await.state.key.id;
            for (name, granted) in [
                ("plan", json!("pro")),
                ("quotas", json!({ "api": 1_000_000 })),
                ("metadata", json!({ "tier": 9 })),
            ] {
                let mut terms = json!({ "name": "x", name: granted });
                let create = async |by: &Manager| {
                    keys.create(by, None, patch(terms.clone()), T).await.map(|it| it.state.key.id)
                };
                assert_eq!(create(&own).await.err(), denied, "{name}");
                let id = create(&admin).await.unwrap();
                terms["name"] = json!("renamed");
                let change = async |id: &str, by: &Manager, terms: &serde_json::Value| {
                    keys.change(by, id, patch(terms.clone()), T).await.map(|_| ())
                };
                assert_eq!(change(&plain, &own, &terms).await.err(), denied, "{name}");
                assert_eq!(change(&plain, &admin, &terms).await, Ok(()), "{name}");
                // What an administrator gave stays, with any other change.
                assert_eq!(change(&id, &own, &terms).await, Ok(()), "{name}");
                let removed = json!({ name: null });
                assert_eq!(change(&id, &own, &removed).await.err(), denied, "{name}");
                assert_eq!(change(&id, &admin, &removed).await, Ok(()), "{name}");
                keys.revoke(&own, &id, T).await.unwrap();
            }
            let empty = json!({ "name": "x", "plan": null, "quotas": {}, "metadata": {} });
            assert!(keys.create(&own, None, patch(empty), T).await.is_ok());
        },
    )
    .await;
}

#[tokio::test]
async fn change_is_a_merge_patch_that_replaces_the_record() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let terms = json!({ "scope": "read write", "plan": "pro", "quotas": { "a": 1, "b": 2 },
                "metadata": { "x": { "y": 1, "z": 2 } } });
            let issued = service.key(&alice, terms, T).await;
            let (id, own) = (issued.state.key.id.as_str(), user(&alice, "keys:admin"));
            let change = async |terms: serde_json::Value| {
                service.api_keys.change(&own, id, patch(terms), after(1)).await
            };
            let terms = json!({ "scope": "read", "plan": null, "quotas": { "a": null, "c": 3 },
                "metadata": { "x": { "y": null } }, "expires_at": T.0 + 9 });
            let (state, delivery) = change(terms.clone()).await.unwrap();
            assert_eq!(delivery, Delivery::Done);
            assert_eq!(state.key.spec.plan, None);
            let record = store.record(&issued.secret).unwrap();
            assert_eq!(
                (&record["scope"], &record["key"], &record["others"], &record["exp"]),
                (
                    &json!("read"),
                    &json!({ "quotas": { "b": 2, "c": 3 } }),
                    &json!({ "metadata": { "x": { "z": 2 } } }),
                    &json!(T.0 + 9)
                )
            );
            // The same again writes nothing.
            let audited = service.audited("key_changed").await;
            assert_eq!(change(terms).await.unwrap().1, Delivery::Done);
            assert_eq!(service.audited("key_changed").await, audited);
            for (wrong, code) in [
                (json!({ "name": null }), "member_invalid"),
                (json!({ "id": "x" }), "request_malformed"),
                (json!({ "owner": "user:x" }), "request_malformed"),
                (json!({ "quotas": { "a": -1 } }), "request_malformed"),
                (json!({ "expires_at": T.0 }), "member_invalid"),
            ] {
                assert_eq!(change(wrong.clone()).await.err().unwrap().code(), code, "{wrong}");
            }
            // An expired key is not revived.
            let late = patch(json!({ "expires_at": null }));
            let late = service.api_keys.change(&own, id, late, after(9)).await;
            assert_eq!(late.err(), Some(Problem::ApiKeyEnded));
            store.flush();
        },
    )
    .await;
}

#[tokio::test]
async fn replaced_secrets_work_until_their_grace_ends_even_if_the_roll_is_repeated() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let first = service.key(&alice, json!({ "expires_in": 1000 }), T).await;
            let (id, own) = (first.state.key.id.as_str(), user(&alice, SCOPE));
            let roll = async |grace, seconds| {
                service.api_keys.roll(&own, id, grace, after(seconds)).await.unwrap()
            };
            let second = roll(100, 1).await;
            assert_eq!(second.state.previous_until(after(1).0), Some(T.0 + 101));
            let exp = |secret: &str| store.record(secret).map(|record| record["exp"].clone());
            assert_eq!(exp(&first.secret), Some(json!(T.0 + 101)));
            assert_eq!(exp(&second.secret), Some(json!(T.0 + 1000)));
            assert!(service.is_key_active(&first.secret, after(100)).await);
            assert!(!service.is_key_active(&first.secret, after(101)).await);
            // The response was lost, and the roll is repeated: the secret in use works on.
            let third = roll(5000, 2).await;
            assert_eq!(exp(&first.secret), Some(json!(T.0 + 101)));
            assert!(service.is_key_active(&first.secret, after(100)).await);
            assert!(!service.is_key_active(&first.secret, after(101)).await);
            assert_eq!(exp(&second.secret), Some(json!(T.0 + 1000)), "the key's own end is sooner");
            // Without a grace all end, also for a process whose clock is 30 s behind.
            let fourth = roll(0, 60).await;
            for old in [&first.secret, &second.secret, &third.secret] {
                assert_eq!(exp(old), None);
                assert!(!service.is_key_active(old, after(30)).await);
            }
            assert_eq!(fourth.state.previous_until(after(60).0), None);
            assert_eq!(exp(&fourth.secret), Some(json!(T.0 + 1000)));
            let much = service.api_keys.roll(&own, id, 2_592_001, after(61)).await;
            assert_eq!(much.err().unwrap().code(), "member_invalid");
            assert_eq!(service.audited("key_rolled").await, 3);
            store.flush();
        },
    )
    .await;
}

#[tokio::test]
async fn replaced_secret_can_end_itself_but_not_its_successor() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let first = service.key(&alice, json!({}), T).await;
            let (id, own) = (first.state.key.id.as_str(), user(&alice, SCOPE));
            let keys = &service.api_keys;
            let client = ClientInfo::default();
            let revoke = async |secret: &str, seconds| {
                keys.revoke_secret(secret, &client, after(seconds)).await
            };
            let second = keys.roll(&own, id, 100, after(1)).await.unwrap();
            let third = keys.roll(&own, id, 100, after(2)).await.unwrap();
            // Within its grace, the old secret ends alone.
            for _ in 0..2 {
                assert_eq!(revoke(&second.secret, 3).await, Ok(Delivery::Done));
            }
            assert_eq!(store.record(&second.secret), None);
            assert!(!service.is_key_active(&second.secret, after(3)).await);
            for works in [&first.secret, &third.secret] {
                assert!(store.record(works).is_some());
                assert!(service.is_key_active(works, after(3)).await);
            }
            assert_eq!(service.audited("key_changed").await, 1);
            // After its grace it is as an unknown one.
            assert_eq!(revoke(&first.secret, 200).await, Ok(Delivery::Done));
            assert!(service.is_key_active(&third.secret, after(200)).await);
            assert_eq!(service.audited("key_changed").await, 1);
            assert_eq!(service.audited("key_revoked").await, 0);
            assert_eq!(revoke(&third.secret, 201).await, Ok(Delivery::Done));
            assert_eq!(service.audited("key_revoked").await, 1);
            assert_eq!(store.count("pc:token:"), 0);
            assert_eq!(revoke(&third.secret, 202).await, Ok(Delivery::Done));
            assert_eq!(revoke("unknown", 202).await, Ok(Delivery::Done));
            store.flush();
        },
    )
    .await;
}

#[tokio::test]
async fn revoked_key_loses_its_records_once_and_has_a_marker() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let first = service.key(&alice, json!({}), T).await;
            let (id, own) = (first.state.key.id.as_str(), user(&alice, SCOPE));
            let keys = &service.api_keys;
            let second = keys.roll(&own, id, 100, after(1)).await.unwrap();
            for _ in 0..3 {
                assert_eq!(keys.revoke(&own, id, after(2)).await, Ok(Delivery::Done));
            }
            assert_eq!(service.audited("key_revoked").await, 1);
            assert_eq!(store.count("pc:token:"), 0);
            assert_eq!(store.count("pc:revoked:jti:"), 1);
            for secret in [&first.secret, &second.secret] {
                assert!(!service.is_key_active(secret, after(2)).await);
            }
            assert_eq!(keys.roll(&own, id, 0, after(3)).await.err(), Some(Problem::ApiKeyEnded));
            assert_eq!(keys.get(&own, id, after(3)).await.unwrap().key.revoked_at, Some(T.0 + 2));
            let (listed, _) = keys
                .list(&own, KeyList { limit: 100, ..KeyList::default() }, after(3))
                .await
                .unwrap();
            assert!(listed.is_empty());
            // The holder of a leaked key may revoke it.
            let leaked = service.key(&alice, json!({}), after(4)).await;
            let client = ClientInfo::default();
            let revoke = async |secret: &str| keys.revoke_secret(secret, &client, after(5)).await;
            assert_eq!(revoke(&leaked.secret).await, Ok(Delivery::Done));
            assert_eq!(revoke("unknown").await, Ok(Delivery::Done));
            assert!(!service.is_key_active(&leaked.secret, after(5)).await);
            store.flush();
        },
    )
    .await;
}

#[tokio::test]
async fn owner_has_a_maximum_of_live_keys_even_if_they_are_created_at_once() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let own = user(&alice, SCOPE);
            let short = service.key(&alice, json!({ "expires_in": 5 }), T).await;
            for _ in 0..3 {
                service.key(&alice, json!({}), T).await;
            }
            let create = async || {
                let terms = patch(json!({ "name": "x" }));
                service.api_keys.create(&own, None, terms, after(1)).await.map(|_| ())
            };
            let results = tokio::join!(create(), create(), create());
            let results = [results.0, results.1, results.2];
            let refused = results.iter().filter(|it| **it == Err(Problem::ApiKeysOverMax));
            assert_eq!(refused.count(), 2, "{results:?}");
            // A key that has ended makes room, and is then revoked.
            assert!(service.try_key(&alice, json!({}), after(5)).await.is_ok());
            let ended = service.api_keys.get(&own, &short.state.key.id, after(5)).await.unwrap();
            assert_eq!(ended.key.revoked_at, Some(T.0 + 5));
            assert_eq!(
                service.try_key(&alice, json!({}), after(6)).await.err(),
                Some(Problem::ApiKeysOverMax)
            );
            assert!(!service.is_key_active(&short.secret, after(5)).await);
        },
    )
    .await;
}

#[tokio::test]
async fn pages_list_each_key_once_in_the_order_of_creation() {
    on_each_database(
        |config| config.api_keys.per_owner_max = 100,
        async |service: TestService| {
            let alice = service.add("alice").await;
            let mut created = Vec::new();
            for number in 0..7 {
                created.push(service.key(&alice, json!({}), after(number / 3)).await.state.key);
            }
            created.sort_by_key(|key| (key.created_at, key.id.clone()));
            let operator = Manager::operator();
            for owner in [Some(Owner::user(&alice.id)), None] {
                let (mut seen, mut after_key) = (Vec::new(), ListPlace::default());
                loop {
                    let (owner, after_one) = (owner.as_ref(), std::mem::take(&mut after_key));
                    let list = KeyList { owner, text: None, after: after_one, limit: 2 };
                    let page = service.api_keys.list(&operator, list, after(9));
                    let (keys, next) = page.await.unwrap();
                    assert!(keys.len() <= 2);
                    seen.extend(keys.into_iter().map(|state| state.key));
                    match next {
                        Some(next) => after_key = ListPlace::parse(&next.cursor()).unwrap(),
                        None => break,
                    }
                }
                assert_eq!(seen, created);
            }
            for wrong in ["", "x", "1", "-1.x", "1.x y", "1.\0", "99999999999999999999.x"] {
                assert_eq!(ListPlace::parse(wrong), None, "{wrong:?}");
            }
        },
    )
    .await;
}

#[tokio::test]
async fn ended_keys_and_secrets_are_deleted_after_their_retention() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let own = user(&alice, SCOPE);
            let rolled = service.key(&alice, json!({}), T).await;
            service.api_keys.roll(&own, &rolled.state.key.id, 0, after(1)).await.unwrap();
            let revoked = service.key(&alice, json!({}), T).await;
            service.api_keys.revoke(&own, &revoked.state.key.id, after(1)).await.unwrap();
            service.key(&alice, json!({ "expires_in": 1 }), T).await;
            let counts = async |days: u64| {
                let none = |_: &str, _: &str| Vec::new();
                let late = after(days * 86_400 + 10);
                while service.db.delete_expired(late, 3000, 400 * 86_400, none).await.unwrap() > 0 {
                }
                let keys = service.db.query_number("SELECT COUNT(*) FROM api_keys").await.unwrap();
                let secrets = "SELECT COUNT(*) FROM api_key_secrets";
                (keys, service.db.query_number(secrets).await.unwrap())
            };
            assert_eq!(counts(7).await, (3, 4));
            assert_eq!(counts(8).await, (2, 2));
            assert_eq!(counts(29).await, (2, 2));
            assert_eq!(counts(30).await, (1, 1));
        },
    )
    .await;
}

//! The introspection of keys, their last use, and owners that are disabled.

use super::store::MemoryStore;
use super::{SCOPE, user};
use crate::api_keys::is_api_key;
use crate::audit::{Actor, ClientInfo, Event, EventKind};
use crate::db::{AuditedChange, EndedSession, KeyState, Owner};
use crate::problem::Problem;
use crate::testing::{T, TestService, after, on_each_database};
use crate::token::OpaqueToken;
use portcullis_core::api_key::compose;
use serde_json::{Value, json};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};
use std::time::Duration;

#[tokio::test]
async fn active_key_is_introspected_with_its_claims_and_an_ended_one_is_inactive() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let terms = json!({ "scope": "read", "plan": "pro", "expires_in": 60,
                "quotas": { "api": 7 }, "networks": ["192.0.2.0/24"], "metadata": { "tier": 1 } });
            let issued = service.key(&alice, terms, T).await;
            let claims = service.api_keys.introspect(&issued.secret, after(59)).await.unwrap();
            assert_eq!(
                Value::Object(claims.unwrap()),
                json!({ "iss": "https://a.example", "sub": alice.id, "aud": "api", "scope": "read",
                    "iat": T.0, "exp": T.0 + 60, "jti": issued.state.key.id, "plan": "pro",
                    "metadata": { "tier": 1 },
                    "key": { "networks": ["192.0.2.0/24"], "quotas": { "api": 7 } } })
            );
            assert!(!service.is_key_active(&issued.secret, after(60)).await);
            let plain = service.key(&alice, json!({}), T).await;
            let claims = service.api_keys.introspect(&plain.secret, T).await.unwrap().unwrap();
            assert_eq!((&claims["key"], &claims["scope"]), (&json!({}), &json!("")));
            assert!(!claims.contains_key("exp") && !claims.contains_key("client_id"));
            assert!(!service.is_key_active(&compose("pck_live_", [9; 32]), T).await, "unknown");
        },
    )
    .await;
}

#[tokio::test]
async fn malformed_key_costs_no_query_and_no_key_authenticates_to_the_service() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let issued = service.key(&alice, json!({}), T).await;
            let queries = || -> u64 {
                let queries = service.db.queries();
                ["request", "outbox"].iter().map(|it| queries.with_label_values(&[it]).get()).sum()
            };
            let before = queries();
            let mut changed = issued.secret.clone();
            changed.replace_range(20..21, if changed.contains("A") { "A" } else { "B" });
            let opaque = OpaqueToken::Access.generate();
            for wrong in ["", "x", &issued.secret[1..], &opaque, "pck_live_"] {
                assert!(!is_api_key(wrong));
                assert!(!service.is_key_active(wrong, T).await);
            }
            assert_eq!(queries(), before);
            let client = ClientInfo::default();
            let sessions = &service.sessions;
            let refused = Some(Problem::ApiKeyNotAccepted);
            assert_eq!(sessions.list(&issued.secret, T).await.err(), refused);
            let everywhere = sessions.logout_everywhere(&issued.secret, &client, T).await;
            assert_eq!(everywhere.err(), refused);
        },
    )
    .await;
}

/// A record that is missing is written again, and the use of a key is written once a minute.
#[tokio::test]
async fn missed_record_is_written_again_and_use_is_recorded_once_a_minute() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let issued = service.key(&alice, json!({}), T).await;
            let id = issued.state.key.id.as_str();
            let own = user(&alice, SCOPE);
            let record = store.record(&issued.secret);
            store.flush();
            assert!(service.is_key_active(&issued.secret, after(1)).await);
            let used = async || service.api_keys.get(&own, id, T).await.unwrap().key.last_used_at;
            while store.record(&issued.secret).is_none() || used().await.is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(store.record(&issued.secret), record);
            let note = async |seconds: u64| {
                let uses = [(id, T.0), (id, T.0 + seconds), ("unknown", T.0 + seconds)];
                service.db.record_key_use(&uses).await.unwrap();
                used().await.unwrap() - T.0
            };
            assert_eq!(note(60).await, 1);
            assert_eq!(note(61).await, 61);
            assert_eq!(note(5).await, 61, "an older use");
            assert_eq!(note(121).await, 121);
            service.db.record_key_use(&[]).await.unwrap();
            let names: Vec<String> = (0..500).map(|number| format!("k{number}")).collect();
            let mut many: Vec<(&str, u64)> = names.iter().map(|it| (it.as_str(), T.0)).collect();
            many.push((id, T.0 + 1000));
            service.db.record_key_use(&many).await.unwrap();
            assert_eq!(used().await, Some(T.0 + 1000));
            store.flush();
        },
    )
    .await;
}

/// On Postgres, another transaction changes the key. SQLite has one writer.
#[tokio::test]
async fn use_of_a_key_that_is_being_changed_is_not_waited_for() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            if !service.url.starts_with("postgres") {
                return;
            }
            let alice = service.add("alice").await;
            let ids =
                [service.key(&alice, json!({}), T).await, service.key(&alice, json!({}), T).await];
            let [first, second] = ids.map(|issued| issued.state.key.id);
            let mut change = AnyConnection::connect(&service.url).await.unwrap();
            for statement in
                ["BEGIN".to_owned(), format!("UPDATE api_keys SET name = 'x' WHERE id = '{first}'")]
            {
                sqlx::query(AssertSqlSafe(statement)).execute(&mut change).await.unwrap();
            }
            let uses = [(first.as_str(), T.0), (second.as_str(), T.0)];
            let recorded = service.db.record_key_use(&uses);
            tokio::time::timeout(Duration::from_secs(5), recorded).await.unwrap().unwrap();
            sqlx::query("COMMIT").execute(&mut change).await.unwrap();
            let own = user(&alice, SCOPE);
            let used = async |id| service.api_keys.get(&own, id, T).await.unwrap().key.last_used_at;
            assert_eq!((used(&first).await, used(&second).await), (None, Some(T.0)));
            service.db.record_key_use(&uses).await.unwrap();
            assert_eq!(used(&first).await, Some(T.0));
        },
    )
    .await;
}

/// While the database is slow, each introspection of a key must not add another write of its use.
#[tokio::test]
async fn use_of_a_key_is_recorded_by_one_task_at_a_time() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let issued = service.key(&alice, json!({}), T).await;
            let id = issued.state.key.id.as_str();
            let writes = || service.db.queries().with_label_values(&["upkeep"]).get();
            let before = writes();
            let locked = service.db.lock_keys().await;
            for _ in 0..20 {
                assert!(service.is_key_active(&issued.secret, after(1)).await);
                tokio::task::yield_now().await;
            }
            assert_eq!(writes() - before, 1);
            drop(locked);
            let own = user(&alice, SCOPE);
            let used = async || service.api_keys.get(&own, id, T).await.unwrap().key.last_used_at;
            while used().await != Some(T.0 + 1) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        },
    )
    .await;
}

#[tokio::test]
async fn keys_of_a_disabled_user_stop_and_work_again_when_the_user_is_enabled() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let issued = service.key(&alice, json!({}), T).await;
            assert!(store.record(&issued.secret).is_some());
            let set = async |disabled: bool| {
                let commands = service.publisher.commands();
                let kind = if disabled { EventKind::UserDisabled } else { EventKind::UserEnabled };
                let events = [Event::new(kind, Actor::Operator, &ClientInfo::default())];
                let change = AuditedChange { now: after(1), events: &events };
                let revoke = |ended: &EndedSession| commands.session_ended(ended, T);
                let keys = |state: &KeyState| commands.key(state, after(1));
                let of_user = match disabled {
                    true => commands.user_disabled(&alice.id),
                    false => commands.user_enabled(&alice.id, None, after(1)),
                };
                let db = &service.db;
                let rows = db.set_disabled(&alice.id, disabled, of_user, &change, revoke, &keys);
                service.publisher.deliver(rows.await.unwrap()).await;
            };
            set(true).await;
            // The marker of the subject ends after a day, so the record must be gone.
            assert_eq!(store.record(&issued.secret), None);
            assert!(!service.is_key_active(&issued.secret, after(2)).await);
            let refused = service.try_key(&alice, json!({}), after(2)).await;
            assert_eq!(refused.err(), Some(Problem::OwnerUnknown));
            set(false).await;
            // It counts as issued after the tokens that stay revoked.
            let iat = &store.record(&issued.secret).unwrap()["iat"];
            assert_eq!(*iat, json!(after(2).0));
            assert!(service.is_key_active(&issued.secret, after(2)).await);
            // The end of all keys of an owner, as its deletion needs it.
            let change = AuditedChange { now: after(3), events: &[] };
            let keys = |state: &KeyState| service.publisher.commands().key(state, after(3));
            let owner = Owner::user(&alice.id);
            let rows = service.db.revoke_keys_of_owner(&owner, &change, &keys).await.unwrap();
            assert_eq!(rows.len(), 1);
            service.publisher.deliver(rows).await;
            assert_eq!(store.record(&issued.secret), None);
            let again = service.db.revoke_keys_of_owner(&owner, &change, &keys).await.unwrap();
            assert!(again.is_empty());
            store.flush();
        },
    )
    .await;
}

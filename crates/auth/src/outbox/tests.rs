//! Tests of the outbox, with a store that rejects some rows.

use crate::audit::{Actor, ClientInfo};
use crate::db::{AuditedChange, Copied, EndedSession, RevocationKind, RevokedToken};
use crate::directory::{By, Directory};
use crate::outbox::StoreHealth;
use crate::testing::{T, TestService, after, on_each_database, serve_store};
use portcullis_core::UnixSeconds;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::{Semaphore, mpsc, oneshot};

#[tokio::test]
async fn rejected_rows_do_not_block_others() {
    // The store rejects each pipeline that contains "bad", half of them by status, and records the
    // others.
    let received: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let own = Arc::clone(&received);
    let answer = move |body: String| {
        let received = Arc::clone(&own);
        async move {
            if body.contains("bad-whole") {
                return (axum::http::StatusCode::PAYLOAD_TOO_LARGE, String::new());
            }
            if body.contains("bad") {
                return (axum::http::StatusCode::OK, r#"[{"error":"ERR no"}]"#.to_owned());
            }
            received.lock().unwrap().push(body);
            (axum::http::StatusCode::OK, r#"[{"result":"OK"}]"#.to_owned())
        }
    };
    let url = serve_store(answer).await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let change = |now| AuditedChange { now, events: &[] };
            let row = async |name: &str, now: UnixSeconds| {
                let commands = vec![redis_rest::Command::new("SET").arg(name).arg(1)];
                let token = RevokedToken { jti: name, session_id: "none", expires_at: now.0 };
                let row = service.db.revoke_access_token(&token, commands, &change(now)).await;
                assert!(row.unwrap().is_some());
            };
            for number in 0..130 {
                let kind = if number % 2 == 0 { "bad" } else { "bad-whole" };
                row(&format!("{kind}-{number}"), T).await;
            }
            row("good", after(1)).await;
            assert!(!service.publisher.drain().await, "rejected rows are left");
            assert!(received.lock().unwrap().drain(..).any(|body| body.contains("good")));
            assert_eq!(service.outbox().await.len(), 130);
        },
    )
    .await;
}

/// A newer process, which shares the database, delivers the rows that it writes.
#[tokio::test]
async fn row_of_a_newer_version_is_left_and_blocks_no_other() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            for (id, text) in [("a", r#"{"v":2,"commands":[]}"#), ("c", "later"), ("e", "[[]]")] {
                let newer = format!(
                    "INSERT INTO outbox (id, commands, created_at, about) \
                     VALUES ('{id}', '{text}', {}, 'x') RETURNING 1",
                    T.0
                );
                service.db.query_number(&newer).await.unwrap();
            }
            let commands = vec![redis_rest::Command::new("SET").arg("pc:revoked:sid:x").arg(1)];
            let token = RevokedToken { jti: "j", session_id: "none", expires_at: T.0 };
            let change = AuditedChange { now: after(1), events: &[] };
            service.db.revoke_access_token(&token, commands, &change).await.unwrap();
            assert!(!service.publisher.drain().await, "rows are left");
            assert!(store.has_marker());
            let left = "SELECT COUNT(*) FROM outbox";
            assert_eq!(service.db.query_number(left).await.unwrap(), 3);
            store.evict_markers();
        },
    )
    .await;
}

#[tokio::test]
async fn user_enabled_during_reconciliation_stays_enabled() {
    // The store delays the next SET of a user's marker until the test lets it pass.
    let executed: Arc<Mutex<Vec<String>>> = Arc::default();
    let hold: Arc<Mutex<Option<mpsc::Sender<oneshot::Sender<()>>>>> = Arc::default();
    let own = (Arc::clone(&executed), Arc::clone(&hold));
    let answer = move |body: String| {
        let (executed, hold) = own.clone();
        async move {
            let commands: Vec<Vec<String>> = serde_json::from_str(&body).unwrap();
            let of_user = |command: &&Vec<String>| command[1].contains("pc:revoked:sub:");
            let held =
                hold.lock().unwrap().take_if(|_| body.contains("[\"SET\",\"pc:revoked:sub:"));
            if let Some(held) = held {
                let (pass, passed) = oneshot::channel();
                held.send(pass).await.unwrap();
                passed.await.unwrap();
            }
            let values = commands.iter().filter(of_user).map(|command| command[2].clone());
            executed.lock().unwrap().extend(values);
            format!("[{}]", vec![r#"{"result":"OK"}"#; commands.len()].join(","))
        }
    };
    let url = serve_store(answer).await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let user = service.add("alice").await;
            let (publisher, change) =
                (&service.publisher, AuditedChange { now: after(1), events: &[] });
            let revoke = |ended: &EndedSession| publisher.commands().session_ended(ended, T);
            let commands = publisher.commands().user_disabled(&user.id);
            let rows =
                service.db.set_disabled(&user.id, true, commands, &change, revoke, &|_| Vec::new());
            publisher.deliver(rows.await.unwrap()).await;
            let (holder, mut held) = mpsc::channel(1);
            *hold.lock().unwrap() = Some(holder);
            let reconciling = Arc::clone(publisher);
            let reconciling =
                tokio::spawn(async move { reconciling.reconcile(60, after(2)).await });
            let pass = held.recv().await.unwrap();
            let commands = publisher.commands().user_enabled(&user.id, None, after(1));
            let rows = service
                .db
                .set_disabled(&user.id, false, commands, &change, revoke, &|_| Vec::new());
            publisher.deliver(rows.await.unwrap()).await;
            pass.send(()).unwrap();
            reconciling.await.unwrap().unwrap();
            let executed = std::mem::take(&mut *executed.lock().unwrap());
            assert_eq!(executed.last(), Some(&after(1).0.to_string()), "{executed:?}");
        },
    )
    .await;
}

/// A failover loses the last writes. The counter's was before them.
#[tokio::test]
async fn lost_enabling_is_written_again() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let client = ClientInfo::default();
            let directory = |seconds: u64| Directory {
                db: &service.db,
                publisher: &service.publisher,
                audit: None,
                by: By { actor: Actor::Operator, subject: None, client: &client },
                now: after(seconds),
            };
            assert_eq!(service.publisher.check_store("p", 1, T).await, StoreHealth::Republished(0));
            directory(1).set_user_disabled(&alice.id, true).await.unwrap();
            let disabled = store.values.lock().unwrap().clone();
            let is_disabled =
                || store.values.lock().unwrap().values().any(|value| value == "disabled");
            directory(100).set_user_disabled(&alice.id, false).await.unwrap();
            assert!(!is_disabled());
            store.values.lock().unwrap().clone_from(&disabled);
            assert!(is_disabled());
            assert_eq!(
                service.publisher.check_store("p", 2, after(102)).await,
                StoreHealth::Intact
            );
            assert!(!is_disabled());
            store.values.lock().unwrap().clear();
        },
    )
    .await;
}

/// The store executes the write of the counter, but its reply is lost; then it refuses all writes.
#[tokio::test]
async fn loss_is_not_forgotten_when_the_store_fails_again() {
    for failing in [Failing::Reply, Failing::Writes] {
        let store = MemoryStore::default();
        let url = store.serve().await;
        on_each_database(
            |config| config.store.url = url.clone(),
            async |service: TestService| {
                service.add("alice").await;
                log_in_and_out(&service, T).await;
                let check = async |round: u64, seconds: u64| {
                    service.publisher.check_store("p", round, after(seconds)).await
                };
                assert_eq!(check(1, 1000).await, StoreHealth::Republished(1));
                store.values.lock().unwrap().clear();
                *store.failing.lock().unwrap() = Some(failing);
                assert_eq!(check(2, 1002).await, StoreHealth::Unknown);
                assert!(!store.has_marker());
                *store.failing.lock().unwrap() = None;
                assert_eq!(check(3, 1004).await, StoreHealth::Republished(1));
                assert!(store.has_marker());
                assert_eq!(check(4, 1006).await, StoreHealth::Intact);
                store.values.lock().unwrap().clear();
            },
        )
        .await;
    }
}

/// The store lost a write that the counter outlived, and the database fails at the same time.
#[tokio::test]
async fn recent_writes_are_not_forgotten_while_the_database_fails() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            service.add("alice").await;
            let check = async |round: u64, seconds: u64| {
                service.publisher.check_store("p", round, after(seconds)).await
            };
            assert_eq!(check(1, 1000).await, StoreHealth::Republished(0));
            log_in_and_out(&service, after(1001)).await;
            store.evict_markers();
            service.db.execute("ALTER TABLE blocks RENAME TO gone").await.unwrap();
            assert_eq!(check(2, 1002).await, StoreHealth::Unknown);
            service.db.execute("ALTER TABLE gone RENAME TO blocks").await.unwrap();
            // Meanwhile it is older than what each round sends again.
            assert_eq!(check(3, 1100).await, StoreHealth::Republished(1));
            assert!(store.has_marker());
            store.values.lock().unwrap().clear();
        },
    )
    .await;
}

/// Begins a session of alice, and ends it at a time.
async fn log_in_and_out(service: &TestService, end: UnixSeconds) {
    let tokens = service.login("alice", T).await;
    let client = ClientInfo::default();
    service.sessions.logout(&tokens.refresh_token, &client, end).await.unwrap();
}

/// What a store does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Failing {
    /// The replies to writes are lost.
    Reply,
    /// It executes writes of the counter alone.
    Writes,
}

/// An in-memory store that supports SET, GET and DEL.
#[derive(Clone, Default)]
struct MemoryStore {
    values: Arc<Mutex<BTreeMap<String, String>>>,
    failing: Arc<Mutex<Option<Failing>>>,
}

impl MemoryStore {
    fn execute(&self, commands: Vec<Vec<String>>) -> String {
        let is_read = commands.iter().all(|command| command[0] == "GET");
        let is_counter = commands.iter().any(|command| command[1].starts_with("pc:reconciled"));
        match *self.failing.lock().unwrap() {
            Some(Failing::Writes) if !is_read && !is_counter => return "[]".to_owned(),
            Some(Failing::Reply) if !is_read => {
                self.answer(commands);
                return String::new();
            }
            _ => {}
        }
        self.answer(commands)
    }

    fn answer(&self, commands: Vec<Vec<String>>) -> String {
        let mut keys = self.values.lock().unwrap();
        let replies = commands.into_iter().map(|command| {
            let key = command.get(1).cloned().unwrap_or_default();
            let reply = match command[0].as_str() {
                "SET" => keys.insert(key, command[2].clone()).map_or("OK".into(), |_| "OK".into()),
                "GET" => keys.get(&key).cloned().into(),
                "DEL" => i32::from(keys.remove(&key).is_some()).into(),
                _ => serde_json::Value::from(0),
            };
            serde_json::json!({ "result": reply })
        });
        serde_json::Value::Array(replies.collect()).to_string()
    }

    /// Serves the store, and returns its URL.
    async fn serve(&self) -> String {
        let own = self.clone();
        let answer = move |body: String| {
            let own = own.clone();
            async move { own.execute(serde_json::from_str(&body).unwrap()) }
        };
        serve_store(answer).await
    }

    fn has_marker(&self) -> bool {
        self.values.lock().unwrap().keys().any(|key| key.starts_with("pc:revoked:sid:"))
    }

    /// Removes the markers of sessions, as an eviction does.
    fn evict_markers(&self) {
        self.values.lock().unwrap().retain(|key, _| !key.starts_with("pc:revoked:sid:"));
    }
}

#[tokio::test]
async fn evicted_marker_is_found_by_a_sample_and_written_again() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            service.add("alice").await;
            log_in_and_out(&service, T).await;
            let check = async |round: u64, seconds: u64| {
                service.publisher.check_store("process", round, after(seconds)).await
            };
            assert_eq!(check(1, 1000).await, StoreHealth::Republished(1));
            store.evict_markers();
            assert_eq!(check(2, 1009).await, StoreHealth::Intact);
            assert_eq!(check(3, 1010).await, StoreHealth::Republished(1));
            assert!(store.has_marker());
            // A store that evicts continuously is not refilled continuously.
            store.evict_markers();
            assert_eq!(check(4, 1069).await, StoreHealth::Intact);
            assert_eq!(check(5, 1070).await, StoreHealth::Republished(1));
            // Expired markers do not count as missing.
            store.evict_markers();
            assert_eq!(check(6, 86_760).await, StoreHealth::Intact);
            store.values.lock().unwrap().clear();
        },
    )
    .await;
}

/// The promise of a database that is rarely queried holds for the checks of the store, too.
#[tokio::test]
async fn check_of_an_unchanged_database_is_one_query_or_none() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            service.add("alice").await;
            let check = async |round: u64, seconds: u64| {
                let queries = service.db.queries().with_label_values(&["upkeep"]);
                let before = queries.get();
                let health = service.publisher.check_store("p", round, after(seconds)).await;
                (health, queries.get() - before)
            };
            assert_eq!(check(1, 1000).await.0, StoreHealth::Republished(0));
            assert_eq!(check(2, 1002).await, (StoreHealth::Intact, 0));
            // A failover may have lost a write that the counter outlived.
            log_in_and_out(&service, after(1003)).await;
            store.evict_markers();
            assert_eq!(check(3, 1004).await, (StoreHealth::Intact, 2));
            assert!(store.has_marker());
            assert_eq!(check(4, 1100).await, (StoreHealth::Intact, 3), "with samples");
            assert_eq!(check(5, 1109).await, (StoreHealth::Intact, 1));
            assert_eq!(check(6, 1110).await, (StoreHealth::Intact, 3), "with samples");
            for round in 7..=33 {
                assert_eq!(check(round, 1111).await, (StoreHealth::Intact, 1), "{round}");
            }
            for (round, queries) in (34..=39).zip([0, 0, 1, 0, 0, 1]) {
                assert_eq!(check(round, 1111).await, (StoreHealth::Intact, queries), "{round}");
            }
            store.values.lock().unwrap().clear();
        },
    )
    .await;
}

#[tokio::test]
async fn each_kind_of_change_is_seen_and_sampled() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let run = async |statement: &str| {
                service.db.query_number(&format!("{statement} RETURNING 1")).await.unwrap()
            };
            service.add("alice").await;
            service.login("alice", T).await;
            run("INSERT INTO clients (id, name, scope, auth_method, created_at)
                 VALUES ('c', 'c', '', 'none', 1)")
            .await;
            let revoked = |kind| Copied::Revocations(kind);
            let row = "'r', 'h', 'l', 'i', '[]', 1, 1";
            for (copied, statement) in [
                (revoked(RevocationKind::Session), "UPDATE sessions SET revoked_at = {at}"),
                (
                    revoked(RevocationKind::Token),
                    "INSERT INTO revoked_tokens (jti, revoked_at, expires_at) VALUES ('j', {at}, 9)",
                ),
                (revoked(RevocationKind::UserTokens), "UPDATE users SET tokens_revoked_at = {at}"),
                (revoked(RevocationKind::User), "UPDATE users SET disabled_at = {at}"),
                (
                    revoked(RevocationKind::ClientTokens),
                    "UPDATE clients SET tokens_revoked_at = {at}",
                ),
                (revoked(RevocationKind::Client), "UPDATE clients SET disabled_at = {at}"),
                (
                    Copied::ApiKeys,
                    "INSERT INTO api_keys (id, owner_kind, owner_id, name, display_prefix, scope,
                     quotas, networks, metadata, created_at, changed_at)
                     VALUES ('k', 'user', 'u', '', '', '', '{}', '[]', '{}', 1, {at})",
                ),
                (
                    Copied::Blocks,
                    "INSERT INTO blocks (id, hash, kind, issuer, name, reason, actor, ends_at,
                     created_at, changed_at)
                     VALUES ('b', 'h', 'subject', 'i', 'n', '', '', 1, 1, {at})",
                ),
                (
                    Copied::Quotas,
                    "INSERT INTO quota_overrides (id, hash, limit_name, issuer, parts, quota,
                     created_at, ends_at, changed_at, actor) VALUES ({row}, 9, {at}, '')",
                ),
                (
                    Copied::Credits,
                    "INSERT INTO credit_balances (id, hash, limit_name, issuer, parts, granted,
                     created_at, changed_at, actor) VALUES ({row}, {at}, '')",
                ),
            ] {
                let changed = service.db.changed_since(5000).await.unwrap();
                assert!(!changed.contains(&copied), "{copied:?}");
                run(&statement.replace("{row}", row).replace("{at}", "5000")).await;
                assert!(service.db.changed_since(5000).await.unwrap().contains(&copied));
                assert!(!service.db.changed_since(5001).await.unwrap().contains(&copied));
                let Copied::Revocations(kind) = copied else { continue };
                let is_sampled = async |times| {
                    let found = service.db.sample_revocations(times).await.unwrap();
                    found.iter().any(|(own, _)| *own == kind)
                };
                assert!(is_sampled([5000, 4000, 6000]).await, "from the time");
                assert!(is_sampled([5500, 4000, 6000]).await, "the oldest");
                assert!(!is_sampled([5500, 5001, 6000]).await, "too old");
                assert!(!is_sampled([4000, 4000, 4999]).await, "too new");
            }
            // A disabled user needs no other marker.
            let found = service.db.sample_revocations([5000, 4000, 6000]).await.unwrap();
            assert!(found.iter().all(|(kind, _)| *kind != RevocationKind::UserTokens), "{found:?}");
            // Of many, five: from the time on, and no others.
            for at in 5001..5010 {
                run(&format!(
                    "INSERT INTO revoked_tokens (jti, revoked_at, expires_at)
                     VALUES ('j{at}', {at}, 9)"
                ))
                .await;
            }
            let mut found = service.db.sample_revocations([5003, 4000, 6000]).await.unwrap();
            found.retain(|(kind, _)| *kind == RevocationKind::Token);
            let mut ids: Vec<&str> = found.iter().map(|(_, id)| id.as_str()).collect();
            ids.sort_unstable();
            assert_eq!(ids, ["j5003", "j5004", "j5005", "j5006", "j5007"]);
        },
    )
    .await;
}

/// A request is aborted when it takes too long. Its committed changes are still published.
#[tokio::test]
async fn delivery_outlives_an_aborted_request() {
    let arrived = Arc::new(Semaphore::new(0));
    let executed: Arc<Mutex<Vec<String>>> = Arc::default();
    let own = (Arc::clone(&executed), Arc::clone(&arrived));
    let answer = move |body: String| {
        let (executed, arrived) = own.clone();
        async move {
            arrived.add_permits(1);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            executed.lock().unwrap().push(body);
            r#"[{"result":"OK"}]"#.to_owned()
        }
    };
    let url = serve_store(answer).await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let mut rows = Vec::new();
            for name in ["first", "second"] {
                let commands = vec![redis_rest::Command::new("SET").arg(name).arg(1)];
                let token = RevokedToken { jti: name, session_id: "none", expires_at: T.0 };
                let change = AuditedChange { now: T, events: &[] };
                let row = service.db.revoke_access_token(&token, commands, &change).await;
                rows.extend(row.unwrap());
            }
            let publisher = Arc::clone(&service.publisher);
            let request = tokio::spawn(async move { publisher.deliver(rows).await });
            arrived.acquire().await.unwrap().forget();
            request.abort();
            let next = tokio::time::timeout(std::time::Duration::from_secs(2), arrived.acquire());
            next.await.expect("the second row is sent").unwrap().forget();
            while !service.outbox().await.is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            assert_eq!(executed.lock().unwrap().drain(..).count(), 2);
        },
    )
    .await;
}

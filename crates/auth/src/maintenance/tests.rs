//! The deletion of expired rows, and the checks of the store.

use crate::maintenance::Maintenance;
use crate::problem::Problem;
use crate::testing::{T, TestService, after, on_each_database, serve_store};
use portcullis_core::{PeriodUsage, UsageBatch};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn maintenance(service: &TestService) -> Maintenance {
    Maintenance {
        db: Arc::clone(&service.db),
        publisher: Arc::clone(&service.publisher),
        idle_seconds: 3000,
        audit_seconds: 400 * 86_400,
        usage_seconds: 90 * 86_400,
    }
}

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
            let maintenance = maintenance(&service);
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

/// The publisher rests for 10 s if nothing wakes it.
#[tokio::test]
async fn what_cleanup_changes_in_the_store_is_sent_at_once() {
    let answer = |body: String| async move {
        let commands: Vec<Vec<String>> = serde_json::from_str(&body).unwrap();
        format!("[{}]", vec![r#"{"result":"OK"}"#; commands.len()].join(","))
    };
    let url = serve_store(answer).await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            service.add("alice").await;
            service.login("alice", T).await;
            let publisher = Arc::clone(&service.publisher);
            let running = tokio::spawn(async move { publisher.run().await });
            service.wait_for_empty_outbox().await;
            // The publisher has found nothing, and rests.
            tokio::time::sleep(Duration::from_millis(200)).await;
            maintenance(&service).delete_expired(after(3000)).await.unwrap();
            let sent =
                tokio::time::timeout(Duration::from_secs(5), service.wait_for_empty_outbox());
            assert!(sent.await.is_ok());
            running.abort();
        },
    )
    .await;
}

/// A store that takes half a second for each request that restores counts.
#[derive(Default)]
struct SlowStore {
    /// The counter by which the store is checked.
    counter: Mutex<Option<String>>,
    checks: AtomicUsize,
    restored: AtomicUsize,
    restoring: AtomicUsize,
}

impl SlowStore {
    async fn answer(self: Arc<Self>, body: String) -> String {
        let commands: Vec<Vec<serde_json::Value>> = serde_json::from_str(&body).unwrap();
        if commands[0][0] == "EVAL" {
            assert_eq!(self.restoring.fetch_add(1, Ordering::Relaxed), 0, "one at a time");
            tokio::time::sleep(Duration::from_millis(500)).await;
            self.restoring.fetch_sub(1, Ordering::Relaxed);
            self.restored.fetch_add(commands.len(), Ordering::Relaxed);
        }
        let replies = commands.iter().map(|command| match command[0].as_str().unwrap() {
            "GET" => serde_json::json!({ "result": *self.counter.lock().unwrap() }),
            "SET" => {
                let value =
                    command[2].as_str().map_or_else(|| command[2].to_string(), str::to_owned);
                *self.counter.lock().unwrap() = Some(value);
                self.checks.fetch_add(1, Ordering::Relaxed);
                serde_json::json!({ "result": "OK" })
            }
            _ => serde_json::json!({ "result": 1 }),
        });
        serde_json::Value::from(replies.collect::<Vec<_>>()).to_string()
    }
}

#[tokio::test]
async fn store_is_checked_while_counts_are_restored() {
    let store = Arc::new(SlowStore::default());
    let answer = {
        let store = Arc::clone(&store);
        move |body: String| Arc::clone(&store).answer(body)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/pipeline", axum::routing::post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let periods = (0..1000).map(|number| PeriodUsage {
                limit: "api".into(),
                state: "credits".into(),
                hash: format!("{number:0>42}A"),
                begun: 0,
                origin: 1,
                used: 1,
            });
            let batch = UsageBatch {
                id: "b".into(),
                at: T.0,
                rows: Vec::new(),
                periods: periods.collect(),
            };
            service.db.add_usage(std::slice::from_ref(&batch), T).await.unwrap();
            *store.counter.lock().unwrap() = None;
            store.checks.store(0, Ordering::Relaxed);
            store.restored.store(0, Ordering::Relaxed);
            // What was in flight when the last run ended may have been dropped.
            store.restoring.store(0, Ordering::Relaxed);
            let maintenance = maintenance(&service);
            let run = tokio::time::timeout(Duration::from_millis(4700), maintenance.watch_store());
            assert!(run.await.is_err());
            assert_eq!(store.checks.load(Ordering::Relaxed), 3, "every 2 s");
            let restored = store.restored.load(Ordering::Relaxed);
            assert!((300..1000).contains(&restored), "{restored}");
            // What is in flight ends before the next database's turn.
            tokio::time::sleep(Duration::from_millis(600)).await;
        },
    )
    .await;
}

//! Tests of the database.

mod golden;

use crate::audit::{Actor, ClientInfo, Event, EventKind};
use crate::db::{Db, Migrate};
use crate::testing::{T, TestService, after, on_each_database};
use portcullis_core::UnixSeconds;
use sqlx::Row as _;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn audit_is_append_only() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let now = crate::clock::now();
            let event = Event::new(EventKind::Login, Actor::User, &ClientInfo::default());
            service.db.record_events(std::slice::from_ref(&event), now).await.unwrap();
            service.db.record_events(&[event], UnixSeconds(now.0 - 91 * 86_400)).await.unwrap();
            for change in
                ["UPDATE audit SET event = 'x' RETURNING 1", "DELETE FROM audit RETURNING 1"]
            {
                let error = service.db.query_number(change).await.err().unwrap().to_string();
                assert!(error.contains("append-only"), "{error}");
            }
            let old = format!("DELETE FROM audit WHERE at < {} RETURNING 1", now.0 - 90 * 86_400);
            assert_eq!(service.db.query_number(&old).await.unwrap(), 1);
        },
    )
    .await;
}

#[tokio::test]
async fn postgres_is_migrated_by_command_only() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            assert!(Db::open(&service.url, Migrate::IfSqlite).await.is_ok());
            if service.url.starts_with("postgres") {
                let behind = "DELETE FROM _sqlx_migrations WHERE version = \
                              (SELECT MAX(version) FROM _sqlx_migrations) RETURNING 1";
                service.db.query_number(behind).await.unwrap();
                let error = Db::open(&service.url, Migrate::IfSqlite).await.err().unwrap();
                assert!(error.contains("run portcullis-auth migrate"), "{error}");
            }
        },
    )
    .await;
}

#[tokio::test]
async fn newer_tables_are_refused_with_the_remedy() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let newer = "UPDATE _sqlx_migrations SET version = 99 WHERE version = \
                         (SELECT MAX(version) FROM _sqlx_migrations) RETURNING 1";
            assert_eq!(service.db.query_number(newer).await.unwrap(), 1);
            for migrate in [Migrate::IfSqlite, Migrate::Always] {
                let error = Db::open(&service.url, migrate).await.err().unwrap();
                assert!(error.starts_with("DATABASE_URL: its tables are of schema 99"), "{error}");
                assert!(error.contains("start the newer portcullis-auth"), "{error}");
            }
        },
    )
    .await;
}

#[tokio::test]
async fn cleanup_keeps_a_session_that_is_refreshed_meanwhile() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            service.add("alice").await;
            service.login("alice", T).await;
            let mut refresh = service.db.begin().await.unwrap();
            sqlx::query("UPDATE sessions SET refreshed_at = $1")
                .bind(i64::try_from(after(3000).0).unwrap())
                .execute(&mut *refresh)
                .await
                .unwrap();
            let clean_up = async {
                let none = |_: &str, _: &str| Vec::new();
                service.db.delete_expired(after(3000), 3000, 400 * 86_400, none).await.unwrap();
            };
            let commit = async {
                sleep(Duration::from_millis(500)).await;
                refresh.commit().await.unwrap();
            };
            tokio::join!(clean_up, commit);
            let ended = "SELECT COUNT(*) FROM sessions WHERE revoked_at IS NOT NULL";
            assert_eq!(service.db.query_number(ended).await.unwrap(), 0);
        },
    )
    .await;
}

/// Two cleaners that wait for each other's rows could deadlock.
#[tokio::test]
async fn cleanup_does_not_wait_for_locked_rows() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            if !service.url.starts_with("postgres") {
                return;
            }
            service.add("alice").await;
            for _ in 0..2 {
                service.login("alice", T).await;
            }
            let mut other = service.db.begin().await.unwrap();
            for table in ["sessions", "refresh_tokens"] {
                let lock = format!("SELECT 1 FROM {table} LIMIT 1 FOR UPDATE");
                sqlx::query(sqlx::AssertSqlSafe(lock)).execute(&mut *other).await.unwrap();
            }
            let none = |_: &str, _: &str| Vec::new();
            let late = after(10_000_000);
            let deleted = service.db.delete_expired(late, 3000, 400 * 86_400, none);
            let deleted = timeout(Duration::from_secs(2), deleted).await;
            assert!(deleted.expect("it does not wait").unwrap() >= 2);
            other.commit().await.unwrap();
            while service.db.delete_expired(late, 3000, 400 * 86_400, none).await.unwrap() > 0 {}
            let left = service.db.query_number("SELECT COUNT(*) FROM sessions").await.unwrap();
            assert_eq!(left, 0);
        },
    )
    .await;
}

/// Backends of Postgres that are frozen until the test ends.
struct Frozen(Vec<String>);

impl Frozen {
    fn new(pids: Vec<String>) -> Self {
        assert!(Command::new("kill").arg("-STOP").args(&pids).status().unwrap().success());
        Self(pids)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg("-CONT").args(&self.0).status();
    }
}

#[tokio::test]
async fn connections_to_a_frozen_postgres_are_released() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            if !service.url.starts_with("postgres") {
                return;
            }
            let size = || service.db.readers.size();
            // A query is in progress when the backend freezes.
            let mut tx = service.db.begin().await.unwrap();
            let pid = sqlx::query("SELECT pg_backend_pid() AS pid").fetch_one(&mut *tx).await;
            let pid: i32 = pid.unwrap().try_get("pid").unwrap();
            let before = size();
            let frozen = Frozen::new(vec![pid.to_string()]);
            let query = sqlx::query("SELECT 1").execute(&mut *tx);
            assert!(timeout(Duration::from_millis(200), query).await.is_err());
            drop(tx);
            let begun = Instant::now();
            while size() >= before {
                assert!(begun.elapsed() < Duration::from_secs(5), "{} connections", size());
                sleep(Duration::from_millis(50)).await;
            }
            drop(frozen);

            // All idle connections freeze; new ones are possible.
            let mut open = Vec::new();
            for _ in 0..16 {
                open.push(service.db.begin().await.unwrap());
            }
            drop(open);
            while service.db.readers.num_idle() < 16 {
                sleep(Duration::from_millis(10)).await;
            }
            let mut tx = service.db.begin().await.unwrap();
            let rows =
                sqlx::query("SELECT pid FROM pg_stat_activity WHERE datname = current_database()");
            let rows = rows.fetch_all(&mut *tx).await.unwrap();
            let pid = |row: &sqlx::any::AnyRow| row.try_get::<i32, _>("pid").unwrap().to_string();
            let _frozen = Frozen::new(rows.iter().map(pid).collect());
            let begun = Instant::now();
            service.db.check_connections().await;
            for _ in 0..20 {
                let ping = service.db.ping().await;
                assert!(ping.is_ok(), "{ping:?} after {:?}", begun.elapsed());
            }
            assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
            drop(timeout(Duration::from_millis(200), tx.rollback()).await);
        },
    )
    .await;
}

#[tokio::test]
async fn postgres_ends_statements_and_idle_transactions() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            if !service.url.starts_with("postgres") {
                return;
            }
            for name in ["statement_timeout", "idle_in_transaction_session_timeout"] {
                let seconds = format!(
                    "SELECT EXTRACT(EPOCH FROM current_setting('{name}')::interval)::BIGINT"
                );
                let seconds = service.db.query_number(&seconds).await.unwrap();
                assert!((1..=10).contains(&seconds), "{name}: {seconds} s");
            }
        },
    )
    .await;
}

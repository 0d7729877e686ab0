//! The database.

use crate::audit::{Actor, ClientInfo, Event, EventKind};
use crate::db::{Db, Migrate};
use crate::testing::{TestService, on_each_database};
use portcullis_core::UnixSeconds;

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
                let behind = "DELETE FROM _sqlx_migrations WHERE version = 3 RETURNING 1";
                service.db.query_number(behind).await.unwrap();
                let error = Db::open(&service.url, Migrate::IfSqlite).await.err().unwrap();
                assert!(error.contains("run portcullis-auth migrate"), "{error}");
            }
        },
    )
    .await;
}

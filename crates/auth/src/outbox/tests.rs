//! The outbox, with a store that rejects some rows.

use crate::db::{AuditedChange, RevokedToken};
use crate::testing::{T, TestService, after, on_each_database};
use portcullis_core::UnixSeconds;
use std::sync::Arc;

#[tokio::test]
async fn rejected_rows_do_not_block_others() {
    // Rejects each pipeline that contains "bad", half of them by status, and records the others.
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
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/pipeline", axum::routing::post(answer));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let change = |now| AuditedChange { now, events: &[] };
            let row = async |name: &str, now: UnixSeconds| {
                let commands = vec![redis_rest::Command::new("SET").arg(name).arg(1)];
                let token = RevokedToken { jti: name, session_id: "none", expires_at: now.0 };
                service.db.revoke_access_token(&token, commands, &change(now)).await.unwrap();
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
    server.abort();
}

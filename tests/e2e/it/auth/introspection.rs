//! The clients that may introspect tokens at the auth service.

use crate::support::http::client;
use crate::support::stack::{Stack, stop};

#[tokio::test]
async fn failed_clients_are_counted_and_recorded_once_a_minute() {
    let stack = tokio::task::spawn_blocking(|| Stack::start(&[], None)).await.unwrap();
    let url = format!("{}/oauth/introspect", stack.fact("auth_url"));
    let introspect = async |name: &str, secret: &str| {
        let request = client().post(&url).basic_auth(name, Some(secret));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.body("token=x").send().await.unwrap().status()
    };
    for number in 0..50 {
        assert_eq!(introspect("edge", "wrong").await, 401);
        assert_eq!(introspect(&format!("unknown-{number}"), "wrong").await, 401);
    }
    assert_eq!(introspect("edge", stack.fact("introspection_secret")).await, 200);
    let log = stack.log("auth");
    let lines: Vec<_> =
        log.lines().filter(|line| line.contains("\"event\":\"introspection_denied\"")).collect();
    // One for the known client, one for all unknown names.
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("edge")), "{lines:?}");
    assert!(!log.contains("unknown-7"), "an unknown name is logged");
    let outcomes = "portcullis_auth_outcomes_total";
    assert_eq!(stack.metric("auth_url", outcomes, "client_invalid").await, 100);
    stop(stack).await;
}

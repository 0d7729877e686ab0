//! Which counts are restored.

use crate::testing::{T, TestService, on_each_database};
use portcullis_core::{PeriodUsage, RESTORE_SCRIPT, UsageBatch};
use std::sync::{Arc, Mutex};

const DAY: u64 = 1_799_971_200_000;
const MONTH: u64 = 1_798_761_600_000;
const NEXT_MONTH: u64 = 1_801_440_000_000;
const DAY_MS: u64 = 86_400_000;

/// Serves a store that records the arguments of each script after its key.
async fn serve(seen: &Arc<Mutex<Vec<String>>>) -> String {
    let seen = Arc::clone(seen);
    let answer = move |body: String| {
        let commands: Vec<Vec<serde_json::Value>> = serde_json::from_str(&body).unwrap();
        for command in &commands {
            assert_eq!((&command[0], &command[1]), (&"EVAL".into(), &RESTORE_SCRIPT.into()));
            let words = command[4..].iter().map(|word| match word.as_str() {
                Some(text) => text.to_owned(),
                None => word.to_string(),
            });
            seen.lock().unwrap().push(words.collect::<Vec<_>>().join(" "));
        }
        async move { format!("[{}]", vec![r#"{"result":1}"#; commands.len()].join(",")) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/pipeline", axum::routing::post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn only_periods_that_run_are_restored() {
    let seen = Arc::default();
    let url = serve(&seen).await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let period = |state: &str, hash: &str, begun: u64, used: u64| PeriodUsage {
                limit: "api".into(),
                state: state.into(),
                hash: hash.repeat(43),
                begun,
                origin: 5,
                used,
            };
            let periods = vec![
                period("period", "A", DAY, 1),
                period("period", "E", MONTH, 2),
                // These have ended, or have not begun.
                period("period", "I", DAY - DAY_MS, 3),
                period("period", "M", MONTH - 31 * DAY_MS, 4),
                period("period", "Q", DAY + DAY_MS, 5),
                period("credits", "U", MONTH, 6),
                period("credits", "U", 0, 7),
            ];
            let batch = UsageBatch { id: "a".into(), at: T.0, rows: Vec::new(), periods };
            service.db.add_usage(std::slice::from_ref(&batch), T).await.unwrap();
            seen.lock().unwrap().clear();
            assert_eq!(service.publisher.restore_quotas(T).await, Ok(4));
            let (ends, life) = (DAY + DAY_MS, 400 * DAY_MS);
            let expect = [
                format!("{life} 0 0 5 7"),
                format!("{life} {MONTH} {NEXT_MONTH} 5 6"),
                format!("0 {DAY} {ends} 5 1"),
                format!("0 {MONTH} {NEXT_MONTH} 5 2"),
            ];
            assert_eq!(*seen.lock().unwrap(), expect);
        },
    )
    .await;
}

/// More callers than a page has.
#[tokio::test]
async fn every_caller_is_restored_once() {
    let seen = Arc::default();
    let url = serve(&seen).await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            for origin in 1..=3 {
                let periods = (0..150).map(|number| PeriodUsage {
                    limit: "api".into(),
                    state: "period".into(),
                    hash: format!("{number:0>42}A"),
                    begun: DAY,
                    origin,
                    used: number + 1,
                });
                let (id, periods) = (format!("{origin}"), periods.collect());
                let batch = UsageBatch { id, at: T.0, rows: Vec::new(), periods };
                service.db.add_usage(std::slice::from_ref(&batch), T).await.unwrap();
            }
            seen.lock().unwrap().clear();
            assert_eq!(service.publisher.restore_quotas(T).await, Ok(150));
            let ends = DAY + DAY_MS;
            for (number, words) in seen.lock().unwrap().iter().enumerate() {
                let used = number + 1;
                assert_eq!(*words, format!("0 {DAY} {ends} 1 {used} 2 {used} 3 {used}"));
            }
        },
    )
    .await;
}

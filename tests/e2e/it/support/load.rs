//! Clients that count through a redis gateway while its Redis fails or moves, and record the
//! results.

use crate::support::gateway::{Gateway, TOKEN};
use crate::support::http::client;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The record of one client: impossible replies, failed requests, and for how long.
#[derive(Default, Debug)]
pub struct Seen {
    pub answered: u64,
    pub failed: u64,
    wrong: Vec<String>,
    /// Failed increments, which may have run.
    unknown: i64,
    /// The longest time without a reply.
    pub gap: Duration,
    pub last: i64,
    /// The highest number of all replies: a former master may reply once more.
    highest: i64,
}

/// Counts on a separate key until `stop`. Each request echoes a number, which detects the reply to
/// another request. It also increments a counter, which detects a request that ran twice.
async fn count(gateway: Arc<Gateway>, key: String, stop: Arc<AtomicBool>, may_lose: bool) -> Seen {
    let client = client();
    let mut seen = Seen::default();
    let mut answered_at = Instant::now();
    let mut nonce = 0;
    while !stop.load(Ordering::SeqCst) {
        nonce += 1;
        let echo = format!("{key}-{nonce}");
        let body = json!([["ECHO", echo], ["INCR", key], ["GET", key]]);
        let request = client.post(format!("{}/pipeline", gateway.url)).bearer_auth(TOKEN);
        let response = request.json(&body).send().await.unwrap();
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        let number = body[1]["result"].as_i64();
        match number {
            Some(number) if status == 200 => {
                let read = body[2]["result"].as_str().and_then(|text| text.parse::<i64>().ok());
                let after = if may_lose { 1 } else { seen.last + 1 };
                let most = if may_lose { seen.highest } else { seen.last };
                // If a server dies, requests in progress may fail with an error, but nothing else.
                let echoed = body[0]["result"] == echo.as_str()
                    || (may_lose
                        && body[0]["error"].as_str().is_some_and(|e| e.starts_with("ERR Redis")));
                let right = echoed
                    && (after..=most + 1 + seen.unknown).contains(&number)
                    && (read == Some(number) || !body[2]["error"].is_null());
                if !right {
                    seen.wrong
                        .push(format!("after {} ({} unknown): {body}", seen.last, seen.unknown));
                }
                seen.unknown = if may_lose { seen.unknown } else { 0 };
                seen.last = number;
                seen.highest = seen.highest.max(number);
                seen.answered += 1;
                seen.gap = seen.gap.max(answered_at.elapsed());
                answered_at = Instant::now();
            }
            _ => {
                seen.failed += 1;
                seen.unknown += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    seen.gap = seen.gap.max(answered_at.elapsed());
    seen
}

pub async fn under_load<T>(
    gateway: &Arc<Gateway>,
    name: &str,
    keys: usize,
    may_lose: bool,
    what: impl Future<Output = T>,
) -> (Vec<Seen>, T) {
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..keys)
        .map(|n| {
            tokio::spawn(count(
                Arc::clone(gateway),
                format!("{name}-{n}"),
                Arc::clone(&stop),
                may_lose,
            ))
        })
        .collect();
    let done = what.await;
    stop.store(true, Ordering::SeqCst);
    let mut seen = Vec::new();
    for worker in workers {
        seen.push(worker.await.unwrap());
    }
    let wrong: Vec<&String> = seen.iter().flat_map(|seen| &seen.wrong).take(3).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let total = |f: fn(&Seen) -> u64| seen.iter().map(f).sum::<u64>();
    let gap = seen.iter().map(|seen| seen.gap).max().unwrap();
    println!(
        "{keys} workers: {} answered, {} failed, 0 wrong; longest time without an answer {gap:?}",
        total(|seen| seen.answered),
        total(|seen| seen.failed),
    );
    (seen, done)
}

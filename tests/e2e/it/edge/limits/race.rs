//! Requests of one caller from many connections, compared with what an algorithm admits.

use crate::support::http::client;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What one caller was admitted, by the times before and after each response, in milliseconds.
pub type Admitted = Vec<(u64, u64)>;

/// Sends requests of one caller to several edges, from so many connections, until `until`.
/// Returns how many were sent, and which were admitted.
pub async fn race(
    urls: Vec<String>,
    connections: usize,
    token: &str,
    begun: Instant,
    until: Duration,
) -> (u64, Admitted) {
    let (stopped, client) = (Arc::new(AtomicBool::new(false)), client());
    let mut workers = Vec::new();
    for number in 0..connections {
        let url = urls[number % urls.len()].clone();
        let (client, token, stopped) = (client.clone(), token.to_owned(), Arc::clone(&stopped));
        workers.push(tokio::spawn(async move {
            let (mut sent, mut admitted) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                let before = begun.elapsed().as_millis() as u64;
                let response = client.get(&url).bearer_auth(&token).send().await;
                sent += 1;
                if response.is_ok_and(|response| response.status() == 200) {
                    admitted.push((before, begun.elapsed().as_millis() as u64));
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            (sent, admitted)
        }));
    }
    tokio::time::sleep_until((begun + until).into()).await;
    stopped.store(true, Ordering::Relaxed);
    let (mut sent, mut admitted) = (0, Vec::new());
    for worker in workers {
        let (own, times) = worker.await.unwrap();
        sent += own;
        admitted.extend(times);
    }
    admitted.sort_unstable();
    (sent, admitted)
}

/// Returns by how much any interval exceeds what the algorithm admits in it. Only requests count
/// that were certainly decided within the interval.
pub fn most_over(admitted: &Admitted, bound: impl Fn(u64) -> u64) -> i64 {
    let mut most = i64::MIN;
    for (place, (from, _)) in admitted.iter().enumerate() {
        let mut inside: Vec<u64> = admitted[place..].iter().map(|(_, after)| *after).collect();
        inside.sort_unstable();
        for (count, after) in inside.iter().enumerate() {
            let over = count as i64 + 1 - bound(after - from) as i64;
            most = most.max(over);
        }
    }
    most
}

/// What an algorithm admits in an interval of this length.
pub fn bound(algorithm: &str, quota: u64, window_ms: u64, length_ms: u64) -> u64 {
    match algorithm {
        "gcra" | "token_bucket" => quota + (length_ms * quota).div_ceil(window_ms) + 1,
        // An interval touches one window more than it has lengths of one.
        _ => quota * (length_ms.div_ceil(window_ms) + 1),
    }
}

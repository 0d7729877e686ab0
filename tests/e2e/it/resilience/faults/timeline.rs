//! Statuses over time while the store dies and returns. What is printed is a picture of the
//! documentation.

use super::scene::{Bench, Kind, PER_SECOND, Subject};
use crate::support::environment::fault_seconds;
use crate::support::process::{Process, wait_for_port};
use serde_json::json;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const KINDS: [&str; 6] =
    ["deny", "introspect", "signature", "deny, revoked", "signature, revoked", "public"];
const BIN_MS: u128 = 250;
/// A breaker probes again within a second, and the machine is busy.
const SETTLED: Duration = Duration::from_secs(2);

/// The number of responses with each status, by kind, status and time.
type Bins = BTreeMap<&'static str, BTreeMap<u16, Vec<u64>>>;

#[tokio::test]
async fn statuses_follow_the_store_over_time() {
    let bench = Bench::start(Subject::Store).await;
    bench.recovers(&KINDS).await;
    let third = Duration::from_secs(fault_seconds());
    let folder = std::path::Path::new(bench.stack.fact("logs")).parent().unwrap().join("redis");
    let (_, port) = bench.stack.fact("redis_url").rsplit_once(':').unwrap();
    let port: u16 = port.parse().unwrap();
    let begun = Instant::now();
    let fails = async {
        tokio::time::sleep(third).await;
        bench.stack.signal("redis", "-KILL");
        let dead = begun.elapsed();
        tokio::time::sleep(third).await;
        let back = begun.elapsed();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--port"]);
        command.arg(port.to_string()).arg("--dir").arg(&folder);
        let redis = Process::start(&mut command, folder.join("again.log"));
        wait_for_port(port, &redis);
        (dead, back, redis)
    };
    let (bins, (dead, back, redis)) = tokio::join!(load(&bench, begun, 3 * third + SETTLED), fails);

    // A response belongs to the time of its request.
    let bin = |at: Duration| usize::try_from(at.as_millis() / BIN_MS).unwrap();
    let (dead_bins, after) = (bin(dead) + 1..bin(back), bin(back + SETTLED) + 1..usize::MAX);
    for (kind, statuses) in &bins {
        let count = |status: u16, range: &std::ops::Range<usize>| -> u64 {
            let counts = statuses.get(&status).map(Vec::as_slice).unwrap_or_default();
            counts.iter().enumerate().filter(|(at, _)| range.contains(at)).map(|(_, n)| n).sum()
        };
        let all = |range: &std::ops::Range<usize>| -> u64 {
            statuses.keys().map(|status| count(*status, range)).sum()
        };
        let only = |status: u16, range: &std::ops::Range<usize>| {
            assert!(all(range) > 0, "{kind}: no request");
            assert_eq!(count(status, range), all(range), "{kind}: {statuses:?}");
        };
        match *kind {
            "deny" => {
                only(503, &dead_bins);
                only(200, &after);
            }
            "deny, revoked" => assert_eq!(count(200, &(0..usize::MAX)), 0, "{statuses:?}"),
            "signature, revoked" => only(401, &after),
            "introspect" => only(200, &after),
            _ => only(200, &(0..usize::MAX)),
        }
    }
    let kinds: Vec<_> =
        KINDS.iter().map(|kind| json!({ "name": kind, "statuses": bins[kind] })).collect();
    let measured = json!({
        "bin_ms": BIN_MS, "dead_ms": dead.as_millis(), "back_ms": back.as_millis(), "kinds": kinds,
    });
    println!("outage {measured}");
    bench.stop().await;
    drop(redis);
}

/// Sends each kind in turn for some time, and counts the statuses by the time of the request.
async fn load(bench: &Bench, begun: Instant, length: Duration) -> Bins {
    let kinds: Vec<&Kind> =
        KINDS.iter().map(|name| bench.kinds.iter().find(|k| k.name == *name).unwrap()).collect();
    let count = usize::try_from(length.as_millis() / BIN_MS).unwrap();
    let bins: Arc<Mutex<Bins>> = Arc::default();
    let mut calls = Vec::new();
    for number in 0..length.as_secs() * PER_SECOND {
        let at = Duration::from_micros(number * 1_000_000 / PER_SECOND);
        tokio::time::sleep_until((begun + at).into()).await;
        let place = usize::try_from(number).unwrap();
        let kind = kinds[place % kinds.len()];
        let request = kind.request(&bench.client, &bench.edge, place / kinds.len());
        let (name, bins) = (kind.name, Arc::clone(&bins));
        let bin = usize::try_from(begun.elapsed().as_millis() / BIN_MS).unwrap().min(count - 1);
        calls.push(tokio::spawn(async move {
            let status = request.send().await.unwrap().status().as_u16();
            let mut bins = bins.lock().unwrap();
            let statuses = bins.entry(name).or_default();
            statuses.entry(status).or_insert_with(|| vec![0; count])[bin] += 1;
        }));
    }
    for call in calls {
        call.await.unwrap();
    }
    std::mem::take(&mut *bins.lock().unwrap())
}

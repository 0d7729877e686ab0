//! A store that loses data in the middle of a race: what it has lost may be admitted once more,
//! with leases and without.

use super::race::{Admitted, bound, most_over, race};
use super::scene::{protected, start, token, unique};
use crate::support::environment::on_memcached;
use crate::support::gateway::{Gateway, TOKEN};
use crate::support::process::Folder;
use crate::support::redis_server::{Redis, role};
use crate::support::sentinel::{Sentinel, Watch};
use crate::support::stack::stop;
use crate::support::tcp_proxy::{Link, QUICK, TcpProxy};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const QUOTA: u64 = 120;
const WINDOW_MS: u64 = 6000;
const TIMINGS: [&str; 2] = ["exact", "leased"];
const CONNECTIONS: usize = 32;
/// How late the replica is. What it receives meanwhile waits as long again.
const LAG: Duration = Duration::from_millis(250);
/// How far apart the reading of a loss and the loss may be on a busy machine.
const READING_MS: u64 = 400;

/// A master with a replica, which a Sentinel puts in its place. A replica that replicates through a
/// proxy is not corrected within a minute.
struct Stores {
    master: Redis,
    replica: Redis,
    replication: TcpProxy,
    gateway: Gateway,
    _sentinel: Sentinel,
    _folder: Folder,
}

impl Stores {
    async fn start() -> Self {
        let master = Redis::start(&["--repl-diskless-sync-delay", "0"]);
        let replication = TcpProxy::start(master.port, QUICK);
        let port = replication.port.to_string();
        let replica = Redis::start(&["--replicaof", "127.0.0.1", &port]);
        let folder = Folder::new();
        let watch = Watch { quorum: 1, down_ms: 500, failover_timeout_ms: 60_000 };
        let sentinel = Sentinel::start(&folder, &master, watch, "", QUICK);
        sentinel.wait(|facts| facts["num-slaves"] == "1").await;
        let url = format!("redis://127.0.0.1:{}/mymaster", sentinel.link.port);
        let gateway = Gateway::start(&url, &[]);
        gateway.ready().await;
        Self { master, replica, replication, gateway, _sentinel: sentinel, _folder: folder }
    }
}

/// Returns what a caller owes of each limit, in requests. That is what the store loses with its
/// data.
fn owed(redis: &Redis, names: &[String; 2]) -> [f64; 2] {
    let mut connection = redis.connection();
    names.each_ref().map(|name| {
        let pattern = format!("pc:limit:{name}:*");
        let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query(&mut connection).unwrap();
        let lives = keys.iter().map(|key| {
            let life: i64 = redis::cmd("PTTL").arg(key).query(&mut connection).unwrap();
            life.max(0) as f64
        });
        lives.sum::<f64>() * QUOTA as f64 / WINDOW_MS as f64
    })
}

/// Races on an exact and a leased limit at once, while the store loses data. Returns for each what
/// was sent, and what was admitted when; and what the store lost.
async fn race_both(
    edges: &[String],
    names: &[String; 2],
    (begun, seconds): (Instant, u64),
    loses: impl Future<Output = [f64; 2]>,
) -> ([(u64, Admitted); 2], [f64; 2]) {
    let token = token(json!({}));
    let until = Duration::from_secs(seconds);
    let run = |name: &String| {
        let urls = edges.iter().map(|edge| format!("{edge}/api/{name}")).collect();
        race(urls, CONNECTIONS, &token, begun, until)
    };
    let [exact, leased] = names;
    let (exact, leased, lost) = tokio::join!(run(exact), run(leased), loses);
    ([exact, leased], lost)
}

/// Prints a row for each limit. Returns the most over the limit's bound.
fn rows(what: &str, raced: &[(u64, Admitted); 2], lost: [f64; 2]) -> [i64; 2] {
    [0, 1].map(|place| {
        let (sent, admitted) = &raced[place];
        let over = most_over(admitted, |length_ms| bound("gcra", QUOTA, WINDOW_MS, length_ms));
        let (timing, count, lost) = (TIMINGS[place], admitted.len(), lost[place]);
        println!("| {what} | {timing} | {sent} | {count} | {lost:.0} | {over} |");
        over
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn store_that_loses_data_admits_what_it_lost_once_more_at_most() {
    if on_memcached() {
        return;
    }
    let stores = Stores::start().await;
    let [flushed, failed] = ["flushed", "failed"].map(|what| TIMINGS.map(|_| unique(what)));
    let routes: Vec<Value> = [&flushed, &failed]
        .into_iter()
        .flat_map(|names| names.iter().zip(TIMINGS))
        .map(|(name, timing)| {
            let limit = json!({
                "quota": QUOTA, "window_seconds": WINDOW_MS / 1000, "by": "subject",
                "timing": timing, "on_store_outage": "deny",
            });
            protected(name, json!({ "limit": limit }))
        })
        .collect();
    let vars = json!({
        "store.url": stores.gateway.url, "STORE_TOKEN": TOKEN, "revocation.delay_seconds_max": 60,
        "store.timeout_ms": 1500, "breaker.failures": 0, "routes": routes,
    });
    let (a, b, c, d) =
        tokio::join!(start(vars.clone()), start(vars.clone()), start(vars.clone()), start(vars));
    let edges = [a, b, c, d];
    let urls = edges.each_ref().map(|edge| edge.edge(""));
    println!("| the store | timing | sent | admitted | lost | most over in any interval |");
    println!("|---|---|---|---|---|---|");

    let begun = Instant::now();
    let flush = async {
        tokio::time::sleep_until((begun + Duration::from_millis(1500)).into()).await;
        let lost = owed(&stores.master, &flushed);
        let () = redis::cmd("FLUSHALL").query(&mut stores.master.connection()).unwrap();
        lost
    };
    let (raced, lost) = race_both(&urls, &flushed, (begun, 4), flush).await;
    let over = rows("is flushed", &raced, lost);
    let read_late = (READING_MS * QUOTA).div_ceil(WINDOW_MS) as f64;
    for (over, lost) in over.into_iter().zip(lost) {
        assert!(over as f64 <= lost + read_late, "{over} over, {lost} lost");
        assert!(lost > QUOTA as f64 / 2.0, "the limit was not used up: {lost}");
    }
    let [exact, leased] = over;
    assert!(exact > 0, "the flush had no effect: {exact}");
    // A leased limit has a smaller burst.
    assert!(leased <= exact, "{leased} over with leases, {exact} without");

    stores.replication.set(Link::Delayed(LAG));
    let begun = Instant::now();
    let killed = Duration::from_millis(2500);
    let kill = async {
        tokio::time::sleep_until((begun + killed).into()).await;
        let counted = owed(&stores.master, &failed);
        let replicated = owed(&stores.replica, &failed);
        stores.replication.set(Link::Cut);
        stores.master.process.signal("-KILL");
        [0, 1].map(|place| counted[place] - replicated[place])
    };
    let (raced, lost) = race_both(&urls, &failed, (begun, 9), kill).await;
    assert_eq!(role(&stores.replica), "master");
    let over = rows("fails over", &raced, lost);
    let in_lag = 2 * LAG.as_millis() as u64 * QUOTA / WINDOW_MS;
    for (place, over) in over.into_iter().enumerate() {
        let lost = lost[place];
        assert!(lost <= in_lag as f64 + read_late, "{lost} lost, {in_lag} supplied in the lag");
        assert!(over as f64 <= lost + read_late, "{over} over, {lost} lost");
        let back = killed.as_millis() as u64 + 1000;
        let later = raced[place].1.iter().filter(|(from, _)| *from > back).count();
        assert!(later > 0, "{}: nothing was admitted after the failover", TIMINGS[place]);
    }
    stop((edges, stores)).await;
}

//! Sentinels that are cut off from each other, from the master or from the redis gateway.

use crate::support::gateway::Gateway;
use crate::support::process::Folder;
use crate::support::redis_server::{Redis, role};
use crate::support::sentinel::{Sentinel, Watch};
use crate::support::tcp_proxy::{Link, QUICK};
use serde_json::json;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The master is replaced by two of three Sentinels, one second after it stopped to respond.
const WATCH: Watch = Watch { quorum: 2, down_ms: 1000, failover_timeout_ms: 6000 };
/// A delay beyond the response of a Sentinel without a proxy.
const LATE: Link = Link::Delayed(Duration::from_millis(100));

/// Writes for this time, each value under a different key. Returns how many writes succeeded.
async fn write(gateway: &Gateway, name: &str, millis: u128) -> u32 {
    let (begun, mut written) = (Instant::now(), 0);
    while begun.elapsed().as_millis() < millis {
        let key = format!("{name}-{}", begun.elapsed().as_micros());
        written += u32::from(gateway.send("/", json!(["SET", key, 1])).await.0 == 200);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    written
}

fn keys(redis: &Redis, pattern: &str) -> usize {
    let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query(&mut redis.connection()).unwrap();
    keys.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_sentinel_does_not_lead_back_to_a_demoted_master() {
    let master = Redis::start(&[]);
    let replica = Redis::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    // The stale Sentinel may neither publish nor subscribe, so it is never informed of a failover.
    let acl = ["stale", "on", ">stale-word", "~*", "resetchannels", "+@all", "-@pubsub"];
    for redis in [&master, &replica] {
        let mut connection = redis.connection();
        let () = redis::cmd("ACL").arg("SETUSER").arg(&acl).query(&mut connection).unwrap();
    }
    let folder = Folder::new();
    let credentials = "sentinel auth-user mymaster stale\nsentinel auth-pass mymaster stale-word\n";
    let stale = Sentinel::start(&folder, &master, WATCH, credentials, QUICK);
    // The stale Sentinel responds first.
    let others: Vec<Sentinel> =
        (0..2).map(|_| Sentinel::start(&folder, &master, WATCH, "", LATE)).collect();
    for sentinel in &others {
        let knows = |facts: &HashMap<String, String>| {
            facts["num-other-sentinels"] == "1" && facts["num-slaves"] == "1"
        };
        sentinel.wait(knows).await;
    }
    assert_eq!(stale.facts()["num-other-sentinels"], "0");
    let all = [&stale, &others[0], &others[1]];
    let hosts: Vec<String> =
        all.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.link.port)).collect();
    let url = format!("redis://{}/mymaster", hosts.join(","));
    let gateway = Gateway::start(&url, &[]);
    gateway.ready().await;
    assert!(write(&gateway, "before", 300).await > 0);
    assert!(keys(&master, "before-*") > 0);

    // The master does not respond, so it is replaced. When it responds again, it is still a master:
    // the others demote it after eight seconds.
    master.process.signal("-STOP");
    for sentinel in &others {
        sentinel.wait(|facts| facts["port"] == replica.port.to_string()).await;
    }
    assert_eq!(stale.facts()["port"], master.port.to_string());
    master.process.signal("-CONT");
    let resumed = Instant::now();
    // Open connections lead to the old master until the Sentinels are queried again.
    let begun = Instant::now();
    while keys(&replica, "found-*") == 0 {
        write(&gateway, "found", 1).await;
        assert!(begun.elapsed() < Duration::from_secs(4), "{}", gateway.process.text());
    }
    let written = write(&gateway, "after", 1500).await;
    assert_eq!(role(&master), "master", "after {:?}", resumed.elapsed());
    let wrong = keys(&master, "after-*");
    assert_eq!(wrong, 0, "writes in the demoted master, of {written}");
    assert!(written > 0 && keys(&replica, "after-*") > 0);

    // The redis gateway reaches only the stale Sentinel, and must reconnect.
    others.iter().for_each(|sentinel| sentinel.link.set(Link::Cut));
    let kill = |redis: &Redis| {
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes");
        let () = kill.query(&mut redis.connection()).unwrap();
    };
    kill(&replica);
    let written = write(&gateway, "alone", 1500).await;
    let wrong = keys(&master, "alone-*");
    assert_eq!(wrong, 0, "writes in the demoted master, of {written}");
    assert_eq!(written, 0, "without a majority there is no master");
    gateway.process.says("1 of 3 Sentinels are up to date").await;
    // Two of three Sentinels are enough.
    others[0].link.set(LATE);
    let begun = Instant::now();
    while write(&gateway, "again", 1).await == 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "{}", gateway.process.text());
    }
    assert!(keys(&replica, "again-*") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_outlive_the_sentinels() {
    let master = Redis::start(&[]);
    let folder = Folder::new();
    let sentinels: Vec<Sentinel> =
        (0..3).map(|_| Sentinel::start(&folder, &master, WATCH, "", QUICK)).collect();
    for sentinel in &sentinels {
        sentinel.wait(|facts| facts["num-other-sentinels"] == "2").await;
    }
    let hosts: Vec<String> =
        sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.link.port)).collect();
    let gateway = Gateway::start(&format!("redis://{}/mymaster", hosts.join(",")), &[]);
    gateway.ready().await;
    // All Sentinels are cut off from the redis gateway. Its open connections stay.
    sentinels.iter().for_each(|sentinel| sentinel.link.set(Link::Cut));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        gateway.run(json!(["INCR", "n"])).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // One Sentinel of three is not enough to reconnect; two are.
    sentinels[0].link.set(QUICK);
    let mut kill = redis::cmd("CLIENT");
    let () = kill
        .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
        .query(&mut master.connection())
        .unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(gateway.send("/", json!(["INCR", "n"])).await.0, 503);
    sentinels[1].link.set(QUICK);
    gateway.ready().await;
    assert_eq!(gateway.send("/", json!(["INCR", "n"])).await.0, 200);
}

//! Faults of the store.

use super::harm::store_faults;
use super::scene::{Bench, Seen, Subject, row, store_deadline_ms};
use crate::support::environment::{fault_seconds, on_memcached};
use crate::support::memcached::request;
use crate::support::process::{Process, wait_for_port};
use crate::support::proxy::Fault;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

const STORE: [&str; 7] = [
    "deny",
    "introspect",
    "signature",
    "deny, revoked",
    "introspect, revoked",
    "signature, revoked",
    "public",
];

#[tokio::test]
async fn routes_follow_their_outage_policy_under_store_faults() {
    let bench = Bench::start(Subject::Store).await;
    println!("<!-- store: {} s of each -->", fault_seconds());
    println!("| the store | {} | worst ms | lost | back after ms |", STORE.join(" | "));
    println!("|---|{}---|---|---|", "---|".repeat(STORE.len()));
    bench.recovers(&STORE).await;
    for (name, fault) in store_faults(store_deadline_ms()) {
        // memcached has neither statuses nor scripts.
        let is_http = fault == Fault::NoScript
            || ["401", "429", "500"].iter().any(|status| name.contains(status));
        if on_memcached() && is_http {
            continue;
        }
        let harmless = matches!(fault, Fault::None | Fault::Late { ms: 100 } | Fault::NoScript);
        bench.store.set(fault);
        let seen = bench.load(&STORE, async {}).await;
        bench.store.set(Fault::None);
        row(name, &STORE, &seen, bench.recovers(&STORE).await);
        judge_store(name, &seen, harmless);
    }

    // The store is flushed, and then killed and restarted: Redis with its data, memcached without.
    let half = Duration::from_secs(fault_seconds()) / 2;
    let server = if on_memcached() { "memcached" } else { "redis" };
    let address = match server {
        "redis" => bench.stack.fact("redis_url"),
        _ => bench.stack.fact("store_url"),
    };
    let (_, address) = address.split_once("://").unwrap();
    let flush = async {
        tokio::time::sleep(half).await;
        flush(server, address);
    };
    let seen = bench.load(&STORE, flush).await;
    row("is flushed in the middle", &STORE, &seen, bench.recovers(&STORE).await);
    judge_store("flushed", &seen, true);

    let folder = std::path::Path::new(bench.stack.fact("logs")).parent().unwrap().join("redis");
    let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let mut second = None;
    let fails_over = async {
        tokio::time::sleep(half / 2).await;
        bench.stack.signal(server, "-KILL");
        tokio::time::sleep(half).await;
        let mut command = Command::new(if on_memcached() { "memcached" } else { "redis-server" });
        if on_memcached() {
            command.args(["-l", "127.0.0.1", "-U", "0", "-u", "nobody", "-p"]);
            command.arg(port.to_string());
        } else {
            command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--port"]);
            command.arg(port.to_string()).arg("--dir").arg(&folder);
        }
        std::fs::create_dir_all(&folder).unwrap();
        second = Some(Process::start(&mut command, folder.join("again.log")));
    };
    let seen = bench.load(&STORE, fails_over).await;
    let second = second.unwrap();
    wait_for_port(port, &second);
    row("dies and comes back", &STORE, &seen, bench.recovers(&STORE).await);
    judge_store("dies", &seen, false);
    println!("<!-- end of store -->");
    bench.stop().await;
    drop(second);
}

/// Deletes everything in the store.
fn flush(server: &str, address: &str) {
    if server == "memcached" {
        assert_eq!(request(address, "flush_all\r\n"), "OK\r\n");
        return;
    }
    let client = redis::Client::open(format!("redis://{address}")).unwrap();
    let () = redis::cmd("FLUSHALL").query(&mut client.get_connection().unwrap()).unwrap();
}

/// Asserts that under every fault a revoked token passes only on the route whose policy allows it.
fn judge_store(fault: &str, seen: &BTreeMap<&'static str, Seen>, harmless: bool) {
    for name in ["deny, revoked", "introspect, revoked"] {
        assert_eq!(seen[name].count(200), 0, "{fault}: a revoked token was let in on {name}");
    }
    let all = |name: &str| seen[name].count(200) == seen[name].total();
    assert!(all("public"), "{fault}: {}", seen["public"].shown());
    assert!(all("signature"), "{fault}: {}", seen["signature"].shown());
    if harmless {
        assert!(all("deny") && all("introspect"), "{fault}: {}", seen["deny"].shown());
        assert_eq!(seen["signature, revoked"].count(200), 0, "{fault}");
    } else {
        // The fault had an effect: requests that need the store are rejected.
        let refused = seen["deny"].count(503);
        let most =
            if fault == "dies" { seen["deny"].total() / 4 } else { seen["deny"].total() * 9 / 10 };
        assert!(refused >= most, "{fault} did nothing: {}", seen["deny"].shown());
    }
    // With introspection instead, at a bounded rate, nearly all requests pass.
    let (good, total) = (seen["introspect"].count(200), seen["introspect"].total());
    assert!(good * 10 >= total * 8, "{fault}: {}", seen["introspect"].shown());
}

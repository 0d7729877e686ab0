//! Faults of the store.

use super::harm::store_faults;
use super::scene::{Bench, Seen, row, store_deadline_ms};
use crate::support::environment::fault_seconds;
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
    let bench = Bench::start().await;
    println!("<!-- store: {} s of each -->", fault_seconds());
    println!("| the store | {} | worst ms | lost | back after ms |", STORE.join(" | "));
    println!("|---|{}---|---|---|", "---|".repeat(STORE.len()));
    bench.recovers(&STORE).await;
    for (name, fault) in store_faults(store_deadline_ms()) {
        let harmless = matches!(fault, Fault::None | Fault::Late { ms: 100 } | Fault::NoScript);
        bench.store.set(fault);
        let seen = bench.load(&STORE, async {}).await;
        bench.store.set(Fault::None);
        row(name, &STORE, &seen, bench.recovers(&STORE).await);
        judge_store(name, &seen, harmless);
    }

    // Redis is flushed, and then dies and comes back with its data.
    let half = Duration::from_secs(fault_seconds()) / 2;
    let mut redis =
        redis::Client::open(bench.stack.fact("redis_url")).unwrap().get_connection().unwrap();
    let flush = async {
        tokio::time::sleep(half).await;
        let () = redis::cmd("FLUSHALL").query(&mut redis).unwrap();
    };
    let seen = bench.load(&STORE, flush).await;
    row("is flushed in the middle", &STORE, &seen, bench.recovers(&STORE).await);
    judge_store("flushed", &seen, true);

    let folder = std::path::Path::new(bench.stack.fact("logs")).parent().unwrap().join("redis");
    let port: u16 = bench.stack.fact("redis_url").rsplit_once(':').unwrap().1.parse().unwrap();
    let mut second = None;
    let fails_over = async {
        tokio::time::sleep(half / 2).await;
        bench.stack.signal("redis", "-KILL");
        tokio::time::sleep(half).await;
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--port"]);
        command.arg(port.to_string()).arg("--dir").arg(&folder);
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

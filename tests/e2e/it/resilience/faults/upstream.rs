//! Faults of the upstream.

use super::harm::{harm, judge_harm};
use super::scene::{Bench, Subject, row};
use crate::support::environment::fault_seconds;
use crate::support::proxy::Fault;

const UPSTREAM: [&str; 4] = ["deny", "public", "public POST", "refresh"];

#[tokio::test]
async fn upstream_faults_become_gateway_errors() {
    let bench = Bench::start(Subject::Upstream).await;
    println!("<!-- upstream: {} s of each -->", fault_seconds());
    println!("| the upstream | {} | worst ms | lost | back after ms |", UPSTREAM.join(" | "));
    println!("|---|{}---|---|---|", "---|".repeat(UPSTREAM.len()));
    bench.recovers(&UPSTREAM).await;
    for (name, fault) in harm() {
        bench.upstream.set(fault);
        let seen = bench.load(&UPSTREAM, async {}).await;
        bench.upstream.set(Fault::None);
        row(name, &UPSTREAM, &seen, bench.recovers(&UPSTREAM).await);
        for kind in ["deny", "public", "public POST"] {
            let gone = if name == "hangs" { 504 } else { 502 };
            judge_harm(name, &seen[kind], (200, 500, gone));
        }
        let good = seen["refresh"].count(401) == seen["refresh"].total();
        assert!(good, "{name}: a refresh needs no upstream: {}", seen["refresh"].shown());
    }
    println!("<!-- end of upstream -->");
    bench.stop().await;
}

//! Faults of the auth service.

use super::harm::{harm, judge_harm};
use super::scene::{Bench, Subject, row};
use crate::support::environment::fault_seconds;
use crate::support::proxy::Fault;

const AUTH: [&str; 5] = ["refresh", "key set", "deny", "signature", "public"];

#[tokio::test]
async fn validation_is_unaffected_by_auth_service_faults() {
    let bench = Bench::start(Subject::Auth).await;
    println!("<!-- auth: {} s of each -->", fault_seconds());
    println!("| the auth service | {} | worst ms | lost | back after ms |", AUTH.join(" | "));
    println!("|---|{}---|---|---|", "---|".repeat(AUTH.len()));
    bench.recovers(&AUTH).await;
    for (name, fault) in harm() {
        bench.auth.set(fault);
        let seen = bench.load(&AUTH, async {}).await;
        bench.auth.set(Fault::None);
        row(name, &AUTH, &seen, bench.recovers(&AUTH).await);
        for kind in ["refresh", "key set"] {
            // The error page of an auth service is not forwarded.
            judge_harm(name, &seen[kind], (if kind == "refresh" { 401 } else { 200 }, 502, 503));
        }
        for name in ["deny", "signature", "public"] {
            let good = seen[name].count(200) == seen[name].total();
            assert!(good, "{name}: validation needs no auth: {}", seen[name].shown());
        }
    }
    println!("<!-- end of auth -->");
    bench.stop().await;
}

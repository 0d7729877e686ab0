//! The whole stack under mixed load, while one fault after the other is injected and servers are
//! killed. At the end, every promise is checked: no wrong verdict, no lost session, no leak. `cargo
//! xtask bench soak --minutes 30 --write` writes the results of a long run to docs/reliability.md.

mod agreement;
mod api_keys;
mod blocks;
mod connections;
mod credits;
mod events;
mod faults;
mod forged_events;
mod guests;
mod history;
mod load;
mod model;
mod operator;
mod overrides;
mod processes;
mod record;
mod requests;
mod sabotage;
mod sessions;
mod settings;
mod state;
mod system;
mod table;
mod visitors;
mod world;

use crate::support::environment::{soak_per_second, soak_seconds, soak_seed};
use crate::support::stack::stop;
use faults::{REST, Schedule};
use load::Load;
use processes::Measured;
use record::Topic;
use sabotage::Sabotage;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use system::System;
use world::World;

/// Runs the soak, prints its tables, and returns its findings by topic.
async fn soak(seconds: u64, sabotage: Sabotage) -> BTreeMap<Topic, Vec<String>> {
    let (seed, per_second) = (soak_seed(), soak_per_second());
    println!("soak of {seconds} s at {per_second} requests a second, seed {seed}");
    let length = Duration::from_secs(seconds);
    let schedule = Schedule::new(length, seed);
    let grace = schedule.grace();
    let start = move || System::start(sabotage, grace);
    let system = tokio::task::spawn_blocking(start).await.unwrap();
    let world = Arc::new(World::new(system, grace));
    load::fill(&world).await;
    load::warm_up(&world).await;

    let mut measured = Measured::new(length);
    let [third, rest] = schedule.split();
    run(&world, third, Load { per_second, seed }, &mut measured).await;
    measured.sample(&world, Instant::now() + REST).await;
    measured.rest_after_third = processes::descriptors(&world);
    run(&world, rest, Load { per_second, seed: seed + 1 }, &mut measured).await;
    tokio::time::sleep(REST).await;
    measured.rest_at_end = processes::descriptors(&world);

    processes::compare(&world, &measured);
    agreement::check(&world).await;
    println!("<!-- soak -->");
    table::print(&world, &measured, &table::Title { seconds, per_second, seed });
    println!("<!-- end of soak -->");
    let findings = world.record.findings();
    for (topic, texts) in &findings {
        println!(
            "{topic:?}: {}, for example:\n  {}",
            texts.len(),
            texts[..texts.len().min(5)].join("\n  ")
        );
    }
    let world = Arc::into_inner(world).unwrap();
    // A defect of the edge is already a finding. The harness would also report it by a panic.
    match findings.contains_key(&Topic::Panic) {
        true => world.system.stop_despite_defects().await,
        false => stop(world).await,
    }
    findings
}

/// Sends the load while the faults of a schedule are injected.
async fn run(world: &Arc<World>, schedule: Schedule, load: Load, measured: &mut Measured) {
    let (begun, length) = (Instant::now(), schedule.length());
    let breaking = tokio::spawn(faults::inject(Arc::clone(world), begun, schedule));
    let sending = load::run(world, begun, length, load);
    tokio::join!(sending, measured.sample(world, begun + length));
    breaking.await.unwrap();
}

/// Each promise holds after faults of every kind: verdicts, sessions, and what the parts store.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whole_stack_keeps_its_promises_under_load_and_faults() {
    let findings = soak(soak_seconds(), Sabotage::None).await;
    assert!(findings.is_empty(), "{findings:#?}");
}

/// Shows that the soak reports revoked tokens that pass because no marker reaches the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "shows that the soak can fail; run it with --ignored"]
async fn soak_reports_missing_markers() {
    let findings = soak(40, Sabotage::MarkersDropped).await;
    assert!(findings.contains_key(&Topic::WrongAccept), "{findings:#?}");
}

/// Shows that the soak reports used refresh tokens that still return tokens.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "shows that the soak can fail; run it with --ignored"]
async fn soak_reports_undetected_reuse() {
    let findings = soak(60, Sabotage::ReuseUndetected).await;
    assert!(findings.contains_key(&Topic::Reuse), "{findings:#?}");
}

/// Shows that the soak reports each promise about a second issuer, its events, several APIs and
/// anonymous requests, if it is broken.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "shows that the soak can fail; run it with --ignored"]
async fn soak_reports_each_broken_promise_of_events_resources_and_optional_routes() {
    for (sabotage, topics) in [
        (Sabotage::EventsDropped, &[Topic::WrongAccept] as &[Topic]),
        (Sabotage::ForgerTrusted, &[Topic::WrongAccept, Topic::WrongReject]),
        (Sabotage::EventsOfFirstIssuer, &[Topic::WrongAccept, Topic::WrongReject]),
        (Sabotage::ApisShareTokens, &[Topic::WrongAccept]),
        (Sabotage::GuestsUnlimited, &[Topic::Limit]),
        (Sabotage::TokensIgnored, &[Topic::WrongAccept, Topic::Identity]),
    ] {
        let findings = soak(24, sabotage).await;
        let found: Vec<Topic> = findings.keys().copied().collect();
        assert!(topics.iter().all(|topic| found.contains(topic)), "{sabotage:?}: {findings:#?}");
    }
}

/// Shows that the soak reports callers that spend more credits than they were granted, or more than
/// their quota.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "shows that the soak can fail; run it with --ignored"]
async fn soak_reports_callers_above_credits_and_quotas() {
    for sabotage in [Sabotage::CreditsUnlimited, Sabotage::QuotasUnlimited] {
        let findings = soak(24, sabotage).await;
        assert!(findings.contains_key(&Topic::Limit), "{sabotage:?}: {findings:#?}");
    }
}

/// Shows that the soak reports a process that keeps 1 KB of each request.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "shows that the soak can fail; run it with --ignored"]
async fn soak_reports_a_leak_of_a_kilobyte_a_request() {
    let findings = soak(180, Sabotage::UpstreamLeaks).await;
    assert!(findings.contains_key(&Topic::Memory), "{findings:#?}");
}

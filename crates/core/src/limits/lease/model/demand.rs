//! How much of a quota callers at full demand can't use, because isolates took it in advance and
//! did not spend it. Unlike the model, this simulates one course of events.

use super::store::Store;
use super::world::KEY;
use super::{Granted, LeaseTerms, Leases, Spend, limit, rules};
use crate::policy::limit::Algorithm;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What isolates share one caller's demand, and how long everything takes.
struct Demand {
    isolates: usize,
    /// The connections of each isolate. Each sends a request after the response to the last one.
    connections: usize,
    response_us: u64,
    /// The time to the store, and back.
    trip_us: u64,
    /// How often, and for how long, the store does not respond.
    stall_us: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    Request { isolate: usize },
    Execute { isolate: usize, asked_us: u64, cost: u32, ahead: u32 },
    Answer { isolate: usize, asked_us: u64, granted: [u32; 2] },
}

/// Returns the share of the supply that was not used, after the burst was.
fn unspent(limit: &crate::policy::limit::Limit, demand: &Demand) -> f64 {
    let terms = limit.lease_terms(limit.quota);
    let reserve = terms.map_or(0, |terms| u64::from(terms.reserve));
    let mut rules = rules(limit);
    rules.burst -= reserve;
    let terms = terms.unwrap_or(LeaseTerms { life_ms: 1, units_max: 0, reserve: 0 });
    let mut leases = vec![Leases::new(8); demand.isolates];
    let mut over_until_ms = vec![0; demand.isolates];
    let (mut store, mut events, mut random) = (Store::default(), BinaryHeap::new(), 7_u64);
    // No two responses take equally long.
    let mut about = |us: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        us / 2 + (random >> 33) % us.max(1)
    };
    for connection in 0..demand.isolates * demand.connections {
        let isolate = connection % demand.isolates;
        events.push(Reverse((BEGIN_US + about(demand.response_us), Event::Request { isolate })));
    }
    let (from_us, until_us) = (BEGIN_US + 20_000_000, BEGIN_US + 50_000_000);
    let mut admitted = 0_u64;
    while let Some(Reverse((now_us, event))) = events.pop() {
        if now_us >= until_us {
            break;
        }
        let now_ms = now_us / 1000;
        let is_counted = u64::from(now_us >= from_us);
        match event {
            Event::Request { isolate } => {
                events.push(Reverse((now_us + about(demand.response_us), event)));
                if now_ms < over_until_ms[isolate] {
                    continue;
                }
                let (cost, ahead) = match leases[isolate].spend(KEY, terms, 1, now_ms) {
                    Spend::Admitted { ahead, .. } => {
                        admitted += is_counted;
                        (0, ahead)
                    }
                    Spend::Ask { ahead } => (1, ahead),
                };
                if cost + ahead > 0 {
                    let execute = Event::Execute { isolate, asked_us: now_us, cost, ahead };
                    events.push(Reverse((now_us + about(demand.trip_us), execute)));
                }
            }
            Event::Execute { isolate, asked_us, cost, ahead } => {
                if let Some((every_us, length_us)) = demand.stall_us
                    && now_us % every_us < length_us
                {
                    events.push(Reverse((now_us - now_us % every_us + length_us, event)));
                    continue;
                }
                let wait = store.beyond(&rules, now_ms, u64::from(cost)).max(0);
                let answer = store.ask(&rules, now_ms, u64::from(cost), u64::from(ahead));
                if answer.admitted {
                    admitted += is_counted * u64::from(cost);
                } else {
                    let wait_ms = u64::try_from(wait).unwrap().div_ceil(rules.quota);
                    over_until_ms[isolate] = over_until_ms[isolate].max(asked_us / 1000 + wait_ms);
                }
                let granted = [ahead, u32::try_from(answer.taken).unwrap()];
                let answer = Event::Answer { isolate, asked_us, granted };
                events.push(Reverse((now_us + about(demand.trip_us), answer)));
            }
            Event::Answer { isolate, asked_us, granted: [ahead, units] } => {
                if ahead > 0 {
                    let granted = Granted { units, ..Granted::default() };
                    leases[isolate].grant(KEY, terms, granted, asked_us / 1000, now_ms);
                }
            }
        }
    }
    let supplied = (until_us - from_us) * u64::from(limit.quota)
        / (u64::from(limit.window_seconds) * 1_000_000);
    1.0 - admitted as f64 / supplied as f64
}

const BEGIN_US: u64 = super::world::BEGIN_MS * 1000;

#[test]
fn callers_at_full_demand_use_nearly_all_of_their_quota() {
    for (isolates, seconds) in [(1, 1), (4, 1), (4, 5), (16, 1)] {
        for trip_us in [1500, 20_000] {
            for stall_us in [None, Some((4_000_000, 500_000))] {
                let limit = limit(Algorithm::Gcra, 6000, 60, seconds);
                let demand =
                    Demand { isolates, connections: 4, response_us: 7000, trip_us, stall_us };
                let share = unspent(&limit, &demand);
                println!(
                    "{isolates} isolates, {seconds} s, the store {trip_us} us away, {stall_us:?}: {:.2}% unspent",
                    share * 100.0
                );
                assert!(share <= 0.02, "{share}");
            }
        }
    }
}

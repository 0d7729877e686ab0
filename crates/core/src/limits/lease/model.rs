//! The lease protocol, explored exhaustively for small numbers of isolates, requests, ticks of the
//! clock and faults. The leases are the real ones. After each action, what was truly admitted in
//! every interval is compared with what the algorithm allows.
//!
//! These simplifications leave out only what admits no more. A request that the store counts is
//! admitted at that moment, whether or not its answer arrives. A question that no isolate waits for
//! any longer is not executed. Isolates without leases send requests until the store refuses one,
//! all at once. A clock that stands still is behind only while a lease is used up: a question that
//! is asked by it makes the lease end earlier.

mod demand;
mod setup;
mod store;
mod world;

use super::tests::limit;
use super::{CLOCK_MARGIN_MS, Granted, Held, Lease, LeaseKey, LeaseTerms, Leases, Spend};
use crate::policy::limit::{Algorithm, Limit};
use proptest::prelude::*;
use setup::{Action, Budget, Mutation, Setup};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use store::{Kind, Rules};
use world::{Call, KEY, Message, World};

/// A limit of 4,000 requests a second with leases of 1 s, and times next to the ends of leases and
/// windows. The first requests make both isolates ask for a lease at the next one. At the beginning
/// the store has forgotten them, and a window begins.
fn setup(algorithm: Algorithm) -> Setup {
    let is_bucket = algorithm.has_burst();
    let quota = if is_bucket { 4000 } else { 40_000 };
    let limit = Limit { burst: is_bucket.then_some(40_000), ..limit(algorithm, quota, 1, 1) };
    Setup {
        rules: rules(&limit),
        terms: match algorithm {
            // A period of a second, for which a hundredth of the quota is too small a lease.
            Algorithm::Period => LeaseTerms { life_ms: 1000, units_max: 40_000, reserve: 0 },
            _ => limit.lease_terms(quota).unwrap(),
        },
        first_cost: 4000,
        first_ms: 1000,
        cost: 50,
        isolates: 2,
        margin_ms: CLOCK_MARGIN_MS,
        ticks_ms: vec![475, 570],
        lags_ms: vec![CLOCK_MARGIN_MS],
        step_ms: 150,
        is_step_seen: true,
        records_calls: false,
        overrides: Vec::new(),
        mutation: None,
        spoil: None,
    }
}

fn rules(limit: &Limit) -> Rules {
    let kind = match limit.algorithm {
        Algorithm::Gcra | Algorithm::TokenBucket => Kind::Bucket,
        Algorithm::FixedWindow => Kind::FixedWindow,
        Algorithm::SlidingWindow => Kind::SlidingWindow,
        Algorithm::Period | Algorithm::Credits => Kind::Period,
    };
    Rules {
        kind,
        quota: u64::from(limit.quota),
        window_ms: u64::from(limit.window_seconds) * 1000,
        burst: u64::from(limit.burst_of(limit.quota)),
    }
}

struct Explored {
    states: usize,
    actions: usize,
    /// The most that was admitted beyond the limit.
    excess: u64,
    /// The shortest sequence that exceeds the limit; empty if none does.
    shortest: Vec<Action>,
}

/// Explores all sequences of at most `actions_max` actions, those of fewer first. Each state is
/// visited once, by a hash of 64 bits. States that differ only in which isolate is which are one.
fn explore(setup: &Setup, first: World, actions_max: usize, stops_at_excess: bool) -> Explored {
    let mut seen = HashSet::from([fingerprint(setup, &first)]);
    let mut origins: Vec<(usize, Option<Action>)> = vec![(0, None)];
    let mut layer = vec![(0, first)];
    let mut explored = Explored { states: 1, actions: 0, excess: 0, shortest: Vec::new() };
    for _ in 0..actions_max {
        if layer.is_empty() {
            break;
        }
        let mut next = Vec::new();
        for (origin, world) in layer {
            for action in world.actions(setup) {
                let mut after = world.clone();
                after.apply(setup, action);
                explored.actions += 1;
                if after.excess > explored.excess {
                    explored.excess = after.excess;
                    if explored.shortest.is_empty() {
                        explored.shortest = path(&origins, origin, action);
                    }
                    if stops_at_excess {
                        return explored;
                    }
                }
                if seen.insert(fingerprint(setup, &after)) {
                    origins.push((origin, Some(action)));
                    next.push((origins.len() - 1, after));
                }
            }
        }
        layer = next;
    }
    explored.states = seen.len();

    explored
}

fn path(origins: &[(usize, Option<Action>)], mut place: usize, last: Action) -> Vec<Action> {
    let mut actions = vec![last];
    while let (origin, Some(action)) = origins[place] {
        actions.push(action);
        place = origin;
    }
    actions.reverse();
    actions
}

/// Returns a hash of all that determines what may happen and what it leads to.
fn fingerprint(setup: &Setup, world: &World) -> u64 {
    let mut isolates: Vec<u64> = Vec::new();
    for (place, isolate) in world.isolates.iter().enumerate() {
        let earliest_ms = world.now_ms - isolate.behind_ms - setup.lags_ms.iter().max().unwrap();
        let Leases { held, latest_ms, void_until_ms, keys_max: _ } = &isolate.leases;
        let held = held.peek(&KEY).map(|own| {
            let Held {
                leases,
                requested,
                since_ms,
                asking_until_ms,
                left: _,
                more_ms: _,
                quota: _,
            } = *own;
            let leases = leases.map(|Lease { units, until_ms }| {
                if units > 0 && until_ms > earliest_ms { (units, until_ms) } else { (0, 0) }
            });
            (leases, requested, since_ms, asking_until_ms.max(earliest_ms))
        });
        // No reading is so early that the latest one matters, unless a clock steps back.
        let steps = world.budget.steps > 0 || (isolate.behind_ms > 0 && !setup.is_step_seen);
        let latest_ms = if steps { *latest_ms } else { 0 };
        let clock = (isolate.behind_ms, latest_ms, void_until_ms);
        let own = world.messages.iter().filter(|message| message.isolate == place);
        let mut messages: Vec<u64> = own.map(|own| hash(&Message { isolate: 0, ..*own })).collect();
        messages.sort_unstable();
        isolates.push(hash(&(held, clock, messages)));
    }
    isolates.sort_unstable();
    let store = world.store.settled(&setup.rules, world.now_ms);
    let admitted = world.admitted.settled(&setup.rules, world.now_ms);
    let overridden = match setup.overrides.is_empty() {
        true => None,
        false => {
            let low = world.low.settled(&setup.with_quota(setup.quotas().0), world.now_ms);
            Some((world.quota, low, world.low_from_ms.max(world.now_ms)))
        }
    };
    hash(&(world.now_ms, store, admitted, world.excess, world.budget, overridden, isolates))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

const ALGORITHMS: [Algorithm; 4] =
    [Algorithm::Gcra, Algorithm::FixedWindow, Algorithm::SlidingWindow, Algorithm::Period];

/// Two leases, and time until after their ends.
const SMALL: Budget = Budget {
    requests: 2,
    drains: 2,
    ticks: 2,
    sweeps: 1,
    lost: 0,
    failures: 0,
    crashes: 0,
    steps: 0,
    flushes: 0,
    overrides: 0,
};

#[test]
fn no_sequence_exceeds_the_limit() {
    let faults = Budget { lost: 1, failures: 1, crashes: 1, steps: 1, ..SMALL };
    for algorithm in ALGORITHMS {
        for (isolates, budget, actions_max) in [(2, SMALL, 11), (1, faults, 7)] {
            let setup = Setup { isolates, ..setup(algorithm) };
            let first = World::new(&setup, budget);
            let Explored { states, actions, excess, shortest } =
                explore(&setup, first, actions_max, true);
            println!("{algorithm:?}, {isolates} isolates: {states} states, {actions} actions");
            assert_eq!(excess, 0, "{algorithm:?}: {shortest:#?}");
            assert!(states > 10_000, "{states}");
        }
    }
}

/// Two clocks that step back by more than the margin, after both isolates have asked for a lease.
/// If `is_answered`, the leases arrive first.
fn stepped(setup: &Setup, is_answered: bool) -> World {
    let mut world = World::new(setup, Budget { steps: 2, ..SMALL });
    for isolate in 0..2 {
        world.apply(setup, Action::Request { isolate, lag_ms: 0 });
        world.apply(setup, Action::Execute { place: isolate, is_lost: false });
    }
    for isolate in 0..2 {
        if is_answered {
            world.apply(setup, Action::Deliver { place: 0, lag_ms: 0 });
        }
        world.apply(setup, Action::StepBack { isolate });
    }
    world
}

#[test]
fn clock_that_steps_back_does_not_prolong_leases() {
    for algorithm in ALGORITHMS {
        let setup = Setup { ticks_ms: vec![200, 850], lags_ms: vec![0], ..setup(algorithm) };
        for is_answered in [false, true] {
            let first = stepped(&setup, is_answered);
            let Explored { states, actions, excess, shortest } =
                explore(&setup, first, usize::MAX, true);
            println!("{algorithm:?}, {is_answered}: {states} states, {actions} actions");
            assert_eq!(excess, 0, "{algorithm:?}: {shortest:#?}");
        }
        // Both answers arrive when the clocks have caught up with the questions.
        let forget: fn(&mut Leases) = |leases| leases.void_until_ms = 0;
        let setup = Setup { spoil: Some(forget), ..setup };
        let explored = explore(&setup, stepped(&setup, false), usize::MAX, true);
        let (excess, shortest) = (explored.excess, explored.shortest);
        println!("{algorithm:?}, answers from before the step: {excess} beyond: {shortest:?}");
        assert!(excess > 0, "{algorithm:?}");
    }
}

/// Without another clock, an isolate can't notice a step while it is idle. Its leases last longer
/// by the step, however long that is. Beyond the limit, only what they hold is admitted.
#[test]
fn step_that_no_request_sees_admits_at_most_what_the_leases_hold() {
    for algorithm in ALGORITHMS {
        for step_ms in [150, 3_600_000] {
            let (ticks_ms, lags_ms) = (vec![200, 850, step_ms], vec![0]);
            let setup =
                Setup { step_ms, ticks_ms, lags_ms, is_step_seen: false, ..setup(algorithm) };
            let first = stepped(&setup, true);
            let held = first.isolates.iter().filter_map(|isolate| isolate.leases.held.peek(&KEY));
            let held: u64 = held.map(Held::units).sum();
            let supplied = setup.rules.quota * step_ms / setup.rules.window_ms;
            let most = if algorithm.has_burst() { held.min(supplied) } else { held };
            let excess = explore(&setup, first, usize::MAX, false).excess;
            println!(
                "{algorithm:?}, {step_ms} ms: {excess} beyond, {held} held, {supplied} supplied"
            );
            assert!(excess <= most, "{algorithm:?}, {step_ms} ms: {excess}, at most {most}");
            assert!(excess > 0 || step_ms > 150, "{algorithm:?}: the step had no effect");
        }
    }
}

#[test]
fn each_defect_of_the_protocol_is_found() {
    let bucket = &ALGORITHMS[..1];
    let windows = &ALGORITHMS[1..];
    let defects = [
        (Mutation::CountedWhenUsed, &ALGORITHMS[..]),
        (Mutation::LifeFromAnswer, &ALGORITHMS),
        (Mutation::RetryCountedOnce, &ALGORITHMS),
        (Mutation::NoReserve, bucket),
        (Mutation::NoMargin, &ALGORITHMS),
        (Mutation::OutlivesWindow, windows),
        (Mutation::AnswerUsedTwice, &ALGORITHMS),
    ];
    for (defect, algorithms) in defects {
        for algorithm in algorithms {
            let lost = u16::from(defect == Mutation::RetryCountedOnce);
            let setup = Setup { mutation: Some(defect), ..setup(*algorithm) };
            let first = World::new(&setup, Budget { lost, ..SMALL });
            let Explored { actions, excess, shortest, .. } = explore(&setup, first, 11, true);
            println!("{defect:?}, {algorithm:?}: {excess} beyond, {actions} actions: {shortest:?}");
            assert!(excess > 0, "{defect:?}, {algorithm:?}");
        }
    }
}

/// What a store loses may be admitted again, as without leases: at most what it admits at once.
#[test]
fn store_that_loses_all_admits_no_more_than_without_leases() {
    for algorithm in ALGORITHMS {
        let leased = Setup { lags_ms: vec![0], ..setup(algorithm) };
        let budget = Budget { ticks: 1, sweeps: 2, flushes: 1, ..SMALL };
        let terms = LeaseTerms { reserve: 0, ..leased.terms };
        let exact = Setup { isolates: 0, terms, ..leased.clone() };
        let [leased, exact] =
            [leased, exact].map(|setup| explore(&setup, World::new(&setup, budget), 8, false));
        let (own, without, states) = (leased.excess, exact.excess, leased.states);
        println!("{algorithm:?}: {own} beyond, {without} without leases, {states} states");
        assert!(own > 0 && own <= without, "{algorithm:?}: {own}, without leases {without}");
    }
}

/// Whenever the quota of a caller changes, no interval exceeds what the larger one admits. A lease's
/// life after it was lowered, no interval exceeds what the smaller one admits.
#[test]
fn changing_override_admits_no_more_than_the_larger_quota() {
    for algorithm in ALGORITHMS {
        let base = setup(algorithm);
        let quota = base.rules.quota;
        for overrides in [vec![quota / 4], vec![quota * 2]] {
            // A larger quota is of interest where leases are taken from a burst.
            if overrides[0] > quota && !algorithm.has_burst() {
                continue;
            }
            let setup = Setup { overrides, ..base.clone() };
            let budget = Budget { overrides: 2, drains: 1, ..SMALL };
            let explored = explore(&setup, World::new(&setup, budget), 9, true);
            let Explored { states, actions, excess, shortest } = explored;
            println!("{algorithm:?}, {:?}: {states} states, {actions} actions", setup.overrides);
            assert_eq!(excess, 0, "{algorithm:?}: {shortest:#?}");
        }
    }
    // A larger override without its part of the reserve is found.
    let setup = setup(Algorithm::Gcra);
    let overrides = vec![setup.rules.quota * 2];
    let setup = Setup { overrides, mutation: Some(Mutation::NoReserve), ..setup };
    let first = World::new(&setup, Budget { overrides: 1, ..SMALL });
    assert!(explore(&setup, first, 11, true).excess > 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Longer sequences than those above, with any times, for any limit.
    #[test]
    fn random_sequences_do_not_exceed_the_limit(
        place in 0..ALGORITHMS.len(),
        (quota, window, burst) in (2_u32..3000, 1_u32..10, 2_u32..6000),
        (seconds, cost, isolates) in (1_u32..5, 1_u32..8, 1_usize..4),
        overridden in prop_oneof![Just(0_u64), 1_u64..3000],
        choices in prop::collection::vec(any::<u64>(), 300),
    ) {
        let algorithm = ALGORITHMS[place];
        let burst = algorithm.has_burst().then_some(burst);
        let limit = Limit { burst, ..limit(algorithm, quota, window, seconds) };
        let Some(terms) = limit.lease_terms(quota) else { return Ok(()) };
        let (rules, cost) = (rules(&limit), cost.min(quota));
        let overrides = if overridden > 0 { vec![overridden] } else { Vec::new() };
        let mut setup =
            Setup { rules, terms, cost, isolates, overrides, records_calls: true, ..setup(algorithm) };
        (setup.first_cost, setup.first_ms) = (cost, 0);
        let mut world = World::new(&setup, Budget::ample());
        for (step, choice) in choices.into_iter().enumerate() {
            world.apply_random(&mut setup, choice);
            prop_assert_eq!(world.excess, 0, "after {} steps: {:?} {:?}", step, rules, terms);
        }
        for Call { quota, now_ms, cost, wanted, answer } in world.calls {
            let left = answer.left + answer.taken;
            let said = format!("{cost} and {wanted} in advance of {quota} at {now_ms}: {answer:?}");
            prop_assert!(answer.taken <= wanted.min(left / 4), "{}", said);
        }
    }
}

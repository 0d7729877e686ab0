use super::*;
use crate::policy::limit::{Algorithm, LimitOutage};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const KEY: LeaseKey = LeaseKey { key: [1; 32], quota: 100 };
const TERMS: LeaseTerms = LeaseTerms { life_ms: 1000, units_max: 20, reserve: 20 };
const T: u64 = 1_700_000_000_000;

pub(super) fn limit(algorithm: Algorithm, quota: u32, window_seconds: u32, seconds: u32) -> Limit {
    Limit {
        name: "l".into(),
        algorithm,
        quota,
        window_seconds,
        period: None,
        overrides: false,
        burst: None,
        by: Vec::new(),
        plans: None,
        shadow: false,
        headers: false,
        on_store_outage: LimitOutage::Local,
        local_quota: None,
        timing: LimitTiming::Leased { seconds },
    }
}

fn granted(units: u32) -> Granted {
    Granted { units, left: 50, ..Granted::default() }
}

#[test]
fn terms_leave_room_for_what_the_rate_supplies() {
    let terms = |algorithm, quota, window, seconds| {
        let terms = limit(algorithm, quota, window, seconds).lease_terms(quota);
        terms.map(|own| (own.life_ms, own.units_max, own.reserve))
    };
    assert_eq!(terms(Algorithm::Gcra, 6000, 60, 1), Some((1000, 100, 100)));
    assert_eq!(terms(Algorithm::TokenBucket, 60, 60, 5), Some((5000, 5, 5)));
    // At most half of the burst, and then a shorter life.
    assert_eq!(terms(Algorithm::Gcra, 100, 1, 5), Some((500, 50, 50)));
    // So slow, or so small a burst, that each request is counted by itself.
    assert_eq!(terms(Algorithm::Gcra, 59, 60, 1), None);
    assert_eq!(terms(Algorithm::Gcra, 1, 1, 60), None);
    assert_eq!(terms(Algorithm::FixedWindow, 6000, 60, 1), Some((1000, 100, 0)));
    assert_eq!(terms(Algorithm::SlidingWindow, 100, 1, 5), Some((1000, 500, 0)));
    let exact = Limit { timing: LimitTiming::Exact, ..limit(Algorithm::Gcra, 6000, 60, 1) };
    assert_eq!(exact.lease_terms(6000), None);
    let burst = Limit { burst: Some(30), ..limit(Algorithm::Gcra, 6000, 60, 1) };
    let burst = burst.lease_terms(6000).map(|own| (own.life_ms, own.units_max, own.reserve));
    assert_eq!(burst, None, "its lease would last 150 ms");
}

#[test]
fn unknown_key_is_counted_by_itself_and_a_known_one_takes_in_advance() {
    let mut leases = Leases::new(8);
    assert_eq!(leases.spend(KEY, TERMS, 1, T), Spend::Ask { ahead: 0 });
    // Two requests in a quarter of a lease's life.
    assert_eq!(leases.spend(KEY, TERMS, 1, T + 100), Spend::Ask { ahead: 8 });
    assert_eq!(leases.spend(KEY, TERMS, 1, T + 101), Spend::Ask { ahead: 0 }, "asked already");
    leases.grant(KEY, TERMS, granted(8), T + 100, T + 110);
    for _ in 0..6 {
        let spend = leases.spend(KEY, TERMS, 1, T + 120);
        assert!(matches!(spend, Spend::Admitted { left: 50, .. }), "{spend:?}");
    }
    // A caller who comes once a minute is not leased.
    let other = LeaseKey { key: [2; 32], ..KEY };
    for minute in 0..5 {
        let now_ms = T + 60_000 * minute;
        assert_eq!(leases.spend(other, TERMS, 1, now_ms), Spend::Ask { ahead: 0 });
    }
}

#[test]
fn lease_ends_by_the_time_of_its_question() {
    let spend_at = |asked_ms: u64, now_ms: u64, then_ms: u64, granted: Granted| {
        let mut leases = Leases::new(8);
        leases.spend(KEY, TERMS, 1, asked_ms);
        leases.grant(KEY, TERMS, granted, asked_ms, now_ms);
        matches!(leases.spend(KEY, TERMS, 1, then_ms), Spend::Admitted { .. })
    };
    let ends = 1000 - CLOCK_MARGIN_MS;
    assert!(spend_at(T, T + 10, T + ends - 1, granted(5)));
    assert!(!spend_at(T, T + 10, T + ends, granted(5)));
    assert!(!spend_at(T, T + 900, T + ends, granted(5)), "not by the time of the answer");
    assert!(!spend_at(T, T + ends, T + ends, granted(5)), "an answer that comes too late");
    let window = Granted { ends_ms: 300, ..granted(5) };
    assert!(spend_at(T, T + 10, T + 249, window));
    assert!(!spend_at(T, T + 10, T + 250, window), "the window has ended");
    assert!(!spend_at(T, T - 60, T - 50, granted(5)), "the clock went back meanwhile");
}

#[test]
fn leases_are_dropped_if_the_clock_goes_back() {
    let mut leases = Leases::new(8);
    leases.spend(KEY, TERMS, 1, T);
    leases.grant(KEY, TERMS, granted(5), T, T);
    // Within the margin: the requests of an isolate may see the clock in another order.
    assert!(matches!(leases.spend(KEY, TERMS, 1, T - 50), Spend::Admitted { .. }));
    assert_eq!(leases.spend(KEY, TERMS, 1, T - 51), Spend::Ask { ahead: 0 });
    // An answer would count for nothing until the clock has caught up.
    assert_eq!(leases.spend(KEY, TERMS, 1, T), Spend::Ask { ahead: 0 });
    assert!(matches!(leases.spend(KEY, TERMS, 1, T + 1), Spend::Ask { ahead: 1.. }));
}

#[test]
fn steady_caller_is_renewed_in_time_and_wastes_little() {
    for (every_ms, terms_max) in [(10, 150), (50, 60), (150, 60)] {
        let terms = LeaseTerms { units_max: terms_max, ..TERMS };
        let mut leases = Leases::new(8);
        let (mut asked, mut trips, mut waited, mut counted) = (None, 0, 0, 0);
        let requests = 2000_u32;
        for place in 0..u64::from(requests) {
            let now_ms = T + place * every_ms;
            // The store answers 40 ms later.
            if let Some((ahead, asked_ms)) = asked.filter(|(_, at)| now_ms >= at + 40) {
                leases.grant(KEY, terms, granted(ahead), asked_ms, asked_ms + 40);
                asked = None;
            }
            let ahead = match leases.spend(KEY, terms, 1, now_ms) {
                Spend::Admitted { ahead, .. } => ahead,
                Spend::Ask { ahead } => {
                    waited += 1;
                    counted += 1;
                    ahead
                }
            };
            if ahead > 0 {
                trips += 1;
                counted += ahead;
                asked = Some((ahead, now_ms));
            }
        }
        let seconds = u32::try_from(every_ms).unwrap() * requests / 1000;
        assert!(waited <= 8, "every {every_ms} ms: {waited} requests waited for the store");
        assert!(trips <= 3 * seconds, "every {every_ms} ms: {trips} questions in {seconds} s");
        let wasted = f64::from(counted - requests) / f64::from(requests);
        assert!(wasted < 0.15, "every {every_ms} ms: {wasted} of the quota was wasted");
    }
}

#[test]
fn costs_are_spent_whole() {
    let mut leases = Leases::new(8);
    leases.spend(KEY, TERMS, 3, T);
    leases.grant(KEY, TERMS, granted(7), T, T + 1);
    leases.grant(KEY, TERMS, granted(1), T, T + 1);
    assert!(matches!(leases.spend(KEY, TERMS, 3, T + 2), Spend::Admitted { .. }));
    assert!(matches!(leases.spend(KEY, TERMS, 5, T + 2), Spend::Admitted { .. }));
    assert!(matches!(leases.spend(KEY, TERMS, 1, T + 2), Spend::Ask { .. }));
}

#[test]
fn failed_question_may_be_asked_again() {
    let mut leases = Leases::new(8);
    leases.spend(KEY, TERMS, 1, T);
    assert_eq!(leases.spend(KEY, TERMS, 1, T + 1), Spend::Ask { ahead: 8 });
    leases.fail(KEY);
    assert_eq!(leases.spend(KEY, TERMS, 1, T + 2), Spend::Ask { ahead: 4 });
    // Without any answer, a question stays open for a lease's life.
    assert_eq!(leases.spend(KEY, TERMS, 1, T + 1001), Spend::Ask { ahead: 0 });
    assert!(matches!(leases.spend(KEY, TERMS, 1, T + 1002), Spend::Ask { ahead: 1.. }));
}

#[test]
fn answer_to_a_question_from_before_the_clock_went_back_is_not_used() {
    let mut leases = Leases::new(8);
    leases.spend(KEY, TERMS, 1, T);
    leases.spend(KEY, TERMS, 1, T - 60);
    // By the true time, 160 ms have passed since the question, and by the clock 100.
    leases.grant(KEY, TERMS, granted(8), T, T + 100);
    assert!(matches!(leases.spend(KEY, TERMS, 1, T + 100), Spend::Ask { .. }));
    leases.grant(KEY, TERMS, granted(8), T + 1, T + 100);
    assert!(matches!(leases.spend(KEY, TERMS, 1, T + 100), Spend::Admitted { .. }));
}

#[test]
fn memory_is_bounded_by_the_number_of_keys() {
    const KEYS_MAX: usize = 8;
    let mut leases = Leases::new(KEYS_MAX);
    let key = |place: u8| LeaseKey { key: [place; 32], quota: 100 };
    for place in 0..=255 {
        leases.spend(key(place), TERMS, 1, T);
        leases.grant(key(place), TERMS, granted(8), T, T);
        // An answer for a key that was forgotten adds none.
        leases.grant(key(place.wrapping_sub(100)), TERMS, granted(8), T, T);
        let is_held = |place: &u8| leases.held.peek(&key(*place)).is_some();
        let held = (0..=255).filter(is_held).count();
        assert!(held <= 2 * KEYS_MAX, "{held} keys");
        assert!(is_held(&place));
    }
}

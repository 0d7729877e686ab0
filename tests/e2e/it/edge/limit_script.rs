//! Runs the limit script in a real Redis. Compares it with a model of each algorithm by the test's
//! clock, and with 64 concurrent connections by Redis's clock.

use crate::support::redis_server::Redis;
use portcullis_core::LIMIT_SCRIPT;
use std::collections::BTreeMap;

const ALGORITHMS: [&str; 4] = ["gcra", "token_bucket", "sliding_window", "fixed_window"];

/// A model of each algorithm, with integers.
struct Model {
    algorithm: &'static str,
    quota: u128,
    window_us: u128,
    burst: u128,
    /// The time of the bucket's last update, and its level in requests times microseconds of a
    /// window.
    at: u128,
    held: u128,
    /// Admitted requests by window.
    windows: BTreeMap<u128, u128>,
    begun: Option<u128>,
}

impl Model {
    fn new(algorithm: &'static str, quota: u128, window_ms: u128, burst: u128) -> Self {
        let window_us = window_ms * 1000;
        let held = burst * window_us;
        let windows = BTreeMap::new();
        Self { algorithm, quota, window_us, burst, at: 0, held, windows, begun: None }
    }

    fn admits(&self, now: u128, cost: u128) -> bool {
        let (quota, window) = (self.quota, self.window_us);
        match self.algorithm {
            "gcra" | "token_bucket" => self.level(now) >= cost * window,
            "sliding_window" => {
                let index = now / window;
                let of = |index: u128| self.windows.get(&index).copied().unwrap_or(0);
                let last = if index == 0 { 0 } else { of(index - 1) };
                last * (window - now % window) + (of(index) + cost) * window <= quota * window
            }
            _ => match self.begun.filter(|begun| now < begun + window) {
                Some(begun) => self.windows[&begun] + cost <= quota,
                None => cost <= quota,
            },
        }
    }

    fn count(&mut self, now: u128, cost: u128) {
        let window = self.window_us;
        match self.algorithm {
            "gcra" | "token_bucket" => {
                self.held = self.level(now) - cost * window;
                self.at = now;
            }
            "sliding_window" => *self.windows.entry(now / window).or_default() += cost,
            _ => {
                let begun = self.begun.filter(|begun| now < begun + window).unwrap_or(now);
                self.begun = Some(begun);
                *self.windows.entry(begun).or_default() += cost;
            }
        }
    }

    fn level(&self, now: u128) -> u128 {
        (self.held + (now - self.at) * self.quota).min(self.burst * self.window_us)
    }
}

/// Returns the script, with the test in control of its clock and the state's expiry.
fn with_clock() -> String {
    let script = LIMIT_SCRIPT.replace("redis.call('TIME')", "{ARGV[6], ARGV[7]}");
    let script = script.replace("'PX', math.max(1, ms(life))", "'EX', 1000");
    assert!(script.contains("ARGV[7]") && script.contains("'EX', 1000"));
    script
}

#[test]
fn each_algorithm_matches_its_model() {
    let redis = Redis::start(&[]);
    let (mut connection, script) = (redis.connection(), redis::Script::new(&with_clock()));
    let mut seed: u64 = 11;
    let mut random = |bound: u128| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u128::from(seed >> 33) % bound
    };
    let (mut admitted, mut refused) = (0, 0);
    for round in 0..160 {
        let algorithm = ALGORITHMS[round % 4];
        let quota = 1 + random(if round % 3 == 0 { 7 } else { 1000 });
        let window_ms = 1 + random(120_000);
        let has_burst = matches!(algorithm, "gcra" | "token_bucket");
        let burst = if has_burst { 1 + random(quota * 2) } else { quota };
        let mut model = Model::new(algorithm, quota, window_ms, burst);
        let key = format!("model-{round}");
        let mut run = |now: u128, cost: u128| -> [u64; 4] {
            let (seconds, micros) = (now / 1_000_000, now % 1_000_000);
            let mut call = script.key(&key);
            let call = call.arg(algorithm).arg(quota.to_string()).arg(window_ms.to_string());
            let call = call.arg(cost.to_string()).arg(burst.to_string());
            call.arg(seconds.to_string()).arg(micros.to_string()).invoke(&mut connection).unwrap()
        };
        let mut now: u128 = 1_700_000_000_000_000 + random(1_000_000_000);
        for step in 0..60 {
            now += random(window_ms * 1000 * 3 / quota + 2);
            let most = burst.min(quota);
            let cost = if step % 4 == 0 { 1 + random(most) } else { 1 };
            let said = format!("{algorithm} {quota}/{window_ms} ms burst {burst}, {cost} at {now}");
            let [admits, left, wait_ms, more_ms] = run(now, cost);
            assert_eq!(admits == 1, model.admits(now, cost), "{said}");
            if admits == 1 {
                admitted += 1;
                model.count(now, cost);
                assert_eq!(wait_ms, 0, "{said}");
            } else {
                refused += 1;
                // The wait is exact to the millisecond: rejected before it, admitted after it.
                let wait = u128::from(wait_ms) * 1000;
                assert!(wait_ms > 0 && !model.admits(now + wait - 1000, cost), "{said}: {wait_ms}");
                assert!(model.admits(now + wait, cost), "{said}: {wait_ms}");
                let [again, ..] = run(now + wait, cost);
                assert_eq!(again, 1, "{said}: {wait_ms}");
                now += wait;
                model.count(now, cost);
                continue;
            }
            let left = u128::from(left);
            assert!(left == 0 || model.admits(now, left), "{said}: {left} left");
            assert!(!model.admits(now, left + 1), "{said}: more than {left} left");
            if left < burst {
                let more = now + u128::from(more_ms) * 1000;
                assert!(more_ms > 0 && model.admits(more, left + 1), "{said}: more in {more_ms}");
            }
        }
    }
    println!("{admitted} admitted, {refused} refused, each as its model has it");
    assert!(admitted > 1000 && refused > 1000, "{admitted} {refused}");
}

/// 10 requests a second against 20 in 4 s: all admit the quota at once, and then as they say. A
/// picture of the documentation is drawn from what this prints.
#[test]
fn burst_is_admitted_as_each_algorithm_says() {
    const QUOTA: usize = 20;
    const WINDOW_MS: usize = 4000;
    const PER_SECOND: usize = 10;
    const SECONDS: usize = 16;
    let redis = Redis::start(&[]);
    let (mut connection, script) = (redis.connection(), redis::Script::new(&with_clock()));
    let mut admitted = serde_json::Map::new();
    for algorithm in ALGORITHMS {
        let mut times = Vec::new();
        for request in 0..PER_SECOND * SECONDS {
            let ms = request * 1000 / PER_SECOND;
            // A window of the clock begins three seconds after the first request.
            let (seconds, micros) = (1_700_000_001 + ms / 1000, ms % 1000 * 1000);
            let mut call = script.key(format!("burst-{algorithm}"));
            let call = call.arg(algorithm).arg(QUOTA).arg(WINDOW_MS).arg(1).arg(QUOTA);
            let [admits, ..]: [u64; 4] =
                call.arg(seconds).arg(micros).invoke(&mut connection).unwrap();
            if admits == 1 {
                times.push(ms);
            }
        }
        let until = |ms: usize| times.iter().filter(|time| **time < ms).count();
        let windows = SECONDS * 1000 / WINDOW_MS;
        // All but fixed_window admit a part of the next quota in the first window already.
        let first = if algorithm == "fixed_window" { QUOTA } else { 2 * QUOTA };
        assert_eq!(until(2000), QUOTA, "{algorithm}: the burst");
        assert!(until(WINDOW_MS) <= first, "{algorithm}: {times:?}");
        let most = if first == QUOTA { windows } else { windows + 1 };
        let bounds = (windows - 1) * QUOTA..=most * QUOTA;
        assert!(bounds.contains(&times.len()), "{algorithm}: {} {times:?}", times.len());
        admitted.insert(algorithm.to_owned(), times.into());
    }
    let measured = serde_json::json!({
        "quota": QUOTA, "window_ms": WINDOW_MS, "per_second": PER_SECOND, "seconds": SECONDS,
        "admitted_ms": admitted,
    });
    println!("burst {measured}");
}

/// If the store's clock goes back an hour, clients are locked out for at most the time of a refill.
#[test]
fn clock_that_goes_back_does_not_lock_clients_out() {
    let redis = Redis::start(&[]);
    let (mut connection, script) = (redis.connection(), redis::Script::new(&with_clock()));
    for algorithm in ALGORITHMS {
        let mut run = |seconds: u64| -> [u64; 4] {
            let mut call = script.key(format!("back-{algorithm}"));
            let call = call.arg(algorithm).arg(5).arg(60_000).arg(1).arg(5).arg(seconds).arg(0);
            call.invoke(&mut connection).unwrap()
        };
        let begun = 1_700_000_000;
        while run(begun)[0] == 1 {}
        let before = begun - 3600;
        let [_, _, wait_ms, _] = run(before);
        assert!(wait_ms <= 120_000, "{algorithm}: {wait_ms}");
        // A later request must return the same moment, and a request at that moment is admitted.
        let [_, _, less_ms, _] = run(before + 5);
        assert!(less_ms <= wait_ms.saturating_sub(5000), "{algorithm}: {wait_ms}, then {less_ms}");
        let [admitted, ..] = run(before + wait_ms.div_ceil(1000));
        assert_eq!(admitted, 1, "{algorithm}");
    }
}

/// Compares what 64 concurrent connections were admitted with the algorithm's bound for the elapsed
/// time, by Redis's own clock.
#[test]
fn concurrent_connections_do_not_exceed_the_quota() {
    const QUOTA: u64 = 50;
    const WINDOW_MS: u64 = 400;
    let redis = Redis::start(&[]);
    println!("| algorithm | quota | sent | admitted | bound | most in a window's length |");
    println!("|---|---|---|---|---|---|");
    for algorithm in ALGORITHMS {
        let workers: Vec<_> = (0..64)
            .map(|_| {
                let mut connection = redis.connection();
                std::thread::spawn(move || {
                    let script = redis::Script::new(LIMIT_SCRIPT);
                    let begun = std::time::Instant::now();
                    let (mut sent, mut admitted) = (0_u64, Vec::new());
                    while begun.elapsed().as_millis() < 1500 {
                        let mut call = script.key(format!("race-{algorithm}"));
                        let call = call.arg(algorithm).arg(QUOTA).arg(WINDOW_MS).arg(1).arg(QUOTA);
                        let before = now_us(&mut connection);
                        let [admits, ..]: [u64; 4] = call.invoke(&mut connection).unwrap();
                        let after = now_us(&mut connection);
                        sent += 1;
                        if admits == 1 {
                            admitted.push((before, after));
                        }
                    }
                    (sent, admitted)
                })
            })
            .collect();
        let (mut sent, mut admitted) = (0, Vec::new());
        for worker in workers {
            let (own, times) = worker.join().unwrap();
            sent += own;
            admitted.extend(times);
        }
        admitted.sort_unstable();
        let first = admitted.iter().map(|(before, _)| *before).min().unwrap();
        let last = admitted.iter().map(|(_, after)| *after).max().unwrap();
        let took = last - first;
        let window = WINDOW_MS * 1000;
        // The number of windows that the elapsed time may have touched.
        let bound = match algorithm {
            "gcra" | "token_bucket" => QUOTA + took * QUOTA / window + 1,
            // The count of one window never exceeds the quota.
            "sliding_window" | "fixed_window" => QUOTA * (took / window + 2),
            _ => unreachable!(),
        };
        let count = admitted.len() as u64;
        // The requests that were certainly sent within one window.
        let surely = |(before, _): &(u64, u64)| {
            admitted.iter().filter(|(b, a)| b >= before && *a <= before + window).count()
        };
        let most = admitted.iter().map(surely).max().unwrap() as u64;
        println!(
            "| {algorithm} | {QUOTA} in {WINDOW_MS} ms | {sent} | {count} in {} ms | {bound} | {most} |",
            took / 1000
        );
        assert!(count <= bound, "{algorithm}: {count} over {bound}");
        assert!(most <= 2 * QUOTA, "{algorithm}: {most} in a window's length");
        assert!(sent > count * 5, "{algorithm}: no request was rejected");
        assert!(count >= QUOTA * 2, "{algorithm}: {count}");
    }
}

fn now_us(connection: &mut redis::Connection) -> u64 {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(connection).unwrap();
    seconds * 1_000_000 + micros
}

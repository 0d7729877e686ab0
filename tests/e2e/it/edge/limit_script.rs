//! Runs the limit script in a real Redis. Compares it with a model of each algorithm by the test's
//! clock, also for sequences that isolates with leases bring about, and with 64 concurrent
//! connections by Redis's clock.

// The model is explored where it belongs. Here it only makes sequences of questions.
#[path = "../../../../crates/core/src/limits/lease/model/setup.rs"]
#[allow(dead_code)]
mod setup;
#[path = "../../../../crates/core/src/limits/lease/model/store.rs"]
#[allow(dead_code)]
mod store;
#[path = "../../../../crates/core/src/limits/lease/model/world.rs"]
#[allow(dead_code)]
mod world;

use crate::support::redis_server::Redis;
use portcullis_core::{Granted, LIMIT_SCRIPT, LeaseKey, LeaseTerms, Leases, Spend};
use setup::{Budget, Setup};
use store::{Answer, Kind, Rules, Store};
use world::{Call, World};

const ALGORITHMS: [&str; 4] = ["gcra", "token_bucket", "sliding_window", "fixed_window"];

/// Returns the script, with the test in control of its clock: ARGV[9], in milliseconds.
fn with_clock() -> String {
    let clock = r"
        local real, clock = redis, tonumber(ARGV[9])
        local redis = {error_reply = redis.error_reply}
        function redis.call(name, key, value, unit, life, condition)
            if name == 'TIME' then
                local seconds = math.floor(clock / 1000)
                return {tostring(seconds), tostring(clock % 1000 * 1000)}
            elseif name == 'SET' then
                assert(unit == 'PX' and tonumber(life) >= 1)
                assert(not condition or condition == 'NX')
                if condition and redis.call('GET', key) then return false end
                local expires = string.format('%.0f', clock + life)
                return real.call('SET', key, expires .. '|' .. value)
            end
            if name == 'MGET' then
                return {redis.call('GET', key), real.call('GET', value)}
            end
            assert(name == 'GET' or name == 'PTTL')
            local expires, own = string.match(real.call('GET', key) or '', '^(%d+)|(.*)$')
            -- A key exists until its last millisecond has passed.
            if not expires or clock > tonumber(expires) then
                return name == 'PTTL' and -2 or false
            end
            return name == 'PTTL' and expires - clock or own
        end
    ";
    assert!(!LIMIT_SCRIPT.starts_with("#!"), "that line must stay the first");
    format!("{clock}{LIMIT_SCRIPT}")
}

/// The script's reply: whether the request is admitted, what is left, the two waits, what was taken
/// in advance, within which time that must be used, and the override that applied.
type Reply = [u64; 7];

/// Calls the script of [`with_clock`].
struct Script {
    connection: redis::Connection,
    script: redis::Script,
}

impl Script {
    fn new(redis: &Redis) -> Self {
        Self { connection: redis.connection(), script: redis::Script::new(&with_clock()) }
    }

    fn call(&mut self, key: &str, algorithm: &str, rules: &Rules, asked: [u64; 3]) -> Reply {
        let call = self.script.key(key);
        run(&mut self.connection, call, algorithm, rules, 0, asked)
    }

    /// Does the same for a limit whose callers with other quotas share the state.
    fn call_shared(&mut self, key: &str, algorithm: &str, rules: &Rules, asked: [u64; 3]) -> Reply {
        let call = self.script.key(key);
        run(&mut self.connection, call, algorithm, rules, 1, asked)
    }

    /// Does the same for a limit that takes overrides. The one of the key is `quota`, if it is
    /// another than the limit's.
    fn call_with(
        &mut self,
        key: &str,
        algorithm: &str,
        rules: &Rules,
        quota: u64,
        asked: [u64; 3],
    ) -> Reply {
        let own = format!("quota-{{{key}}}");
        let command = match quota == rules.quota {
            true => redis::cmd("DEL").arg(&own).to_owned(),
            false => redis::cmd("SET").arg(&own).arg(quota).to_owned(),
        };
        let _: redis::Value = command.query(&mut self.connection).unwrap();
        let mut call = self.script.key(key);
        call.key(own);
        let reply = run(&mut self.connection, call, algorithm, rules, 0, asked);
        assert_eq!(reply[6], if quota == rules.quota { 0 } else { quota });
        reply
    }
}

fn run(
    connection: &mut redis::Connection,
    mut call: redis::ScriptInvocation<'_>,
    algorithm: &str,
    rules: &Rules,
    shared: u8,
    [now_ms, cost, wanted]: [u64; 3],
) -> Reply {
    let call = call.arg(algorithm).arg(rules.quota).arg(rules.window_ms);
    // Whether something is owed is guessed, often wrongly. No answer may depend on it.
    let guess = (now_ms + cost + wanted) % 2;
    let call = call.arg(cost).arg(rules.burst).arg(wanted).arg(shared).arg(guess).arg(now_ms);
    call.invoke(connection).unwrap()
}

fn kind(algorithm: &str) -> Kind {
    match algorithm {
        "gcra" | "token_bucket" => Kind::Bucket,
        "fixed_window" => Kind::FixedWindow,
        _ => Kind::SlidingWindow,
    }
}

/// Returns pseudorandom numbers below a bound.
fn randomly(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |bound| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % bound
    }
}

fn without_waits([admitted, left, _, _, taken, ends_ms, _]: Reply) -> Answer {
    Answer { admitted: admitted == 1, left, taken, ends_ms }
}

#[test]
fn each_algorithm_matches_its_model() {
    let redis = Redis::start(&[]);
    let mut script = Script::new(&redis);
    let mut random = randomly(11);
    let (mut admitted, mut refused, mut in_advance) = (0, 0, 0);
    for round in 0..160 {
        let algorithm = ALGORITHMS[round % 4];
        let quota = 1 + random(if round % 3 == 0 { 7 } else { 1000 });
        let window_ms = 1 + random(120_000);
        let kind = kind(algorithm);
        let burst = if kind == Kind::Bucket { 1 + random(quota * 2) } else { quota };
        let base = Rules { kind, quota, window_ms, burst };
        let (has_overrides, is_shared) = (round % 5 < 2, matches!(round % 5, 2 | 3));
        let (mut own, mut rules) = (quota, base);
        let mut model = Store::default();
        let key = format!("model-{round}");
        let mut now: u64 = 1_700_000_000_000 + random(1_000_000);
        for step in 0..60 {
            now += random(window_ms * 3 / quota + 2);
            if (has_overrides || is_shared) && random(6) == 0 {
                own = if random(3) == 0 { quota } else { 1 + random(2 * quota) };
                rules = Rules { quota: own, burst: (burst * own / quota).max(1), ..base };
            }
            let most = burst.min(quota).min(rules.burst);
            let cost = if step % 4 == 0 { 1 + random(most) } else { 1 };
            let asked = if random(3) == 0 { random(most + 1) } else { 0 };
            // A smaller quota has smaller leases. Those of a plan are the isolate's to scale.
            let is_scaled = has_overrides && own < quota;
            let wanted = if is_scaled { asked * own / quota } else { asked };
            let mut call = |asked: [u64; 3]| match (has_overrides, is_shared) {
                (true, _) => script.call_with(&key, algorithm, &base, own, asked),
                (_, true) => script.call_shared(&key, algorithm, &rules, asked),
                _ => script.call(&key, algorithm, &base, asked),
            };
            let said = format!("{rules:?}, {cost} and {wanted} in advance at {now}");
            let reply = call([now, cost, asked]);
            let answer = model.ask(&rules, now, cost, wanted);
            assert_eq!(without_waits(reply), answer, "{said}");
            let [_, left, wait_ms, more_ms, taken, _, _] = reply;
            in_advance += taken;
            if !answer.admitted {
                refused += 1;
                // The wait is exact to the millisecond: rejected before it, admitted after it.
                assert!(wait_ms > 0 && !model.admits(&rules, now + wait_ms - 1, cost), "{said}");
                now += wait_ms;
                assert!(model.admits(&rules, now, cost), "{said}: {wait_ms}");
                let again = call([now, cost, 0]);
                assert_eq!(without_waits(again), model.ask(&rules, now, cost, 0), "{said}");
                continue;
            }
            admitted += 1;
            assert_eq!(wait_ms, 0, "{said}");
            assert!(left == 0 || model.admits(&rules, now, left), "{said}: {left} left");
            assert!(!model.admits(&rules, now, left + 1), "{said}: more than {left} left");
            if left < rules.burst {
                let more = now + more_ms;
                assert!(more_ms > 0 && model.admits(&rules, more, left + 1), "{said}: {more_ms}");
                assert!(!model.admits(&rules, more - 1, left + 1), "{said}: {more_ms}");
            }
        }
    }
    println!("{admitted} admitted, {refused} refused, {in_advance} taken, as their models have it");
    assert!(admitted > 1000 && refused > 1000, "{admitted} {refused}");
    assert!(in_advance > 1000, "{in_advance}");
}

/// Isolates with leases, a network and a clock, at random. What they ask the model of the store is
/// replayed against the script.
#[test]
fn sequences_of_the_lease_model_are_answered_alike() {
    let redis = Redis::start(&[]);
    let mut script = Script::new(&redis);
    let mut random = randomly(13);
    let (mut questions, mut retries, mut taken) = (0, 0, 0);
    for round in 0..120_usize {
        let algorithm = ALGORITHMS[round % 4];
        let (quota, window_ms) = (40 + random(1000), 1000 * (1 + random(5)));
        let kind = kind(algorithm);
        let burst = if kind == Kind::Bucket { quota + random(quota) } else { quota };
        let supplied = u32::try_from(quota * 1000 / window_ms).unwrap();
        let reserve = if kind == Kind::Bucket { supplied.min(quota as u32 / 2) } else { 0 };
        let mut setup = Setup {
            rules: Rules { kind, quota, window_ms, burst },
            terms: LeaseTerms { life_ms: 1000, units_max: supplied, reserve },
            first_cost: 1,
            first_ms: 0,
            cost: 1 + random(5) as u32,
            isolates: 1 + round % 3,
            margin_ms: 50,
            ticks_ms: Vec::new(),
            lags_ms: Vec::new(),
            step_ms: 0,
            is_step_seen: true,
            records_calls: true,
            overrides: if round % 8 < 4 { vec![1 + random(2 * quota)] } else { Vec::new() },
            mutation: None,
            spoil: None,
        };
        let mut world = World::new(&setup, Budget::ample());
        for _ in 0..400 {
            let choice = random(1 << 31) << 31 | random(1 << 31);
            world.apply_random(&mut setup, choice);
        }
        retries += usize::from(Budget::ample().lost - world.budget.lost);
        let (rules, key) = (setup.charged(quota), format!("leases-{round}"));
        for Call { quota: own, now_ms, cost, wanted, answer } in &world.calls {
            // What the script takes of a smaller quota is scaled already.
            let wanted = if *own < quota { (wanted * quota).div_ceil(*own) } else { *wanted };
            let asked = [*now_ms, *cost, wanted];
            let reply = match setup.overrides.is_empty() {
                true => script.call(&key, algorithm, &rules, asked),
                false => script.call_with(&key, algorithm, &rules, *own, asked),
            };
            let said = format!("{rules:?}, {cost} and {wanted} in advance at {now_ms}");
            assert_eq!(without_waits(reply), *answer, "{said}");
            questions += 1;
            taken += answer.taken;
        }
    }
    println!("{questions} questions, {retries} of them retried, {taken} taken in advance");
    assert!(questions > 5000 && retries > 100 && taken > 1000, "{questions} {retries} {taken}");
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
    let mut script = Script::new(&redis);
    let mut admitted = serde_json::Map::new();
    for algorithm in ALGORITHMS {
        let mut times = Vec::new();
        let (quota, window_ms) = (QUOTA as u64, WINDOW_MS as u64);
        let rules = Rules { kind: kind(algorithm), quota, window_ms, burst: quota };
        for request in 0..PER_SECOND * SECONDS {
            let ms = request * 1000 / PER_SECOND;
            // A window of the clock begins three seconds after the first request.
            let asked = [1_700_000_001_000 + ms as u64, 1, 0];
            let [admits, ..] = script.call(&format!("burst-{algorithm}"), algorithm, &rules, asked);
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
    let mut script = Script::new(&redis);
    for algorithm in ALGORITHMS {
        let rules = Rules { kind: kind(algorithm), quota: 5, window_ms: 60_000, burst: 5 };
        let key = format!("back-{algorithm}");
        let mut run = |seconds: u64| script.call(&key, algorithm, &rules, [seconds * 1000, 1, 0]);
        let begun = 1_700_000_000;
        assert!((0..50).any(|_| run(begun)[0] == 0), "{algorithm} admits all");
        let before = begun - 3600;
        let [_, _, wait_ms, ..] = run(before);
        assert!(wait_ms <= 120_000, "{algorithm}: {wait_ms}");
        // A later request must return the same moment, and a request at that moment is admitted.
        let [_, _, less_ms, ..] = run(before + 5);
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
                        let [admits, ..]: Reply = call.invoke(&mut connection).unwrap();
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

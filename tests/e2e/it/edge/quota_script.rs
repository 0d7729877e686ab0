//! Runs the script of calendar limits and credits in a real Redis, by the test's clock, and
//! compares it with a model. Does the same with the script that restores what the store lost.

use crate::support::redis_server::Redis;
use portcullis_core::{KnownUse, QUOTA_SCRIPT, RESTORE_SCRIPT, StoreKeys, restore_command};
use std::collections::BTreeMap;

const DAY_MS: u64 = 86_400_000;

/// Returns a script, with the test in control of its clock: the last of ARGV, in milliseconds.
fn with_clock(script: &str) -> String {
    let clock = r"
        local real, clock = redis, tonumber(table.remove(ARGV))
        local redis = {error_reply = redis.error_reply}
        function redis.call(name, ...)
            if name ~= 'TIME' then return real.call(name, ...) end
            return {tostring(math.floor(clock / 1000)), tostring(clock % 1000 * 1000)}
        end
    ";
    format!("{clock}{script}")
}

/// What the script is asked: the algorithm, the period, its quota, the cost, what to take in
/// advance, and the time.
struct Asked<'a> {
    algorithm: &'a str,
    period: &'a str,
    quota: u64,
    cost: u64,
    wanted: u64,
    now_ms: u64,
}

struct Script {
    connection: redis::Connection,
    script: redis::Script,
    restore: redis::Script,
}

impl Script {
    fn new(redis: &Redis) -> Self {
        let [script, restore] =
            [QUOTA_SCRIPT, RESTORE_SCRIPT].map(|text| redis::Script::new(&with_clock(text)));
        Self { connection: redis.connection(), script, restore }
    }

    fn call(&mut self, keys: &[&str], asked: &Asked<'_>) -> [u64; 11] {
        let mut call = self.script.prepare_invoke();
        keys.iter().for_each(|key| {
            call.key(*key);
        });
        call.arg(asked.algorithm).arg(asked.period).arg(asked.quota).arg(asked.cost);
        call.arg(asked.wanted).arg(asked.now_ms);
        call.invoke(&mut self.connection).unwrap()
    }

    /// Restores a state. Returns what the script returns.
    fn restore(&mut self, keys: &StoreKeys, known: &KnownUse<'_>, now_ms: u64) -> u64 {
        let command = restore_command(keys, known);
        let words: Vec<&[u8]> = command.words().iter().map(Vec::as_slice).collect();
        assert_eq!((words[0], words[1]), (&b"EVAL"[..], RESTORE_SCRIPT.as_bytes()));
        let mut call = self.restore.prepare_invoke();
        call.key(words[3]);
        words[4..].iter().for_each(|word| {
            call.arg(*word);
        });
        call.arg(now_ms).invoke(&mut self.connection).unwrap()
    }

    fn life(&mut self, key: &str) -> i64 {
        redis::cmd("PTTL").arg(key).query(&mut self.connection).unwrap()
    }

    fn run(&mut self, words: &[&str]) -> Option<String> {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).query(&mut self.connection).unwrap()
    }
}

fn randomly(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |bound| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % bound
    }
}

/// Returns when each month begins, in Unix milliseconds, from 1970 to 2199, counted day by day.
fn months() -> Vec<u64> {
    let (mut days, mut begins) = (0, Vec::new());
    for year in 1970..2200 {
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let february = if is_leap { 29 } else { 28 };
        for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            begins.push(days * DAY_MS);
            days += length;
        }
    }
    begins
}

/// Returns when the period of a moment begins and ends.
fn bounds(months: &[u64], period: &str, now_ms: u64) -> (u64, u64) {
    match period {
        "day" => (now_ms - now_ms % DAY_MS, now_ms - now_ms % DAY_MS + DAY_MS),
        "month" => {
            let next = months.partition_point(|begins| *begins <= now_ms);
            (months[next - 1], months[next])
        }
        _ => (0, 0),
    }
}

#[test]
fn periods_are_those_of_the_utc_calendar() {
    let redis = Redis::start(&[]);
    let mut script = Script::new(&redis);
    let months = months();
    let mut tried = 0;
    for begins in &months[1..months.len() - 1] {
        for now_ms in [begins - 1, *begins, begins + DAY_MS - 1, begins + 27 * DAY_MS] {
            for period in ["day", "month"] {
                let (begun, ends) = bounds(&months, period, now_ms);
                let key = format!("{period}-{now_ms}");
                let asked =
                    Asked { algorithm: "period", period, quota: 2, cost: 1, wanted: 0, now_ms };
                let left_ms = ends - now_ms;
                let reply = script.call(&[&key], &asked);
                let expect = [1, 1, 0, left_ms, 0, left_ms, 0, begun, now_ms, 1, 0];
                assert_eq!(reply, expect, "{period} of {now_ms}");
                tried += 1;
            }
        }
        let _: () = redis::cmd("FLUSHALL").query(&mut script.connection).unwrap();
    }
    println!("{tried} moments of 230 years");
}

/// What the script computes, in whole numbers.
#[derive(Default)]
struct Model {
    begun: u64,
    used: u64,
    spent: u64,
}

impl Model {
    /// Returns whether the request is admitted, what is left, the wait, and what was taken.
    fn ask(
        &mut self,
        asked: &Asked<'_>,
        granted: u64,
        (starts, ends): (u64, u64),
    ) -> (bool, u64, u64, u64) {
        if self.begun != starts {
            (self.begun, self.used) = (starts, 0);
        }
        let (rest, credits) =
            (asked.quota.saturating_sub(self.used), granted.saturating_sub(self.spent));
        let left = rest + credits;
        if asked.cost > left {
            let comes = ends > 0 && asked.cost <= asked.quota + credits;
            return (false, left, if comes { ends - asked.now_ms } else { 0 }, 0);
        }
        let taken = asked.wanted.min((left - asked.cost) / 4);
        let counted = asked.cost + taken;
        self.used += counted.min(rest);
        self.spent += counted - counted.min(rest);
        (true, left - counted, 0, taken)
    }
}

#[test]
fn script_matches_its_model() {
    let redis = Redis::start(&[]);
    let (mut script, months) = (Script::new(&redis), months());
    let mut random = randomly(17);
    let (mut admitted, mut refused, mut advance) = (0, 0, 0);
    for round in 0..120 {
        let algorithm = if round % 2 == 0 { "period" } else { "credits" };
        let period = ["day", "month", "none"][round % if algorithm == "period" { 2 } else { 3 }];
        let quota = if period == "none" { 0 } else { 1 + random(40) };
        let has_own = algorithm == "credits" || round % 3 == 0;
        let (key, own) = (format!("model-{round}"), format!("own-{round}"));
        let (mut model, mut granted, mut applies) = (Model::default(), 0, quota);
        let mut now_ms = 1_700_000_000_000 + random(1_000_000) * 1_000_000;
        for _ in 0..80 {
            now_ms += random(match period {
                "month" => 2 * DAY_MS,
                _ => DAY_MS / 8,
            });
            if has_own && random(8) == 0 {
                let value = random(60);
                match algorithm {
                    "credits" => granted += value,
                    _ => applies = if value == 0 { quota } else { value },
                }
                let text = if algorithm == "credits" { granted } else { value };
                script.run(&["SET", &own, &text.to_string()]);
            }
            let cost = if random(4) == 0 { random(6) } else { 1 };
            let wanted = if random(3) == 0 { random(30) } else { 0 };
            let asked = Asked { algorithm, period, quota, cost, wanted, now_ms };
            let keys: &[&str] = if has_own { &[&key, &own] } else { &[&key] };
            let reply = script.call(keys, &asked);
            let scaled = if applies < quota { wanted * applies / quota } else { wanted };
            let (ours, bounds) = (
                Asked { quota: applies, wanted: scaled, ..asked },
                bounds(&months, period, now_ms),
            );
            let expect = model.ask(&ours, granted, bounds);
            let [admits, left, wait, _, taken, ends, applied, begun, _, used, spent] = reply;
            let said = format!("{algorithm} {period} {applies} {granted} at {now_ms}");
            assert_eq!((admits == 1, left, wait, taken), expect, "{said}");
            assert_eq!((begun, used, spent), (bounds.0, model.used, model.spent), "{said}");
            assert_eq!(ends, bounds.1.saturating_sub(now_ms), "{said}");
            let total = if algorithm == "credits" { quota + granted } else { applies };
            assert!(applied == total || (applied == 0 && total == quota), "{said}: {applied}");
            (admitted, refused) = (admitted + admits, refused + 1 - admits);
            advance += taken;
        }
    }
    println!("{admitted} admitted, {refused} refused, {advance} taken in advance");
    assert!(admitted > 2000 && refused > 1000 && advance > 500, "{admitted} {refused} {advance}");
}

/// A clock that goes back over midnight neither gives the quota again nor locks out for longer than
/// the period that goes on. One that was a year ahead is forgotten.
#[test]
fn clock_that_goes_back_gives_no_quota_twice() {
    let redis = Redis::start(&[]);
    let mut script = Script::new(&redis);
    let midnight = 20_000 * DAY_MS;
    let mut at = |now_ms: u64| {
        let asked =
            Asked { algorithm: "period", period: "day", quota: 2, cost: 1, wanted: 0, now_ms };
        script.call(&["back"], &asked)
    };
    assert_eq!([at(midnight - 9)[0], at(midnight - 8)[0], at(midnight - 7)[0]], [1, 1, 0]);
    assert_eq!([at(midnight)[0], at(midnight + 1)[0]], [1, 1]);
    let [admitted, _, wait, ..] = at(midnight - 5000);
    assert_eq!((admitted, wait), (0, DAY_MS + 5000));
    assert_eq!(at(midnight + DAY_MS)[0], 1);
    assert_eq!(at(midnight + 365 * DAY_MS)[0], 1);
    assert_eq!(at(midnight + 2 * DAY_MS)[0], 1);
}

/// Restores what a state had used before the store lost it, in any order, and as often as it comes.
#[test]
fn restored_state_admits_only_the_rest() {
    let redis = Redis::start(&[]);
    let (mut script, keys) = (Script::new(&redis), StoreKeys::new("pc"));
    let mut random = randomly(23);
    let begun = 20_000 * DAY_MS;
    for round in 0..60_u8 {
        let hash = [round; 32];
        let state = keys.limit("l", "credits", &hash);
        let own = keys.quota(&state);
        script.run(&["SET", &own, "300"]);
        // What each state used at the last report: of the day, and of the credits.
        let mut known: BTreeMap<u64, [u64; 2]> = BTreeMap::new();
        let (mut total, mut now_ms) = (0, begun + 1);
        for _ in 0..4 {
            let mut last = None;
            for _ in 0..random(90) {
                now_ms += 1;
                let asked = Asked {
                    algorithm: "credits",
                    period: "day",
                    quota: 50,
                    cost: 1,
                    wanted: 0,
                    now_ms,
                };
                let reply = script.call(&[&state, &own], &asked);
                total += reply[0];
                last = Some(reply);
            }
            if let Some([.., origin, used, spent]) = last {
                known.insert(origin, [used, spent]);
            }
            let is_lost = random(3) > 0;
            if is_lost {
                script.run(&["DEL", &state]);
                now_ms += 1;
            }
            for place in [1, 0, 1, 0] {
                let states: Vec<(u64, u64)> =
                    known.iter().map(|(origin, used)| (*origin, used[place])).collect();
                let known = KnownUse {
                    limit: "l",
                    state: "credits",
                    hash,
                    begun_ms: [begun, 0][place],
                    ends_ms: [begun + DAY_MS, 0][place],
                    states: &states,
                };
                assert_eq!(script.restore(&keys, &known, now_ms), 1);
            }
        }
        let asked =
            Asked { algorithm: "credits", period: "day", quota: 50, cost: 0, wanted: 0, now_ms };
        let [_, left, ..] = script.call(&[&state, &own], &asked);
        assert_eq!(left + total, 350, "round {round}: {known:?}");
        let value = script.run(&["GET", &state]).unwrap();
        let life = script.life(&state);
        assert!(life > 300 * DAY_MS as i64 && value.split(':').count() == 6, "{value} {life}");
    }
}

fn known_use<'u>(
    state: &'u str,
    [begun_ms, ends_ms]: [u64; 2],
    states: &'u [(u64, u64)],
) -> KnownUse<'u> {
    KnownUse { limit: "l", state, hash: [1; 32], begun_ms, ends_ms, states }
}

/// Nothing is written if nothing was lost, and what is written lives as long as it must.
#[test]
fn restore_without_a_loss_writes_nothing() {
    let redis = Redis::start(&[]);
    let (mut script, keys) = (Script::new(&redis), StoreKeys::new("pc"));
    let (begun_ms, day) = (20_000 * DAY_MS, DAY_MS as i64);
    let now_ms = begun_ms + 1000;
    for (state, period, life_days) in [("day", "day", 2), ("credits", "none", 400)] {
        let (hash, is_credits) = ([1; 32], state == "credits");
        let key = keys.limit("l", state, &hash);
        let own = keys.quota(&key);
        if is_credits {
            script.run(&["SET", &own, "50"]);
        }
        let quota = if is_credits { 0 } else { 50 };
        let algorithm = if is_credits { "credits" } else { "period" };
        let asked = Asked { algorithm, period, quota, cost: 3, wanted: 0, now_ms };
        let [.., used, spent] = script.call(&[&key, &own], &asked);
        assert_eq!(used + spent, 3);
        let value = script.run(&["GET", &key]);
        let (begun_ms, ends_ms) = if is_credits { (0, 0) } else { (begun_ms, begun_ms + DAY_MS) };
        // A state that was written would get another life.
        let short = (life_days * day - day / 4).to_string();
        script.run(&["GETEX", &key, "PX", &short]);
        for states in [&[(now_ms, 3)][..], &[(now_ms, 1)], &[(now_ms, 0)]] {
            assert_eq!(
                script.restore(&keys, &known_use(state, [begun_ms, ends_ms], states), now_ms + 5),
                1
            );
            assert_eq!(script.run(&["GET", &key]), value);
            let life = script.life(&key);
            assert!((0..=life_days * day - day / 4).contains(&life), "{life}");
        }
        // A longer life stays, and a shorter one becomes that of the period.
        for (before, expect) in [(500 * day, 500 * day), (day / 2, life_days * day - 1005)] {
            let expect = if is_credits && before < day { 400 * day } else { expect };
            script.run(&["GETEX", &key, "PX", &before.to_string()]);
            let used = if before > day { 4 } else { 5 };
            assert_eq!(
                script.restore(
                    &keys,
                    &known_use(state, [begun_ms, ends_ms], &[(now_ms, used)]),
                    now_ms + 5
                ),
                1
            );
            let life = script.life(&key);
            assert!((expect - 5000..=expect).contains(&life), "{life} {expect}");
        }
        if is_credits {
            // They are not forgotten while none asks for them.
            script.run(&["GETEX", &key, "PX", &(199 * day).to_string()]);
            assert_eq!(
                script.restore(
                    &keys,
                    &known_use(state, [begun_ms, ends_ms], &[(now_ms, 5)]),
                    now_ms + 5
                ),
                1
            );
            assert!(script.life(&key) > 399 * day);
        }
        script.run(&["DEL", &key]);
        assert_eq!(
            script.restore(&keys, &known_use(state, [begun_ms, ends_ms], &[(7, 3)]), now_ms),
            1
        );
        let life = script.life(&key);
        let expect = if is_credits { 400 * day } else { 2 * day - 1000 };
        assert!((expect - 5000..=expect).contains(&life), "{life} {expect}");
    }
}

/// A thief of the auth service's token can set no state of a later period, or one that stays.
#[test]
fn restore_refuses_what_no_period_has() {
    let redis = Redis::start(&[]);
    let (mut script, keys) = (Script::new(&redis), StoreKeys::new("pc"));
    let (begun, now_ms) = (20_000 * DAY_MS, 20_000 * DAY_MS + 1000);
    let limit = 1_000_000_000_000_000;
    for (state, begun_ms, ends_ms, used) in [
        ("day", begun + DAY_MS, begun + 2 * DAY_MS, 3),
        ("day", now_ms + 1, begun + DAY_MS, 3),
        ("day", begun - DAY_MS, begun, 3),
        ("day", begun, begun + 32 * DAY_MS, 3),
        ("day", begun, begun + DAY_MS, limit + 1),
        ("day", begun, begun + DAY_MS, u64::MAX),
        ("day", 0, 0, 3),
        ("credits", begun + DAY_MS, begun + 2 * DAY_MS, 3),
        ("credits", 0, 0, limit + 1),
    ] {
        let states = [(1, used)];
        let hash = [2; 32];
        let known = KnownUse { limit: "l", state, hash, begun_ms, ends_ms, states: &states };
        assert_eq!(script.restore(&keys, &known, now_ms), 0, "{known:?}");
        assert_eq!(script.run(&["GET", &keys.limit("l", state, &hash)]), None);
    }
    let key = keys.limit("l", "period", &[2; 32]);
    for words in ["nan", "inf", "0x10", "1e3", "-1", " 1", ""] {
        let mut call = script.restore.prepare_invoke();
        call.key(&key).arg(0).arg(begun).arg(begun + DAY_MS).arg(1).arg(words).arg(now_ms);
        assert_eq!(call.invoke::<u64>(&mut script.connection).unwrap(), 0, "{words}");
    }
    // The life of credits is bounded, too.
    let mut call = script.restore.prepare_invoke();
    call.key(&key).arg(500 * DAY_MS).arg(0).arg(0).arg(1).arg(limit).arg(now_ms);
    assert_eq!(call.invoke::<u64>(&mut script.connection).unwrap(), 1);
    assert!(script.life(&key) <= 400 * DAY_MS as i64);
}

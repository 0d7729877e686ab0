//! Simulates hours of logins with the real script in a real Redis, on a simulated clock.

use super::*;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::process::{Child, Command as Process, Stdio};

/// A Redis in which `simulation.lua` runs the script. The clock is an argument.
struct Simulation {
    server: Child,
    redis: redis::Connection,
    script: String,
    attempts: LoginAttempts,
}

/// A login at a given second.
struct Login {
    second: u64,
    username: String,
    address: String,
    is_correct: bool,
}

/// An attempt, as `simulation.lua` reads it.
struct Attempt {
    known: String,
    counters: Vec<Counter>,
    now_ms: u64,
    what: String,
}

impl Simulation {
    fn new() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Process::new("redis-server");
        server.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()]);
        let server = server.stdout(Stdio::null()).spawn().unwrap();
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        let connect = || {
            std::thread::sleep(Duration::from_millis(20));
            client.get_connection().ok()
        };
        let mut redis = (0..500).find_map(|_| connect()).unwrap();
        let clock = "{math.floor(simulated / 1000), simulated % 1000 * 1000}";
        let script = include_str!("../login_attempts.lua").replacen("redis.call('TIME')", clock, 1);
        assert!(script.contains(clock), "the script has no clock");
        let driver = include_str!("simulation.lua");
        let script =
            format!("local function script(KEYS, ARGV, simulated)\n{script}\nend\n{driver}");
        let script = redis::cmd("SCRIPT").arg("LOAD").arg(script).query(&mut redis).unwrap();
        let store = Arc::new(Store::new("http://127.0.0.1:1", "x").unwrap());
        let limits = LoginAttemptLimits { per_username: 5, per_address: 20 };
        let attempts = LoginAttempts::new(store, StoreKeys::new("pc"), limits);
        Self { server, redis, script, attempts }
    }

    /// Runs logins in order. Returns for each whether its password was verified.
    fn verify(&mut self, logins: &[Login]) -> Vec<bool> {
        let attempt = |login: &Login| Attempt {
            known: self.attempts.known_address_key(&login.username, &login.address),
            counters: self.attempts.counters(&login.username, &login.address),
            now_ms: EPOCH_MS + login.second * 1000,
            what: u8::from(login.is_correct).to_string(),
        };
        let attempts: Vec<Attempt> = logins.iter().map(attempt).collect();
        self.run(&attempts).into_iter().map(|verified| verified == 1).collect()
    }

    /// Applies the steps to a counter in order, each at its own time.
    fn steps(&mut self, counter: &Counter, steps: &[(u64, Step)]) -> Vec<u64> {
        let attempt = |(now_ms, step): &(u64, Step)| Attempt {
            known: String::new(),
            counters: vec![counter.clone()],
            now_ms: *now_ms,
            what: argument(counter, *step),
        };
        self.run(&steps.iter().map(attempt).collect::<Vec<_>>())
    }

    /// Runs attempts with counters of the same limits.
    fn run(&mut self, attempts: &[Attempt]) -> Vec<u64> {
        let counters = &attempts[0].counters;
        let step = |step| argument(&counters[0], step);
        let given = json!({
            "counters": counters.iter().map(limits).collect::<Vec<_>>(),
            "query": step(Step::Query), "add": step(Step::Add), "remove": step(Step::Remove),
        });
        let mut results = Vec::new();
        for batch in attempts.chunks(BATCH) {
            let mut command = redis::cmd("EVALSHA");
            command.arg(&self.script).arg(batch.len() * (1 + counters.len()));
            for attempt in batch {
                command.arg(&attempt.known);
                attempt.counters.iter().for_each(|counter| _ = command.arg(&counter.key));
            }
            command.arg(given.to_string());
            batch.iter().for_each(|attempt| _ = command.arg(attempt.now_ms).arg(&attempt.what));
            results.extend(command.query::<Vec<u64>>(&mut self.redis).unwrap());
        }
        results
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Returns the script's arguments for the limits of a counter.
fn limits(counter: &Counter) -> Value {
    let command = script(counter, Step::Query);
    let words = command.words().get(4..7).unwrap();
    let limits: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
    json!({ "limits": limits, "exempts_known_address": counter.exempts_known_address })
}

/// Returns the script's argument for a step.
fn argument(counter: &Counter, step: Step) -> String {
    let command = script(counter, step);
    String::from_utf8(command.words().last().unwrap().clone()).unwrap()
}

/// Returns 720 logins an hour from one address for ten hours, 5% of them with a wrong password.
fn honest_logins() -> Vec<Login> {
    let mut random = Random(7);
    let login = |second| Login {
        second,
        username: format!("user-{}", random.below(USERS)),
        address: OFFICE.to_owned(),
        is_correct: random.below(100) >= 5,
    };
    (0..HOURS * 3600).step_by(5).map(login).collect()
}

/// A generator of numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

#[test]
fn honest_logins_from_one_address_are_hardly_throttled() {
    let verified = Simulation::new().verify(&honest_logins());
    let throttled = verified.iter().filter(|verified| !**verified).count();
    let logins = verified.len();
    println!("{throttled} of {logins} honest logins were throttled");
    assert!(throttled * 100 < logins, "{throttled} of {logins} honest logins were throttled");
}

#[test]
fn guesser_elsewhere_does_not_throttle_other_users() {
    let guess = |second| Login {
        second,
        username: format!("user-{}", second % USERS),
        address: "198.51.100.9".to_owned(),
        is_correct: false,
    };
    let mut logins = honest_logins();
    logins.extend((0..HOURS * 3600).map(guess));
    logins.sort_by_key(|login| login.second);
    let verified = Simulation::new().verify(&logins);
    let count = |is_honest: bool, is_verified: bool| {
        let results = logins.iter().map(|login| login.address == OFFICE).zip(&verified);
        results
            .filter(|(honest, verified)| (*honest, **verified) == (is_honest, is_verified))
            .count()
    };
    println!("{} guesses were verified", count(false, true));
    assert_eq!(count(true, false), 0, "honest logins were throttled");
}

#[test]
fn guesses_per_hour_are_bounded() {
    /// Returns how many guesses were verified in ten hours, with one guess a second while
    /// `is_active`.
    fn guesses(target: impl Fn(u64) -> (String, String), is_active: impl Fn(u64) -> bool) -> u64 {
        let guess = |second| {
            let (username, address) = target(second);
            Login { second, username, address, is_correct: false }
        };
        let logins: Vec<Login> =
            (0..HOURS * 3600).filter(|second| is_active(*second)).map(guess).collect();
        Simulation::new().verify(&logins).into_iter().map(u64::from).sum()
    }
    let address = |second| (format!("user-{second}"), OFFICE.to_owned());
    let username = |second| {
        let address = format!("198.51.{}.{}", second / 250 % 250, second % 250);
        ("alice".to_owned(), address)
    };
    let pair = |_| ("alice".to_owned(), OFFICE.to_owned());
    let always = |_| true;
    // Pausing after each burst must not help a guesser.
    let bursts = |second: u64| second % 1000 < 100;
    for (name, verified, per_hour, burst) in [
        ("address", guesses(address, always), 60, 30),
        ("address, in bursts", guesses(address, bursts), 60, 30),
        ("username", guesses(username, always), 60, 110),
        ("username, in bursts", guesses(username, bursts), 60, 110),
        ("username and address", guesses(pair, always), 20, 15),
        ("username and address, in bursts", guesses(pair, bursts), 20, 15),
    ] {
        println!("by {name}: {verified} guesses in {HOURS} hours");
        let most = burst + HOURS * per_hour;
        assert!(verified <= most, "by {name}: {verified} guesses, at most {most}");
    }
}

#[test]
fn script_and_local_counter_have_the_same_arithmetic() {
    let mut simulation = Simulation::new();
    let (mut random, kinds) = (Random(11), [Step::Query, Step::Add, Step::Add, Step::Remove]);
    let mut now_ms = EPOCH_MS;
    for number in 0..40 {
        let limits = CounterLimits {
            free_attempts: u32::try_from(1 + random.below(6)).unwrap(),
            wait_max: Duration::from_secs(1 + random.below(60)),
            drain: Duration::from_millis(1 + random.below(20_000)),
        };
        let key = format!("counter-{number}");
        let counter = Counter { key, limits, exempts_known_address: false };
        let mut next = || {
            now_ms += random.below(3000);
            (now_ms, kinds[usize::try_from(random.below(4)).unwrap()])
        };
        let steps: Vec<(u64, Step)> = (0..200).map(|_| next()).collect();
        let mut local = CounterState::default();
        for (stored, (now_ms, step)) in simulation.steps(&counter, &steps).iter().zip(steps) {
            let expect = local.apply(step, &limits, now_ms);
            assert_eq!(*stored, expect, "{step:?} {limits:?} {local:?}");
        }
    }
}

/// A counter's key must live until its last attempt has drained, and no longer.
#[test]
fn stored_counter_expires_when_it_has_drained() {
    let mut simulation = Simulation::new();
    let counters = simulation.attempts.counters("alice", OFFICE);
    let address = counters.last().unwrap();
    simulation.steps(address, &[(EPOCH_MS, Step::Add); 3]);
    let life: u64 = redis::cmd("PTTL").arg(&address.key).query(&mut simulation.redis).unwrap();
    assert!((170_000..=180_000).contains(&life), "{life}");
    simulation.steps(address, &[(EPOCH_MS, Step::Remove); 3]);
    let is_there: u64 =
        redis::cmd("EXISTS").arg(&address.key).query(&mut simulation.redis).unwrap();
    assert_eq!(is_there, 0);
}

const HOURS: u64 = 10;
const USERS: u64 = 300;
const OFFICE: &str = "192.0.2.1";
/// When the simulated clock starts.
const EPOCH_MS: u64 = 1_700_000_000_000;
/// The attempts of one round trip.
const BATCH: usize = 1000;

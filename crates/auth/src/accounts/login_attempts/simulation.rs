//! Hours of logins against the real script in a real Redis, by a simulated clock.

use super::*;
use std::collections::HashSet;
use std::net::TcpListener;
use std::process::{Child, Command as Process, Stdio};

/// A Redis with the script, whose clock is an argument.
struct Simulation {
    server: Child,
    redis: redis::Connection,
    script: String,
    attempts: LoginAttempts,
    known: HashSet<String>,
    /// When each counter expires by the simulated clock. Redis itself expires keys by its own.
    expires: HashMap<String, u64>,
    now_ms: u64,
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
        let clock = "{math.floor(ARGV[#ARGV] / 1000), ARGV[#ARGV] % 1000 * 1000}";
        let script = include_str!("../login_attempts.lua").replacen("redis.call('TIME')", clock, 1);
        assert!(script.contains(clock), "the script has no clock");
        let script = redis::cmd("SCRIPT").arg("LOAD").arg(script).query(&mut redis).unwrap();
        let store = Arc::new(Store::new("http://127.0.0.1:1", "x").unwrap());
        let limits = LoginAttemptLimits { per_username: 5, per_address: 20 };
        let attempts = LoginAttempts::new(store, StoreKeys::new("pc"), limits);
        let (known, expires) = (HashSet::new(), HashMap::new());
        Self { server, redis, script, attempts, known, expires, now_ms: 1_700_000_000_000 }
    }

    /// Runs the script on each counter.
    fn run(&mut self, counters: &[&Counter], step: Step) -> u64 {
        let mut pipeline = redis::pipe();
        for counter in counters {
            if self.expires.get(&counter.key).is_some_and(|expires| *expires <= self.now_ms) {
                pipeline.cmd("DEL").arg(&counter.key).ignore();
            }
            // Without the command's name and the script's text.
            let words = script(counter, step).words().get(2..).unwrap().to_vec();
            let command = pipeline.cmd("EVALSHA").arg(&self.script);
            words.iter().fold(command, |command, word| command.arg(word)).arg(self.now_ms);
            pipeline.cmd("PTTL").arg(&counter.key);
        }
        let replies: Vec<i64> = pipeline.query(&mut self.redis).unwrap();
        let mut longest = 0;
        for (counter, replies) in counters.iter().zip(replies.chunks(2)) {
            longest = longest.max(u64::try_from(replies[0]).unwrap());
            if step != Step::Query {
                let life = u64::try_from(replies[1]).unwrap_or_default();
                self.expires.insert(counter.key.clone(), self.now_ms + life);
            }
        }
        longest
    }

    /// Makes one attempt. Returns whether its password was verified.
    fn attempt(&mut self, username: &str, address: &str, is_correct: bool) -> bool {
        let known = self.attempts.known_address_key(username, address);
        let counters = self.attempts.counters(username, address);
        let is_known = self.known.contains(&known);
        let counters: Vec<&Counter> = counters
            .iter()
            .filter(|counter| !(is_known && counter.exempts_known_address))
            .collect();
        if self.run(&counters, Step::Query) > 0 || self.run(&counters, Step::Add) > 0 {
            return false;
        }
        if is_correct {
            self.known.insert(known);
            let pair = counters.first().unwrap();
            redis::cmd("DEL").arg(&pair.key).exec(&mut self.redis).unwrap();
            self.run(counters.get(1..).unwrap(), Step::Remove);
        }
        true
    }

    /// Makes 720 logins an hour from one address for ten hours, 5% of them with a wrong password.
    /// `meanwhile` is called once a second. Returns how many of the logins were throttled.
    fn honest_hours(&mut self, mut meanwhile: impl FnMut(&mut Self, u64)) -> u32 {
        let (mut throttled, mut random) = (0, Random(7));
        for second in 0..HOURS * 3600 {
            if second % 5 == 0 {
                let username = format!("user-{}", random.below(USERS));
                let is_correct = random.below(100) >= 5;
                throttled += u32::from(!self.attempt(&username, OFFICE, is_correct));
            }
            meanwhile(self, second);
            self.now_ms += 1000;
        }
        throttled
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

#[test]
fn honest_logins_from_one_address_are_hardly_throttled() {
    let throttled = Simulation::new().honest_hours(|_, _| {});
    let logins = u32::try_from(HOURS * 720).unwrap();
    println!("{throttled} of {logins} honest logins were throttled");
    assert!(throttled * 100 < logins, "{throttled} of {logins} honest logins were throttled");
}

#[test]
fn guesser_elsewhere_costs_other_users_nothing() {
    let mut guesses = 0;
    let throttled = Simulation::new().honest_hours(|simulation, second| {
        let username = format!("user-{}", second % USERS);
        guesses += u32::from(simulation.attempt(&username, "198.51.100.9", false));
    });
    println!("{guesses} guesses were verified; {throttled} honest logins were throttled");
    assert_eq!(throttled, 0, "honest logins were throttled");
}

#[test]
fn guesses_per_hour_are_bounded() {
    /// Returns how many guesses were verified in ten hours, with one a second while `is_active`.
    fn guesses(target: impl Fn(u64) -> (String, String), is_active: impl Fn(u64) -> bool) -> u64 {
        let mut simulation = Simulation::new();
        let mut verified = 0;
        for second in 0..HOURS * 3600 {
            if is_active(second) {
                let (username, address) = target(second);
                verified += u64::from(simulation.attempt(&username, &address, false));
            }
            simulation.now_ms += 1000;
        }
        verified
    }
    let address = |second| (format!("user-{second}"), OFFICE.to_owned());
    let username = |second| {
        let address = format!("198.51.{}.{}", second / 250 % 250, second % 250);
        ("alice".to_owned(), address)
    };
    let pair = |_| ("alice".to_owned(), OFFICE.to_owned());
    let always = |_| true;
    // A guesser who pauses after each burst gains nothing.
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
    let (mut random, steps) = (Random(11), [Step::Query, Step::Add, Step::Add, Step::Remove]);
    for number in 0..40 {
        let limits = CounterLimits {
            free_attempts: u32::try_from(1 + random.below(6)).unwrap(),
            wait_max: Duration::from_secs(1 + random.below(60)),
            drain: Duration::from_millis(1 + random.below(20_000)),
        };
        let key = format!("counter-{number}");
        let counter = Counter { key, limits, exempts_known_address: false };
        let mut local = CounterState::default();
        for _ in 0..200 {
            simulation.now_ms += random.below(3000);
            let step = steps[usize::try_from(random.below(4)).unwrap()];
            let expect = local.apply(step, &limits, simulation.now_ms);
            assert_eq!(simulation.run(&[&counter], step), expect, "{step:?} {limits:?} {local:?}");
        }
    }
}

/// A counter's key must live until its last attempt has drained, and no longer.
#[test]
fn stored_counter_expires_when_it_has_drained() {
    let mut simulation = Simulation::new();
    let counters = simulation.attempts.counters("alice", OFFICE);
    let address = counters.last().unwrap();
    for _ in 0..3 {
        simulation.run(&[address], Step::Add);
    }
    let life: u64 = redis::cmd("PTTL").arg(&address.key).query(&mut simulation.redis).unwrap();
    assert!((170_000..=180_000).contains(&life), "{life}");
    for _ in 0..3 {
        simulation.run(&[address], Step::Remove);
    }
    let is_there: u64 =
        redis::cmd("EXISTS").arg(&address.key).query(&mut simulation.redis).unwrap();
    assert_eq!(is_there, 0);
}

const HOURS: u64 = 10;
const USERS: u64 = 300;
const OFFICE: &str = "192.0.2.1";

//! Login throttling. Attempts are counted per username and address, per username, and per address.
//! A counter over its limit makes further attempts wait, longer each time.
//!
//! The counters are in the store, so that all auth services share them. While the store is
//! unavailable, or has no scripts, each process counts for itself.

use crate::problem::Problem;
use crate::store::Store;
use portcullis_core::StoreKeys;
use redis_rest::{Command, Reply};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts login attempts and throttles them.
pub struct LoginAttempts {
    store: Arc<Store>,
    keys: StoreKeys,
    limits: LoginAttemptLimits,
    local: Mutex<HashMap<String, LocalCount>>,
}

/// How many attempts are accepted without a wait; 0 means any number.
#[derive(Clone, Copy, Debug)]
pub struct LoginAttemptLimits {
    /// Attempts with one username from one address. From all addresses together,
    /// [`ALL_ADDRESSES_FACTOR`] times as many.
    pub per_username: u32,
    /// Attempts from one address.
    pub per_address: u32,
}

/// An accepted attempt, and the counters that include it.
pub struct LoginAttempt {
    counters: Vec<Counter>,
    known_address_key: String,
}

/// A counter of attempts.
struct Counter {
    key: String,
    free_attempts: u32,
    wait_max: Duration,
    /// Whether an address from which the user has logged in before is exempt.
    exempts_known_address: bool,
}

/// A counter of this process alone.
#[derive(Clone, Copy)]
struct LocalCount {
    count: u32,
    wait_until: Instant,
}

/// The state of an attempt's counters in the store.
struct CounterState {
    waits_ms: Vec<u64>,
    is_known_address: bool,
}

/// What the script does to a counter.
#[derive(Clone, Copy)]
enum Step {
    Query,
    Add,
    Remove,
}

impl LoginAttempts {
    /// Creates counters in `store`.
    pub fn new(store: Arc<Store>, keys: StoreKeys, limits: LoginAttemptLimits) -> Self {
        Self { store, keys, limits, local: Mutex::default() }
    }

    /// Counts an attempt before its outcome is known, so that parallel attempts can't bypass the
    /// limits. An attempt that has to wait is not counted.
    pub async fn begin(&self, username: &str, address: &str) -> Result<LoginAttempt, Problem> {
        let known_address_key = self.known_address_key(username, address);
        let mut counters = self.counters(username, address);
        let wait_ms = match self.query(&counters, &known_address_key).await {
            Some(CounterState { waits_ms, is_known_address }) => {
                let applies =
                    |counter: &Counter| !(is_known_address && counter.exempts_known_address);
                let waits = counters.iter().zip(waits_ms).filter(|(counter, _)| applies(counter));
                match waits.map(|(_, wait_ms)| wait_ms).max().unwrap_or(0) {
                    0 => {
                        counters.retain(applies);
                        // A read-only store answers queries but counts nothing.
                        match self.update(&counters, Step::Add).await {
                            Some(waits_ms) => waits_ms.into_iter().max().unwrap_or(0),
                            None => self.count_locally(&counters),
                        }
                    }
                    wait_ms => wait_ms,
                }
            }
            None => self.count_locally(&counters),
        };
        if wait_ms == 0 {
            return Ok(LoginAttempt { counters, known_address_key });
        }
        tracing::warn!(event = "login_throttled", wait_ms, address);
        Err(Problem::LoginThrottled { seconds: wait_ms.div_ceil(1000) })
    }

    /// Resets the counter of this username and address, and remembers the address as known. The
    /// other counters lose this one attempt only: a successful login makes no room for guessing
    /// other accounts, or for guesses from other addresses.
    pub async fn succeeded(&self, attempt: &LoginAttempt) {
        let counters = &attempt.counters;
        let pair = counters.first().filter(|_| self.limits.per_username > 0);
        self.remove_locally(counters, pair);
        let Some(pair) = pair else {
            self.update(counters, Step::Remove).await;
            return;
        };
        let mut commands = vec![
            Command::new("DEL").arg(&pair.key),
            Command::new("SET")
                .arg(&attempt.known_address_key)
                .arg(1)
                .arg("EX")
                .arg(KNOWN_ADDRESS_SECONDS),
        ];
        commands.extend(counters.iter().skip(1).map(|counter| script(counter, Step::Remove)));
        let _ = self.store.execute(&commands).await;
    }

    /// Removes an attempt from the counters because its password was not verified.
    pub async fn cancel(&self, attempt: &LoginAttempt) {
        self.remove_locally(&attempt.counters, None);
        self.update(&attempt.counters, Step::Remove).await;
    }

    /// Returns the counters that apply, the one of username and address first.
    fn counters(&self, username: &str, address: &str) -> Vec<Counter> {
        let LoginAttemptLimits { per_username, per_address } = self.limits;
        let counters = [
            Counter {
                key: self.keys.attempts("pair", &format!("{address}\n{username}")),
                free_attempts: per_username,
                wait_max: PAIR_WAIT_MAX,
                exempts_known_address: false,
            },
            Counter {
                key: self.keys.attempts("username", username),
                free_attempts: per_username.saturating_mul(ALL_ADDRESSES_FACTOR),
                wait_max: USERNAME_WAIT_MAX,
                exempts_known_address: true,
            },
            Counter {
                key: self.keys.attempts("address", address),
                free_attempts: per_address,
                wait_max: ADDRESS_WAIT_MAX,
                exempts_known_address: false,
            },
        ];
        counters.into_iter().filter(|counter| counter.free_attempts > 0).collect()
    }

    fn known_address_key(&self, username: &str, address: &str) -> String {
        self.keys.attempts("own", &format!("{address}\n{username}"))
    }

    /// Returns how long each counter makes the attempt wait, and whether the address is known.
    /// Returns `None` if the store is unavailable.
    async fn query(&self, counters: &[Counter], known_address_key: &str) -> Option<CounterState> {
        if counters.is_empty() {
            return Some(CounterState { waits_ms: Vec::new(), is_known_address: false });
        }
        let mut commands: Vec<Command> =
            counters.iter().map(|counter| script(counter, Step::Query)).collect();
        commands.push(Command::new("GET").arg(known_address_key));
        let mut replies = self.store.execute(&commands).await.ok()?;
        let is_known_address = replies.pop().is_some_and(|reply| reply.as_text().is_some());
        Some(CounterState { waits_ms: parse_waits(&replies)?, is_known_address })
    }

    /// Adds or removes one attempt. Returns how long each counter makes it wait, or `None` if the
    /// store is unavailable.
    async fn update(&self, counters: &[Counter], step: Step) -> Option<Vec<u64>> {
        if counters.is_empty() {
            return Some(Vec::new());
        }
        let commands: Vec<Command> = counters.iter().map(|counter| script(counter, step)).collect();
        parse_waits(&self.store.execute(&commands).await.ok()?)
    }

    /// Counts an attempt in this process, with the same arithmetic as the script. Returns how long
    /// it has to wait.
    fn count_locally(&self, counters: &[Counter]) -> u64 {
        let now = Instant::now();
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        local.retain(|_, entry| entry.wait_until + COUNTER_LIFE > now);
        let wait = |counter: &Counter| {
            let until = local.get(&counter.key).map_or(now, |entry| entry.wait_until);
            u64::try_from(until.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX)
        };
        let wait_ms = counters.iter().map(wait).max().unwrap_or(0);
        if wait_ms > 0 {
            return wait_ms;
        }
        for counter in counters {
            if local.len() >= LOCAL_COUNTERS_MAX {
                let oldest = local.iter().min_by_key(|(_, entry)| entry.wait_until);
                if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                    local.remove(&key);
                }
            }
            let entry = local
                .entry(counter.key.clone())
                .or_insert(LocalCount { count: 0, wait_until: now });
            entry.count = entry.count.saturating_add(1);
            entry.wait_until = match entry.count.checked_sub(counter.free_attempts) {
                Some(over) => now + Duration::from_secs(1 << over.min(20)).min(counter.wait_max),
                None => now,
            };
        }
        0
    }

    /// Removes one attempt from the counters of this process, and all attempts from `reset`.
    fn remove_locally(&self, counters: &[Counter], reset: Option<&Counter>) {
        let now = Instant::now();
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        for counter in counters {
            if let Some(entry) = local.get_mut(&counter.key) {
                let is_reset = reset.is_some_and(|reset| reset.key == counter.key);
                entry.count = if is_reset { 0 } else { entry.count.saturating_sub(1) };
                entry.wait_until = now;
            }
        }
    }
}

fn parse_waits(replies: &[Reply]) -> Option<Vec<u64>> {
    let waits = replies.iter().map(|reply| match reply {
        Reply::Integer(wait_ms) => u64::try_from(*wait_ms).ok(),
        _ => None,
    });
    waits.collect()
}

/// Returns the command that runs the script on a counter. It sends the whole script each time:
/// logins are rare, and hashing a password costs more.
fn script(counter: &Counter, step: Step) -> Command {
    Command::new("EVAL")
        .arg(include_str!("login_attempts.lua"))
        .arg(1)
        .arg(&counter.key)
        .arg(counter.free_attempts)
        .arg(counter.wait_max.as_millis())
        .arg(COUNTER_LIFE.as_millis())
        .arg(match step {
            Step::Query => 0,
            Step::Add => 1,
            Step::Remove => -1,
        })
}

/// How many times as many attempts a username has from all addresses together. Its owner can't
/// prevent attempts of others.
pub const ALL_ADDRESSES_FACTOR: u32 = 20;
const PAIR_WAIT_MAX: Duration = Duration::from_secs(300);
const USERNAME_WAIT_MAX: Duration = Duration::from_secs(60);
const ADDRESS_WAIT_MAX: Duration = Duration::from_secs(900);
/// A counter expires this long after its last attempt.
const COUNTER_LIFE: Duration = Duration::from_secs(900);
/// How long an address stays known after a successful login.
const KNOWN_ADDRESS_SECONDS: u32 = 30 * 86_400;
const LOCAL_COUNTERS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(per_username: u32, per_address: u32) -> LoginAttempts {
        let store = Arc::new(Store::new("http://127.0.0.1:1", "x").unwrap());
        let limits = LoginAttemptLimits { per_username, per_address };
        LoginAttempts::new(store, StoreKeys::new("pc"), limits)
    }

    #[tokio::test]
    async fn login_attempts_are_counted_locally_without_a_store() {
        let attempts = attempts(3, 0);
        for _ in 0..3 {
            assert!(attempts.begin("alice", "192.0.2.1").await.is_ok());
        }
        let refused = attempts.begin("alice", "192.0.2.1").await;
        assert_eq!(refused.err(), Some(Problem::LoginThrottled { seconds: 1 }));
        assert!(attempts.begin("bob", "192.0.2.1").await.is_ok(), "another user");
        assert!(attempts.begin("alice", "192.0.2.2").await.is_ok(), "from another address");
        let known_address_key = attempts.known_address_key("alice", "192.0.2.1");
        let counters = attempts.counters("alice", "192.0.2.1");
        attempts.succeeded(&LoginAttempt { counters, known_address_key }).await;
        assert!(attempts.begin("alice", "192.0.2.1").await.is_ok(), "counter was reset");
    }

    /// A successful login to one account makes no room for guessing others.
    #[tokio::test]
    async fn own_account_does_not_bypass_the_address_limit() {
        let attempts = attempts(0, 8);
        let mut accepted = 0;
        for round in 0..5 {
            for guess in 0..6 {
                let name = format!("victim-{round}-{guess}");
                accepted += u32::from(attempts.begin(&name, "192.0.2.1").await.is_ok());
            }
            if let Ok(attempt) = attempts.begin("mallory", "192.0.2.1").await {
                attempts.succeeded(&attempt).await;
            }
        }
        assert!(accepted <= 8, "{accepted}");
    }

    #[test]
    fn local_counters_are_bounded() {
        let attempts = attempts(1, 1);
        for number in 0..=LOCAL_COUNTERS_MAX {
            let counter = |key: String| Counter {
                key,
                free_attempts: 1,
                wait_max: PAIR_WAIT_MAX,
                exempts_known_address: false,
            };
            attempts.count_locally(&[counter(number.to_string())]);
            if number > 50 {
                // A full scan each time would make this test too slow.
                let mut local = attempts.local.lock().unwrap();
                let wait_until = Instant::now();
                for fill in local.len()..LOCAL_COUNTERS_MAX {
                    local.insert(format!("fill-{fill}"), LocalCount { count: 1, wait_until });
                }
                drop(local);
                attempts.count_locally(&[counter("last".into())]);
                break;
            }
        }
        assert!(attempts.local.lock().unwrap().len() <= LOCAL_COUNTERS_MAX);
    }

    #[test]
    fn script_is_allowed_by_the_gateway_token_of_the_auth_service() {
        use aws_lc_rs::digest;
        let script = include_bytes!("login_attempts.lua");
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, script);
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(
            include_str!("../../../../docs/redis-gateway-tokens.toml").contains(&hash),
            "{hash}"
        );
    }
}

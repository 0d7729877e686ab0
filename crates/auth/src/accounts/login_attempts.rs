//! Login throttling. Attempts are counted per username and address, per username, and per address.
//! A counter over its limit makes further attempts wait, longer each time. Attempts drain: each one
//! stops counting after a while, so that the mistakes of many users at one address do not add up.
//!
//! The counters are in the store, so that all auth services share them. While the store is
//! unavailable, or can't run scripts, each process counts by itself.

mod counter;

use crate::problem::Problem;
use crate::store::Store;
use counter::{CounterLimits, CounterState, Step};
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
    local: Mutex<HashMap<String, LocalCounter>>,
    /// The start of the local counters' clock.
    started: Instant,
    /// The error with which the store refuses to count; `None` if it counts.
    refusal: Mutex<Option<String>>,
}

/// How many attempts are accepted without a wait; 0 means no limit. The same number drains within
/// [`PAIR_DRAIN`], [`USERNAME_DRAIN`] or [`ADDRESS_DRAIN`].
#[derive(Clone, Copy, Debug)]
pub struct LoginAttemptLimits {
    /// Attempts with one username from one address. From all addresses together,
    /// [`ALL_ADDRESSES_FACTOR`] times as many are accepted.
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
#[derive(Clone)]
struct Counter {
    key: String,
    limits: CounterLimits,
    /// Whether an address from which the user has logged in before is exempt.
    exempts_known_address: bool,
}

/// A counter in this process.
struct LocalCounter {
    state: CounterState,
    limits: CounterLimits,
}

/// The store's response about an attempt.
struct StoredCounters {
    waits_ms: Vec<u64>,
    is_known_address: bool,
}

impl LoginAttempts {
    /// Creates counters in `store`.
    pub fn new(store: Arc<Store>, keys: StoreKeys, limits: LoginAttemptLimits) -> Self {
        Self {
            store,
            keys,
            limits,
            local: Mutex::default(),
            started: Instant::now(),
            refusal: Mutex::default(),
        }
    }

    /// Checks whether the store counts attempts, and warns if it refuses to.
    pub async fn check(&self) {
        self.query(&self.counters("", ""), &self.known_address_key("", "")).await;
    }

    /// Returns the error with which the store refuses to count, so that each process counts by
    /// itself; `None` if it counts.
    pub fn refusal(&self) -> Option<String> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts an attempt before its outcome is known, so that parallel attempts can't bypass the
    /// limits. Does not count an attempt that has to wait.
    pub async fn begin(&self, username: &str, address: &str) -> Result<LoginAttempt, Problem> {
        let known_address_key = self.known_address_key(username, address);
        let mut counters = self.counters(username, address);
        let wait_ms = match self.query(&counters, &known_address_key).await {
            Some(StoredCounters { waits_ms, is_known_address }) => {
                let applies =
                    |counter: &Counter| !(is_known_address && counter.exempts_known_address);
                let waits = counters.iter().zip(waits_ms).filter(|(counter, _)| applies(counter));
                match waits.map(|(_, wait_ms)| wait_ms).max().unwrap_or(0) {
                    0 => {
                        counters.retain(applies);
                        // A read-only store answers queries but can't count.
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
    /// other counters lose only this one attempt. So a successful login allows no more guesses for
    /// other accounts or from other addresses.
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
        let limits = |free_attempts: u32, wait_max, drain_all: Duration| CounterLimits {
            free_attempts,
            wait_max,
            drain: drain_all / free_attempts.max(1),
        };
        let from_all_addresses = per_username.saturating_mul(ALL_ADDRESSES_FACTOR);
        let counters = [
            Counter {
                key: self.keys.attempts("pair", &format!("{address}\n{username}")),
                limits: limits(per_username, PAIR_WAIT_MAX, PAIR_DRAIN),
                exempts_known_address: false,
            },
            Counter {
                key: self.keys.attempts("username", username),
                limits: limits(from_all_addresses, USERNAME_WAIT_MAX, USERNAME_DRAIN),
                exempts_known_address: true,
            },
            Counter {
                key: self.keys.attempts("address", address),
                limits: limits(per_address, ADDRESS_WAIT_MAX, ADDRESS_DRAIN),
                exempts_known_address: false,
            },
        ];
        counters.into_iter().filter(|counter| counter.limits.free_attempts > 0).collect()
    }

    fn known_address_key(&self, username: &str, address: &str) -> String {
        self.keys.attempts("own", &format!("{address}\n{username}"))
    }

    /// Returns how long each counter makes the attempt wait, and whether the address is known.
    /// Returns `None` if the store is unavailable.
    async fn query(&self, counters: &[Counter], known_address_key: &str) -> Option<StoredCounters> {
        if counters.is_empty() {
            return Some(StoredCounters { waits_ms: Vec::new(), is_known_address: false });
        }
        let mut commands: Vec<Command> =
            counters.iter().map(|counter| script(counter, Step::Query)).collect();
        commands.push(Command::new("GET").arg(known_address_key));
        let mut replies = self.store.execute(&commands).await.ok()?;
        let is_known_address = replies.pop().is_some_and(|reply| reply.as_text().is_some());
        Some(StoredCounters { waits_ms: self.parse_waits(&replies)?, is_known_address })
    }

    /// Adds or removes one attempt. Returns how long each counter makes it wait; `None` if the
    /// store is unavailable.
    async fn update(&self, counters: &[Counter], step: Step) -> Option<Vec<u64>> {
        if counters.is_empty() {
            return Some(Vec::new());
        }
        let commands: Vec<Command> = counters.iter().map(|counter| script(counter, step)).collect();
        self.parse_waits(&self.store.execute(&commands).await.ok()?)
    }

    /// Returns the waits. Warns once if the store refuses to count, until it counts again.
    fn parse_waits(&self, replies: &[Reply]) -> Option<Vec<u64>> {
        let error = replies.iter().find_map(|reply| match reply {
            Reply::Error(text) => Some(text.clone()),
            _ => None,
        });
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(error), None) = (&error, &*refusal) {
            let fix = "if the error is NOPERM, allow the script for this service's token of the \
                       redis gateway, as docs/redis-gateway-tokens.toml does; memcached can't run \
                       scripts; other errors end when the store recovers";
            tracing::warn!(event = "login_attempts_counted_locally", error, fix);
        }
        *refusal = error;
        drop(refusal);
        let waits = replies.iter().map(|reply| match reply {
            Reply::Integer(wait_ms) => u64::try_from(*wait_ms).ok(),
            _ => None,
        });
        waits.collect()
    }

    /// Counts an attempt in this process, with the same arithmetic as the script. Returns how long
    /// it has to wait.
    fn count_locally(&self, counters: &[Counter]) -> u64 {
        let now_ms = self.local_ms();
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        local.retain(|_, counter| counter.state.ends_at_ms(&counter.limits) > now_ms);
        let mut wait_ms = 0;
        for Counter { key, limits, .. } in counters {
            if let Some(counter) = local.get_mut(key) {
                wait_ms = wait_ms.max(counter.state.apply(Step::Query, limits, now_ms));
            }
        }
        if wait_ms > 0 {
            return wait_ms;
        }
        for Counter { key, limits, .. } in counters {
            make_room(&mut local);
            let new = LocalCounter { state: CounterState::default(), limits: *limits };
            let counter = local.entry(key.clone()).or_insert(new);
            counter.state.apply(Step::Add, limits, now_ms);
        }
        0
    }

    /// Removes one attempt from the counters of this process, and all attempts from `reset`.
    fn remove_locally(&self, counters: &[Counter], reset: Option<&Counter>) {
        let now_ms = self.local_ms();
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        for Counter { key, limits, .. } in counters {
            if reset.is_some_and(|reset| reset.key == *key) {
                local.remove(key);
            } else if let Some(counter) = local.get_mut(key) {
                counter.state.apply(Step::Remove, limits, now_ms);
            }
        }
    }

    /// Returns the time of the local counters' clock.
    fn local_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Removes the counter that ends first if there are too many.
fn make_room(local: &mut HashMap<String, LocalCounter>) {
    if local.len() < LOCAL_COUNTERS_MAX {
        return;
    }
    let first = local.iter().min_by_key(|(_, counter)| counter.state.ends_at_ms(&counter.limits));
    if let Some(key) = first.map(|(key, _)| key.clone()) {
        local.remove(&key);
    }
}

/// Returns the command that runs the script on a counter. It sends the whole script each time:
/// logins are rare, and hashing a password costs more.
fn script(counter: &Counter, step: Step) -> Command {
    Command::new("EVAL")
        .arg(include_str!("login_attempts.lua"))
        .arg(1)
        .arg(&counter.key)
        .arg(counter.limits.free_attempts)
        .arg(counter.limits.wait_max.as_millis())
        .arg(counter.limits.drain_ms())
        .arg(match step {
            Step::Query => 0,
            Step::Add => 1,
            Step::Remove => -1,
        })
}

/// The factor by which more attempts with a username are accepted from all addresses together. A
/// user can't prevent the attempts of others.
pub const ALL_ADDRESSES_FACTOR: u32 = 20;
const PAIR_WAIT_MAX: Duration = Duration::from_secs(300);
const USERNAME_WAIT_MAX: Duration = Duration::from_secs(60);
const ADDRESS_WAIT_MAX: Duration = Duration::from_secs(900);
/// How long it takes until all free attempts with one username from one address have drained: 5 by
/// default, thus 20 an hour. This bounds a guesser in the long run.
const PAIR_DRAIN: Duration = Duration::from_secs(900);
/// The same for one username from all addresses: 100 by default, thus 60 an hour.
const USERNAME_DRAIN: Duration = Duration::from_secs(6000);
/// The same for one address: 20 by default, thus 60 an hour. Of 720 honest logins an hour, 5% fail,
/// which makes 36.
const ADDRESS_DRAIN: Duration = Duration::from_secs(1200);
/// How long an address stays known after a successful login.
const KNOWN_ADDRESS_SECONDS: u32 = 30 * 86_400;
const LOCAL_COUNTERS_MAX: usize = 10_000;

#[cfg(test)]
mod simulation;

#[cfg(test)]
mod tests;

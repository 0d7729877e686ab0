//! Attempts to log in: by username from one address, by username from anywhere, and by address. Whoever has too
//! many waits, longer each time. They are counted in the store, so that all auth services count together; and here,
//! while the store can't be asked, or has no scripts.

use crate::error::Problem;
use crate::store::Store;
use portcullis_core::StoreKeys;
use redis_rest::{Command, Reply};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts attempts.
pub struct Attempts {
    store: Arc<Store>,
    keys: StoreKeys,
    limits: AttemptLimits,
    here: Mutex<HashMap<String, Here>>,
}

/// How many attempts go on without a wait; 0: any number.
#[derive(Clone, Copy, Debug)]
pub struct AttemptLimits {
    /// With one username from one address; from anywhere, [`ANYWHERE`] times as many.
    pub per_username: u32,
    /// From one address.
    pub per_address: u32,
}

/// An attempt that goes on, and what it was counted by.
pub struct Attempt {
    counters: Vec<Counter>,
    own_key: String,
}

/// What one attempt counts for.
struct Counter {
    key: String,
    free: u32,
    longest: Duration,
    /// Whether an address that is known to be the user's own is spared.
    spares_own: bool,
}

/// What this process has counted.
#[derive(Clone, Copy)]
struct Here {
    count: u32,
    until: Instant,
}

impl Attempts {
    /// Counts in the store.
    pub fn new(store: Arc<Store>, keys: StoreKeys, limits: AttemptLimits) -> Self {
        Self { store, keys, limits, here: Mutex::default() }
    }

    /// Counts an attempt before it is known how it ends, so that many at once are no way around it. One that
    /// has to wait counts for nothing.
    pub async fn begin(&self, username: &str, address: &str) -> Result<Attempt, Problem> {
        let own_key = self.own(username, address);
        let mut counters = self.counters(username, address);
        let wait_ms = match self.ask(&counters, &own_key).await {
            Some((waits, own)) => {
                let applies = |counter: &Counter| !(own && counter.spares_own);
                let waits = counters.iter().zip(waits).filter(|(counter, _)| applies(counter));
                match waits.map(|(_, wait_ms)| wait_ms).max().unwrap_or(0) {
                    0 => {
                        counters.retain(applies);
                        // A store that can be read and takes no writes counts nothing.
                        match self.step(&counters, 1).await {
                            Some(waits) => waits.into_iter().max().unwrap_or(0),
                            None => self.count_here(&counters),
                        }
                    }
                    wait_ms => wait_ms,
                }
            }
            None => self.count_here(&counters),
        };
        if wait_ms == 0 {
            return Ok(Attempt { counters, own_key });
        }
        tracing::warn!(event = "login_throttled", wait_ms, address);
        Err(Problem::LoginCooling { seconds: wait_ms.div_ceil(1000) })
    }

    /// Forgets the attempts of a username from an address once one has succeeded, remembers that it is the
    /// user's own, and takes back what it counted elsewhere, and no more: an own account is no way to go on guessing
    /// others', and good logins make no room for bad ones from elsewhere.
    pub async fn succeeded(&self, attempt: &Attempt) {
        let counters = &attempt.counters;
        self.take_back_here(counters, true);
        let Some((pair, others)) = counters.split_first().filter(|_| self.limits.per_username > 0)
        else {
            self.step(counters, -1).await;
            return;
        };
        let mut commands = vec![
            Command::new("DEL").arg(&pair.key),
            Command::new("SET").arg(&attempt.own_key).arg(1).arg("EX").arg(OWN_SECONDS),
        ];
        commands.extend(others.iter().map(|counter| command(counter, -1)));
        let _ = self.store.ask(&commands).await;
    }

    /// Takes back an attempt that was not looked at.
    pub async fn take_back(&self, attempt: &Attempt) {
        self.take_back_here(&attempt.counters, false);
        self.step(&attempt.counters, -1).await;
    }

    /// What an attempt counts for, the username's from this address first.
    fn counters(&self, username: &str, address: &str) -> Vec<Counter> {
        let AttemptLimits { per_username, per_address } = self.limits;
        let counter = |key, free, longest, spares_own| Counter { key, free, longest, spares_own };
        let pair = self.keys.attempts("pair", &format!("{address}\n{username}"));
        let counters = [
            counter(pair, per_username, USERNAME_WAIT_MAX, false),
            counter(
                self.keys.attempts("username", username),
                per_username.saturating_mul(ANYWHERE),
                ANYWHERE_WAIT_MAX,
                true,
            ),
            counter(self.keys.attempts("address", address), per_address, ADDRESS_WAIT_MAX, false),
        ];
        counters.into_iter().filter(|counter| counter.free > 0).collect()
    }

    fn own(&self, username: &str, address: &str) -> String {
        self.keys.attempts("own", &format!("{address}\n{username}"))
    }

    /// How long each has to wait, and whether the address is known to be the user's own; none if the store does
    /// not say.
    async fn ask(&self, counters: &[Counter], own_key: &str) -> Option<(Vec<u64>, bool)> {
        if counters.is_empty() {
            return Some((Vec::new(), false));
        }
        let mut commands: Vec<Command> =
            counters.iter().map(|counter| command(counter, 0)).collect();
        commands.push(Command::new("GET").arg(own_key));
        let mut replies = self.store.ask(&commands).await.ok()?;
        let own = replies.pop().is_some_and(|reply| reply.as_text().is_some());
        Some((waits(&replies)?, own))
    }

    /// Counts one, or takes one back. Returns how long each has to wait, if the store says so.
    async fn step(&self, counters: &[Counter], step: i32) -> Option<Vec<u64>> {
        if counters.is_empty() {
            return Some(Vec::new());
        }
        let commands: Vec<Command> =
            counters.iter().map(|counter| command(counter, step)).collect();
        waits(&self.store.ask(&commands).await.ok()?)
    }

    /// The script's arithmetic, without it.
    fn count_here(&self, counters: &[Counter]) -> u64 {
        let now = Instant::now();
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        here.retain(|_, held| held.until + LIFE > now);
        let wait = |counter: &Counter| {
            let until = here.get(&counter.key).map_or(now, |held| held.until);
            u64::try_from(until.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX)
        };
        let wait_ms = counters.iter().map(wait).max().unwrap_or(0);
        if wait_ms > 0 {
            return wait_ms;
        }
        for counter in counters {
            if here.len() >= HERE_MAX {
                let oldest = here.iter().min_by_key(|(_, held)| held.until);
                if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                    here.remove(&key);
                }
            }
            let held = here.entry(counter.key.clone()).or_insert(Here { count: 0, until: now });
            held.count = held.count.saturating_add(1);
            held.until = match held.count.checked_sub(counter.free) {
                Some(over) => now + Duration::from_secs(1 << over.min(20)).min(counter.longest),
                None => now,
            };
        }
        0
    }

    fn take_back_here(&self, counters: &[Counter], forgets_first: bool) {
        let now = Instant::now();
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, counter) in counters.iter().enumerate() {
            if let Some(held) = here.get_mut(&counter.key) {
                let forgotten = forgets_first && place == 0 && self.limits.per_username > 0;
                held.count = if forgotten { 0 } else { held.count.saturating_sub(1) };
                held.until = now;
            }
        }
    }
}

fn waits(replies: &[Reply]) -> Option<Vec<u64>> {
    let waits = replies.iter().map(|reply| match reply {
        Reply::Integer(wait_ms) => u64::try_from(*wait_ms).ok(),
        _ => None,
    });
    waits.collect()
}

/// The script travels along: logins are rare, and a password's hash costs more.
fn command(counter: &Counter, step: i32) -> Command {
    Command::new("EVAL")
        .arg(include_str!("attempts.lua"))
        .arg(1)
        .arg(&counter.key)
        .arg(counter.free)
        .arg(counter.longest.as_millis())
        .arg(LIFE.as_millis())
        .arg(step)
}

/// How many times as many attempts a username has from anywhere, since its owner can't help them.
pub const ANYWHERE: u32 = 20;
const USERNAME_WAIT_MAX: Duration = Duration::from_secs(300);
const ANYWHERE_WAIT_MAX: Duration = Duration::from_secs(60);
const ADDRESS_WAIT_MAX: Duration = Duration::from_secs(900);
/// After so long without an attempt, all are forgotten.
const LIFE: Duration = Duration::from_secs(900);
/// For how long an address is known to be a user's own.
const OWN_SECONDS: u32 = 30 * 86_400;
const HERE_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(per_username: u32, per_address: u32) -> Attempts {
        let store = Arc::new(Store::new("http://127.0.0.1:1", "x").unwrap());
        let limits = AttemptLimits { per_username, per_address };
        Attempts::new(store, StoreKeys::new("pc"), limits)
    }

    #[tokio::test]
    async fn without_a_store_the_process_counts() {
        let attempts = attempts(3, 0);
        for _ in 0..3 {
            assert!(attempts.begin("alice", "192.0.2.1").await.is_ok());
        }
        let refused = attempts.begin("alice", "192.0.2.1").await;
        assert_eq!(refused.err(), Some(Problem::LoginCooling { seconds: 1 }));
        assert!(attempts.begin("bob", "192.0.2.1").await.is_ok(), "another's attempts");
        assert!(attempts.begin("alice", "192.0.2.2").await.is_ok(), "from another address");
        let own_key = attempts.own("alice", "192.0.2.1");
        let counters = attempts.counters("alice", "192.0.2.1");
        attempts.succeeded(&Attempt { counters, own_key }).await;
        assert!(attempts.begin("alice", "192.0.2.1").await.is_ok(), "forgotten");
    }

    /// Good logins to an own account do not make room for guesses at others'.
    #[tokio::test]
    async fn an_own_account_is_no_way_around() {
        let attempts = attempts(0, 8);
        let mut looked_at = 0;
        for round in 0..5 {
            for guess in 0..6 {
                let name = format!("victim-{round}-{guess}");
                looked_at += u32::from(attempts.begin(&name, "192.0.2.1").await.is_ok());
            }
            if let Ok(attempt) = attempts.begin("mallory", "192.0.2.1").await {
                attempts.succeeded(&attempt).await;
            }
        }
        assert!(looked_at <= 8, "{looked_at}");
    }

    #[test]
    fn what_is_counted_here_is_bounded() {
        let attempts = attempts(1, 1);
        for number in 0..=HERE_MAX {
            let counter = |key: String| Counter {
                key,
                free: 1,
                longest: USERNAME_WAIT_MAX,
                spares_own: false,
            };
            attempts.count_here(&[counter(number.to_string())]);
            if number > 50 {
                // A full scan each time would take this test for ever.
                let mut here = attempts.here.lock().unwrap();
                let until = Instant::now();
                for fill in here.len()..HERE_MAX {
                    here.insert(format!("fill-{fill}"), Here { count: 1, until });
                }
                drop(here);
                attempts.count_here(&[counter("last".into())]);
                break;
            }
        }
        assert!(attempts.here.lock().unwrap().len() <= HERE_MAX);
    }

    #[test]
    fn the_script_is_one_that_the_auth_service_token_may_run() {
        use aws_lc_rs::digest;
        let script = include_bytes!("attempts.lua");
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, script);
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(include_str!("../../../docs/redis-gateway-tokens.toml").contains(&hash), "{hash}");
    }
}

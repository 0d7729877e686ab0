//! Attempts to log in, by username and by address apart: whoever has too many waits, longer each time. They are
//! counted in the store, so that all origins count together; and here, while the store can't be asked.

use crate::error::Problem;
use crate::store::Store;
use portcullis_core::Keys;
use redis_rest::{Command, Reply};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts attempts.
pub struct Attempts {
    store: Arc<Store>,
    keys: Keys,
    limits: AttemptLimits,
    here: Mutex<HashMap<String, (u32, Instant)>>,
}

/// How many attempts go on without a wait; 0: any number.
#[derive(Clone, Copy, Debug)]
pub struct AttemptLimits {
    pub per_username: u32,
    pub per_address: u32,
}

/// What was counted for one attempt: the key, and how many are free.
type Counted = (String, u32, Duration);

impl Attempts {
    /// Counts in the store.
    pub fn new(store: Arc<Store>, keys: Keys, limits: AttemptLimits) -> Self {
        Self { store, keys, limits, here: Mutex::default() }
    }

    /// Counts an attempt before it is known how it ends, so that many at once are no way around it.
    pub async fn begin(&self, username: &str, address: Option<&str>) -> Result<(), Problem> {
        let counted = self.counted(username, address);
        let wait_ms = match self.ask(&counted, 1).await {
            Some(waits) => waits.into_iter().max().unwrap_or(0),
            None => counted.iter().map(|counted| self.count_here(counted)).max().unwrap_or(0),
        };
        if wait_ms == 0 {
            return Ok(());
        }
        tracing::warn!(event = "login_cooling", wait_ms, address);
        Err(Problem::LoginCooling { seconds: wait_ms.div_ceil(1000) })
    }

    /// Forgets a username's attempts once one has succeeded, and takes back what it cost the address.
    pub async fn succeeded(&self, username: &str, address: Option<&str>) {
        let counted = self.counted(username, address);
        self.forget_here(&counted);
        let mut commands = Vec::new();
        for (place, counted) in counted.iter().enumerate() {
            let name = place == 0 && self.limits.per_username > 0;
            commands.push(match name {
                true => Command::new("DEL").arg(&counted.0),
                false => command(counted, -1),
            });
        }
        if !commands.is_empty() && self.store.tell(&commands).await.is_err() {
            tracing::warn!(event = "attempts_kept");
        }
    }

    fn forget_here(&self, counted: &[Counted]) {
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, ..) in counted {
            here.remove(key);
        }
    }

    /// The keys that count, the username's first.
    fn counted(&self, username: &str, address: Option<&str>) -> Vec<Counted> {
        let AttemptLimits { per_username, per_address } = self.limits;
        let name = (self.keys.attempts("username", username), per_username, USERNAME_WAIT_MAX);
        let address = address
            .map(|address| (self.keys.attempts("address", address), per_address, ADDRESS_WAIT_MAX));
        [Some(name), address].into_iter().flatten().filter(|(_, free, _)| *free > 0).collect()
    }

    /// How long each has to wait; none if the store does not say.
    async fn ask(&self, counted: &[Counted], step: i32) -> Option<Vec<u64>> {
        if counted.is_empty() {
            return Some(Vec::new());
        }
        let commands: Vec<Command> = counted.iter().map(|counted| command(counted, step)).collect();
        let replies = self.store.ask(&commands).await.ok()?;
        let waits = replies.iter().map(|reply| match reply {
            Reply::Integer(wait_ms) => u64::try_from(*wait_ms).ok(),
            _ => None,
        });
        waits.collect()
    }

    /// The script's arithmetic, for as long as the store is out.
    fn count_here(&self, (key, free, longest): &Counted) -> u64 {
        let now = Instant::now();
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        if here.len() >= HERE_MAX {
            here.retain(|_, (_, until)| *until + LIFE > now);
        }
        if here.len() >= HERE_MAX {
            here.clear();
        }
        let (count, until) = here.entry(key.clone()).or_insert((0, now));
        if now < *until {
            return u64::try_from((*until - now).as_millis()).unwrap_or(u64::MAX).max(1);
        }
        *count = count.saturating_add(1);
        if let Some(over) = count.checked_sub(*free) {
            *until = now + Duration::from_secs(1 << over.min(20)).min(*longest);
        }
        0
    }
}

/// One attempt, or one taken back. The script travels along: logins are rare, and their hash costs more.
fn command((key, free, longest): &Counted, step: i32) -> Command {
    Command::new("EVAL")
        .arg(include_str!("attempts.lua"))
        .arg(1)
        .arg(key)
        .arg(free)
        .arg(longest.as_millis())
        .arg(LIFE.as_millis())
        .arg(step)
}

/// The longest wait of a username: whoever tries its password from elsewhere can't lock its owner out for more.
const USERNAME_WAIT_MAX: Duration = Duration::from_secs(300);
const ADDRESS_WAIT_MAX: Duration = Duration::from_secs(900);
/// After so long without an attempt, all are forgotten.
const LIFE: Duration = Duration::from_secs(900);
const HERE_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts() -> Attempts {
        let store = Arc::new(Store::new("http://127.0.0.1:1", "x").unwrap());
        let limits = AttemptLimits { per_username: 3, per_address: 0 };
        Attempts::new(store, Keys::new("pc"), limits)
    }

    #[tokio::test]
    async fn without_a_store_the_process_counts() {
        let attempts = attempts();
        for _ in 0..3 {
            assert!(attempts.begin("alice", Some("192.0.2.1")).await.is_ok());
        }
        let refused = attempts.begin("alice", None).await;
        assert_eq!(refused, Err(Problem::LoginCooling { seconds: 1 }));
        assert!(attempts.begin("bob", None).await.is_ok(), "another's attempts");
        attempts.succeeded("alice", None).await;
        assert!(attempts.begin("alice", None).await.is_ok(), "forgotten");
    }

    #[test]
    fn what_is_counted_here_is_bounded() {
        let attempts = attempts();
        for number in 0..=HERE_MAX {
            attempts.count_here(&(number.to_string(), 1, USERNAME_WAIT_MAX));
        }
        assert!(attempts.here.lock().unwrap().len() <= HERE_MAX);
    }

    #[test]
    fn the_script_is_one_that_the_origins_token_may_run() {
        use aws_lc_rs::digest;
        let script = include_bytes!("attempts.lua");
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, script);
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(include_str!("../../../docs/gateway-tokens.toml").contains(&hash), "{hash}");
    }
}

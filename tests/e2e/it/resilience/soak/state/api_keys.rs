//! The API keys that the operator created.

use crate::resilience::soak::history::Revocation;
use crate::resilience::soak::model::Token;
use crate::support::chance::Chance;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;

const ENDED_MAX: usize = 500;
const RECENT: usize = 10;

/// A key, as its owner knows it.
#[derive(Clone)]
pub struct ApiKey {
    pub id: String,
    pub token: Arc<Token>,
    /// Until then the secret before this one may work, so the key is not changed.
    pub settled: Instant,
}

/// All keys. One that is being changed is in none of the lists.
#[derive(Default)]
pub struct ApiKeys {
    idle: Mutex<Vec<ApiKey>>,
    ended: Mutex<VecDeque<ApiKey>>,
}

impl ApiKeys {
    pub fn take(&self, chance: &mut Chance) -> Option<ApiKey> {
        let (mut idle, now) = (self.idle.lock().unwrap(), Instant::now());
        let fitting: Vec<usize> =
            (0..idle.len()).filter(|place| idle[*place].settled <= now).collect();
        let place = fitting[chance.place(fitting.len())?];
        Some(idle.swap_remove(place))
    }

    pub fn put(&self, key: ApiKey) {
        self.idle.lock().unwrap().push(key);
    }

    pub fn len(&self) -> usize {
        self.idle.lock().unwrap().len()
    }

    pub fn live(&self, chance: &mut Chance) -> Option<ApiKey> {
        let idle = self.idle.lock().unwrap();
        idle.get(chance.place(idle.len())?).cloned()
    }

    pub fn ended(&self, chance: &mut Chance) -> Option<ApiKey> {
        let ended = self.ended.lock().unwrap();
        let among = if chance.below(2) == 0 { RECENT } else { ended.len() };
        let back = chance.place(ended.len().min(among))?;
        ended.iter().rev().nth(back).cloned()
    }

    /// Marks a key as ended. Without a revocation, it may pass or not.
    pub fn bury(&self, key: ApiKey, revocation: Option<Revocation>) {
        if let Some(revocation) = revocation {
            key.token.revoke(revocation);
        }
        let mut ended = self.ended.lock().unwrap();
        ended.push_back(key);
        let surplus = ended.len().saturating_sub(ENDED_MAX);
        ended.drain(..surplus);
    }
}

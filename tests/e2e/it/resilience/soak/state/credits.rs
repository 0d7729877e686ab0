//! The subjects that spend credits, with what they were granted and what they spent.

use crate::support::chance::Chance;
use crate::support::events::access_for;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The number of subjects.
const BUYERS: usize = 6;

/// A subject of the second issuer.
pub struct Buyer {
    pub sub: String,
    pub token: String,
    pub account: Mutex<Account>,
}

#[derive(Default)]
pub struct Account {
    /// When each grant was sent first, and its credits. It may have taken effect from then on.
    pub grants: Vec<(Instant, u64)>,
    /// The credits that the store has, and when it had the newest of them.
    pub confirmed: u64,
    pub confirmed_at: Option<Instant>,
    /// The most that may have been spent: all requests that were not refused, and twice those that
    /// met a fault.
    pub spent_max: u64,
    /// When each request that passed was answered.
    pub passed: Vec<Instant>,
}

pub struct Credits(Vec<Arc<Buyer>>);

impl Default for Credits {
    fn default() -> Self {
        let buyer = |number: usize| {
            let sub = format!("buyer-{number}");
            let token = access_for(&sub);
            Arc::new(Buyer { sub, token, account: Mutex::default() })
        };
        Self((0..BUYERS).map(buyer).collect())
    }
}

impl Credits {
    pub fn any(&self, chance: &mut Chance) -> &Arc<Buyer> {
        &self.0[chance.place(BUYERS).unwrap()]
    }

    pub fn all(&self) -> &[Arc<Buyer>] {
        &self.0
    }
}

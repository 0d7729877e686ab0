//! The subjects that an operator gives another quota for a while.

use crate::support::chance::Chance;
use crate::support::events::access_for;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The number of subjects.
const CUSTOMERS: usize = 4;

/// A subject of the second issuer.
pub struct Customer {
    pub sub: String,
    pub token: String,
    pub calls: Mutex<Calls>,
}

#[derive(Default)]
pub struct Calls {
    /// Whether the operator changes its quota now. Then it sends no other requests.
    pub is_changing: bool,
    /// When each request that passed was sent and answered.
    pub passed: Vec<(Instant, Instant)>,
    /// From when until when it may have had the higher quota. `None` while it may have it.
    pub raised: Vec<(Instant, Option<Instant>)>,
}

pub struct Overrides(Vec<Arc<Customer>>);

impl Default for Overrides {
    fn default() -> Self {
        let customer = |number: usize| {
            let sub = format!("customer-{number}");
            let token = access_for(&sub);
            Arc::new(Customer { sub, token, calls: Mutex::default() })
        };
        Self((0..CUSTOMERS).map(customer).collect())
    }
}

impl Overrides {
    /// Returns a random subject whose quota the operator does not change now.
    pub fn any(&self, chance: &mut Chance) -> Option<Arc<Customer>> {
        let customer = &self.0[chance.place(CUSTOMERS).unwrap()];
        let is_free = !customer.calls.lock().unwrap().is_changing;
        is_free.then(|| Arc::clone(customer))
    }

    /// Returns a random subject, whose quota the operator changes from now on.
    pub fn take(&self, chance: &mut Chance) -> Option<Arc<Customer>> {
        let customer = &self.0[chance.place(CUSTOMERS).unwrap()];
        let was_changing = std::mem::replace(&mut customer.calls.lock().unwrap().is_changing, true);
        (!was_changing).then(|| Arc::clone(customer))
    }

    pub fn all(&self) -> &[Arc<Customer>] {
        &self.0
    }
}

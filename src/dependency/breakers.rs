//! The circuit breakers of an isolate: one for each dependency.

use portcullis_core::{Breaker, BreakerState, Outage, Policy};
use std::cell::RefCell;

/// A service that the edge calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dependency {
    Store,
    Auth,
    /// The upstream of the route with this name. Each route has its own, because one route's slow
    /// calls show nothing about another route.
    Upstream(&'static str),
    /// The introspection endpoint of the issuer with this index.
    Provider(usize),
}

/// What a call shows about its dependency.
#[derive(Clone, Copy, Debug)]
pub enum Health {
    /// The dependency works.
    Good,
    /// The dependency failed.
    Failed(Outage),
    /// The call shows nothing, because the client may have caused the failure.
    Inconclusive,
}

/// The circuit breakers of all dependencies called so far.
#[derive(Default)]
pub struct Breakers {
    breakers: RefCell<Vec<(Dependency, Breaker<Outage>)>>,
}

impl Breakers {
    /// Applies `work` to the breaker of a dependency.
    pub fn with<T>(
        &self,
        dependency: Dependency,
        work: impl FnOnce(&mut Breaker<Outage>) -> T,
    ) -> T {
        let mut breakers = self.breakers.borrow_mut();
        if let Some((_, breaker)) = breakers.iter_mut().find(|(own, _)| *own == dependency) {
            return work(breaker);
        }
        let mut breaker = Breaker::default();
        let result = work(&mut breaker);
        breakers.push((dependency, breaker));
        result
    }

    /// Closes all breakers.
    pub fn reset(&self) {
        self.breakers
            .borrow_mut()
            .iter_mut()
            .for_each(|(_, breaker)| *breaker = Breaker::default());
    }

    /// Adds the breaker of a dependency. Returns `false` if it exists already.
    pub fn add(&self, dependency: Dependency) -> bool {
        let mut breakers = self.breakers.borrow_mut();
        let new = breakers.iter().all(|(own, _)| *own != dependency);
        if new {
            breakers.push((dependency, Breaker::default()));
        }
        new
    }

    /// Returns whether calls of a dependency are rejected at `now_ms` (Unix ms).
    pub fn is_open(&self, dependency: Dependency, now_ms: u64) -> bool {
        self.state(dependency, now_ms) == BreakerState::Open
    }

    /// Returns the state of a dependency's breaker at `now_ms` (Unix ms).
    pub fn state(&self, dependency: Dependency, now_ms: u64) -> BreakerState {
        let breakers = self.breakers.borrow();
        let own = breakers.iter().find(|(own, _)| *own == dependency);
        own.map_or(BreakerState::Closed, |(_, breaker)| breaker.state(now_ms))
    }

    /// Returns the name and state of each breaker that is not closed.
    pub fn not_closed(&self, policy: &Policy, now_ms: u64) -> Vec<(String, &'static str)> {
        let breakers = self.breakers.borrow();
        let states =
            breakers.iter().map(|(dependency, breaker)| (dependency, breaker.state(now_ms)));
        let not_closed = states.filter(|(_, state)| *state != BreakerState::Closed);
        not_closed.map(|(dependency, state)| (dependency.name(policy), state.name())).collect()
    }
}

impl Dependency {
    /// The name in logs and metrics.
    pub fn name(self, policy: &Policy) -> String {
        match self {
            Self::Store => "store".to_owned(),
            Self::Auth => "auth".to_owned(),
            Self::Upstream(route) => format!("upstream of {route}"),
            Self::Provider(index) => {
                let issuer = policy.issuers.get(index).map(|issuer| issuer.issuer.as_str());
                format!("provider {}", issuer.unwrap_or_default())
            }
        }
    }
}

//! Decides which connections are open: how many, of which networks, and which one gives way.
//!
//! A connection is anonymous until a request on it authenticates. Anonymous connections share what
//! is left of the total after a reserve for networks that authenticated recently. When there is no
//! room, the oldest anonymous connection gives way, unless a request that has arrived whole is in
//! progress on it. So connections that send nothing, or send it slowly, keep no client out.

use crate::known::KnownNetworks;
use crate::network::Network;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The limits of connections.
#[derive(Clone, Copy)]
pub struct AdmissionLimits {
    pub connections_max: usize,
    /// Most anonymous connections of one network. Loopback has no such limit.
    pub anonymous_per_network_max: usize,
}

impl AdmissionLimits {
    /// Returns how many connections networks may have that did not authenticate recently.
    fn unknown_max(self) -> usize {
        self.connections_max - self.connections_max / RESERVED_SHARE
    }
}

/// What becomes of a new connection.
#[derive(Debug, Eq, PartialEq)]
pub enum Admitted {
    /// It is open under this number. Another one must close for it, if there is one.
    Open {
        id: u64,
        evicted: Option<u64>,
    },
    Refused,
}

/// The state of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// It did not authenticate, and no whole request is in progress.
    Idle,
    /// It did not authenticate, and a request that has arrived whole is in progress.
    Busy,
    Authenticated,
}

/// The open connections of a listener.
pub struct Admission {
    limits: AdmissionLimits,
    state: Mutex<State>,
}

struct State {
    next: u64,
    open: HashMap<u64, Open>,
    /// Ids of idle anonymous connections, the oldest first.
    idle: BTreeSet<u64>,
    networks: HashMap<Network, Crowd>,
    known: KnownNetworks,
}

struct Open {
    network: Network,
    phase: Phase,
}

/// The anonymous connections of one network.
#[derive(Default)]
struct Crowd {
    count: usize,
    idle: BTreeSet<u64>,
}

impl Admission {
    /// Creates the state of a listener without connections.
    pub fn new(limits: AdmissionLimits, now: Instant) -> Self {
        let state = State {
            next: 0,
            open: HashMap::new(),
            idle: BTreeSet::new(),
            networks: HashMap::new(),
            known: KnownNetworks::new(now),
        };
        Self { limits, state: Mutex::new(state) }
    }

    /// Decides on a new connection.
    pub fn admit(&self, network: Network, now: Instant) -> Admitted {
        let mut state = self.state();
        let is_known = state.known.contains(network, now);
        let crowd = state.networks.get(&network);
        let is_crowded = !network.is_loopback
            && crowd.is_some_and(|crowd| crowd.count >= self.limits.anonymous_per_network_max);
        let max = if is_known { self.limits.connections_max } else { self.limits.unknown_max() };
        let mut evicted = None;
        if is_crowded {
            evicted = crowd.and_then(|crowd| crowd.idle.first().copied());
        } else if state.open.len() >= max {
            evicted = state.oldest_idle(is_known, now);
        }
        let is_full = is_crowded || state.open.len() >= max;
        match evicted {
            None if is_full => return Admitted::Refused,
            None => {}
            Some(id) => state.remove(id),
        }
        let id = state.next;
        state.next += 1;
        state.open.insert(id, Open { network, phase: Phase::Idle });
        state.idle.insert(id);
        let crowd = state.networks.entry(network).or_default();
        crowd.count += 1;
        crowd.idle.insert(id);
        Admitted::Open { id, evicted }
    }

    /// Changes the phase of an open connection.
    pub fn enter(&self, id: u64, phase: Phase, now: Instant) {
        let mut state = self.state();
        let Some(open) = state.open.get_mut(&id) else { return };
        if open.phase == Phase::Authenticated {
            return;
        }
        open.phase = phase;
        let network = open.network;
        let is_idle = phase == Phase::Idle;
        if is_idle {
            state.idle.insert(id);
        } else {
            state.idle.remove(&id);
        }
        if phase == Phase::Authenticated {
            state.known.insert(network, now);
            state.leave_crowd(network, id);
        } else if let Some(crowd) = state.networks.get_mut(&network) {
            if is_idle {
                crowd.idle.insert(id)
            } else {
                crowd.idle.remove(&id)
            };
        }
    }

    /// Removes a connection that has closed.
    pub fn close(&self, id: u64) {
        self.state().remove(id);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the oldest idle anonymous connection. Those of known networks give way only to
    /// other known networks.
    fn oldest_idle(&mut self, for_known: bool, now: Instant) -> Option<u64> {
        let (open, known) = (&self.open, &mut self.known);
        let mut is_unknown =
            |id: &u64| open.get(id).is_some_and(|open| !known.contains(open.network, now));
        let unknown = self.idle.iter().copied().find(|id| is_unknown(id));
        unknown.or_else(|| self.idle.first().copied().filter(|_| for_known))
    }

    fn remove(&mut self, id: u64) {
        let Some(Open { network, phase }) = self.open.remove(&id) else { return };
        self.idle.remove(&id);
        if phase != Phase::Authenticated {
            self.leave_crowd(network, id);
        }
    }

    fn leave_crowd(&mut self, network: Network, id: u64) {
        let Some(crowd) = self.networks.get_mut(&network) else { return };
        crowd.idle.remove(&id);
        crowd.count -= 1;
        if crowd.count == 0 {
            self.networks.remove(&network);
        }
    }
}

/// One of so many connections is reserved for networks that authenticated recently.
const RESERVED_SHARE: usize = 4;

#[cfg(test)]
mod tests;

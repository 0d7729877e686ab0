//! The networks whose clients have authenticated recently.

use crate::network::Network;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// A set of networks, bounded in size and time. An entry is kept for one to two periods.
pub struct KnownNetworks {
    current: HashSet<Network>,
    previous: HashSet<Network>,
    since: Instant,
}

impl KnownNetworks {
    /// Creates an empty set.
    pub fn new(now: Instant) -> Self {
        Self { current: HashSet::new(), previous: HashSet::new(), since: now }
    }

    /// Adds a network.
    pub fn insert(&mut self, network: Network, now: Instant) {
        self.expire(now);
        if self.current.len() >= NETWORKS_MAX {
            self.begin_period(now);
        }
        self.current.insert(network);
    }

    /// Returns whether a network was added recently.
    pub fn contains(&mut self, network: Network, now: Instant) -> bool {
        self.expire(now);
        self.current.contains(&network) || self.previous.contains(&network)
    }

    fn expire(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        if age >= PERIOD {
            self.begin_period(now);
        }
        if age >= 2 * PERIOD {
            self.previous.clear();
        }
    }

    fn begin_period(&mut self, now: Instant) {
        self.previous = std::mem::take(&mut self.current);
        self.since = now;
    }
}

const PERIOD: Duration = Duration::from_secs(3600);
/// The networks of one period: about 200 KB.
const NETWORKS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn network(number: u32) -> Network {
        Network::of(Ipv4Addr::from_bits(number << 8).into())
    }

    #[test]
    fn network_is_known_for_one_to_two_periods() {
        let begun = Instant::now();
        let mut known = KnownNetworks::new(begun);
        known.insert(network(1), begun + PERIOD / 2);
        assert!(known.contains(network(1), begun + PERIOD / 2));
        assert!(!known.contains(network(2), begun + PERIOD / 2));
        assert!(known.contains(network(1), begun + PERIOD));
        assert!(!known.contains(network(1), begun + 2 * PERIOD));
        known.insert(network(3), begun + 2 * PERIOD);
        assert!(!known.contains(network(3), begun + 9 * PERIOD));
    }

    #[test]
    fn set_is_bounded() {
        let now = Instant::now();
        let mut known = KnownNetworks::new(now);
        (0..20_000).for_each(|number| known.insert(network(number), now));
        assert!(known.current.len() + known.previous.len() <= 2 * NETWORKS_MAX);
        assert!(known.contains(network(19_999), now));
    }
}

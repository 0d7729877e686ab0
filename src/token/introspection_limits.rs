//! Limits on introspection: a memory of rejected tokens, and a rate of requests.

use portcullis_core::{CacheKey, Denial, GenerationalCache, StoreKeys, TokenHash, UnixSeconds};
use std::cell::RefCell;
use std::collections::HashMap;

/// The state by which an isolate limits its introspection requests.
pub struct IntrospectionLimits {
    /// Tokens that their provider has rejected.
    rejected: RefCell<GenerationalCache<TokenHash, Rejection>>,
    /// Clients that have sent a genuine API key which the isolate did not know.
    genuine: RefCell<GenerationalCache<CacheKey, ()>>,
    sent: RefCell<SentInSecond>,
}

/// A provider's rejection of a token, and how long the provider is not queried about it again.
#[derive(Clone, Copy)]
pub struct Rejection {
    /// The time from which the provider is queried again, in Unix ms.
    pub until_ms: u64,
    /// The provider's reason.
    pub denial: Denial,
    pause_ms: u64,
}

/// The reason for querying a provider. Each reason has its own rate, of which one token gets a
/// share.
#[derive(Clone, Copy)]
pub enum Reason<'a> {
    /// The token is opaque, and may be made up.
    UnknownOpaque {
        /// The client to whose share the request counts; `None` for a client that limits do not
        /// count.
        client: Option<&'a str>,
    },
    /// The token has the form of an API key, and the store is asked whether it has its record.
    UnknownKey {
        /// The same.
        client: Option<&'a str>,
    },
    /// The token is opaque, and the isolate has accepted it before.
    KnownOpaque,
    /// The token is a genuine JWT or API key, and the store has no record of it; or the record of a
    /// genuine API key refuses the request, and is read again.
    RecordMissing,
    /// The token is a genuine JWT, and the store fails.
    StoreOutage,
}

/// The requests sent within one second, for one reason. Separate counts keep made-up tokens from
/// using up the rate of genuine ones.
#[derive(Default)]
struct SentInSecond {
    second: UnixSeconds,
    unknown_opaque: u32,
    unknown_keys: u32,
    /// The same for clients that have sent a genuine key before, so that a flood from many
    /// addresses does not keep them waiting.
    unknown_keys_of_known: u32,
    known_opaque: u32,
    record_missing: u32,
    without_store: u32,
    /// The counts by the hash of a client's address or of a token, at most one for each request
    /// sent.
    shares: HashMap<CacheKey, usize>,
}

impl Default for IntrospectionLimits {
    fn default() -> Self {
        let rejected = GenerationalCache::new(REJECTED_PER_GENERATION, usize::MAX);
        let genuine = GenerationalCache::new(CLIENTS_PER_GENERATION, usize::MAX);
        Self {
            rejected: RefCell::new(rejected),
            genuine: RefCell::new(genuine),
            sent: RefCell::default(),
        }
    }
}

impl IntrospectionLimits {
    /// Returns the last rejection of a token, which may have expired.
    pub fn last_rejection(&self, hash: TokenHash) -> Option<Rejection> {
        self.rejected.borrow_mut().get(hash, |_| 0)
    }

    /// Records that a provider has rejected a token. The first pause is short, because a replica of
    /// the provider may not know a new token yet. Each further pause is twice as long.
    pub fn set_rejected(
        &self,
        hash: TokenHash,
        last: Option<Rejection>,
        denial: Denial,
        now_ms: u64,
    ) {
        let pause_ms = last.map_or(PAUSE_MS_MIN, |last| (last.pause_ms * 2).min(PAUSE_MS_MAX));
        let rejection = Rejection { until_ms: now_ms + pause_ms, pause_ms, denial };
        self.rejected.borrow_mut().insert(hash, rejection, 0);
    }

    /// Counts a request about the token `hash` and returns `true`, if it is within the rate. A
    /// request that began in an earlier second counts with the current second, because requests do
    /// not end in order.
    pub fn admits(
        &self,
        reason: Reason<'_>,
        hash: TokenHash,
        per_second_max: u32,
        now: UnixSeconds,
    ) -> bool {
        let mut sent = self.sent.borrow_mut();
        // A second in the future is one of before the clock went back.
        if now > sent.second || now.plus(REQUEST_SECONDS_MAX) < sent.second {
            *sent = SentInSecond { second: now, ..SentInSecond::default() };
        }
        let sent = &mut *sent;
        let count = match reason {
            Reason::UnknownOpaque { .. } => &mut sent.unknown_opaque,
            Reason::UnknownKey { client } if self.is_genuine(client) => {
                &mut sent.unknown_keys_of_known
            }
            Reason::UnknownKey { .. } => &mut sent.unknown_keys,
            Reason::KnownOpaque => &mut sent.known_opaque,
            Reason::RecordMissing => &mut sent.record_missing,
            Reason::StoreOutage => &mut sent.without_store,
        };
        if *count >= per_second_max {
            return false;
        }
        let holder = match reason {
            Reason::UnknownOpaque { client } => client.map(|name| StoreKeys::limit_hash("", name)),
            Reason::UnknownKey { client } => client.map(key_holder),
            Reason::KnownOpaque | Reason::RecordMissing | Reason::StoreOutage => Some(hash.into()),
        };
        if let Some(holder) = holder {
            let share = sent.shares.entry(holder).or_default();
            if *share >= per_second_max.div_ceil(SHARES) as usize {
                return false;
            }
            *share += 1;
        }
        *count += 1;
        true
    }

    /// Gives back what an API key was counted for, because it is genuine, and the client may use
    /// it. Only keys that are made up, or used where they may not be, use up the rate.
    pub fn refund(&self, client: Option<&str>) {
        let mut sent = self.sent.borrow_mut();
        let count = match self.is_genuine(client) {
            true => &mut sent.unknown_keys_of_known,
            false => &mut sent.unknown_keys,
        };
        *count = count.saturating_sub(1);
        if let Some(client) = client {
            let holder = key_holder(client);
            sent.shares.entry(holder).and_modify(|share| *share = share.saturating_sub(1));
            self.genuine.borrow_mut().insert(holder, (), 0);
        }
    }

    /// Returns whether a client has sent a genuine API key before.
    fn is_genuine(&self, client: Option<&str>) -> bool {
        let mut genuine = self.genuine.borrow_mut();
        client.is_none_or(|client| genuine.get(key_holder(client), |_| 0).is_some())
    }
}

fn key_holder(client: &str) -> CacheKey {
    StoreKeys::limit_hash("keys", client)
}

const REJECTED_PER_GENERATION: usize = 4096;
const CLIENTS_PER_GENERATION: usize = 1024;
/// Above the age of a request that introspects.
const REQUEST_SECONDS_MAX: u64 = 60;
const PAUSE_MS_MIN: u64 = 1000;
const PAUSE_MS_MAX: u64 = 16_000;
/// The divisor of a rate that one client gets for unknown opaque tokens, or one genuine token gets
/// of its reason's rate: a quarter.
const SHARES: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1);

    /// Returns how many of a hundred requests about a token are admitted, at a rate of ten a
    /// second.
    fn admitted(limits: &IntrospectionLimits, reason: Reason<'_>, token: &str) -> usize {
        let hash = TokenHash::of(token);
        (0..100).filter(|_| limits.admits(reason, hash, 10, NOW)).count()
    }

    #[test]
    fn made_up_tokens_use_up_only_their_clients_share() {
        let limits = IntrospectionLimits::default();
        let unknown = |client| Reason::UnknownOpaque { client: Some(client) };
        assert_eq!(admitted(&limits, unknown("192.0.2.1"), "a"), 3, "a quarter, rounded up");
        assert_eq!(admitted(&limits, unknown("192.0.2.2"), "a"), 3);
        assert_eq!(admitted(&limits, Reason::UnknownOpaque { client: None }, "a"), 4, "the rest");
        assert_eq!(admitted(&limits, unknown("192.0.2.3"), "a"), 0);
        assert_eq!(admitted(&limits, Reason::KnownOpaque, "b"), 3);
        let later = UnixSeconds(2);
        assert!(limits.admits(unknown("192.0.2.1"), TokenHash::of("a"), 10, later));
    }

    #[test]
    fn made_up_keys_use_up_nothing_of_clients_with_genuine_ones() {
        let limits = IntrospectionLimits::default();
        let key = |client| Reason::UnknownKey { client: Some(client) };
        // Genuine keys are given back, as many as there are.
        for name in 0..100 {
            let hash = TokenHash::of(&name.to_string());
            assert!(limits.admits(key("192.0.2.1"), hash, 10, NOW), "{name}");
            limits.refund(Some("192.0.2.1"));
        }
        for client in ["192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"] {
            assert!((1..=3).contains(&admitted(&limits, key(client), "a")), "{client}");
        }
        assert_eq!(admitted(&limits, key("192.0.2.6"), "a"), 0, "the rate is used up");
        assert_eq!(admitted(&limits, Reason::UnknownOpaque { client: None }, "a"), 10);
        assert_eq!(admitted(&limits, key("192.0.2.1"), "a"), 3, "a client with a genuine key");
        assert_eq!(admitted(&limits, Reason::UnknownKey { client: None }, "a"), 7);
    }

    #[test]
    fn one_genuine_token_uses_up_only_its_share() {
        for reason in [Reason::KnownOpaque, Reason::RecordMissing, Reason::StoreOutage] {
            let limits = IntrospectionLimits::default();
            assert_eq!(admitted(&limits, reason, "one"), 3, "a quarter, rounded up");
            assert_eq!(admitted(&limits, reason, "other"), 3);
            let rest: usize =
                ["c", "d", "e"].map(|token| admitted(&limits, reason, token)).iter().sum();
            assert_eq!(rest, 4);
            assert!(limits.sent.borrow().shares.len() <= 10);
        }
    }
}

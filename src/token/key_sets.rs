//! The key sets that the isolate has fetched, by issuer.
//!
//! A Worker must not await another request's fetch, so promises are not shared. A request that
//! waits for a fetch uses its own timers, and then finds the result here.

use crate::platform::crypto::CryptoKey;
use portcullis_core::{Denial, Jwks, Policy, UnverifiedHeader};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The identity of one version of a key set, unique among all issuers.
pub type Generation = u32;

/// A key set, with the imported keys in the same order.
pub struct KeySet {
    jwks: Jwks,
    keys: Vec<Option<CryptoKey>>,
    pub generation: Generation,
    /// When the issuer sent it, in Unix ms; `None` if the key set is part of the configuration.
    pub fetched_at_ms: Option<u64>,
}

/// The key that a token's header names.
pub struct SelectedKey {
    /// The JWS name of the key's one algorithm (RFC 7518 section 3.1).
    pub algorithm: &'static str,
    /// The key, imported by the platform.
    pub key: CryptoKey,
    /// The only issuer that it signs for, if the key set says one; it may stand for all tenants.
    pub issuer: Option<String>,
    /// The version of the key set that has it.
    pub generation: Generation,
}

/// A key set just fetched, with the imported keys in the same order.
pub struct FetchedKeys {
    pub jwks: Jwks,
    pub keys: Vec<Option<CryptoKey>>,
    pub fetched_at_ms: Option<u64>,
    /// Whether the issuer failed, and these are keys that another isolate had fetched earlier.
    pub issuer_failed: bool,
}

/// The age of a key set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Age {
    /// It is used.
    Fresh,
    /// It is used, and renewed in the background.
    Ageing,
    /// It is renewed first, and used if that fails.
    Stale,
    /// It is not used.
    TooOld,
}

/// Whether an unknown `kid` may be searched for at the issuer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Search {
    Allowed,
    /// The issuer has no usable key of the `kid`: it was searched for within the cool-down, or the
    /// keys are configured.
    Vain,
    /// Too many other `kid`s were searched for within the cool-down.
    Exhausted,
}

/// The key sets of an isolate, by the issuer's index.
#[derive(Default)]
pub struct KeySets {
    slots: RefCell<Vec<Slot>>,
    last_generation: Cell<Generation>,
}

/// The key set of one issuer. Times are in milliseconds.
#[derive(Default)]
struct Slot {
    key_set: Option<Rc<KeySet>>,
    failed_at_ms: u64,
    /// When the fetch in progress began.
    fetching_since_ms: Option<u64>,
    /// The unknown `kid`s, with the time of each search. There are a few at most.
    unknown: Vec<(String, u64)>,
}

impl KeySet {
    /// Returns the key that a token's header names.
    ///
    /// # Errors
    ///
    /// [`Denial::KeyUnknown`] if the set lacks it, or the platform can't use it;
    /// [`Denial::AlgorithmRefused`] if the key is for another algorithm.
    pub fn select(&self, header: &UnverifiedHeader) -> Result<SelectedKey, Denial> {
        let index = self.jwks.select(header)?;
        let key = self.keys.get(index).cloned().flatten().ok_or(Denial::KeyUnknown)?;
        let issuer = self.jwks.keys().get(index).and_then(|key| key.issuer.clone());
        let (algorithm, generation) = (header.alg.name(), self.generation);
        Ok(SelectedKey { algorithm, key, issuer, generation })
    }

    /// Returns how many of its keys the platform can use.
    pub fn usable(&self) -> usize {
        self.keys.iter().flatten().count()
    }

    /// Returns the age of the key set.
    pub fn age(&self, policy: &Policy, now_ms: u64) -> Age {
        let Some(fetched_at_ms) = self.fetched_at_ms else {
            return Age::Fresh;
        };
        // The clock may have gone back.
        let age_ms = now_ms.abs_diff(fetched_at_ms);
        let fresh_ms = u64::from(policy.key_sets.fresh_seconds) * 1000;
        match age_ms {
            _ if age_ms < fresh_ms / 5 * 4 => Age::Fresh,
            _ if age_ms < fresh_ms => Age::Ageing,
            _ if age_ms < age_ms_max(policy) => Age::Stale,
            _ => Age::TooOld,
        }
    }
}

impl FetchedKeys {
    /// Returns whether every token that names a `kid` can be verified or refused: the set has the
    /// `kid`, the platform can use its keys, and each has an algorithm of its own.
    fn resolves(&self, kid: &str) -> bool {
        let mut named = self
            .jwks
            .keys()
            .iter()
            .zip(&self.keys)
            .filter(|(key, _)| key.kid.as_deref() == Some(kid));
        let mut algorithms = Vec::new();
        let is_resolved = named.all(|(key, imported)| {
            let is_other = !algorithms.contains(&key.algorithm);
            algorithms.push(key.algorithm);
            is_other && imported.is_some()
        });
        is_resolved && !algorithms.is_empty()
    }
}

impl KeySets {
    /// Returns the key set of an issuer, however old it is.
    pub fn current(&self, issuer: usize) -> Option<Rc<KeySet>> {
        self.slots.borrow().get(issuer).and_then(|slot| slot.key_set.clone())
    }

    /// Returns when the fetch in progress began, in Unix ms; `None` if there is none.
    pub fn fetching_since_ms(&self, issuer: usize) -> Option<u64> {
        self.slots.borrow().get(issuer).and_then(|slot| slot.fetching_since_ms)
    }

    /// Returns when the last fetch failed, in Unix ms; 0 if it succeeded.
    pub fn failed_at_ms(&self, issuer: usize) -> u64 {
        self.slots.borrow().get(issuer).map_or(0, |slot| slot.failed_at_ms)
    }

    /// Returns whether the caller must fetch the key set, and if so records that a fetch is in
    /// progress. Returns `false` if another fetch is in progress or has failed recently. A fetch
    /// that takes too long no longer counts as in progress.
    pub fn begin_fetch(&self, issuer: usize, policy: &Policy, now_ms: u64) -> bool {
        let allowed = self.with_slot(issuer, |slot| {
            let busy = slot
                .fetching_since_ms
                .is_some_and(|since_ms| now_ms.abs_diff(since_ms) < fetch_ms_max(policy));
            let usable = slot
                .key_set
                .as_ref()
                .is_some_and(|key_set| key_set.age(policy, now_ms) != Age::TooOld);
            let pause_ms = cool_down_ms(policy);
            let pause_ms = if usable { pause_ms } else { pause_ms.min(RETRY_MS_MAX) };
            let allowed = !busy && now_ms.abs_diff(slot.failed_at_ms) >= pause_ms;
            if allowed {
                slot.fetching_since_ms = Some(now_ms);
            }
            allowed
        });
        allowed.unwrap_or(false)
    }

    /// Returns whether to search for an unknown `kid` at the issuer. The key may be new, or the
    /// token forged. So each `kid` is searched for once per cool-down, and four in all.
    pub fn search(&self, issuer: usize, kid: &str, policy: &Policy, now_ms: u64) -> Search {
        let search = self.with_slot(issuer, |slot| {
            slot.unknown.retain(|(_, at_ms)| now_ms.abs_diff(*at_ms) < cool_down_ms(policy));
            let configured =
                slot.key_set.as_ref().is_some_and(|key_set| key_set.fetched_at_ms.is_none());
            match slot.unknown.len() {
                _ if configured || slot.unknown.iter().any(|(own, _)| own == kid) => Search::Vain,
                UNKNOWN_MAX.. => Search::Exhausted,
                _ => Search::Allowed,
            }
        });
        search.unwrap_or(Search::Exhausted)
    }

    /// Returns whether a fetch failed so recently that an old key set is used without waiting for
    /// the next fetch. While requests arrive, one fetch is made per cool-down.
    pub fn fails(&self, issuer: usize, policy: &Policy, now_ms: u64) -> bool {
        now_ms.abs_diff(self.failed_at_ms(issuer)) < 2 * cool_down_ms(policy)
    }

    /// Records the result of the fetch that began at `begun_ms`. Returns whether its keys are used.
    /// A result that arrives after a newer fetch began is ignored.
    pub fn finish_fetch(
        &self,
        issuer: usize,
        begun_ms: Option<u64>,
        fetched: Option<FetchedKeys>,
        searched_kid: Option<String>,
        now_ms: u64,
    ) -> bool {
        let used = self.with_slot(issuer, |slot| {
            if slot.fetching_since_ms != begun_ms {
                return false;
            }
            slot.fetching_since_ms = None;
            let failed = fetched.as_ref().is_none_or(|fetched| fetched.issuer_failed);
            slot.failed_at_ms = if failed { now_ms } else { 0 };
            let Some(fetched) = fetched else {
                return false;
            };
            if let Some(kid) = searched_kid.filter(|kid| !fetched.resolves(kid)) {
                slot.unknown.retain(|(own, _)| *own != kid);
                slot.unknown.push((kid, now_ms));
            }
            let FetchedKeys { jwks, keys, fetched_at_ms, .. } = fetched;
            // An unchanged key set keeps its generation, so the tokens that it verified stay
            // cached.
            let generation = match slot.key_set.take() {
                Some(old) if old.jwks == jwks => old.generation,
                _ => self.next_generation(),
            };
            slot.key_set = Some(Rc::new(KeySet { jwks, keys, generation, fetched_at_ms }));
            true
        });
        used.unwrap_or(false)
    }

    fn next_generation(&self) -> Generation {
        let generation = self.last_generation.get().wrapping_add(1);
        self.last_generation.set(generation);
        generation
    }

    fn with_slot<T>(&self, issuer: usize, work: impl FnOnce(&mut Slot) -> T) -> Option<T> {
        let mut slots = self.slots.borrow_mut();
        if slots.len() <= issuer {
            slots.resize_with(issuer + 1, Slot::default);
        }
        slots.get_mut(issuer).map(work)
    }
}

/// Returns the age in ms at which a key set is not used any more: the longer of
/// `jwks.fresh_seconds` and `jwks.stale_seconds_max`.
pub fn age_ms_max(policy: &Policy) -> u64 {
    u64::from(policy.key_sets.fresh_seconds.max(policy.key_sets.stale_seconds_max)) * 1000
}

/// Returns the pause after a failed fetch, `jwks.cool_down_seconds`, in ms.
pub fn cool_down_ms(policy: &Policy) -> u64 {
    u64::from(policy.key_sets.cool_down_seconds) * 1000
}

/// Returns the longest time in ms that a fetch may take: a metadata document, a key set, each
/// within `jwks.timeout_ms`, and 500 ms for the platform's cache.
pub fn fetch_ms_max(policy: &Policy) -> u64 {
    u64::from(policy.timeouts.key_set_ms) * 2 + 500
}

/// The most unknown `kid`s searched for within one cool-down.
const UNKNOWN_MAX: usize = 4;
/// The longest pause after a failed fetch while no key is usable.
const RETRY_MS_MAX: u64 = 2000;

//! The cache of verified tokens. Invalid tokens are never cached, so a flood of forged tokens
//! evicts nothing.

use crate::token::key_sets::Generation;
use portcullis_core::{
    GenerationalCache, RevocationMarker, TokenHash, TokenRequirement, VerifiedToken,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// A token that was verified by its issuer's key or confirmed by its provider.
#[derive(Clone)]
pub struct Verification {
    /// The token's claims.
    pub token: Rc<VerifiedToken>,
    /// How long the verification is valid; the token's own times are checked besides.
    pub validity: Validity,
    /// The `kid` of the key that the token was verified with.
    pub kid: Option<Rc<str>>,
}

/// How long a verification is valid.
#[derive(Clone, Copy)]
pub enum Validity {
    /// As long as the issuer has the keys of this generation.
    Keys(Generation),
    /// Until this time, in Unix ms.
    Until(u64),
}

/// What the isolate caches for a token.
#[derive(Clone)]
pub struct CachedToken {
    pub verification: Verification,
    cleared: Option<Clearance>,
    revocation: Option<Revocation>,
    /// Until when an earlier renewal of the clearance may still succeed.
    renewing_until_ms: u64,
    /// When the use of the token's session was last written to the store.
    seen_at_ms: u64,
}

/// The store's confirmation that a token is valid.
#[derive(Clone, Copy)]
struct Clearance {
    requirement: TokenRequirement,
    until_ms: u64,
}

/// The store's statement that a token is revoked, or that its holder is blocked.
#[derive(Clone, Copy)]
pub struct Revocation {
    pub marker: RevocationMarker,
    /// When the store is queried again; `None` if the revocation is permanent.
    recheck_at_ms: Option<u64>,
}

impl Revocation {
    /// Returns whether to query the store again, because the marker may have been deleted.
    pub fn is_recheck_due(&self, now_ms: u64) -> bool {
        self.recheck_at_ms.is_some_and(|at_ms| now_ms >= at_ms)
    }
}

impl CachedToken {
    /// Returns the requirement that the store has recently confirmed for the token.
    pub fn cleared(&self, now_ms: u64) -> Option<TokenRequirement> {
        let clearance = self.cleared.filter(|clearance| now_ms < clearance.until_ms);
        clearance.map(|clearance| clearance.requirement)
    }

    /// Returns how long ago the store was asked for that confirmation, which lasts for `bound_ms`.
    pub fn clearance_age_ms(&self, bound_ms: u64, now_ms: u64) -> Option<u64> {
        let until_ms = self.cleared?.until_ms;
        Some((now_ms + bound_ms).saturating_sub(until_ms))
    }

    /// Returns the token's revocation, if the store has reported one.
    pub fn revocation(&self) -> Option<Revocation> {
        self.revocation
    }

    fn bytes(&self) -> usize {
        let kid = self.verification.kid.as_ref().map_or(0, |kid| kid.len());
        size_of::<(TokenHash, Self)>() + self.verification.token.bytes() + kid
    }
}

/// The verified tokens of an isolate, in a bounded cache.
pub struct TokenCache {
    tokens: RefCell<GenerationalCache<TokenHash, CachedToken>>,
    /// The latest time that was seen, in Unix ms.
    latest_ms: Cell<u64>,
    /// How often the clock went back. What was asked before is not cached after it.
    clock_steps: Cell<u32>,
}

impl Default for TokenCache {
    fn default() -> Self {
        Self {
            tokens: RefCell::new(empty()),
            latest_ms: Cell::default(),
            clock_steps: Cell::default(),
        }
    }
}

fn empty() -> GenerationalCache<TokenHash, CachedToken> {
    GenerationalCache::new(TOKENS_PER_GENERATION, BYTES_PER_GENERATION)
}

impl TokenCache {
    /// Records the time. If the clock went back, all tokens are removed, because what the store or
    /// a provider said about them would seem younger than it is. Returns whether it did.
    pub fn observe(&self, now_ms: u64) -> bool {
        let went_back = now_ms + CLOCK_MS < self.latest_ms.replace(now_ms);
        if went_back {
            self.tokens.replace(empty());
            self.clock_steps.set(self.clock_steps().wrapping_add(1));
        }
        went_back
    }

    /// Returns how often the clock went back.
    pub fn clock_steps(&self) -> u32 {
        self.clock_steps.get()
    }

    /// Returns the cached token.
    pub fn get(&self, hash: TokenHash) -> Option<CachedToken> {
        self.tokens.borrow_mut().get(hash, CachedToken::bytes)
    }

    /// Caches a token whose verification began when the clock had gone back `steps` times.
    pub fn insert(&self, hash: TokenHash, verification: Verification, steps: u32) {
        if steps != self.clock_steps() {
            return;
        }
        let old = self.get(hash);
        let token = CachedToken {
            verification,
            cleared: None,
            // Another request may have found it revoked while this one verified it.
            revocation: old.as_ref().and_then(|own| own.revocation),
            renewing_until_ms: 0,
            seen_at_ms: old.map_or(0, |own| own.seen_at_ms),
        };
        let bytes = token.bytes();
        self.tokens.borrow_mut().insert(hash, token, bytes);
    }

    /// Records that the store has confirmed a token, which holds until `until_ms` (Unix ms). It was
    /// asked when the clock had gone back `steps` times. Does nothing for a token that is not
    /// cached.
    pub fn set_cleared(
        &self,
        hash: TokenHash,
        requirement: TokenRequirement,
        until_ms: u64,
        steps: u32,
    ) {
        if steps != self.clock_steps() {
            return;
        }
        self.tokens.borrow_mut().update(hash, |token| {
            // The store was asked before the revocation.
            if token.revocation.is_none() {
                token.cleared = Some(Clearance { requirement, until_ms });
            }
        });
    }

    /// Ends the store's confirmation of a token.
    pub fn end_clearance(&self, hash: TokenHash) {
        self.tokens.borrow_mut().update(hash, |token| token.cleared = None);
    }

    /// Returns the requirement whose confirmation must be renewed now, in the last quarter of the
    /// `bound_ms` for which it lasts; `None` if it need not be. The next renewal is due after
    /// another quarter.
    pub fn due_renewal(
        &self,
        hash: TokenHash,
        bound_ms: u64,
        now_ms: u64,
    ) -> Option<TokenRequirement> {
        let mut due = None;
        self.tokens.borrow_mut().update(hash, |token| {
            let last = |clearance: &Clearance| now_ms + bound_ms / 4 >= clearance.until_ms;
            if let Some(clearance) = token.cleared.filter(last)
                && now_ms >= token.renewing_until_ms
            {
                token.renewing_until_ms = now_ms + bound_ms / 4;
                due = Some(clearance.requirement);
            }
        });
        due
    }

    /// Records that the store has reported a token as revoked. This ends an earlier confirmation.
    pub fn set_revoked(&self, hash: TokenHash, marker: RevocationMarker, now_ms: u64) {
        let recheck_at_ms = marker.recheck_ms().map(|ms| now_ms + ms);
        self.tokens.borrow_mut().update(hash, |token| {
            token.cleared = None;
            token.revocation = Some(Revocation { marker, recheck_at_ms });
        });
    }

    /// Records that the marker which revoked a token was deleted.
    pub fn clear_revocation(&self, hash: TokenHash) {
        self.tokens.borrow_mut().update(hash, |token| token.revocation = None);
    }

    /// Removes a token.
    pub fn remove(&self, hash: TokenHash) {
        self.tokens.borrow_mut().remove(hash, CachedToken::bytes);
    }

    /// Returns whether the use of a token's session must be written to the store, and if so starts
    /// the next interval.
    pub fn is_seen_due(&self, hash: TokenHash, now_ms: u64) -> bool {
        let mut due = false;
        self.tokens.borrow_mut().update(hash, |token| {
            due = now_ms >= token.seen_at_ms + SEEN_INTERVAL_MS;
            if due {
                token.seen_at_ms = now_ms;
            }
        });
        due
    }
}

/// How far the clock may go back before the cache is emptied: a clock may be corrected by a few
/// milliseconds at any time.
const CLOCK_MS: u64 = 50;
/// The interval at which an isolate writes the use of one token's session to the store.
const SEEN_INTERVAL_MS: u64 = 60_000;
const TOKENS_PER_GENERATION: usize = 4096;
const BYTES_PER_GENERATION: usize = 10 * 1024 * 1024;

//! Whose token it is: vouched for once per token and isolate, by its signature or its provider, and then
//! remembered. Only what held is remembered, so forged tokens can push nothing out.

use crate::trace::Tier;
use crate::{Arrival, host, introspect, keys, limits, store, task};
use portcullis_core::{
    AuthenticatedRequest, Check, Denial, GenerationalCache, Permit, Policy, Refusal, TokenHash,
    TokenRequirement, UnverifiedJwt, UnverifiedToken, VerifiedToken,
};
use std::cell::RefCell;
use std::rc::Rc;

/// What is remembered of a token.
#[derive(Clone)]
struct Known {
    verified: Rc<VerifiedToken>,
    basis: Basis,
    /// The key that it was verified with.
    kid: Option<Rc<str>>,
    /// In which mode the store cleared it, and until when that is relied on.
    cleared: Option<(TokenRequirement, u64)>,
    /// Until when it counts as revoked without another look.
    revoked_until_ms: u64,
    /// When the store was told that its session was seen.
    seen_at_ms: u64,
}

/// For how long somebody's word holds.
#[derive(Clone, Copy)]
pub enum Basis {
    /// As long as its issuer has these keys.
    Keys(keys::Generation),
    /// Until this moment, in milliseconds.
    Until(u64),
}

thread_local! {
    static KNOWN: RefCell<GenerationalCache<TokenHash, Known>> =
        RefCell::new(GenerationalCache::new(TOKENS_PER_GENERATION, BYTES_PER_GENERATION));
}

/// The proof that the request's token is genuine, where its route asks for one.
pub async fn holder<'p>(
    check: &Check<'_, 'p>,
    policy: &'static Policy,
    arrival: &Arrival,
) -> Result<AuthenticatedRequest<'p>, Refusal> {
    let Some(hash) = check.token_hash() else {
        return Ok(check.without_token()?);
    };
    let known = KNOWN.with_borrow_mut(|known| known.get(hash, Known::bytes));
    if let Some(known) = known
        && known.stands(policy, arrival).await?
    {
        // By the clock as it is now: there may have been a wait for keys.
        let now_ms = host::now_ms();
        arrival.trace.kid.replace(known.kid);
        if now_ms < known.revoked_until_ms {
            return Err(Denial::TokenRevoked.into());
        }
        let cleared = known.cleared.filter(|(_, until_ms)| now_ms < *until_ms);
        let cleared = cleared.map(|(mode, _)| mode);
        arrival.trace.tier.set(cleared.map(|_| Tier::Isolate));
        return Ok(check.authenticate(known.verified, cleared, arrival.now)?);
    }
    limits::check_failure_limit(check, policy, arrival)?;
    let verified = verify(check, hash, policy, arrival).await;
    let (verified, basis) = verified.inspect_err(|refusal| {
        limits::record_failure(check, policy, *refusal);
    })?;
    let known = Known {
        verified: Rc::clone(&verified),
        basis,
        kid: arrival.trace.kid.borrow().clone(),
        cleared: None,
        revoked_until_ms: 0,
        seen_at_ms: 0,
    };
    let bytes = known.bytes();
    KNOWN.with_borrow_mut(|memory| memory.insert(hash, known, bytes));
    Ok(check.authenticate(verified, None, arrival.now)?)
}

async fn verify(
    check: &Check<'_, '_>,
    hash: TokenHash,
    policy: &'static Policy,
    arrival: &Arrival,
) -> Result<(Rc<VerifiedToken>, Basis), Refusal> {
    match check.unverified_token(arrival.now)? {
        UnverifiedToken::Jwt(jwt) => signature(check, jwt, policy, arrival).await,
        UnverifiedToken::Opaque(provider) => {
            introspect::holder(check, provider, hash, policy, arrival).await
        }
    }
}

async fn signature(
    check: &Check<'_, '_>,
    jwt: UnverifiedJwt<'_>,
    policy: &'static Policy,
    arrival: &Arrival,
) -> Result<(Rc<VerifiedToken>, Basis), Refusal> {
    let key = keys::select(policy, jwt.issuer(), jwt.header(), arrival).await?;
    let (signature, input) = (jwt.signature(), jwt.signing_input());
    let holds = host::verify(key.algorithm, &key.handle, signature, input).await;
    let kid = jwt.header().kid.as_deref().filter(|_| holds).map(Rc::from);
    arrival.trace.kid.replace(kid);
    Ok((check.accept_signature(jwt, holds)?, Basis::Keys(key.generation)))
}

/// Remembers what the store said of a token: that it is good, for as long as a revocation may take to be
/// seen, from before the store was asked; or that it is revoked, so that its holder can neither use up
/// anybody's quota nor the store.
pub fn remember(
    check: &Check<'_, '_>,
    verdict: &Result<Permit<'_>, Refusal>,
    policy: &Policy,
    arrival: &Arrival,
) {
    match verdict {
        Ok(permit) if policy.revocation_seconds_max > 0 => {
            let Some((hash, mode)) = permit.cleared() else {
                return;
            };
            let until_ms = arrival.now_ms + u64::from(policy.revocation_seconds_max) * 1000;
            KNOWN.with_borrow_mut(|memory| {
                memory.update(hash, |known| known.cleared = Some((mode, until_ms)));
            });
        }
        Err(Refusal::Denied(Denial::TokenRevoked)) => {
            let until_ms = arrival.now_ms + REVOKED_MS;
            if let Some(hash) = check.token_hash() {
                KNOWN.with_borrow_mut(|memory| {
                    memory.update(hash, |known| known.revoked_until_ms = until_ms);
                });
            }
        }
        Ok(_) | Err(_) => {}
    }
}

/// Tells the store, after the answer and once a minute, that a session was seen.
pub fn note_seen(permit: &Permit<'_>, policy: &'static Policy, arrival: &Arrival) {
    let Some((hash, commands)) = permit.touch_session(arrival.now) else {
        return;
    };
    let mut due = false;
    KNOWN.with_borrow_mut(|memory| {
        memory.update(hash, |known| {
            due = arrival.now_ms >= known.seen_at_ms + SEEN_MS;
            if due {
                known.seen_at_ms = arrival.now_ms;
            }
        });
    });
    if due && arrival.trace.store_out.get().is_none() {
        let own = arrival.alone();
        task::after(async move {
            store::tell(policy, &commands, &own).await;
        });
    }
}

impl Known {
    /// Whether the word of whoever vouched for the token still holds.
    async fn stands(&self, policy: &'static Policy, arrival: &Arrival) -> Result<bool, Refusal> {
        match self.basis {
            Basis::Keys(generation) => {
                let current = keys::generation(policy, self.verified.issuer(), arrival).await?;
                Ok(current == generation)
            }
            Basis::Until(moment_ms) => Ok(arrival.now_ms < moment_ms),
        }
    }

    fn bytes(&self) -> usize {
        let kid = self.kid.as_ref().map_or(0, |kid| kid.len());
        size_of::<(TokenHash, Self)>() + self.verified.bytes() + kid
    }
}

/// For how long a revoked token is not looked up again. A marker that is taken back counts after that.
const REVOKED_MS: u64 = 5000;
/// How often an isolate tells the store that a token's session was seen.
const SEEN_MS: u64 = 60_000;
const TOKENS_PER_GENERATION: usize = 4096;
const BYTES_PER_GENERATION: usize = 10 * 1024 * 1024;

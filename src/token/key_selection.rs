//! Selects the key that verifies a token, from a key set that is renewed if necessary.

use crate::context::RequestContext;
use crate::platform::clock;
use crate::token::key_fetch::{self, Cause};
use crate::token::key_sets::{
    Age, Generation, KeySet, Search, SelectedKey, cool_down_ms, fetch_ms_max,
};
use portcullis_core::{Denial, Outage, Refusal, UnverifiedHeader};
use std::rc::Rc;

/// Returns the generation of an issuer's key set. `issuer` is the index in `[[issuers]]`.
///
/// # Errors
///
/// [`Outage::KeysUnavailable`] if there is no key set that may be used.
pub async fn generation(issuer: usize, context: &RequestContext) -> Result<Generation, Refusal> {
    Ok(usable_key_set(issuer, context).await?.generation)
}

/// Returns the key that a token's header names by `kid` (RFC 7515 section 4.1.4). Fetches the key
/// set again for an unknown `kid`, four times in a cool-down at most.
///
/// # Errors
///
/// [`Denial::KeyUnknown`] if the issuer does not have the key, the key set's other denials, and
/// [`Outage::KeysUnavailable`] if that can't be known.
pub async fn select(
    issuer: usize,
    header: &UnverifiedHeader,
    context: &RequestContext,
) -> Result<SelectedKey, Refusal> {
    let first = usable_key_set(issuer, context).await?.select(header);
    let Err(Denial::KeyUnknown) = first else {
        return Ok(first?);
    };
    let (key_sets, policy) = (&context.isolate.key_sets, context.policy);
    let kid = header.kid.clone().unwrap_or_default();
    // Two rounds, because the fetch in progress may have begun for another reason.
    for _ in 0..2 {
        match key_sets.search(issuer, &kid, policy, clock::now_ms()) {
            Search::Allowed => {}
            Search::Vain => return Err(Denial::KeyUnknown.into()),
            // The `kid` may belong to a new key, so the token must not be called invalid.
            Search::Exhausted => return Err(Outage::KeysUnavailable.into()),
        }
        let begun_ms = clock::now_ms();
        if key_sets.begin_fetch(issuer, policy, begun_ms) {
            key_fetch::spawn(issuer, Cause::UnknownKid(kid.clone()), context);
        }
        wait_for_fetch(issuer, context).await;
        let key_set = key_sets.current(issuer).ok_or(Outage::KeysUnavailable)?;
        match key_set.select(header) {
            Err(Denial::KeyUnknown) => {}
            outcome => return Ok(outcome?),
        }
        // If the issuer could not be reached, the token may be valid.
        if key_sets.failed_at_ms(issuer) + cool_down_ms(policy) > begun_ms {
            return Err(Outage::KeysUnavailable.into());
        }
    }
    match key_sets.search(issuer, &kid, policy, clock::now_ms()) {
        Search::Vain => Err(Denial::KeyUnknown.into()),
        Search::Allowed | Search::Exhausted => Err(Outage::KeysUnavailable.into()),
    }
}

/// Returns an issuer's key set. An ageing set is used, and renewed in the background. A stale set
/// is renewed first, by this or another request; if that fails, it is used for a bounded time.
async fn usable_key_set(issuer: usize, context: &RequestContext) -> Result<Rc<KeySet>, Refusal> {
    let (key_sets, policy) = (&context.isolate.key_sets, context.policy);
    // Two rounds, because the fetch that was awaited may have been cut off.
    for _ in 0..2 {
        let age = key_sets
            .current(issuer)
            .map_or(Age::TooOld, |key_set| key_set.age(policy, clock::now_ms()));
        if age == Age::Fresh {
            break;
        }
        let fails = key_sets.fails(issuer, policy, clock::now_ms());
        if key_sets.begin_fetch(issuer, policy, clock::now_ms()) {
            key_fetch::spawn(issuer, Cause::Age, context);
        }
        // With a stale key set, no request waits for an issuer that keeps failing.
        let in_progress = key_sets.fetching_since_ms(issuer).is_some();
        if age == Age::Ageing || (age == Age::Stale && (fails || !in_progress)) {
            break;
        }
        wait_for_fetch(issuer, context).await;
    }
    let usable = |key_set: &Rc<KeySet>| key_set.age(policy, clock::now_ms()) != Age::TooOld;
    Ok(key_sets.current(issuer).filter(usable).ok_or(Outage::KeysUnavailable)?)
}

/// Waits for the key-set fetch in progress, if any; does not wait for later ones.
async fn wait_for_fetch(issuer: usize, context: &RequestContext) {
    let key_sets = &context.isolate.key_sets;
    let Some(since_ms) = key_sets.fetching_since_ms(issuer) else {
        return;
    };
    let until_ms = since_ms + fetch_ms_max(context.policy);
    let mut step_ms = WAIT_STEP_MS_MIN;
    while key_sets.fetching_since_ms(issuer) == Some(since_ms) && clock::now_ms() < until_ms {
        clock::sleep(&context.port, step_ms).await;
        step_ms = (step_ms * 2).min(WAIT_STEP_MS_MAX);
    }
}

const WAIT_STEP_MS_MIN: u32 = 4;
const WAIT_STEP_MS_MAX: u32 = 50;

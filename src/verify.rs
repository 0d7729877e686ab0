//! Signatures, by the host's WebCrypto, once per token and isolate. Only what held is remembered, so
//! forged tokens can push nothing out.

use crate::memory::Memory;
use crate::{host, keys};
use portcullis_core::{Check, Policy, Proof, Refusal, TokenHash, UnixSeconds};
use std::cell::RefCell;

thread_local! {
    static HELD: RefCell<Memory<TokenHash>> = RefCell::new(Memory::new(TOKENS_PER_GENERATION));
}

/// The proof that the request's token is genuine, where its route asks for one.
pub async fn signature(
    check: &Check<'_>,
    policy: &Policy,
    now: UnixSeconds,
) -> Result<Proof, Refusal> {
    let Some(candidate) = check.candidate() else {
        return Ok(check.prove(false)?);
    };
    if HELD.with_borrow_mut(|held| held.recall(candidate.hash)) {
        return Ok(check.prove(true)?);
    }
    let jwt = &candidate.jwt;
    let (algorithm, key) = keys::select(policy, candidate.issuer, jwt.header(), now).await?;
    let holds = host::verify(algorithm, &key, jwt.signature(), jwt.signing_input()).await;
    if holds {
        HELD.with_borrow_mut(|held| held.insert(candidate.hash));
    }
    Ok(check.prove(holds)?)
}

/// Forgets every token: a key set has changed, and what it vouched for may have gone with it.
pub fn forget() {
    HELD.with_borrow_mut(Memory::clear);
}

const TOKENS_PER_GENERATION: usize = 4096;

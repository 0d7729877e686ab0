//! Signatures, by the host's WebCrypto, once per token, key set and isolate. Only what held is
//! remembered, so forged tokens can push nothing out; and only under the key set that vouched for it.

use crate::memory::Memory;
use crate::{Arrival, host, keys};
use portcullis_core::{Check, Policy, Proof, Refusal, TokenHash};
use std::cell::RefCell;

thread_local! {
    static HELD: RefCell<Memory<(TokenHash, keys::Generation)>> =
        RefCell::new(Memory::new(TOKENS_PER_GENERATION));
}

/// The proof that the request's token is genuine, where its route asks for one.
pub async fn signature(
    check: &Check<'_>,
    policy: &Policy,
    arrival: &Arrival,
) -> Result<Proof, Refusal> {
    let Some(candidate) = check.candidate() else {
        return Ok(check.prove(false)?);
    };
    let jwt = &candidate.jwt;
    // Also for a token that is remembered: the key may have been withdrawn since.
    let key = keys::select(policy, candidate.issuer, jwt.header(), arrival).await?;
    let memory = (candidate.hash, key.generation);
    if HELD.with_borrow_mut(|held| held.recall(memory)) {
        return Ok(check.prove(true)?);
    }
    let holds =
        host::verify(key.algorithm, &key.handle, jwt.signature(), jwt.signing_input()).await;
    if holds {
        HELD.with_borrow_mut(|held| held.insert(memory));
    }
    Ok(check.prove(holds)?)
}

const TOKENS_PER_GENERATION: usize = 4096;

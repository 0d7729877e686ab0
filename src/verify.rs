//! Whose token it is: vouched for once per token and isolate, by its signature or its provider, and then
//! remembered. Only what held is remembered, so forged tokens can push nothing out.

use crate::memory::Memory;
use crate::{Arrival, host, introspect, keys};
use portcullis_core::{
    Candidate, Check, Mode, Permit, Policy, Proof, Refusal, TokenHash, UnverifiedJwt, Vouched,
};
use std::cell::RefCell;
use std::rc::Rc;

/// What is remembered of a token.
#[derive(Clone)]
struct Known {
    vouched: Rc<Vouched>,
    basis: Basis,
    /// In which mode the store cleared it, and until when that is relied on.
    cleared: Option<(Mode, u64)>,
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
    static KNOWN: RefCell<Memory<TokenHash, Known>> =
        RefCell::new(Memory::new(TOKENS_PER_GENERATION, BYTES_PER_GENERATION));
}

/// The proof that the request's token is genuine, where its route asks for one.
pub async fn holder(
    check: &Check<'_>,
    policy: &'static Policy,
    arrival: &Arrival,
) -> Result<Proof, Refusal> {
    let Some(hash) = check.token_hash() else {
        return Ok(check.open()?);
    };
    let known = KNOWN.with_borrow_mut(|known| known.recall(hash, Known::bytes));
    if let Some(known) = known
        && known.stands(policy, arrival).await?
    {
        // By the clock as it is now: there may have been a wait for keys.
        let now_ms = host::now_ms();
        let cleared = known.cleared.filter(|(_, until_ms)| now_ms < *until_ms);
        let cleared = cleared.map(|(mode, _)| mode);
        return Ok(check.prove(known.vouched, cleared, arrival.now)?);
    }
    let (vouched, basis) = match check.candidate(arrival.now)? {
        Candidate::Jwt(jwt) => signature(check, jwt, policy, arrival).await?,
        Candidate::Opaque(provider) => {
            introspect::holder(check, provider, hash, policy, arrival).await?
        }
    };
    let known = Known { vouched: Rc::clone(&vouched), basis, cleared: None };
    let bytes = known.bytes();
    KNOWN.with_borrow_mut(|memory| memory.insert(hash, known, bytes));
    Ok(check.prove(vouched, None, arrival.now)?)
}

async fn signature(
    check: &Check<'_>,
    jwt: UnverifiedJwt<'_>,
    policy: &'static Policy,
    arrival: &Arrival,
) -> Result<(Rc<Vouched>, Basis), Refusal> {
    let key = keys::select(policy, jwt.issuer(), jwt.header(), arrival).await?;
    let (signature, input) = (jwt.signature(), jwt.signing_input());
    let holds = host::verify(key.algorithm, &key.handle, signature, input).await;
    Ok((check.vouch_signature(jwt, holds)?, Basis::Keys(key.generation)))
}

/// Remembers that the store cleared a token for this request, for as long as a revocation may take to be
/// seen. That runs from before the store was asked.
pub fn remember_cleared(permit: &Permit<'_>, policy: &Policy, arrival: &Arrival) {
    if policy.revocation_seconds_max == 0 {
        return;
    }
    let Some((hash, mode)) = permit.cleared() else {
        return;
    };
    let until_ms = arrival.now_ms + u64::from(policy.revocation_seconds_max) * 1000;
    KNOWN.with_borrow_mut(|memory| {
        memory.change(hash, |known| known.cleared = Some((mode, until_ms)));
    });
}

impl Known {
    /// Whether the word of whoever vouched for the token still holds.
    async fn stands(&self, policy: &'static Policy, arrival: &Arrival) -> Result<bool, Refusal> {
        match self.basis {
            Basis::Keys(generation) => {
                let current = keys::generation(policy, self.vouched.issuer(), arrival).await?;
                Ok(current == generation)
            }
            Basis::Until(moment_ms) => Ok(arrival.now_ms < moment_ms),
        }
    }

    fn bytes(&self) -> usize {
        size_of::<(TokenHash, Self)>() + self.vouched.bytes()
    }
}

const TOKENS_PER_GENERATION: usize = 4096;
const BYTES_PER_GENERATION: usize = 8 * 1024 * 1024;

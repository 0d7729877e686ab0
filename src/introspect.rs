//! Asking a provider about a token (RFC 7662): an opaque one, or one whose record the store has lost. The
//! store is asked first; a provider is asked seldom, within a rate and a deadline.

use crate::Arrival;
use crate::host::{self, ContentType, Fault, TextRequest};
use crate::memory::Memory;
use crate::store;
use crate::verify::Basis;
use portcullis_core::{
    Check, Denial, Introspection, Issuer, Outage, Policy, Proof, Provider, Refusal, TokenHash,
    TokenRecord, UnixSeconds, Vouched,
};
use redis_rest::{Command, Reply};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

thread_local! {
    /// Tokens that turned out to be no good.
    static REFUSED: RefCell<Memory<TokenHash, Pause>> =
        RefCell::new(Memory::new(REFUSED_PER_GENERATION, usize::MAX));
    /// The current second, and how often it was asked in it, for each reason apart: nobody can use up with
    /// made-up tokens what genuine ones need.
    static ASKED: Cell<(UnixSeconds, [u32; 2])> = const { Cell::new((UnixSeconds(0), [0; 2])) };
}

/// For how long nobody is asked again about a token, in milliseconds, and what is said of it meanwhile.
#[derive(Clone, Copy)]
struct Pause {
    until_ms: u64,
    length_ms: u64,
    denial: Denial,
}

/// Why a provider is asked.
#[derive(Clone, Copy)]
enum Why {
    /// The token is opaque: it may be anything.
    Opaque = 0,
    /// The token is genuine, and its record is missing.
    RecordMissing = 1,
}

/// Who holds an opaque token, as the store or its provider says.
pub async fn holder(
    check: &Check<'_>,
    provider: Provider<'_>,
    hash: TokenHash,
    policy: &'static Policy,
    arrival: &Arrival,
) -> Result<(Rc<Vouched>, Basis), Refusal> {
    let keeps = |record: &TokenRecord| {
        let (exp, asked_at) = (record.exp.map(UnixSeconds), record.asked_at.map(UnixSeconds));
        let bound = policy.revocation_seconds_max;
        provider.introspection.keeps_seconds(exp, asked_at, bound, arrival.now)
    };
    let vouch = |record: TokenRecord| {
        // In whole seconds, as the record counts.
        let until_ms = arrival.now.plus(keeps(&record)).0 * 1000;
        Ok((check.vouch_record(provider.issuer, record)?, Basis::Until(until_ms)))
    };
    if policy.revocation_seconds_max > 0 || provider.introspection.revocations_in_store {
        let get = Command::new("GET").arg(policy.keys.token(&hash));
        let reply = store::ask(policy, vec![get], &arrival.request_id).await?.pop();
        let record = match reply.as_ref() {
            Some(Reply::Null) => None,
            Some(reply @ (Reply::Bulk(_) | Reply::Status(_))) => {
                reply.as_text().and_then(TokenRecord::decode)
            }
            Some(Reply::Array(_) | Reply::Error(_) | Reply::Integer(_)) | None => {
                return Err(Outage::StoreFaulty.into());
            }
        };
        let reading = policy.issuers.get(provider.issuer);
        let reading = reading.map(|issuer| Introspection::reading(issuer, &policy.other_claims));
        // Without a word on that the record is its issuer's own.
        let for_us = |record: &TokenRecord| record.read_as.is_none() || record.read_as == reading;
        if let Some(record) = record.filter(|record| for_us(record) && keeps(record) > 0) {
            return vouch(record);
        }
    }
    let record = ask(provider, Why::Opaque, hash, policy, arrival).await?;
    keep(&record, keeps(&record), hash, policy, arrival);
    vouch(record)
}

/// The store's answer, with the record that it lacked, if the provider knows the token.
pub async fn complete(
    check: &Check<'_>,
    proof: &Proof,
    mut answer: Result<Vec<Reply>, Outage>,
    policy: &'static Policy,
    arrival: &Arrival,
) -> Result<Result<Vec<Reply>, Outage>, Refusal> {
    let Some(provider) = check.missing_record(proof, &answer) else {
        return Ok(answer);
    };
    let Some(hash) = check.token_hash() else {
        return Ok(answer);
    };
    let record = ask(provider, Why::RecordMissing, hash, policy, arrival).await?;
    if let Some(reply) = answer.as_mut().ok().and_then(|replies| replies.get_mut(1)) {
        *reply = Reply::text(&record.encode());
    }
    let exp = record.exp.map(UnixSeconds);
    let bound = policy.revocation_seconds_max;
    let seconds = provider.introspection.keeps_seconds(exp, None, bound, arrival.now);
    keep(&record, seconds, hash, policy, arrival);
    Ok(answer)
}

/// Writes a record to the store, after the answer. A store that does not take it is asked again with the
/// token's next request, and that is all.
fn keep(
    record: &TokenRecord,
    seconds: u64,
    hash: TokenHash,
    policy: &'static Policy,
    arrival: &Arrival,
) {
    if seconds == 0 {
        return;
    }
    let set = Command::new("SET")
        .arg(policy.keys.token(&hash))
        .arg(record.encode())
        .arg("EX")
        .arg(seconds);
    let id = arrival.request_id.clone();
    arrival.after(async move {
        let _ = store::ask(policy, vec![set], &id).await;
    });
}

async fn ask(
    provider: Provider<'_>,
    why: Why,
    hash: TokenHash,
    policy: &'static Policy,
    arrival: &Arrival,
) -> Result<TokenRecord, Refusal> {
    let issuer = policy.issuers.get(provider.issuer).ok_or(Denial::IssuerUnknown)?;
    let last = REFUSED.with_borrow_mut(|memory| memory.recall(hash, |_| 0));
    if let Some(pause) = last.filter(|pause| arrival.now_ms < pause.until_ms) {
        return Err(pause.denial.into());
    }
    if !may_ask(policy, why, arrival.now) {
        return Err(Outage::IntrospectionBusy.into());
    }
    let question = provider.introspection.question(provider.token);
    let request = TextRequest {
        method: "POST",
        url: &provider.introspection.url,
        request_id: &arrival.request_id,
        authorization: question.authorization.as_deref(),
        body: Some((ContentType::Form, &question.body)),
        deadline_ms: policy.introspection_deadline_ms,
        bytes_max: ANSWER_BYTES_MAX,
    };
    let (status, text) = request.send().await.map_err(|fault| {
        log(issuer, arrival, &format!("{fault:?}"));
        match fault {
            Fault::Timeout => Outage::IntrospectionTimeout,
            Fault::TooLarge => Outage::IntrospectionFaulty,
            Fault::Unreachable => Outage::IntrospectionUnreachable,
        }
    })?;
    let outcome = Introspection::read(issuer, &policy.other_claims, status, &text, arrival.now);
    match outcome {
        Err(Refusal::Denied(denial)) => {
            // The first pause is short: a provider's replica may not have heard of a new token yet.
            let length_ms =
                last.map_or(PAUSE_MS_MIN, |last| (last.length_ms * 2).min(PAUSE_MS_MAX));
            let pause = Pause { until_ms: arrival.now_ms + length_ms, length_ms, denial };
            REFUSED.with_borrow_mut(|memory| memory.insert(hash, pause, 0));
        }
        Err(Refusal::Out(_) | Refusal::Misconfigured) => {
            log(issuer, arrival, &format!("status {status}, or no answer of RFC 7662"));
        }
        Ok(_) => {}
    }
    outcome
}

/// Whether this isolate may ask once more in this second. Requests end out of order: an earlier second
/// counts with the current one.
fn may_ask(policy: &Policy, why: Why, now: UnixSeconds) -> bool {
    let (second, counts) = ASKED.get();
    let (second, mut counts) = if now > second { (now, [0; 2]) } else { (second, counts) };
    let count = match counts.get_mut(why as usize) {
        Some(count) => {
            *count = count.saturating_add(1);
            *count
        }
        None => 0,
    };
    ASKED.set((second, counts));
    count <= policy.introspections_per_second_max
}

fn log(issuer: &Issuer, arrival: &Arrival, fault: &str) {
    let line = serde_json::json!({
        "level": "warn", "event": "introspection", "request_id": arrival.request_id,
        "issuer": issuer.issuer, "fault": fault,
    });
    host::log(&line.to_string());
}

const REFUSED_PER_GENERATION: usize = 4096;
const PAUSE_MS_MIN: u64 = 1000;
const PAUSE_MS_MAX: u64 = 16_000;
const ANSWER_BYTES_MAX: u32 = 64 * 1024;

//! Asking a provider about a token (RFC 7662): an opaque one, or one whose record the store has lost. The
//! store is asked first; a provider is asked seldom, within a rate and a deadline.

use crate::breakers::{self, Dependency, Health};
use crate::host::{self, ContentType, Fault, TextRequest};
use crate::trace::Tier;
use crate::verify::Basis;
use crate::{Arrival, retry, store, task};
use portcullis_core::{
    AuthenticatedRequest, Check, Denial, GenerationalCache, Introspection, Issuer, Missing, Outage,
    Policy, Provider, Refusal, StoreOutage, StoreResult, TokenHash, TokenRecord, UnixSeconds,
    VerifiedToken,
};
use redis_rest::{Command, Reply};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

thread_local! {
    /// Tokens that turned out to be no good.
    static REFUSED: RefCell<GenerationalCache<TokenHash, Pause>> =
        RefCell::new(GenerationalCache::new(REFUSED_PER_GENERATION, usize::MAX));
    /// The current second, and how often it was asked in it, for each reason apart: nobody can use up with
    /// made-up tokens what genuine ones need.
    static ASKED: Cell<(UnixSeconds, [u32; 3])> = const { Cell::new((UnixSeconds(0), [0; 3])) };
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
    /// The store can't be asked.
    StoreOut = 2,
}

/// Who holds an opaque token, as the store or its provider says.
pub async fn holder(
    check: &Check<'_, '_>,
    provider: Provider<'_>,
    hash: TokenHash,
    policy: &'static Policy,
    arrival: &Arrival,
) -> Result<(Rc<VerifiedToken>, Basis), Refusal> {
    let keeps = |record: &TokenRecord| {
        let (exp, asked_at) = (record.exp.map(UnixSeconds), record.asked_at.map(UnixSeconds));
        let bound = policy.revocation_seconds_max;
        provider.introspection.cacheable_seconds(exp, asked_at, bound, arrival.now)
    };
    let verify = |record: TokenRecord| {
        // In whole seconds, as the record counts.
        let until_ms = arrival.now.plus(keeps(&record)).0 * 1000;
        Ok((check.accept_record(provider.issuer, record)?, Basis::Until(until_ms)))
    };
    if policy.revocation_seconds_max > 0 || provider.introspection.revocations_in_store {
        let get = Command::new("GET").arg(policy.keys.token(&hash));
        let record = match store::ask(policy, &[get], arrival).await.pop() {
            Some(StoreResult::Reply(Reply::Null)) => None,
            Some(StoreResult::Reply(reply @ (Reply::Bulk(_) | Reply::Status(_)))) => {
                let text = reply.as_text().unwrap_or_default();
                let key = policy.keys.token(&hash);
                let record = TokenRecord::decode(text, &key, policy.seal.as_ref());
                arrival.trace.unopened.set(record.is_none());
                record
            }
            // Without a signature there is only the provider's word instead of the store's.
            Some(StoreResult::Out(_)) if check.on_store_outage() == StoreOutage::Introspect => None,
            Some(StoreResult::Out(outage)) => return Err(outage.into()),
            _ => return Err(Outage::StoreBadResponse.into()),
        };
        let reading = policy.issuers.get(provider.issuer);
        let reading =
            reading.map(|issuer| Introspection::settings_hash(issuer, &policy.other_claims));
        // Without a word on that the record is its issuer's own.
        let for_us = |record: &TokenRecord| record.read_as.is_none() || record.read_as == reading;
        if let Some(record) = record.filter(|record| for_us(record) && keeps(record) > 0) {
            arrival.trace.tier.set(Some(Tier::Store));
            return verify(record);
        }
    }
    let why = arrival.trace.store_out.get().map_or(Why::Opaque, |_| Why::StoreOut);
    let record = ask(provider, why, hash, policy, arrival).await?;
    keep(&record, keeps(&record), hash, policy, arrival);
    verify(record)
}

/// Puts into the store's answer what it lacks and the token's provider knows: the record, or, on routes that
/// want it so, everything.
pub async fn complete(
    check: &Check<'_, '_>,
    authenticated: &AuthenticatedRequest<'_>,
    results: &mut [StoreResult],
    policy: &'static Policy,
    arrival: &Arrival,
) -> Result<(), Refusal> {
    if check.open_record(authenticated, results) {
        arrival.trace.unopened.set(true);
    }
    if check.is_answered(authenticated, results) {
        arrival.trace.tier.set(Some(Tier::Store));
    }
    let Some((provider, missing)) = check.missing_record(authenticated, results) else {
        return Ok(());
    };
    let Some(hash) = check.token_hash() else {
        return Ok(());
    };
    if missing == Missing::Store && arrival.trace.introspected_now.get() {
        check.accept_introspection(authenticated, results);
        return Ok(());
    }
    let why = match missing {
        Missing::Record => Why::RecordMissing,
        Missing::Store => Why::StoreOut,
    };
    let record = ask(provider, why, hash, policy, arrival).await?;
    if missing == Missing::Record {
        let exp = record.exp.map(UnixSeconds);
        let bound = policy.revocation_seconds_max;
        let seconds = provider.introspection.cacheable_seconds(exp, None, bound, arrival.now);
        keep(&record, seconds, hash, policy, arrival);
    }
    if missing == Missing::Store {
        arrival.trace.degraded.set(Some("token=introspect"));
    }
    Ok(check.complete(authenticated, results, missing, record)?)
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
    if arrival.trace.store_out.get().is_some() {
        return;
    }
    let key = policy.keys.token(&hash);
    let value = record.encode(&key, policy.seal.as_ref(), host::nonce());
    let set = Command::new("SET").arg(key).arg(value).arg("EX").arg(seconds);
    let own = arrival.alone();
    task::after(async move {
        store::tell(policy, &[set], &own).await;
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
    let last = REFUSED.with_borrow_mut(|memory| memory.get(hash, |_| 0));
    if let Some(pause) = last.filter(|pause| arrival.now_ms < pause.until_ms) {
        return Err(pause.denial.into());
    }
    if !may_ask(policy, why, arrival.now) {
        return Err(Outage::IntrospectionBusy.into());
    }
    let question = provider.introspection.request(provider.token);
    let request = TextRequest {
        method: "POST",
        url: &provider.introspection.url,
        request_id: &arrival.request_id,
        authorization: question.authorization.as_deref(),
        body: Some((ContentType::Form, &question.body)),
        deadline_ms: 0,
        bytes_max: ANSWER_BYTES_MAX,
    };
    let deadline_ms = policy.timeouts.introspection_ms;
    let begun_ms = host::now_ms();
    let work = async {
        let until_ms = host::now_ms() + u64::from(deadline_ms);
        let (status, text) = match retry::text(request, until_ms, arrival).await {
            Ok(answer) => answer,
            Err(fault) => {
                log(issuer, arrival, &format!("{fault:?}"));
                let outage = match fault {
                    Fault::Timeout => Outage::IntrospectionTimeout,
                    Fault::TooLarge => Outage::IntrospectionBadResponse,
                    Fault::Unreachable => Outage::IntrospectionUnreachable,
                };
                return (Health::Failed(outage), Err(outage.into()));
            }
        };
        let read = Introspection::read(issuer, &policy.other_claims, status, &text, arrival.now);
        let Err(Refusal::Out(outage)) = read else {
            return (Health::Good, read);
        };
        log(issuer, arrival, &format!("status {status}, or no answer of RFC 7662"));
        // What a provider makes of a made-up token is no failure of its own.
        let health = if status >= 500 { Health::Failed(outage) } else { Health::Inconclusive };
        (health, read)
    };
    let dependency = Dependency::Provider(provider.issuer);
    let answer = breakers::call(dependency, policy, arrival, deadline_ms, work).await;
    let trace = &arrival.trace;
    trace.provider_ms.set(trace.provider_ms.get() + host::now_ms().saturating_sub(begun_ms));
    let outcome = answer?;
    match outcome {
        Err(Refusal::Denied(denial)) => {
            // The first pause is short: a provider's replica may not have heard of a new token yet.
            let length_ms =
                last.map_or(PAUSE_MS_MIN, |last| (last.length_ms * 2).min(PAUSE_MS_MAX));
            let pause = Pause { until_ms: arrival.now_ms + length_ms, length_ms, denial };
            REFUSED.with_borrow_mut(|memory| memory.insert(hash, pause, 0));
        }
        Err(Refusal::Out(_) | Refusal::Misconfigured) => {}
        Ok(_) => {
            trace.tier.set(Some(Tier::Provider));
            trace.introspected_now.set(true);
        }
    }
    outcome
}

/// Whether this isolate may ask once more in this second. Requests end out of order: an earlier second
/// counts with the current one.
fn may_ask(policy: &Policy, why: Why, now: UnixSeconds) -> bool {
    let (second, counts) = ASKED.get();
    let (second, mut counts) = if now > second { (now, [0; 3]) } else { (second, counts) };
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

//! Introspection (RFC 7662) of opaque tokens, and of tokens without a record in the store. The
//! store is queried first. Requests to a provider are limited by a rate and a deadline.

use crate::context::RequestContext;
use crate::dependency::breakers::{Dependency, Health};
use crate::dependency::{call, retry};
use crate::platform::log::{Level, Line};
use crate::platform::protocol::{ContentType, PlatformError, TextBody, TextRequest};
use crate::platform::{clock, crypto};
use crate::store;
use crate::token::cache::{Validity, Verification};
use crate::token::introspection_limits::Reason;
use crate::trace::VerdictSource;
use portcullis_core::{
    AuthenticatedRequest, Check, Denial, Introspection, Issuer, Missing, Outage, Provider, Refusal,
    StoreOutage, StoreResult, TokenHash, TokenRecord, UnixSeconds,
};
use redis_rest::{Command, Reply};

/// Resolves an opaque token by its record in the store, or else by its provider (RFC 7662).
///
/// # Errors
///
/// A denial if the provider says that the token is not active, or its response does not fit the
/// policy; an outage if store or provider fails, or the rate of introspections is used up.
pub async fn resolve_opaque(
    check: &Check<'_, '_>,
    provider: Provider<'_>,
    hash: TokenHash,
    context: &RequestContext,
) -> Result<Verification, Refusal> {
    let policy = context.policy;
    let kept_seconds = |record: &TokenRecord| {
        let (exp, asked_at) = (record.exp.map(UnixSeconds), record.asked_at.map(UnixSeconds));
        let bound = policy.revocation_delay_seconds_max;
        provider.introspection.cacheable_seconds(exp, asked_at, bound, context.now)
    };
    let verify = |record: TokenRecord| {
        // Rounded to whole seconds, as the record counts.
        let until_ms = context.now.plus(kept_seconds(&record)).0 * 1000;
        let token = check.accept_record(provider.issuer, record)?;
        Ok(Verification { token, validity: Validity::Until(until_ms), kid: None })
    };
    if policy.revocation_delay_seconds_max > 0 || provider.introspection.revocations_in_store {
        let record = read_record(check, hash, context).await?;
        let issuer = policy.issuers.get(provider.issuer);
        let reading =
            issuer.map(|issuer| Introspection::settings_hash(issuer, &policy.other_claims));
        // A record without `read_as` was written by the issuer itself.
        let readable = |record: &TokenRecord| match record.read_as {
            None => issuer.is_some_and(|issuer| record.is_for_audience(issuer)),
            Some(_) => record.read_as == reading,
        };
        let record = record.filter(|record| readable(record) && kept_seconds(record) > 0);
        if let Some(record) = record {
            context.trace.verdict_source.set(Some(VerdictSource::Store));
            return verify(record);
        }
    }
    let reason = match context.isolate.tokens.get(hash) {
        Some(_) => Reason::KnownOpaque,
        None => {
            Reason::UnknownOpaque { client: Some(check.address()).filter(|_| check.is_limited()) }
        }
    };
    let record = introspect(provider, reason, hash, context).await?;
    write_record(&record, kept_seconds(&record), hash, context);
    verify(record)
}

/// Reads a token's record from the store. Returns `None` if it is missing or can't be decrypted.
async fn read_record(
    check: &Check<'_, '_>,
    hash: TokenHash,
    context: &RequestContext,
) -> Result<Option<TokenRecord>, Refusal> {
    let key = context.policy.keys.token(&hash);
    let get = Command::new("GET").arg(&key);
    match store::query(&[get], context).await.pop() {
        Some(StoreResult::Reply(Reply::Null)) => Ok(None),
        Some(StoreResult::Reply(reply @ (Reply::Bulk(_) | Reply::Status(_)))) => {
            let text = reply.as_text().unwrap_or_default();
            let record = TokenRecord::decode(text, &key, context.policy.seal.as_ref());
            context.trace.record_unopened.set(record.is_none());
            Ok(record)
        }
        // An opaque token has no signature, so only the provider can decide.
        Some(StoreResult::Out(_)) if check.on_store_outage() == StoreOutage::Introspect => Ok(None),
        Some(StoreResult::Out(outage)) => Err(outage.into()),
        _ => Err(Outage::StoreBadResponse.into()),
    }
}

/// Completes the store's results by introspection. It replaces a missing record and, on routes with
/// `on_store_outage = "introspect"`, the whole verdict on the token.
///
/// # Errors
///
/// Those of [`resolve_opaque`], if the store's results do not suffice.
pub async fn complete(
    check: &Check<'_, '_>,
    authenticated: &AuthenticatedRequest<'_>,
    results: &mut [StoreResult],
    context: &RequestContext,
) -> Result<(), Refusal> {
    if check.open_record(authenticated, results) {
        context.trace.record_unopened.set(true);
    }
    if check.is_answered(authenticated, results) {
        context.trace.verdict_source.set(Some(VerdictSource::Store));
    }
    let Some((provider, missing)) = check.missing_record(authenticated, results) else {
        return Ok(());
    };
    let Some(hash) = check.token_hash() else {
        return Ok(());
    };
    if context.introspected_now.get() {
        if missing == Missing::Store {
            check.accept_introspection(authenticated, results);
        }
        // The response about an API key is its record, which the store may not have yet.
        if check.keep_known(authenticated, results) || missing == Missing::Store {
            return Ok(());
        }
    }
    let reason = match missing {
        Missing::Record => Reason::RecordMissing,
        Missing::Store => Reason::StoreOutage,
    };
    let record = introspect(provider, reason, hash, context).await.inspect_err(|refusal| {
        // The next request is refused like one with a key that the isolate does not know.
        if provider.is_api_key && matches!(refusal, Refusal::Denied(_)) {
            context.isolate.tokens.remove(hash);
        }
    })?;
    // The auth service itself writes the records of API keys.
    if missing == Missing::Record && !provider.is_api_key {
        let exp = record.exp.map(UnixSeconds);
        let bound = context.policy.revocation_delay_seconds_max;
        let seconds = provider.introspection.cacheable_seconds(exp, None, bound, context.now);
        write_record(&record, seconds, hash, context);
    }
    if missing == Missing::Store {
        context.trace.degraded.set(Some("token=introspect"));
    }
    Ok(check.complete(authenticated, results, missing, record)?)
}

/// Writes a record to the store, after the response. If that fails, or if the record is too large
/// to be read back, the only effect is that the token's next request is introspected again.
fn write_record(record: &TokenRecord, seconds: u64, hash: TokenHash, context: &RequestContext) {
    if seconds == 0 || context.store_failure.get().is_some() {
        return;
    }
    let key = context.policy.keys.token(&hash);
    let value = record.encode(&key, context.policy.seal.as_ref(), crypto::nonce());
    if !store::fits_reply(&value) {
        return;
    }
    let set = Command::new("SET").arg(key).arg(value).arg("EX").arg(seconds);
    context.spawn(|context| async move {
        store::write(&[set], &context).await;
    });
}

/// Returns the provider's record of a token, within the limits on introspection.
///
/// # Errors
///
/// Those of [`resolve_opaque`].
pub async fn introspect(
    provider: Provider<'_>,
    reason: Reason<'_>,
    hash: TokenHash,
    context: &RequestContext,
) -> Result<TokenRecord, Refusal> {
    let policy = context.policy;
    let issuer = policy.issuers.get(provider.issuer).ok_or(Denial::IssuerUnknown)?;
    let limits = match provider.is_api_key {
        true => &context.isolate.key_limits,
        false => &context.isolate.introspection_limits,
    };
    let last = limits.last_rejection(hash);
    if let Some(rejection) = last.filter(|rejection| context.now_ms < rejection.until_ms) {
        return Err(rejection.denial.into());
    }
    if !limits.admits(reason, hash, policy.introspections_per_second_max, context.now) {
        return Err(Outage::IntrospectionBusy.into());
    }
    let deadline_ms = policy.timeouts.introspection_ms;
    let begun_ms = clock::now_ms();
    let work = request(provider, issuer, context);
    let outcome =
        call::call(Dependency::Provider(provider.issuer), deadline_ms, work, context).await;
    let provider_ms = &context.trace.provider_ms;
    provider_ms.set(provider_ms.get() + clock::now_ms().saturating_sub(begun_ms));
    let outcome = outcome?;
    match outcome {
        Err(Refusal::Denied(denial)) => limits.set_rejected(hash, last, denial, context.now_ms),
        Err(Refusal::Out(_) | Refusal::Misconfigured) => {}
        Ok(_) => {
            context.trace.verdict_source.set(Some(VerdictSource::Provider));
            context.introspected_now.set(true);
        }
    }
    outcome
}

/// Sends an introspection request.
async fn request(
    provider: Provider<'_>,
    issuer: &Issuer,
    context: &RequestContext,
) -> (Health, Result<TokenRecord, Refusal>) {
    let policy = context.policy;
    let until_ms = clock::now_ms() + u64::from(policy.timeouts.introspection_ms);
    let question = provider.introspection.request(provider.token);
    let request = TextRequest {
        method: "POST",
        url: &provider.introspection.url,
        request_id: &context.request_id,
        authorization: question.authorization.as_deref(),
        body: Some(TextBody { content_type: ContentType::Form, text: &question.body }),
        deadline_ms: 0,
        bytes_max: RESPONSE_BYTES_MAX,
    };
    let response = match retry::text(request, until_ms, context).await {
        Ok(response) => response,
        Err(error) => {
            log_fault(issuer, &format!("{error:?}"), context);
            let (outage, health) = failure(error);
            return (health, Err(outage.into()));
        }
    };
    let (status, text) = (response.status, &response.text);
    let read = match provider.is_api_key {
        true => Introspection::read_key,
        false => Introspection::read,
    };
    let read = read(issuer, &policy.other_claims, status, text, context.now);
    let Err(Refusal::Out(outage)) = read else {
        return (Health::Good, read);
    };
    log_fault(issuer, &format!("status {status}, or a response that is not RFC 7662's"), context);
    // A client may cause an error below 500 with a made-up token.
    let health = if status >= 500 { Health::Failed(outage) } else { Health::Inconclusive };
    (health, read)
}

/// Returns the caller's error for an introspection without a response, and what it shows about the
/// provider.
fn failure(error: PlatformError) -> (Outage, Health) {
    let failed = |outage| (outage, Health::Failed(outage));
    match error {
        PlatformError::Timeout => failed(Outage::IntrospectionTimeout),
        PlatformError::Protocol => failed(Outage::IntrospectionBadResponse),
        PlatformError::Unreachable => failed(Outage::IntrospectionUnreachable),
        // The claims of one caller are too large. That must not open the breaker for other callers.
        PlatformError::TooLarge => (Outage::IntrospectionBadResponse, Health::Inconclusive),
        // The request has used up its calls, which shows nothing about the provider.
        PlatformError::Rejected => (Outage::IntrospectionUnreachable, Health::Inconclusive),
    }
}

fn log_fault(issuer: &Issuer, fault: &str, context: &RequestContext) {
    Line::new(Level::Warn, "introspection")
        .text("request_id", &context.request_id)
        .text("issuer", &issuer.issuer)
        .text("fault", fault)
        .write();
}

const RESPONSE_BYTES_MAX: u32 = 64 * 1024;

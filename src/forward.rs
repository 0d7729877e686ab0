//! Forwards a permitted request: to the auth service with a bounded body, to an upstream as a
//! stream.

mod assertion;
mod body;
mod refresh;
mod revoke;

use crate::context::RequestContext;
use crate::dependency::breakers::{Dependency, Health};
use crate::dependency::{call, retry};
use crate::platform::clock;
use crate::platform::http::{self, Body, Response};
use crate::platform::protocol::{Forward, PlatformError};
use crate::trace::VerdictSource;
use portcullis_core::{
    Endpoint, HeaderEdits, Outage, Permit, Refresh, Refusal, RequestHead, Revocation, StoreOutage,
    Target, UnixSeconds,
};

/// Returns the response of the permit's target, untouched.
pub async fn send(
    permit: &Permit<'static>,
    head: &RequestHead<'_>,
    context: &RequestContext,
) -> Result<Response, Refusal> {
    let trace = &context.trace;
    trace.degraded.set(permit.degraded().text());
    if permit.degraded().token == Some(StoreOutage::Signature) {
        trace.verdict_source.set(Some(VerdictSource::Signature));
    }
    let mut edits = edit_headers(permit, head, context).await?;
    let (begun_ms, deadline_ms) = (clock::now_ms(), permit.deadline_ms());
    let until_ms = begun_ms + u64::from(deadline_ms);
    let (base, dependency, body) = match permit.target() {
        Target::Auth(base) => {
            let body = body::read(head, deadline_ms, context).await?;
            edits.set.extend(auth_fields(permit, head, context));
            (base, Dependency::Auth, body)
        }
        Target::Upstream(base) => (base, Dependency::Upstream(permit.route()), None),
    };
    let mut forward = Forward {
        url: &base.join(head.target()),
        remove: &edits.remove,
        set: &edits.set,
        deadline_ms: retry::left_ms(until_ms).unwrap_or(1),
        personal: permit.is_personal(),
    };
    let body_text = || body.as_ref().map(Body::text).unwrap_or_default();
    if permit.endpoint() == Some(Endpoint::Token)
        && let Some(refresh) = Refresh::read(head, &body_text(), &context.policy.keys)
    {
        if let Some(answer) = refresh::answer(refresh, &forward, body.as_ref(), context).await {
            trace.upstream_ms.set(clock::now_ms().saturating_sub(begun_ms));
            return answer.and_then(|response| check_error_body(response, dependency));
        }
        forward.deadline_ms = retry::left_ms(until_ms).unwrap_or(1);
    }
    let work = attempt(forward, head, body.as_ref(), permit.target(), until_ms, context);
    let outcome = call::call(dependency, deadline_ms, work, context).await;
    trace.upstream_ms.set(clock::now_ms().saturating_sub(begun_ms));
    let response = check_error_body(outcome??, dependency)?;
    if permit.endpoint() == Some(Endpoint::Revocation)
        && matches!(response.status, 200..=299)
        && let Some(revocation) = Revocation::read(head, &body_text())
    {
        revoke::forget_responses(revocation, deadline_ms, context).await;
    }
    Ok(response)
}

/// Returns what changes in the request's headers.
async fn edit_headers<'a>(
    permit: &Permit<'static>,
    head: &RequestHead<'a>,
    context: &RequestContext,
) -> Result<HeaderEdits<'a>, Refusal> {
    let mut edits = permit.header_edits(head, &context.request_id);
    if let Some((assertion, input)) = permit.assertion_input(&context.request_id, context.now) {
        edits.set.push((&assertion.field, assertion::sign(assertion, &input, context).await?));
    }
    Ok(edits)
}

/// Returns what the auth service alone receives: the edge's statement about the client. It is signed
/// after the body was read, because a slow body must not make it stale.
fn auth_fields(
    permit: &Permit<'static>,
    head: &RequestHead<'_>,
    context: &RequestContext,
) -> Vec<(&'static str, String)> {
    let (country, now) = (http::country(&context.port), UnixSeconds(clock::now_ms() / 1000));
    let mut fields = permit.edge_auth_fields(head, &country, &context.request_id, now);
    if !country.is_empty() {
        fields.push(("portcullis-country", country));
    }
    fields
}

/// Sends the request, and once more if that changes nothing.
async fn attempt(
    mut forward: Forward<'_>,
    head: &RequestHead<'_>,
    body: Option<&Body>,
    target: Target<'_>,
    until_ms: u64,
    context: &RequestContext,
) -> (Health, Result<Response, Outage>) {
    let set = forward.set.iter().map(|(name, value)| name.len() + value.len());
    let own = head.headers().iter().map(|(name, value)| name.len() + value.len());
    // Servers may break off such a head, and its client or the token's claims made it so large.
    let large = set.chain(own).sum::<usize>() > HEAD_BYTES_MAX;
    let mut outcome = forward.send(&context.port, body).await;
    let safe = matches!(head.method(), "GET" | "HEAD" | "OPTIONS") && !head.announces_body();
    if safe
        && matches!(outcome, Err(PlatformError::Unreachable))
        && retry::pause(until_ms, context).await
        && let Some(left_ms) = retry::left_ms(until_ms)
    {
        forward.deadline_ms = left_ms;
        outcome = forward.send(&context.port, body).await;
    }
    // A client can break off a stream or make it last, and other clients must not suffer for that.
    // Not every stream is announced.
    let streams = body.is_none() && !matches!(head.method(), "GET" | "HEAD");
    let health = match &outcome {
        Ok(_) => Health::Good,
        Err(PlatformError::Rejected) => Health::Inconclusive,
        Err(_) if streams || large => Health::Inconclusive,
        Err(error) => Health::Failed(outage(target, *error)),
    };
    (health, outcome.map_err(|error| outage(target, error)))
}

fn outage(target: Target<'_>, error: PlatformError) -> Outage {
    match (target, error) {
        (Target::Auth(_), PlatformError::Timeout) => Outage::AuthTimeout,
        (Target::Upstream(_), PlatformError::Timeout) => Outage::UpstreamTimeout,
        (
            Target::Auth(_),
            PlatformError::TooLarge
            | PlatformError::Unreachable
            | PlatformError::Rejected
            | PlatformError::Protocol,
        ) => Outage::AuthUnreachable,
        (
            Target::Upstream(_),
            PlatformError::TooLarge
            | PlatformError::Unreachable
            | PlatformError::Rejected
            | PlatformError::Protocol,
        ) => Outage::UpstreamUnreachable,
    }
}

/// Rejects a server error of the auth service that is not JSON: an error page may reveal internals.
fn check_error_body(response: Response, dependency: Dependency) -> Result<Response, Refusal> {
    if dependency == Dependency::Auth && response.status >= 500 {
        let media_type = response.media_type.split(';').next().unwrap_or_default().trim();
        if !matches!(media_type, "application/json" | "application/problem+json") {
            return Err(Outage::AuthBadResponse.into());
        }
    }
    Ok(response)
}

/// Common servers accept at least so much of a request's head.
const HEAD_BYTES_MAX: usize = 8 * 1024;

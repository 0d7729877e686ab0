//! Forwards a permitted request: to the auth service with its whole, bounded body; to an upstream
//! as a stream.

mod assertion;
pub mod body;
mod refresh;
mod revoke;
mod stream;

use crate::context::{Purpose, RequestContext};
use crate::dependency::breakers::{Dependency, Health};
use crate::dependency::{call, retry};
use crate::platform::http::{self, Body, Response};
use crate::platform::protocol::{EncodedForward, Forward, LineBreakInField, PlatformError};
use crate::platform::{clock, executor};
use crate::trace::VerdictSource;
use portcullis_core::{
    Country, Denial, Endpoint, HeaderEdits, Outage, Permit, Refresh, Refusal, RequestHead,
    Revocation, StoreOutage, StreamBounds, Target, UnixSeconds, json_text,
};
use refresh::AuthCall;

/// A permitted request, ready to be forwarded. It keeps no reference to the request's head. The
/// head may be large, the response may take minutes, and the client may leave without notice.
pub struct Outbound {
    change: EncodedForward,
    body: Option<Body>,
    target: Target<'static>,
    dependency: Dependency,
    /// Whether it is safe to send the request again.
    repeatable: bool,
    /// Whether the body may be a stream. A stream need not be announced by a header.
    streams: bool,
    /// Whether JavaScript answers it.
    permits: bool,
    /// Whether the head is so large that servers may drop the connection. The client or the token's
    /// claims cause that, so such a failure does not count against the upstream.
    large: bool,
    begun_ms: u64,
    deadline_ms: u32,
    refresh: Option<Refresh>,
    revocation: Option<Revocation>,
    stream: Option<StreamBounds>,
}

/// Prepares a permitted request: edits its headers, and reads its body if the target is the auth
/// service.
pub async fn prepare(
    permit: &Permit<'static>,
    head: &RequestHead<'_>,
    context: &RequestContext,
) -> Result<Outbound, Refusal> {
    let trace = &context.trace;
    trace.degraded.set(permit.degraded().text());
    if permit.degraded().token == Some(StoreOutage::Signature) {
        trace.verdict_source.set(Some(VerdictSource::Signature));
    }
    let mut edits = edit_headers(permit, head, context).await?;
    let deadline_ms = permit.deadline_ms();
    let target = permit.target();
    let (base, dependency, body) = match target {
        Target::Auth(base) => {
            let body = body::read(head, deadline_ms, context).await?;
            edits.set.extend(auth_fields(permit, head, context));
            (base, Dependency::Auth, body)
        }
        // The edge answers it: see `events`.
        Target::Edge => return Err(Denial::RouteDenied.into()),
        Target::Upstream(base) => (base, Dependency::Upstream(permit.route()), None),
    };
    // The deadline starts after the body was read, so that a slow client does not shorten it.
    let begun_ms = clock::now_ms();
    let set = edits.set.iter().map(|(name, value)| name.len() + value.len());
    let own = head.headers().iter().map(|(name, value)| name.len() + value.len());
    let large = set.chain(own).sum::<usize>() > HEAD_BYTES_MAX;
    let permits = context.purpose == Purpose::Permit && matches!(target, Target::Upstream(_));
    let facts = permits.then(|| json_text(&permit.facts(trace.would_refuse.get())));
    let forward = Forward {
        permit: facts.as_deref(),
        url: &base.join(head.target()),
        remove: &edits.remove,
        set: &edits.set,
        personal: permit.is_personal(),
    };
    let change = forward.encode().map_err(|LineBreakInField| {
        executor::line_break(&context.port);
        outage(target, PlatformError::Protocol)
    })?;
    let body_text = || body.as_ref().map(Body::text).unwrap_or_default();
    let (mut refresh, mut revocation) = (None, None);
    match permit.endpoint() {
        Some(Endpoint::Token) => {
            refresh = Refresh::read(head, &body_text(), &context.policy.keys);
        }
        Some(Endpoint::Revocation) => revocation = Revocation::read(head, &body_text()),
        None => {}
    }
    let method = head.method();
    Ok(Outbound {
        change,
        repeatable: !permits
            && matches!(method, "GET" | "HEAD" | "OPTIONS")
            && !head.announces_body(),
        streams: body.is_none() && !matches!(method, "GET" | "HEAD"),
        permits,
        large,
        body,
        target,
        dependency,
        begun_ms,
        deadline_ms,
        refresh,
        revocation,
        stream: permit.stream_bounds(clock::now_ms()),
    })
}

/// Sends the request, and returns the response of its target unchanged once its head has arrived.
///
/// # Errors
///
/// An outage of the target: it can't be reached, its head takes longer than the route's timeout,
/// its breaker is open, or the auth service answers a 5xx that is not JSON.
pub async fn send(mut outbound: Outbound, context: &RequestContext) -> Result<Response, Refusal> {
    let Outbound { dependency, begun_ms, deadline_ms, .. } = outbound;
    let until_ms = begun_ms + u64::from(deadline_ms);
    let record_time = || context.trace.upstream_ms.set(clock::now_ms().saturating_sub(begun_ms));
    if let Some(refresh) = outbound.refresh.take() {
        let call = AuthCall {
            change: &outbound.change,
            body: outbound.body.as_ref(),
            deadline_ms: retry::left_ms(until_ms).unwrap_or(1),
        };
        if let Some(answer) = refresh::answer(refresh, call, context).await {
            record_time();
            return answer.and_then(|response| check_error_body(response, dependency));
        }
    }
    let work = attempt(&outbound, until_ms, context);
    let outcome = if outbound.permits {
        context.port.release();
        // It is this program that answers, for which there is no breaker.
        Ok(work.await.1)
    } else {
        call::call(dependency, deadline_ms, work, context).await
    };
    record_time();
    let response = check_error_body(outcome??, dependency)?;
    let done = matches!(response.status, 200..=299);
    if let Some(revocation) = outbound.revocation.filter(|_| done) {
        revoke::forget_responses(revocation, deadline_ms, context).await;
    }
    if let Some(bounds) = outbound.stream {
        stream::watch(bounds, context);
    }
    Ok(response)
}

/// Returns the changes to the request's headers.
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

/// Returns the headers that only the auth service receives: the edge's signed statement about the
/// client. It is signed after the body was read, so that a slow body does not make it stale.
fn auth_fields(
    permit: &Permit<'static>,
    head: &RequestHead<'_>,
    context: &RequestContext,
) -> Vec<(&'static str, String)> {
    let (country, now) =
        (http::location(&context.port).country(), UnixSeconds(clock::now_ms() / 1000));
    let country = country.as_ref().map_or("", Country::as_str);
    let mut fields = permit.edge_auth_fields(head, country, &context.request_id, now);
    if !country.is_empty() {
        fields.push(("portcullis-country", country.to_owned()));
    }
    fields
}

/// Sends the request. Sends it again if that is safe and the first attempt failed early.
async fn attempt(
    outbound: &Outbound,
    until_ms: u64,
    context: &RequestContext,
) -> (Health, Result<Response, Outage>) {
    let (port, deadline_ms) = (&context.port, retry::left_ms(until_ms).unwrap_or(1));
    let sent_ms = clock::now_ms();
    let mut outcome = outbound.change.send(port, outbound.body.as_ref(), deadline_ms).await;
    if outbound.repeatable
        && matches!(outcome, Err(PlatformError::Unreachable))
        && clock::now_ms() < sent_ms + RESEND_MS_MAX
        && retry::pause(until_ms, context).await
        && let Some(left_ms) = retry::left_ms(until_ms)
    {
        outcome = http::send_again(port, left_ms).await;
    }
    let health = match &outcome {
        Ok(_) => Health::Good,
        Err(PlatformError::Rejected) => Health::Inconclusive,
        // The client may have aborted its stream or kept it open. That must not open the breaker
        // for others.
        Err(_) if outbound.streams || outbound.large => Health::Inconclusive,
        Err(error) => Health::Failed(outage(outbound.target, *error)),
    };
    (health, outcome.map_err(|error| outage(outbound.target, error)))
}

fn outage(target: Target<'_>, error: PlatformError) -> Outage {
    match (target, error) {
        (Target::Auth(_), PlatformError::Timeout) => Outage::AuthTimeout,
        (Target::Edge | Target::Upstream(_), PlatformError::Timeout) => Outage::UpstreamTimeout,
        (
            Target::Auth(_),
            PlatformError::TooLarge
            | PlatformError::Unreachable
            | PlatformError::Rejected
            | PlatformError::Protocol,
        ) => Outage::AuthUnreachable,
        (
            Target::Edge | Target::Upstream(_),
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

/// The size of a request's head that common servers accept at least.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// How early a first attempt must fail to be repeated. JavaScript keeps the request for twice this
/// time at most, because its headers may be large.
const RESEND_MS_MAX: u64 = 500;

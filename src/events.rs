//! Events that issuers push. The response waits for the store, so that the sender tries again if
//! the store does not have the revocation.

use crate::context::RequestContext;
use crate::forward::body;
use crate::platform::http::Body;
use crate::store;
use crate::token::key_selection;
use portcullis_core::{
    Answer, Denial, Event, EventArrival, EventFormat, EventRequest, Outage, Refusal, RequestHead,
    Route, StoreResult, TokenHash,
};
use redis_rest::{Command, Reply};

/// Receives an event: verifies it, writes its markers to the store, and returns the response.
///
/// # Errors
///
/// A denial of an event that is malformed, forged, old or another issuer's. An outage if the
/// issuer's keys can't be had, or the store does not confirm the markers.
pub async fn receive(
    head: &RequestHead<'_>,
    route: &Route,
    context: &RequestContext,
) -> Result<Answer, Refusal> {
    // A preflight is routed by the method that it asks for.
    if head.method() != "POST" {
        return Err(Denial::MethodNotAllowed.into());
    }
    let format = EventFormat::of(head).ok_or(Denial::EventMalformed)?;
    let trace = &context.trace;
    trace.event_format.set(Some(format));
    let body = body::read_within(EventRequest::BODY_BYTES_MAX, BODY_MS_MAX, context).await?;
    let body = body.as_ref().map(Body::text).unwrap_or_default();
    let request = EventRequest::read(format, head, route, &body)?;
    let event = verify(&request, context).await.inspect_err(|_| {
        trace.received.replace(request.received_claims());
    })?;
    trace.event.set(Some(event.name));
    let result = match event.markers.is_empty() {
        true => event.passive_result,
        false => revoke(&event, context).await?,
    };
    trace.event_result.set(Some(result));
    Ok(format.answer())
}

async fn verify(request: &EventRequest, context: &RequestContext) -> Result<Event, Refusal> {
    let event = request.parse(context.policy, context.now)?;
    let selected = key_selection::select(event.key_set(), event.header(), context).await?;
    if !event.admits_key_of(selected.issuer.as_deref()) {
        return Err(Denial::KeyUnknown.into());
    }
    let (signature, input) = (event.signature(), event.signing_input());
    let holds = selected.key.verify(&context.port, selected.algorithm, signature, input).await;
    Ok(event.accept(holds)?)
}

/// Writes the markers of an event. Returns the result for the log.
///
/// An event that this isolate has written before is written once more, as of its first arrival, in
/// case the store lost it.
async fn revoke(event: &Event, context: &RequestContext) -> Result<&'static str, Refusal> {
    let (recent, now) = (&context.isolate.recent_events, context.now);
    let content = event.content();
    let claim = event.claim(content, now);
    // The issuer's name of the event, and what it revokes.
    let id = TokenHash::of(&format!("{}\n{content}", claim.text(3).unwrap_or_default()));
    let arrival = recent.borrow().arrival(id, now);
    let (first, result) = match arrival {
        EventArrival::Written => return Ok("repeated"),
        EventArrival::Repeated { first } => {
            let mut commands = event.marks(first, now);
            commands.push(event.claim(content, first));
            replies(&commands, context).await?;
            (first, "repeated")
        }
        EventArrival::New => {
            let claimed = replies(&[claim], context).await?;
            let claimed = claimed.first().ok_or(Outage::StoreBadResponse)?;
            let first = Event::first_arrival(claimed, content)?;
            replies(&event.marks(first, now), context).await?;
            (first, "revoked")
        }
    };
    recent.borrow_mut().record(id, first, now);
    Ok(result)
}

/// Returns the store's replies, each of which must be a value.
async fn replies(commands: &[Command], context: &RequestContext) -> Result<Vec<Reply>, Outage> {
    let reply = |result| match result {
        StoreResult::Reply(reply @ (Reply::Bulk(_) | Reply::Status(_))) => Ok(reply),
        StoreResult::Out(outage) => Err(outage),
        _ => Err(Outage::StoreBadResponse),
    };
    store::query(commands, context).await.into_iter().map(reply).collect()
}

/// How long a body may take. Providers send it at once.
const BODY_MS_MAX: u32 = 5000;

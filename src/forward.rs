//! Sends a permitted request on: to the auth service with a bounded body, to an upstream as a stream.

use crate::breakers::{self, Dependency, Health};
use crate::host::{self, Fault, Forward, Journey, Response};
use crate::refresh;
use crate::trace::Tier;
use crate::{Arrival, retry};
use portcullis_core::{
    Assertion, Denial, Endpoint, Outage, Permit, Policy, Refresh, Refusal, RequestHead, Revocation,
    StoreOutage, Target,
};
use std::cell::RefCell;
use wasm_bindgen::JsValue;

/// The answer of whoever the permit is for, untouched.
pub async fn send(
    permit: &Permit<'static>,
    head: &RequestHead<'_>,
    policy: &'static Policy,
    arrival: &Arrival,
) -> Result<Response, Refusal> {
    let trace = &arrival.trace;
    trace.degraded.set(permit.degraded().text());
    if permit.degraded().token == Some(StoreOutage::Signature) {
        trace.tier.set(Some(Tier::Signature));
    }
    let mut edits = permit.header_edits(head, &arrival.request_id);
    if let Some((assertion, input)) = permit.assertion_input(&arrival.request_id, arrival.now) {
        edits.set.push((&assertion.field, sign(assertion, &input, arrival).await?));
    }
    if let Target::Auth(_) = permit.target() {
        let country = host::country();
        if !country.is_empty() {
            edits.set.push(("portcullis-country", country));
        }
    }
    let (begun_ms, deadline_ms) = (host::now_ms(), permit.deadline_ms());
    let until_ms = begun_ms + u64::from(deadline_ms);
    let (base, dependency, body) = match permit.target() {
        Target::Auth(base) => {
            let body = read(head, deadline_ms, policy.auth_body_bytes_max).await?;
            (base, Dependency::Auth, body)
        }
        Target::Upstream(base) => (base, Dependency::Upstream(permit.route()), None),
    };
    let text = || body.as_ref().map(host::text).unwrap_or_default();
    if permit.endpoint() == Some(Endpoint::Token)
        && let Some(asked) = Refresh::read(head, &text(), &policy.keys)
    {
        let set: Vec<&str> = edits.set.iter().flat_map(|(name, value)| [*name, value]).collect();
        let journey = Journey {
            request: host::request(),
            url: base.join(head.target()),
            remove: edits.remove.join("\n"),
            set: set.join("\n"),
            body: body.clone(),
            deadline_ms: retry::left_ms(until_ms).unwrap_or(1),
        };
        if let Some(answer) = refresh::answer(asked, journey, policy, arrival).await {
            trace.upstream_ms.set(host::now_ms().saturating_sub(begun_ms));
            return answer.and_then(|response| without_internals(response, dependency));
        }
    }
    let mut forward = Forward {
        url: &base.join(head.target()),
        remove: &edits.remove,
        set: &edits.set,
        deadline_ms: retry::left_ms(until_ms).unwrap_or(1),
        body: body.as_ref(),
        personal: permit.is_personal(),
    };
    // A stream's sender can break it, or make it last; nobody else is to suffer for that. Not every stream is
    // announced.
    let streams = body.is_none() && !matches!(head.method(), "GET" | "HEAD");
    let work = async {
        let mut outcome = forward.send().await;
        // What changes nothing may be asked twice.
        let safe = matches!(head.method(), "GET" | "HEAD" | "OPTIONS") && !head.announces_body();
        if safe
            && outcome.as_ref().err() == Some(&Fault::Unreachable)
            && retry::pause(until_ms, arrival).await
            && let Some(left_ms) = retry::left_ms(until_ms)
        {
            forward.deadline_ms = left_ms;
            outcome = forward.send().await;
        }
        let outcome = outcome.map_err(|fault| match (permit.target(), fault) {
            (Target::Auth(_), Fault::Timeout) => Outage::AuthTimeout,
            (Target::Auth(_), Fault::TooLarge | Fault::Unreachable) => Outage::AuthUnreachable,
            (Target::Upstream(_), Fault::Timeout) => Outage::UpstreamTimeout,
            (Target::Upstream(_), Fault::TooLarge | Fault::Unreachable) => {
                Outage::UpstreamUnreachable
            }
        });
        let health = match &outcome {
            Ok(_) => Health::Good,
            Err(_) if streams => Health::Inconclusive,
            Err(outage) => Health::Failed(*outage),
        };
        (health, outcome)
    };
    let outcome = breakers::call(dependency, policy, arrival, deadline_ms, work).await;
    trace.upstream_ms.set(host::now_ms().saturating_sub(begun_ms));
    let response = without_internals(outcome??, dependency)?;
    if permit.endpoint() == Some(Endpoint::Revocation)
        && matches!(response.status, 200..=299)
        && let Some(revocation) = Revocation::read(head, &text())
    {
        refresh::forget(revocation, deadline_ms, policy, arrival).await;
    }
    Ok(response)
}

/// What the auth service answered. Its errors pass as they are, but for one that is none of an API's: a page of a server that
/// failed may tell more than clients should know.
fn without_internals(response: Response, dependency: Dependency) -> Result<Response, Refusal> {
    if dependency == Dependency::Auth && response.status >= 500 {
        let media_type = response.media_type.split(';').next().unwrap_or_default().trim();
        if !matches!(media_type, "application/json" | "application/problem+json") {
            return Err(Outage::AuthBadResponse.into());
        }
    }
    Ok(response)
}

/// The body of a request to the auth service, which is short: read before anybody is called, so that what goes wrong is
/// told as its client's doing.
async fn read(
    head: &RequestHead<'_>,
    deadline_ms: u32,
    bytes_max: u32,
) -> Result<Option<JsValue>, Refusal> {
    if matches!(head.method(), "GET" | "HEAD") {
        return Ok(None);
    }
    let body = host::read_body(deadline_ms, bytes_max).await;
    let body = body.map_err(|fault| match fault {
        Fault::TooLarge => Denial::BodyTooLarge,
        Fault::Timeout => Denial::BodyTooSlow,
        Fault::Unreachable => Denial::BodyIncomplete,
    })?;
    Ok(Some(body).filter(|body| !body.is_undefined()))
}

/// A signed assertion. A key that the platform can't use, or that is not the one which is published, is the
/// operator's to mend.
async fn sign(assertion: &Assertion, input: &str, arrival: &Arrival) -> Result<String, Refusal> {
    thread_local! {
        static KEY: RefCell<Option<JsValue>> = const { RefCell::new(None) };
    }
    let algorithm = assertion.algorithm.name();
    let held = KEY.with_borrow(Clone::clone);
    let signed = match &held {
        Some(key) => host::sign(algorithm, key, input).await,
        None => {
            let key = host::import_key(algorithm, assertion.key.expose(), "sign").await;
            let public = host::import_key(algorithm, &assertion.public_key, "verify").await;
            match (key, public) {
                (Some(key), Some(public)) => {
                    let signature = host::sign(algorithm, &key, input).await.unwrap_or_default();
                    let fits = host::verify(algorithm, &public, &signature, input).await;
                    KEY.with_borrow_mut(|held| *held = fits.then_some(key));
                    fits.then_some(signature)
                }
                _ => None,
            }
        }
    };
    let Some(signature) = signed else {
        let line = serde_json::json!({
            "level": "error", "event": "assertion_failed", "request_id": arrival.request_id,
            "fault": "ASSERTION_KEY: the platform can't sign with it, or its d is not of its x",
        });
        host::log(&line.to_string());
        return Err(Refusal::Misconfigured);
    };
    Ok(Assertion::compact(input, &signature))
}

//! Sends a permitted request on: to the origin with a bounded body, to an upstream as a stream.

use crate::breakers::{self, Dependency};
use crate::host::{self, Fault, Forward};
use crate::{Arrival, retry};
use portcullis_core::{Assertion, Denial, Head, Outage, Permit, Policy, Refusal, Target};
use std::cell::RefCell;
use wasm_bindgen::JsValue;

/// The answer of whoever the permit is for, untouched.
pub async fn send(
    request: &web_sys::Request,
    permit: &Permit<'static>,
    head: &Head<'_>,
    policy: &'static Policy,
    arrival: &Arrival,
) -> Result<web_sys::Response, Refusal> {
    let trace = &arrival.trace;
    trace.degraded.set(permit.degraded().text());
    let mut edits = permit.edits(head, &arrival.request_id);
    if let Some((assertion, input)) = permit.unsigned(&arrival.request_id, arrival.now) {
        edits.set.push((&assertion.field, sign(assertion, &input, arrival).await?));
    }
    let set: Vec<&str> = edits.set.iter().flat_map(|(name, value)| [*name, value]).collect();
    let (base, dependency, body_bytes_max) = match permit.target() {
        Target::Origin(base) => (base, Dependency::Origin, policy.auth_body_bytes_max),
        Target::Upstream(base) => (base, Dependency::Upstream(base.as_str()), 0),
    };
    let deadline_ms = permit.deadline_ms();
    let mut forward = Forward {
        request,
        url: &base.join(head.target()),
        remove: &edits.remove.join("\n"),
        set: &set.join("\n"),
        deadline_ms,
        body_bytes_max,
        personal: permit.is_personal(),
    };
    let begun_ms = host::now_ms();
    let work = async {
        let mut outcome = forward.send().await;
        let until_ms = begun_ms + u64::from(deadline_ms);
        // What changes nothing may be asked twice.
        let again = outcome.as_ref().err() == Some(&Fault::Unreachable)
            && matches!(head.method(), "GET" | "HEAD" | "OPTIONS")
            && !head.announces_body();
        if again
            && retry::pause(until_ms, arrival).await
            && let Some(left_ms) = retry::left_ms(until_ms)
        {
            forward.deadline_ms = left_ms;
            outcome = forward.send().await;
        }
        match (outcome, permit.target()) {
            (Ok(response), _) => Ok(Ok(response)),
            (Err(Fault::TooLarge), Target::Origin(_)) => Ok(Err(Denial::BodyTooLarge.into())),
            (Err(Fault::Timeout), Target::Origin(_)) => Err(Outage::OriginTimeout),
            (Err(Fault::Unreachable), Target::Origin(_)) => Err(Outage::OriginUnreachable),
            (Err(Fault::Timeout), Target::Upstream(_)) => Err(Outage::UpstreamTimeout),
            (Err(Fault::TooLarge | Fault::Unreachable), Target::Upstream(_)) => {
                Err(Outage::UpstreamUnreachable)
            }
        }
    };
    let outcome = breakers::call(dependency, policy, arrival, deadline_ms, work).await;
    trace.upstream_ms.set(host::now_ms().saturating_sub(begun_ms));
    outcome?
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

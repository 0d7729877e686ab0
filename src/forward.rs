//! Sends a permitted request on: to the origin with a bounded body, to an upstream as a stream.

use crate::Arrival;
use crate::host::{self, Fault, Forward};
use portcullis_core::{Assertion, Denial, Head, Outage, Permit, Policy, Refusal, Target};
use std::cell::RefCell;
use wasm_bindgen::JsValue;

/// The answer of whoever the permit is for, untouched.
pub async fn send(
    request: &web_sys::Request,
    permit: &Permit<'_>,
    head: &Head<'_>,
    policy: &Policy,
    arrival: &Arrival,
) -> Result<web_sys::Response, Refusal> {
    let mut edits = permit.edits(head, &arrival.request_id);
    if let Some((assertion, input)) = permit.unsigned(&arrival.request_id, arrival.now) {
        edits.set.push((&assertion.field, sign(assertion, &input, arrival).await?));
    }
    let set: Vec<&str> = edits.set.iter().flat_map(|(name, value)| [*name, value]).collect();
    let (base, deadline_ms, body_bytes_max) = match permit.target() {
        Target::Origin(base) => (base, policy.origin_deadline_ms, policy.auth_body_bytes_max),
        Target::Upstream(base) => (base, policy.upstream_deadline_ms, 0),
    };
    let forward = Forward {
        request,
        url: &base.join(head.target()),
        remove: &edits.remove.join("\n"),
        set: &set.join("\n"),
        deadline_ms,
        body_bytes_max,
        personal: permit.is_personal(),
    };
    forward.send().await.map_err(|fault| match (permit.target(), fault) {
        (Target::Origin(_), Fault::Timeout) => Outage::OriginTimeout.into(),
        (Target::Origin(_), Fault::TooLarge) => Denial::BodyTooLarge.into(),
        (Target::Origin(_), Fault::Unreachable) => Outage::OriginUnreachable.into(),
        (Target::Upstream(_), Fault::Timeout) => Outage::UpstreamTimeout.into(),
        (Target::Upstream(_), Fault::TooLarge | Fault::Unreachable) => {
            Outage::UpstreamUnreachable.into()
        }
    })
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

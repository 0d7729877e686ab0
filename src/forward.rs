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
        edits.set.push((&assertion.field, sign(assertion, &input).await?));
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

/// A signed assertion. A key that the platform can't use is the operator's to mend.
async fn sign(assertion: &Assertion, input: &str) -> Result<String, Refusal> {
    thread_local! {
        static KEY: RefCell<Option<JsValue>> = const { RefCell::new(None) };
    }
    let algorithm = assertion.algorithm.name();
    let held = KEY.with_borrow(Clone::clone);
    let key = match held {
        Some(key) => Some(key),
        None => host::import_key(algorithm, assertion.key.expose(), "sign").await,
    };
    let key = key.ok_or(Refusal::Misconfigured)?;
    KEY.with_borrow_mut(|held| *held = Some(key.clone()));
    let signature = host::sign(algorithm, &key, input).await.ok_or(Refusal::Misconfigured)?;
    Ok(Assertion::compact(input, &signature))
}

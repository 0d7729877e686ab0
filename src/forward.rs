//! Sends a permitted request on: to the origin with a bounded body, to an upstream as a stream.

use crate::host::{Fault, Forward};
use portcullis_core::{Denial, Head, Outage, Permit, Policy, Refusal, Target};

/// The answer of whoever the permit is for, untouched.
pub async fn send(
    request: &web_sys::Request,
    permit: &Permit<'_>,
    head: &Head<'_>,
    policy: &Policy,
    request_id: &str,
) -> Result<web_sys::Response, Refusal> {
    let edits = permit.edits(head, request_id);
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

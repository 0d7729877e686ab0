//! Sends a permitted request on: to the origin with a bounded body, to an upstream as a stream.

use crate::host::{self, Fault};
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
    let remove = edits.remove.join("\n");
    let set: Vec<&str> = edits
        .set
        .iter()
        .flat_map(|(name, value)| [*name, value])
        .collect();
    let set = set.join("\n");
    match permit.target() {
        Target::Origin(base) => {
            let (deadline_ms, bytes_max) = (policy.origin_deadline_ms, policy.auth_body_bytes_max);
            let url = base.join(head.target());
            host::forward(request, &url, &remove, &set, deadline_ms, bytes_max)
                .await
                .map_err(|fault| match fault {
                    Fault::Timeout => Outage::OriginTimeout.into(),
                    Fault::TooLarge => Denial::BodyTooLarge.into(),
                    Fault::Unreachable => Outage::OriginUnreachable.into(),
                })
        }
        Target::Upstream(base) => {
            let url = base.join(head.target());
            host::forward(request, &url, &remove, &set, policy.upstream_deadline_ms, 0)
                .await
                .map_err(|fault| match fault {
                    Fault::Timeout => Outage::UpstreamTimeout.into(),
                    Fault::TooLarge | Fault::Unreachable => Outage::UpstreamUnreachable.into(),
                })
        }
    }
}

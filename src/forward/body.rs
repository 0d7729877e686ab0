//! The body of a request to the auth service.

use crate::context::RequestContext;
use crate::platform::http::Body;
use crate::platform::protocol::PlatformError;
use portcullis_core::{Denial, Refusal, RequestHead};

/// Reads the whole body of a request to the auth service, which is short. The auth service is
/// called only afterwards, so a failure to read counts as the client's. Returns `None` for GET,
/// HEAD and requests without a body.
///
/// # Errors
///
/// [`Denial::BodyTooLarge`] beyond `auth.body_bytes_max`, [`Denial::BodyTooSlow`] beyond
/// `deadline_ms`, and [`Denial::BodyIncomplete`] if it ends early.
pub async fn read(
    head: &RequestHead<'_>,
    deadline_ms: u32,
    context: &RequestContext,
) -> Result<Option<Body>, Refusal> {
    if matches!(head.method(), "GET" | "HEAD") {
        return Ok(None);
    }
    read_within(context.policy.auth_body_bytes_max, deadline_ms, context).await
}

/// Reads the whole body of a request. Returns `None` if it has none.
///
/// # Errors
///
/// Those of [`read`], with `bytes_max` as the bound.
pub async fn read_within(
    bytes_max: u32,
    deadline_ms: u32,
    context: &RequestContext,
) -> Result<Option<Body>, Refusal> {
    let body = Body::read(&context.port, deadline_ms, bytes_max).await;
    Ok(body.map_err(|error| match error {
        PlatformError::TooLarge => Denial::BodyTooLarge,
        PlatformError::Timeout => Denial::BodyTooSlow,
        PlatformError::Unreachable | PlatformError::Rejected | PlatformError::Protocol => {
            Denial::BodyIncomplete
        }
    })?)
}

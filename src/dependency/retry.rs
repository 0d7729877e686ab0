//! One retry for calls that are safe to repeat, after a random pause and within the same deadline.

use crate::context::RequestContext;
use crate::platform::clock;
use crate::platform::protocol::{PlatformError, TextRequest, TextResponse};

/// Sends a text request that ends at `until_ms` (Unix ms). Retries it once if it fails without a
/// response, or with status 500, 502, 503 or 504.
///
/// # Errors
///
/// The failure of the last attempt; [`PlatformError::Timeout`] if no time is left for the first.
pub async fn text(
    mut request: TextRequest<'_>,
    until_ms: u64,
    context: &RequestContext,
) -> Result<TextResponse, PlatformError> {
    request.deadline_ms = left_ms(until_ms).ok_or(PlatformError::Timeout)?;
    let first = request.send(&context.port).await;
    let again = match &first {
        Ok(response) => matches!(response.status, 500 | 502..=504),
        Err(PlatformError::Unreachable) => true,
        Err(
            PlatformError::Timeout
            | PlatformError::TooLarge
            | PlatformError::Rejected
            | PlatformError::Protocol,
        ) => false,
    };
    if !again || !pause(until_ms, context).await {
        return first;
    }
    match left_ms(until_ms) {
        Some(deadline_ms) => {
            request.deadline_ms = deadline_ms;
            request.send(&context.port).await
        }
        None => first,
    }
}

/// Waits for a random time of at most 50 ms, and at most half of what is left until `until_ms`
/// (Unix ms). Returns `false` at once if less than 2 ms are left.
pub async fn pause(until_ms: u64, context: &RequestContext) -> bool {
    let most_ms = left_ms(until_ms).unwrap_or(0).min(PAUSE_MS_MAX * 2) / 2;
    if most_ms == 0 {
        return false;
    }
    let pause_ms = u64::from(most_ms) * u64::from(context.jitter()) / u64::from(u32::MAX);
    clock::sleep(&context.port, u32::try_from(pause_ms).unwrap_or(most_ms)).await;
    true
}

/// Returns the ms until `until_ms` (Unix ms); `None` if that has passed.
pub fn left_ms(until_ms: u64) -> Option<u32> {
    let left = until_ms.saturating_sub(clock::now_ms());
    u32::try_from(left).ok().filter(|left| *left > 0)
}

const PAUSE_MS_MAX: u32 = 50;

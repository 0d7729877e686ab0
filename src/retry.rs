//! One more try, after a while that is left to chance, within the same deadline: for what does no harm if it
//! is done twice.

use crate::Arrival;
use crate::host::{self, Fault, TextRequest};

/// A request for text that is sent again, once, if it was answered by nobody or by 500, 502, 503 or 504.
pub async fn text(
    mut request: TextRequest<'_>,
    until_ms: u64,
    arrival: &Arrival,
) -> Result<(u16, String), Fault> {
    request.deadline_ms = left_ms(until_ms).ok_or(Fault::Timeout)?;
    let first = request.send().await;
    let again = match &first {
        Ok((status, _)) => matches!(status, 500 | 502..=504),
        Err(Fault::Unreachable) => true,
        Err(Fault::Timeout | Fault::TooLarge) => false,
    };
    if !again || !pause(until_ms, arrival).await {
        return first;
    }
    match left_ms(until_ms) {
        Some(deadline_ms) => {
            request.deadline_ms = deadline_ms;
            request.send().await
        }
        None => first,
    }
}

/// Waits for a while; not where less than half of the time would be left after it.
pub async fn pause(until_ms: u64, arrival: &Arrival) -> bool {
    let most_ms = left_ms(until_ms).unwrap_or(0).min(PAUSE_MS_MAX * 2) / 2;
    if most_ms == 0 {
        return false;
    }
    let pause_ms = u64::from(most_ms) * u64::from(arrival.jitter()) / u64::from(u32::MAX);
    host::sleep(u32::try_from(pause_ms).unwrap_or(most_ms)).await;
    true
}

/// The time that is left, if there is some.
pub fn left_ms(until_ms: u64) -> Option<u32> {
    let left = until_ms.saturating_sub(host::now_ms());
    u32::try_from(left).ok().filter(|left| *left > 0)
}

const PAUSE_MS_MAX: u32 = 50;

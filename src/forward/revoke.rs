//! Handles revocations that pass through the edge: afterwards, no stored response of the token's
//! family is replayed.

use super::refresh::timing::{
    LATE_SECONDS_MAX, STORE_RETRY_PAUSES_MS, TIMER_MARGIN_MS, lease_seconds,
};
use crate::context::RequestContext;
use crate::platform::clock::{self, Notify};
use crate::store;
use portcullis_core::Revocation;

/// Marks the token's family as revoked in the store. Continues if the client leaves, and retries if
/// the store fails.
pub async fn forget_responses(revocation: Revocation, deadline_ms: u32, context: &RequestContext) {
    let notify = Notify::new();
    let their_notify = notify.clone();
    let policy = context.policy;
    let late_seconds = LATE_SECONDS_MAX.max(lease_seconds(policy, deadline_ms));
    let seconds = late_seconds + u64::from(policy.refresh_replay_seconds);
    context.spawn(move |context| async move {
        for pause_ms in [0].into_iter().chain(STORE_RETRY_PAUSES_MS) {
            clock::sleep(&context.port, pause_ms).await;
            let done = mark_revoked(&revocation, seconds, &context).await;
            // The client waits for the first attempt only.
            their_notify.notify();
            if done {
                break;
            }
        }
    });
    let bound_ms = policy.timeouts.store_ms.saturating_mul(2).saturating_add(TIMER_MARGIN_MS);
    notify.wait(&context.port, bound_ms).await;
}

/// Returns whether the store has recorded that a family is revoked.
async fn mark_revoked(revocation: &Revocation, seconds: u64, context: &RequestContext) -> bool {
    let keys = &context.policy.keys;
    let found = store::execute(&[revocation.family_query(keys)], context).await;
    let family = found.as_ref().ok().and_then(|replies| replies.first()?.as_text());
    let marks = revocation.mark(family, seconds, keys);
    store::write(&marks, context).await && found.is_ok()
}

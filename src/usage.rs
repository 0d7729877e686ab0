//! Usage: counts requests by caller, and pushes the counts to the store in batches.

pub mod state;

use crate::context::RequestContext;
use crate::platform::clock;
use crate::platform::crypto::nonce;
use crate::store;
use portcullis_core::{PeriodUsage, Refusal, Route, Usage, UsageBatch};
use redis_rest::{Command, Reply};

/// Counts a request whose route has decided, if usage is counted. A refusal counts if its caller is
/// known.
pub fn count(route: &Route, decision: Result<(), Refusal>, context: &RequestContext) {
    if context.policy.observability.usage_seconds == 0 {
        return;
    }
    let usage = match decision {
        Ok(()) => Some(Usage::Passed),
        Err(refusal) => Usage::of(refusal),
    };
    if let Some(usage) = usage {
        let token = context.trace.token.borrow();
        let mut counts = context.isolate.usage.counts.borrow_mut();
        counts.count(usage, route, token.as_deref(), context.now);
    }
}

/// Pushes what was counted after the response, if that is due.
pub fn push_if_due(context: &RequestContext) {
    let interval_ms = u64::from(context.policy.observability.usage_seconds) * 1000;
    if interval_ms == 0 {
        return;
    }
    let usage = &context.isolate.usage;
    let periods = &context.isolate.limits.periods;
    let are_full = usage.counts.borrow().is_full() || periods.borrow().is_full();
    if usage.is_due(clock::now_ms(), interval_ms, are_full) {
        context.spawn(|context| async move { push(&context).await });
    }
}

/// Makes a batch of the counts, and pushes it after those that the store did not accept before. A
/// batch that is pushed again is the same text.
async fn push(context: &RequestContext) {
    let (usage, now_ms) = (&context.isolate.usage, clock::now_ms());
    let key = context.policy.keys.usage();
    let (id, at) = (context.request_id.clone(), now_ms / 1000);
    let rows = usage.counts.borrow_mut().take();
    let batch = UsageBatch { id, at, rows, periods: take_periods(context) };
    if !batch.rows.is_empty() || !batch.periods.is_empty() {
        let text = batch.encode(&key, context.policy.seal.as_ref(), nonce());
        usage.add(text, batch.requests(), now_ms);
    }
    if usage.begin_pushing(now_ms, u64::from(context.policy.timeouts.store_ms)) {
        while let Some(text) = usage.first() {
            let commands = [
                Command::new("RPUSH").arg(&key).arg(text.as_str()),
                Command::new("EXPIRE").arg(&key).arg(KEPT_SECONDS),
            ];
            let replies = store::write_for_replies(&commands, context).await;
            let Some(replies) = replies else { break };
            usage.remove(&text);
            if let Some(Reply::Integer(WAITING_MAX..)) = replies.first() {
                usage.pause(clock::now_ms() + PAUSE_MS);
            }
        }
        usage.end_pushing();
    }
    let lost = usage.take_lost();
    if lost > 0 && context.policy.observability.metrics_seconds > 0 {
        context.isolate.counters.add("usage_lost_total{}".to_owned(), lost);
    }
}

/// Takes what the limits of calendar periods and credits have used.
fn take_periods(context: &RequestContext) -> Vec<PeriodUsage> {
    let uses = context.isolate.limits.periods.borrow_mut().take();
    uses.into_iter().map(PeriodUsage::from).collect()
}

/// How long the store keeps batches that no auth service takes.
const KEPT_SECONDS: u32 = 7 * 86_400;
/// How many batches may wait in the store. An isolate that finds more drops its own for a while.
const WAITING_MAX: i64 = 50_001;
/// How long it drops them.
const PAUSE_MS: u64 = 300_000;

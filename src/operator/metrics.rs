//! The counters of all edges, as the store has them.

use crate::context::RequestContext;
use crate::platform::clock;
use crate::store;
use portcullis_core::{METRICS_UNREADABLE, format_samples, read_totals};

/// Returns the counters as text for Prometheus. Reads them at most once a second.
pub async fn text(context: &RequestContext) -> String {
    let shown = &context.isolate.operator.metrics;
    if !shown.is_read_due(clock::now_ms()) {
        // The first read may be in flight.
        for _ in 0..context.policy.timeouts.store_ms.div_ceil(WAIT_MS) {
            if shown.text.borrow().is_some() {
                break;
            }
            clock::sleep(&context.port, WAIT_MS).await;
        }
        let text = shown.text.borrow().clone();
        return text.unwrap_or_else(|| METRICS_UNREADABLE.to_owned());
    }
    let totals = read_totals(&context.policy.keys);
    let reply = store::read(totals, COUNTERS_BYTES_MAX, context).await;
    let totals = reply.as_ref().and_then(|reply| reply.as_text());
    let text = totals.map_or_else(|| METRICS_UNREADABLE.to_owned(), format_samples);
    shown.text.replace(Some(text.clone()));
    text
}

const WAIT_MS: u32 = 25;
const COUNTERS_BYTES_MAX: u32 = 1024 * 1024;

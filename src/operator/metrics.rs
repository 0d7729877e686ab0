//! The counters of all edges, as the store has them.

use crate::context::RequestContext;
use crate::platform::clock;
use crate::store;
use portcullis_core::{METRICS_UNREADABLE, format_samples};
use redis_rest::{Command, Reply};

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
    let get = Command::new("HGETALL").arg(context.policy.keys.metrics());
    let text = match store::read(get, COUNTERS_BYTES_MAX, context).await {
        Some(Reply::Array(fields)) => format_samples(&fields),
        _ => METRICS_UNREADABLE.to_owned(),
    };
    shown.text.replace(Some(text.clone()));
    text
}

const WAIT_MS: u32 = 25;
const COUNTERS_BYTES_MAX: u32 = 1024 * 1024;

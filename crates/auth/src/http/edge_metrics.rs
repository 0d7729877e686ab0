//! The metrics of the edge, as text for Prometheus.

use crate::store::Store;
use portcullis_core::{METRICS_UNREADABLE, format_samples};
use redis_rest::{Command, Reply};

/// Fetches the metrics. If the store is unavailable, the text is a single gauge with the value 0.
pub async fn fetch(store: &Store, key: &str) -> String {
    let reply = store.execute(&[Command::new("HGETALL").arg(key)]).await.ok();
    match reply.as_ref().and_then(|replies| replies.first()) {
        Some(Reply::Array(fields)) => format_samples(fields),
        _ => METRICS_UNREADABLE.to_owned(),
    }
}

//! The metrics of the edge, as text for Prometheus.

use crate::store::Store;
use portcullis_core::{METRICS_UNREADABLE, StoreKeys, format_samples, read_totals};

/// Fetches the metrics. If the store is unavailable, the text is a single gauge with the value 0.
pub async fn fetch(store: &Store, keys: &StoreKeys) -> String {
    let replies = store.execute(&[read_totals(keys)]).await.unwrap_or_default();
    let totals = replies.first().and_then(|reply| reply.as_text());
    totals.map_or_else(|| METRICS_UNREADABLE.to_owned(), format_samples)
}

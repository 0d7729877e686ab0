//! The metrics and the readiness of the service.

use super::edge_metrics;
use super::state::SharedState;
use crate::clock::now;
use crate::problem::Problem;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use prometheus::{Encoder as _, TextEncoder};

/// Answers whether the database is available, and warns of a store that may evict keys.
pub async fn ready(State(state): SharedState) -> Result<String, Problem> {
    state.db.ping().await?;
    let warning = state.sessions.publisher().evicting_policy().map(|policy| {
        format!("warning: the store may evict revocations ({policy}); set noeviction\n")
    });
    Ok(format!("ready\n{}", warning.unwrap_or_default()))
}

/// Returns the metrics of this service, and those that the edge has written to the store.
pub async fn metrics(State(state): SharedState) -> Result<Response, Problem> {
    let backlog = state.db.outbox_backlog().await?;
    let gauges = &state.gauges;
    gauges.outbox_rows.set(backlog.rows);
    let now = i64::try_from(now().0).unwrap_or(i64::MAX);
    let age = backlog.oldest_created_at.map_or(0, |oldest| (now - oldest).max(0));
    gauges.outbox_age_seconds.set(age);
    state.db.measure_pool(&gauges.connections, &gauges.connections_idle);
    let mut text = Vec::new();
    TextEncoder::new()
        .encode(&state.registry.gather(), &mut text)
        .map_err(|_| Problem::Internal)?;
    let prefix = &state.sessions.config().store.key_prefix;
    let key = portcullis_core::StoreKeys::new(prefix).metrics();
    text.extend(edge_metrics::fetch(&state.store, &key).await.into_bytes());
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

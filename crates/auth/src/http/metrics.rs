//! The metrics and the readiness of the service.

use super::edge_metrics;
use super::state::{AppState, SharedState};
use crate::clock::now;
use crate::problem::Problem;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use prometheus::{Encoder as _, TextEncoder};

/// Returns whether the service accepts requests and the database is available. Warns if the store
/// may evict keys, or does not count login attempts.
pub async fn ready(State(state): SharedState) -> (StatusCode, String) {
    if *state.stopping.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned());
    }
    if let Err(error) = state.db.ping().await {
        tracing::warn!(event = "database_failed", %error);
        return (StatusCode::SERVICE_UNAVAILABLE, "the database does not respond\n".to_owned());
    }
    let warning = state.sessions.publisher().evicting_policy().map(|policy| {
        format!("warning: the store may evict revocations ({policy}); set noeviction\n")
    });
    let uncounted = state.sessions.attempts().refusal().map(|error| {
        format!("warning: each process counts login attempts alone; the store's error: {error}\n")
    });
    let warnings: String = warning.into_iter().chain(uncounted).collect();
    (StatusCode::OK, format!("ready\n{warnings}"))
}

/// Returns the metrics of this service, and those that the edge has written to the store.
pub async fn metrics(State(state): SharedState) -> Response {
    match encode(&state).await {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(problem) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", problem.code())).into_response()
        }
    }
}

async fn encode(state: &AppState) -> Result<Vec<u8>, Problem> {
    let gauges = &state.gauges;
    let prefix = &state.sessions.config().store.key_prefix;
    let keys = portcullis_core::StoreKeys::new(prefix);
    // Both may take seconds if they fail, and Prometheus does not wait for long.
    let (backlog, edge) =
        tokio::join!(state.db.outbox_backlog(), edge_metrics::fetch(&state.store, &keys));
    let backlog = backlog.map_err(|error| tracing::error!(event = "database_failed", %error)).ok();
    gauges.database_up.set(i64::from(backlog.is_some()));
    if let Some(backlog) = &backlog {
        gauges.outbox_rows.set(backlog.rows);
        let now = i64::try_from(now().0).unwrap_or(i64::MAX);
        let age = backlog.oldest_created_at.map_or(0, |oldest| (now - oldest).max(0));
        gauges.outbox_age_seconds.set(age);
    }
    gauges.log_lines_lost.set(i64::try_from(state.log.dropped()).unwrap_or(i64::MAX));
    state.db.measure_pool(&gauges.connections, &gauges.connections_idle);
    let mut families = state.registry.gather();
    if backlog.is_none() {
        // What the gauges had before is not known to be true any more.
        families.retain(|family| !OUTBOX_GAUGES.contains(&family.name()));
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text).map_err(|_| Problem::Internal)?;
    text.extend(edge.into_bytes());
    Ok(text)
}

const OUTBOX_GAUGES: [&str; 2] =
    ["portcullis_auth_outbox_age_seconds", "portcullis_auth_outbox_rows"];

//! The state that all endpoints share.

use super::client_info::ClientInfoReader;
use super::gauges::Gauges;
use crate::db::Db;
use crate::problem::Problem;
use crate::sessions::Sessions;
use crate::store::Store;
use axum::extract::State;
use prometheus::{IntCounterVec, Registry};
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument as _;

/// The state that all endpoints share.
pub struct AppState {
    pub sessions: Sessions,
    pub db: Arc<Db>,
    pub store: Arc<Store>,
    pub registry: Registry,
    /// The outcomes of requests, by endpoint.
    pub outcomes: IntCounterVec,
    pub gauges: Gauges,
    pub clients: ClientInfoReader,
}

/// The state, as endpoints extract it.
pub type SharedState = State<Arc<AppState>>;

impl AppState {
    /// Runs the work of an endpoint and counts its outcome. The work runs to its end even if the
    /// client disconnects, so that committed changes are published. If it takes too long, the
    /// response is an error.
    pub async fn run<T: Send + 'static>(
        &self,
        endpoint: &str,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let task = tokio::spawn(work.in_current_span());
        let outcome = match tokio::time::timeout(WORK_TIMEOUT, task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Problem::Internal),
            Err(_) => Err(Problem::DatabaseUnavailable),
        };
        let label = outcome.as_ref().err().map_or("done", |problem| problem.code());
        self.outcomes.with_label_values(&[endpoint, label]).inc();
        outcome
    }
}

const WORK_TIMEOUT: Duration = Duration::from_secs(10);

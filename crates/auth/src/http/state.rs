//! The state that all endpoints share.

use super::client_info::ClientInfoReader;
use super::gauges::Gauges;
use super::write_rates::WriteRates;
use crate::adjustments::Adjustments;
use crate::api_keys::ApiKeys;
use crate::db::Db;
use crate::problem::Problem;
use crate::series::Series;
use crate::sessions::Sessions;
use crate::store::Store;
use axum::extract::State;
use portcullis_server::Log;
use prometheus::{IntCounterVec, Registry};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tracing::Instrument as _;

/// The state that all endpoints share.
pub struct AppState {
    pub sessions: Sessions,
    pub adjustments: Adjustments,
    pub api_keys: ApiKeys,
    pub db: Arc<Db>,
    pub store: Arc<Store>,
    pub series: Arc<Series>,
    pub registry: Registry,
    /// The outcomes of requests, by endpoint.
    pub outcomes: IntCounterVec,
    pub gauges: Gauges,
    pub log: Log,
    /// Whether the server is draining.
    pub stopping: watch::Receiver<bool>,
    pub clients: ClientInfoReader,
    pub write_rates: WriteRates,
}

/// The state, as endpoints extract it.
pub type SharedState = State<Arc<AppState>>;

impl AppState {
    /// Runs the work of an endpoint and counts its outcome. The work continues if the client
    /// disconnects, so that committed changes are published at once. If it takes too long, the
    /// response is an error and the work is aborted, which releases its connection to the database.
    /// The changes that it has committed are published from the outbox.
    pub async fn run<T: Send + 'static>(
        &self,
        endpoint: &str,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let outcome = run_within(WORK_TIMEOUT, work).await;
        let label = outcome.as_ref().err().map_or("done", |problem| problem.code());
        self.outcomes.with_label_values(&[endpoint, label]).inc();
        outcome
    }
}

/// Runs work in a task, which is aborted after `limit`.
async fn run_within<T: Send + 'static>(
    limit: Duration,
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let mut task = tokio::spawn(work.in_current_span());
    match tokio::time::timeout(limit, &mut task).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(Problem::Internal),
        Err(_) => {
            task.abort();
            Err(Problem::DatabaseUnavailable)
        }
    }
}

const WORK_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_takes_too_long_is_dropped() {
        let held = Arc::new(());
        let own = Arc::clone(&held);
        let work = async move {
            let _own = own;
            std::future::pending::<Result<(), Problem>>().await
        };
        let outcome = run_within(Duration::from_millis(50), work).await;
        assert_eq!(outcome, Err(Problem::DatabaseUnavailable));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(Arc::strong_count(&held), 1, "the work still runs");
    }
}

//! The steps of a request, in its trace.

use portcullis_server::step;
use tracing::Span;

/// Returns the span of a query, or of a transaction. `operation` is the name of its function.
pub fn database(operation: &'static str) -> Span {
    step!("database", otel.kind = "client", db.operation.name = operation)
}

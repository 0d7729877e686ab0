//! The endpoints that the edge serves operators itself, before its routes. Requests to them are
//! neither counted nor logged.

mod health;
mod metrics;
pub mod state;

use crate::context::RequestContext;
use portcullis_core::{Answer, OperatorRequest};

/// Answers a request of an operator.
pub async fn answer(request: OperatorRequest, context: &RequestContext) -> Answer {
    let (content_type, body) = match request {
        OperatorRequest::Health => ("application/json", health::body(context)),
        OperatorRequest::Metrics => ("text/plain; version=0.0.4", metrics::text(context).await),
    };
    let fields = vec![
        ("content-type", content_type.to_owned()),
        ("cache-control", "no-store".to_owned()),
        ("x-content-type-options", "nosniff".to_owned()),
    ];
    Answer { status: 200, fields, body }
}

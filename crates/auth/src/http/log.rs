//! The request log.

use super::headers::text;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use std::time::Instant;
use tracing::Instrument as _;

/// Logs one line for each request, without its content. The other lines of a request have its id
/// too.
pub async fn log(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let request_id = text(request.headers(), "x-request-id", 64);
    let span = tracing::info_span!("request", request_id);
    let response = next.run(request).instrument(span.clone()).await;
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let status = response.status().as_u16();
    span.in_scope(|| tracing::info!(event = "request", %method, path, status, ms));
    response
}

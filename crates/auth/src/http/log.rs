//! Request ids, the request log, and the endpoint that authenticates its connection.

use crate::problem;
use crate::random::random_id;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use portcullis_server::telemetry::RequestSpan;
use portcullis_server::{Connection, elapsed_ms};
use std::time::Instant;
use tracing::Instrument as _;

/// Gives each request an id, which its response and all its log lines carry. Logs one line for
/// each request, without its content.
pub async fn log(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let request_id = identify(request.headers_mut());
    let connection = request.extensions().get::<Connection>().cloned();
    let span = tracing::info_span!("request", request_id);
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str);
    // Inside of the log's span, so that tasks of the request inherit both.
    let headers = request.headers();
    let trace = span.in_scope(|| RequestSpan::begin(&method, route, &request_id, headers));
    let response = next.run(request).instrument(trace.span()).instrument(span.clone()).await;
    let (mut response, code) = problem::response::finish(response, &request_id);
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let is_authenticating = path == AUTHENTICATING;
    if let Some(connection) = connection
        && is_authenticating
        && response.status() == StatusCode::OK
    {
        connection.authenticate();
    }
    let (status, ms) = (response.status().as_u16(), elapsed_ms(started));
    trace.end(status, code);
    span.in_scope(|| {
        if status < 500 {
            tracing::info!(event = "request", %method, path, code, status, ms);
        } else {
            tracing::warn!(event = "request", %method, path, code, status, ms);
        }
    });
    response
}

/// Returns the request's own id if it is valid, or else sets and returns a new one.
fn identify(headers: &mut HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let is_valid = |id: &&str| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
    };
    if let Some(id) = given.filter(is_valid) {
        return id.to_owned();
    }
    let id = random_id();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    id
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_BYTES_MAX: usize = 64;
/// The only endpoint whose success authenticates a connection: it requires a client of
/// introspection. A user's credentials do not count, because any user could reserve connections
/// with them. The edge authenticates by its MAC.
const AUTHENTICATING: &str = "/oauth/introspect";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_request_id_is_kept_and_any_other_replaced() {
        let identified = |id: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(id).unwrap());
            let returned = identify(&mut headers);
            assert_eq!(headers.get(REQUEST_ID).unwrap().to_str().unwrap(), returned);
            returned
        };
        assert_eq!(identified("r-1"), "r-1");
        for invalid in ["", "a b", "a\tb", &"x".repeat(65)] {
            assert_ne!(identified(invalid), invalid);
        }
        let mut headers = HeaderMap::new();
        assert_eq!(identify(&mut headers).len(), 22);
        assert!(headers.contains_key(REQUEST_ID));
    }
}

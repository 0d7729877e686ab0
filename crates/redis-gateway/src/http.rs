//! Serves the protocol over HTTP: authentication, routing to an endpoint, metrics and access log.

mod body;
mod execute;
mod gateway;
mod response;
mod subscribe;

pub use gateway::Gateway;

use crate::backend::Readiness;
use crate::config::Reloadable;
use crate::request::{self, Endpoint, Format, Probe};
use crate::token::Token;
use gateway::{REQUEST_ID, SYNC_TOKEN};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use portcullis_server::telemetry::RequestSpan;
use portcullis_server::{Connection, RequestBody, elapsed_ms, step};
use redis_rest::CommandError;
use response::{ResponseBody, error, set_header, text};
use std::sync::Arc;
use std::time::Instant;
use tracing::Instrument as _;

/// Serves one request of Upstash's REST protocol, counts it, and logs it without keys or values. An
/// error is a response `{"error": "…"}` with its status.
pub async fn serve(
    gateway: Arc<Gateway>,
    connection: Connection,
    request: Request<RequestBody>,
) -> Response<ResponseBody> {
    match Probe::of(request.uri().path()) {
        Some(Probe::Health) => return text(StatusCode::OK, "ok\n"),
        Some(Probe::Metrics | Probe::Ready) => {
            let advice = "only GATEWAY_ADMIN_LISTEN serves this path\n";
            return text(StatusCode::NOT_FOUND, advice);
        }
        None if gateway.has_welcome && is_welcome(&request) => {
            return text(StatusCode::OK, "ok\n");
        }
        None => {}
    }
    let endpoint = Endpoint::of(request.uri().path());
    let started = Instant::now();
    let request_id = gateway.request_id(request.headers());
    let (method, headers) = (request.method(), request.headers());
    let trace = RequestSpan::begin(method, endpoint.name(), &request_id, headers);
    let served = serve_endpoint(&gateway, endpoint, &connection, request);
    let Outcome { mut response, token, commands } = served.instrument(trace.span()).await;
    let status = response.status();
    if !connection.is_authenticated() {
        set_header(response.headers_mut(), header::CONNECTION, "close");
    }
    if status.is_client_error() || status.is_server_error() {
        set_header(response.headers_mut(), REQUEST_ID, &request_id);
    }
    if token.is_some() && !response.headers().contains_key(SYNC_TOKEN) {
        set_header(response.headers_mut(), SYNC_TOKEN, &gateway.sync_token(false));
    }
    gateway.metrics.requests.with_label_values(&[endpoint.name(), status.as_str()]).inc();
    gateway.metrics.seconds.observe(started.elapsed().as_secs_f64());
    let (endpoint, status, ms) = (endpoint.name(), status.as_u16(), elapsed_ms(started));
    trace.end(status, None);
    if status < 500 {
        tracing::info!(event = "request", request_id, endpoint, token, commands, status, ms);
    } else {
        tracing::warn!(event = "request", request_id, endpoint, token, commands, status, ms);
    }
    response
}

/// Serves a request on the admin listener, without authentication: `/healthz`, `/readyz` (503 while
/// no master of any Redis responds) and `/metrics`. Any other path is 404.
pub async fn serve_admin(
    gateway: Arc<Gateway>,
    request: Request<RequestBody>,
) -> Response<ResponseBody> {
    let Some(probe) = Probe::of(request.uri().path()) else {
        return text(StatusCode::NOT_FOUND, "unknown path; use /healthz, /readyz or /metrics\n");
    };
    match probe {
        Probe::Health => text(StatusCode::OK, "ok\n"),
        Probe::Metrics => match gateway.metrics.text() {
            Some(metrics) => text(StatusCode::OK, metrics),
            None => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics can't be written\n"),
        },
        Probe::Ready if *gateway.stopping.borrow() => {
            text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        }
        Probe::Ready => ready(gateway.backends.check().await),
    }
}

/// Builds the response of `/readyz`, with a line for each warning.
fn ready(Readiness { is_ready, warnings }: Readiness) -> Response<ResponseBody> {
    let (status, first) = match is_ready {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "Redis does not respond"),
    };
    let warnings = warnings.iter().map(String::as_str);
    let lines = std::iter::once(first).chain(warnings).map(|line| format!("{line}\n"));
    text(status, lines.collect::<String>())
}

/// Returns whether a request asks only whether the server runs.
fn is_welcome(request: &Request<RequestBody>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
        && request.uri().path() == "/"
        && request.uri().query().is_none()
        && !request.headers().contains_key(header::AUTHORIZATION)
}

/// The response to a request, and the fields for its log line.
struct Outcome {
    response: Response<ResponseBody>,
    /// The token's name; `None` without a valid token.
    token: Option<String>,
    commands: usize,
}

impl Outcome {
    /// Builds the outcome of a request that ended before any command was run.
    fn rejected(token: Option<&Token>, response: Response<ResponseBody>) -> Self {
        Self { response, token: token.map(|token| token.name.clone()), commands: 0 }
    }
}

/// Authenticates a request, and serves its endpoint.
async fn serve_endpoint(
    gateway: &Gateway,
    endpoint: Endpoint,
    connection: &Connection,
    request: Request<RequestBody>,
) -> Outcome {
    let reloadable = Arc::clone(&gateway.reloadable.borrow());
    let token = step!("authenticate").in_scope(|| authenticate(&reloadable, &request));
    let Some(token) = token else {
        let text = "WRONGPASS invalid or missing auth token; send Authorization: Bearer";
        return Outcome::rejected(None, error(StatusCode::UNAUTHORIZED, text));
    };
    connection.authenticate();
    if let Some(response) = method_not_allowed(endpoint, request.method()) {
        return Outcome::rejected(Some(token), response);
    }
    let header = |name: &HeaderName| request.headers().get(name).map(HeaderValue::as_bytes);
    let format = match Format::of(header(&RESPONSE_FORMAT), header(&ENCODING)) {
        Ok(format) => format,
        Err(format_error) => {
            let response = error(StatusCode::BAD_REQUEST, format_error.text());
            return Outcome::rejected(Some(token), response);
        }
    };
    if matches!(endpoint, Endpoint::Monitor | Endpoint::PatternSubscribe | Endpoint::Subscribe) {
        let path = request.uri().path();
        let response = subscribe::subscribe(gateway, endpoint, path, token).await;
        return Outcome { response, token: Some(token.name.clone()), commands: 1 };
    }
    let uri = request.uri().clone();
    let body = body::read(request.into_body(), &gateway.bodies).instrument(step!("body"));
    let mut body = match body.await {
        Ok(body) => body,
        Err(body_error) => return Outcome::rejected(Some(token), body_error.response()),
    };
    let (response, commands) = match endpoint {
        Endpoint::Pipeline | Endpoint::Transaction => match request::pipeline(&body.bytes) {
            Ok(commands) => {
                if let Err(error) = body.parsed(&commands, &gateway.bodies) {
                    return Outcome::rejected(Some(token), error.response());
                }
                let count = commands.len();
                let response = if endpoint == Endpoint::Pipeline {
                    execute::pipeline(gateway, token, commands, format).await
                } else {
                    execute::transaction(gateway, token, commands, format).await
                };
                (response, count)
            }
            Err(error) => return Outcome::rejected(Some(token), malformed(error)),
        },
        _ => match request::command(uri.path(), uri.query(), &body.bytes) {
            Ok(command) => {
                let commands = std::slice::from_ref(&command);
                if let Err(error) = body.parsed(commands, &gateway.bodies) {
                    return Outcome::rejected(Some(token), error.response());
                }
                (execute::single(gateway, token, command, format).await, 1)
            }
            Err(error) => return Outcome::rejected(Some(token), malformed(error)),
        },
    };
    Outcome { response, token: Some(token.name.clone()), commands }
}

/// Returns the token of `Authorization: Bearer`, or of the query if that header is missing.
fn authenticate<'a>(
    reloadable: &'a Reloadable,
    request: &Request<RequestBody>,
) -> Option<&'a Token> {
    match request.headers().get(header::AUTHORIZATION) {
        Some(value) => {
            let value = value.to_str().ok()?;
            let (scheme, secret) = value.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then(|| reloadable.tokens.find(secret.trim().as_bytes()))?
        }
        None => reloadable.tokens.find(&request::query_token(request.uri().query())?),
    }
}

/// Returns the response for a method that an endpoint does not allow; `None` if it allows the
/// method.
fn method_not_allowed(endpoint: Endpoint, method: &Method) -> Option<Response<ResponseBody>> {
    let has_body = matches!(*method, Method::POST | Method::PUT);
    let has_no_body = matches!(*method, Method::GET | Method::HEAD);
    let (is_allowed, allow) = match endpoint {
        Endpoint::Pipeline | Endpoint::Transaction => (has_body, "POST, PUT"),
        // The response to HEAD has no body that could stream.
        Endpoint::Monitor | Endpoint::PatternSubscribe | Endpoint::Subscribe => {
            (has_body || *method == Method::GET, "GET, POST, PUT")
        }
        Endpoint::Command => (has_body || has_no_body, "GET, HEAD, POST, PUT"),
    };
    (!is_allowed).then(|| {
        let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "ERR method not allowed");
        set_header(response.headers_mut(), header::ALLOW, allow);
        response
    })
}

fn malformed(command_error: CommandError) -> Response<ResponseBody> {
    error(StatusCode::BAD_REQUEST, &command_error.to_string())
}

const ENCODING: HeaderName = HeaderName::from_static("upstash-encoding");
const RESPONSE_FORMAT: HeaderName = HeaderName::from_static("upstash-response-format");

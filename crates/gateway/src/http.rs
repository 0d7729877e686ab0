//! The protocol over HTTP: who may ask, what is asked, and how the answer is written.

use crate::backend::{Backend, Outage};
use crate::command;
use crate::config::Config;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use prometheus::{Encoder as _, IntCounterVec, Opts, Registry, TextEncoder};
use redis_rest::{
    Command, CommandError, Encoding, Reply, decode_command, decode_pipeline, encode_replies,
    encode_reply,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Gateway {
    config: Config,
    backend: Backend,
    registry: Registry,
    requests: IntCounterVec,
}

/// All that the gateway answers.
pub fn router(config: Config, backend: Backend) -> prometheus::Result<Router> {
    let registry = Registry::new();
    let requests =
        Opts::new("portcullis_gateway_requests_total", "Protocol requests by endpoint and status.");
    let requests = IntCounterVec::new(requests, &["endpoint", "status"])?;
    registry.register(Box::new(requests.clone()))?;
    let gateway = Arc::new(Gateway { config, backend, registry, requests });
    let protocol = Router::new()
        .route("/", post(one))
        .route("/pipeline", post(pipeline))
        .route("/multi-exec", post(multi_exec))
        .layer(middleware::from_fn_with_state(Arc::clone(&gateway), admit));
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .merge(protocol)
        .fallback(|| async { error(StatusCode::NOT_FOUND, "ERR no such endpoint") })
        .method_not_allowed_fallback(|| async {
            error(StatusCode::METHOD_NOT_ALLOWED, "ERR method not allowed")
        })
        .with_state(gateway);
    Ok(router)
}

/// Lets in who has a token, and writes the request's line in the log, which has no values.
async fn admit(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let endpoint = request.uri().path().to_owned();
    let token = bearer(request.headers()).and_then(|token| gateway.config.token_name(token));
    let token = token.map(str::to_owned);
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok());
    let request_id: String = id.unwrap_or_default().chars().take(64).collect();
    let response = match token {
        Some(_) => next.run(request).await,
        None => error(
            StatusCode::UNAUTHORIZED,
            "WRONGPASS invalid or missing auth token; send Authorization: Bearer",
        ),
    };
    let status = response.status().as_u16();
    gateway.requests.with_label_values(&[endpoint.as_str(), status.to_string().as_str()]).inc();
    let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    tracing::info!(event = "request", request_id, endpoint, token, status, micros);
    response
}

async fn one(State(gateway): State<Arc<Gateway>>, headers: HeaderMap, body: Body) -> Response {
    let command = match read(body).await.and_then(|body| Ok(decode_command(&body)?)) {
        Ok(command) => command,
        Err(fault) => return fault.response(),
    };
    let replies = match refuse(std::slice::from_ref(&command)) {
        Some(reply) => vec![reply],
        None => match gateway.backend.run(&[command]).await {
            Ok(replies) => replies,
            Err(outage) => return unavailable(outage),
        },
    };
    let reply = replies.into_iter().next().unwrap_or(Reply::Null);
    let status = match reply {
        Reply::Error(_) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };
    json(status, encode_reply(&reply, encoding(&headers)))
}

async fn pipeline(State(gateway): State<Arc<Gateway>>, headers: HeaderMap, body: Body) -> Response {
    let commands = match read(body).await.and_then(|body| Ok(decode_pipeline(&body, COMMANDS_MAX)?))
    {
        Ok(commands) => commands,
        Err(fault) => return fault.response(),
    };
    // A refused command answers in its place, and the others run.
    let refusals: Vec<Option<String>> = commands.iter().map(command::refusal).collect();
    let allowed: Vec<Command> = commands
        .into_iter()
        .zip(&refusals)
        .filter_map(|(command, refusal)| refusal.is_none().then_some(command))
        .collect();
    let mut answers = if allowed.is_empty() {
        Vec::new().into_iter()
    } else {
        match gateway.backend.run(&allowed).await {
            Ok(replies) => replies.into_iter(),
            Err(outage) => return unavailable(outage),
        }
    };
    let replies: Vec<Reply> = refusals
        .into_iter()
        .filter_map(|refusal| refusal.map(Reply::Error).or_else(|| answers.next()))
        .collect();
    json(StatusCode::OK, encode_replies(&replies, encoding(&headers)))
}

async fn multi_exec(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let commands = match read(body).await.and_then(|body| Ok(decode_pipeline(&body, COMMANDS_MAX)?))
    {
        Ok(commands) => commands,
        Err(fault) => return fault.response(),
    };
    if let Some(refusal) = refuse(&commands) {
        return json(StatusCode::BAD_REQUEST, encode_reply(&refusal, Encoding::Text));
    }
    match gateway.backend.run_atomically(&commands).await {
        Ok(Reply::Array(replies)) => {
            json(StatusCode::OK, encode_replies(&replies, encoding(&headers)))
        }
        Ok(discarded) => json(StatusCode::BAD_REQUEST, encode_reply(&discarded, Encoding::Text)),
        Err(outage) => unavailable(outage),
    }
}

async fn ready(State(gateway): State<Arc<Gateway>>) -> Response {
    match gateway.backend.run(&[Command::new("PING")]).await {
        Ok(_) => "ready\n".into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "Redis does not answer\n").into_response(),
    }
}

async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&gateway.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Why a body is not served.
enum BodyFault {
    Malformed(CommandError),
    TooLarge,
    TooSlow,
}

impl From<CommandError> for BodyFault {
    fn from(fault: CommandError) -> Self {
        Self::Malformed(fault)
    }
}

impl BodyFault {
    fn response(self) -> Response {
        match self {
            Self::Malformed(fault) => error(StatusCode::BAD_REQUEST, &fault.to_string()),
            Self::TooSlow => error(StatusCode::REQUEST_TIMEOUT, "ERR the request came too slowly"),
            Self::TooLarge => error(StatusCode::PAYLOAD_TOO_LARGE, "ERR max request size exceeded"),
        }
    }
}

async fn read(body: Body) -> Result<Vec<u8>, BodyFault> {
    match tokio::time::timeout(BODY_WAIT_MAX, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(bytes) => bytes.map(Vec::from).map_err(|_| BodyFault::TooLarge),
        Err(_) => Err(BodyFault::TooSlow),
    }
}

fn refuse(commands: &[Command]) -> Option<Reply> {
    commands.iter().find_map(command::refusal).map(Reply::Error)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

fn encoding(headers: &HeaderMap) -> Encoding {
    match headers.get("upstash-encoding") {
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"base64") => Encoding::Base64,
        _ => Encoding::Text,
    }
}

fn unavailable(outage: Outage) -> Response {
    let text = match outage {
        Outage::Deadline => "ERR Redis did not answer in time",
        Outage::Unreachable => "ERR Redis can't be reached",
    };
    error(StatusCode::SERVICE_UNAVAILABLE, text)
}

fn error(status: StatusCode, text: &str) -> Response {
    json(status, encode_reply(&Reply::Error(text.to_owned()), Encoding::Text))
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Longest request body: 10 MB, as Upstash has it.
const BODY_BYTES_MAX: usize = 10_000_000;
/// How long a request's body may take to come.
const BODY_WAIT_MAX: Duration = Duration::from_secs(10);
/// Most commands in a pipeline.
const COMMANDS_MAX: usize = 10_000;

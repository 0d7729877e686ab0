//! The endpoints.

use crate::config::{Config, Database};
use crate::db::Db;
use crate::error::Problem;
use crate::password::{PASSWORD_BYTES_MAX, Passwords};
use crate::publish::{Delivery, Publisher};
use crate::session::{Sessions, Tokens};
use crate::store::Store;
use crate::token::{AccessClaims, SigningKey};
use crate::{Outcome, client, edge_metrics, now};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use portcullis_core::{Keys, address_group};
use prometheus::{Encoder as _, IntCounterVec, Opts, Registry, TextEncoder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tracing::Instrument as _;

struct Origin {
    sessions: Sessions,
    db: Arc<Db>,
    store: Arc<Store>,
    registry: Registry,
    /// How logins, refreshes and logouts end.
    outcomes: IntCounterVec,
}

impl Origin {
    fn counted<T>(&self, endpoint: &str, outcome: Result<T, Problem>) -> Result<T, Problem> {
        let word = outcome.as_ref().err().map_or("done", |problem| problem.code());
        self.outcomes.with_label_values(&[endpoint, word]).inc();
        outcome
    }
}

type Shared = State<Arc<Origin>>;

/// Answers requests until SIGTERM or SIGINT; what is under way is finished first.
pub async fn serve(config: Config, database: &Database) -> Outcome {
    let signing = SigningKey::load(&config.signing_key_file)?;
    let db = Arc::new(Db::open(database).await?);
    let store = Arc::new(Store::new(&config.store_url, &config.store_token)?);
    let publisher = Arc::new(Publisher::new(Arc::clone(&db), Arc::clone(&store)));
    if config.seal.is_none() {
        tracing::warn!(event = "unsealed", fix = "set SEAL_KEY, here and at the edge");
    }
    let passwords = Passwords::new()?;
    let registry = Registry::new();
    registry.register(Box::new(db.queries()))?;
    let outcomes = IntCounterVec::new(
        Opts::new(
            "portcullis_origin_outcomes_total",
            "Logins, refreshes and logouts, by how they ended.",
        ),
        &["endpoint", "outcome"],
    )?;
    registry.register(Box::new(outcomes.clone()))?;
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .map_err(|error| format!("can't listen on {}: {error}", config.listen))?;
    let drain = tokio::spawn({
        let publisher = Arc::clone(&publisher);
        async move { publisher.run().await }
    });
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tracing::info!(event = "listening", address = %listener.local_addr()?);
    let sessions =
        Sessions::new(config, Arc::clone(&db), Arc::clone(&store), publisher, passwords, signing);
    axum::serve(listener, router(Origin { sessions, db, store, registry, outcomes }))
        .with_graceful_shutdown(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::info!(event = "draining");
        })
        .await?;
    drain.abort();
    Ok(())
}

fn router(origin: Origin) -> Router {
    Router::new()
        .route("/auth/login", post(login))
        .route("/auth/refresh", post(refresh))
        .route("/auth/logout", post(logout))
        .route("/oauth/token", post(token))
        .route("/oauth/introspect", post(introspect))
        .route("/.well-known/jwks.json", get(jwks))
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .layer(middleware::from_fn(log))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(|| async { Problem::NotFound })
        .method_not_allowed_fallback(|| async { Problem::MethodNotAllowed })
        .with_state(Arc::new(origin))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    username: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refresh {
    refresh_token: String,
}

async fn login(State(origin): Shared, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let Login { username, password } = read_json(&headers, body).await?;
    // No name has a NUL, which Postgres would not take in a query.
    let nameless = username.len() > USERNAME_BYTES_MAX || username.contains('\0');
    if nameless || password.len() > PASSWORD_BYTES_MAX {
        return Err(Problem::CredentialsInvalid);
    }
    // The edge says whence; nobody else should reach this server.
    let address = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
    // All whose address nobody states share one count, so that leaving it out is no way around.
    let address = address_group(address.and_then(|text| text.parse().ok()));
    let own = Arc::clone(&origin);
    let work = async move { own.sessions.login(&username, password, &address, now()).await };
    origin.counted("login", to_its_end(work).await).map(granted)
}

async fn refresh(
    State(origin): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Refresh { refresh_token } = read_json(&headers, body).await?;
    let own = Arc::clone(&origin);
    let work = async move { own.sessions.refresh(&refresh_token, now()).await };
    origin.counted("refresh", to_its_end(work).await).map(granted)
}

/// RFC 6749 section 6.
async fn token(State(origin): Shared, body: Body) -> Response {
    #[derive(Deserialize)]
    struct Form {
        grant_type: String,
        #[serde(default)]
        refresh_token: String,
    }
    let bytes = match read(body).await {
        Ok(bytes) => bytes,
        Err(problem) => return problem.oauth(),
    };
    let Ok(form) = serde_urlencoded::from_bytes::<Form>(&bytes) else {
        return Problem::RequestMalformed.oauth();
    };
    if form.grant_type != "refresh_token" {
        let body = json!({ "error": "unsupported_grant_type" });
        return (StatusCode::BAD_REQUEST, [(header::CACHE_CONTROL, "no-store")], Json(body))
            .into_response();
    }
    let own = Arc::clone(&origin);
    let work = async move { own.sessions.refresh(&form.refresh_token, now()).await };
    match origin.counted("refresh", to_its_end(work).await) {
        Ok(tokens) => granted(tokens),
        Err(problem) => problem.oauth(),
    }
}

/// RFC 7662, for clients that say who they are.
async fn introspect(
    State(origin): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    struct Form {
        #[serde(default)]
        token: String,
        #[serde(default)]
        client_id: String,
        #[serde(default)]
        client_secret: String,
    }
    let bytes = read(body).await?;
    let form: Form = serde_urlencoded::from_bytes(&bytes).map_err(|_| Problem::RequestMalformed)?;
    let field = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (name, secret) = match field {
        Some(field) => client::basic(field).ok_or(Problem::ClientInvalid)?,
        None => (form.client_id, form.client_secret),
    };
    if !origin.sessions.config().introspection_clients.knows(&name, &secret) {
        return Err(Problem::ClientInvalid);
    }
    if form.token.is_empty() {
        return Err(Problem::RequestMalformed);
    }
    let work = async move { origin.sessions.introspect(&form.token, now()).await };
    let answer = match to_its_end(work).await? {
        Some(claims) => {
            #[derive(Serialize)]
            struct Active {
                active: bool,
                token_type: &'static str,
                #[serde(flatten)]
                claims: AccessClaims,
            }
            Json(Active { active: true, token_type: "Bearer", claims }).into_response()
        }
        None => Json(json!({ "active": false })).into_response(),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], answer).into_response())
}

/// Ends the session of the refresh token in the body, or else of the Bearer token. 204 says that the
/// store has it; 202 that it will.
async fn logout(
    State(origin): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let delivery = match (headers.contains_key(header::CONTENT_TYPE), bearer) {
        (true, _) => {
            let Refresh { refresh_token } = read_json(&headers, body).await?;
            let own = Arc::clone(&origin);
            let work = async move { own.sessions.logout(&refresh_token, now()).await };
            origin.counted("logout", to_its_end(work).await)?
        }
        (false, Some((_, token))) => {
            let token = token.trim().to_owned();
            let own = Arc::clone(&origin);
            let work = async move { own.sessions.logout_bearer(&token, now()).await };
            origin.counted("logout", to_its_end(work).await)?
        }
        (false, None) => return Err(Problem::CredentialsMissing),
    };
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok(match delivery {
        Delivery::Done => (StatusCode::NO_CONTENT, no_store).into_response(),
        Delivery::Pending => {
            let body = json!({ "pending": "the session is over; the store is being told" });
            (StatusCode::ACCEPTED, no_store, Json(body)).into_response()
        }
    })
}

async fn jwks(State(origin): Shared) -> Response {
    let fields = [
        (header::CONTENT_TYPE, "application/jwk-set+json"),
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    (fields, origin.sessions.signing().jwks().to_string()).into_response()
}

/// RFC 8414.
async fn metadata(State(origin): Shared) -> Response {
    let issuer = &origin.sessions.config().issuer;
    let body = json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/oauth/token"),
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "introspection_endpoint": format!("{issuer}/oauth/introspect"),
        "introspection_endpoint_auth_methods_supported":
            ["client_secret_basic", "client_secret_post"],
        "response_types_supported": [],
        "grant_types_supported": ["refresh_token"],
        "token_endpoint_auth_methods_supported": ["none"],
    });
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(body)).into_response()
}

async fn ready(State(origin): Shared) -> Result<&'static str, Problem> {
    origin.db.ready().await?;
    Ok("ready\n")
}

async fn metrics(State(origin): Shared) -> Result<Response, Problem> {
    let mut text = Vec::new();
    TextEncoder::new()
        .encode(&origin.registry.gather(), &mut text)
        .map_err(|_| Problem::Internal)?;
    let key = Keys::new(&origin.sessions.config().key_prefix).metrics();
    text.extend(edge_metrics::read(&origin.store, &key).await.into_bytes());
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

/// One line a request; what it carried is not in it. Every other line of the request has its id too.
async fn log(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok());
    let request_id = id.unwrap_or_default().chars().take(64).collect::<String>();
    let span = tracing::info_span!("request", request_id);
    let response = next.run(request).instrument(span.clone()).await;
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let status = response.status().as_u16();
    span.in_scope(|| tracing::info!(event = "request", %method, path, status, ms));
    response
}

fn granted(tokens: Tokens) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(tokens)).into_response()
}

/// A JSON body. The media type is required: a form on a foreign page can't send it unasked.
async fn read_json<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/json") {
        return Err(Problem::MediaTypeUnsupported);
    }
    serde_json::from_slice(&read(body).await?).map_err(|_| Problem::RequestMalformed)
}

async fn read(body: Body) -> Result<Vec<u8>, Problem> {
    match tokio::time::timeout(BODY_WAIT_MAX, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(bytes) => bytes.map(Vec::from).map_err(|_| Problem::BodyTooLarge),
        Err(_) => Err(Problem::BodyTooSlow),
    }
}

/// Does the work to its end even if the client goes away, so that what is committed is also published;
/// and answers in any case, even if the database does not.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::time::timeout(WORK_WAIT_MAX, tokio::spawn(work.in_current_span())).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(Problem::Internal),
        Err(_) => Err(Problem::DatabaseUnavailable),
    }
}

const BODY_WAIT_MAX: Duration = Duration::from_secs(10);
const WORK_WAIT_MAX: Duration = Duration::from_secs(10);
const BODY_BYTES_MAX: usize = 16 * 1024;
const USERNAME_BYTES_MAX: usize = 256;

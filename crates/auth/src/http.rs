//! The server: its endpoints, its log, and what it looks after meanwhile.

mod account;
mod body;
mod cookie;
mod oauth;

use crate::audit::ClientInfo;
use crate::clock::now;
use crate::config::Config;
use crate::db::{Db, Migrate};
use crate::edge_metrics;
use crate::error::BoxError;
use crate::keys::KeyRing;
use crate::problem::Problem;
use crate::publish::{Delivery, Publisher};
use crate::session::Sessions;
use crate::store::Store;
use crate::upkeep::Upkeep;
use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use prometheus::{Encoder as _, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tracing::Instrument as _;

struct Auth {
    sessions: Sessions,
    db: Arc<Db>,
    store: Arc<Store>,
    registry: Registry,
    /// How requests end, by endpoint.
    outcomes: IntCounterVec,
    gauges: Gauges,
}

/// What is measured when somebody looks.
struct Gauges {
    outbox_rows: IntGauge,
    outbox_age_seconds: IntGauge,
    connections: IntGauge,
    connections_idle: IntGauge,
}

impl Gauges {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(format!("portcullis_auth_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            outbox_rows: gauge("outbox_rows", "What the store was not told yet.")?,
            outbox_age_seconds: gauge("outbox_age_seconds", "Since when the oldest of it waits.")?,
            connections: gauge("database_connections", "Open connections to the database.")?,
            connections_idle: gauge("database_connections_idle", "Those that nobody uses.")?,
        })
    }
}

impl Auth {
    /// Does the work of an endpoint to its end, even if the client goes away, so that what is committed is also
    /// published; answers in any case, even if the database does not; and counts how it ended.
    async fn work<T: Send + 'static>(
        &self,
        endpoint: &str,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let work = tokio::spawn(work.in_current_span());
        let outcome = match tokio::time::timeout(WORK_WAIT_MAX, work).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Problem::Internal),
            Err(_) => Err(Problem::DatabaseUnavailable),
        };
        let word = outcome.as_ref().err().map_or("done", |problem| problem.code());
        self.outcomes.with_label_values(&[endpoint, word]).inc();
        outcome
    }
}

type Shared = State<Arc<Auth>>;

/// Answers requests until SIGTERM or SIGINT; what is under way is finished first.
pub async fn serve(config: Config) -> Result<(), BoxError> {
    let db = Arc::new(Db::open(&config.database_url, Migrate::Embedded).await?);
    let keys = Arc::new(KeyRing::open(Arc::clone(&db), config.signing.clone(), now()).await?);
    let store = Arc::new(Store::new(&config.link.store_url, &config.link.store_token)?);
    let publisher = Arc::new(Publisher::new(Arc::clone(&db), Arc::clone(&store), &config.link));
    if config.seal.is_none() {
        tracing::warn!(event = "unsealed", fix = "set RECORD_ENCRYPTION_KEY, here and at the edge");
    }
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .map_err(|error| format!("can't listen on {}: {error}", config.listen))?;
    let upkeep = Upkeep::new(Arc::clone(&db), Arc::clone(&publisher), &config);
    let mut aside = tokio::spawn({
        let keys = Arc::clone(&keys);
        async move { upkeep.run(&keys).await }
    });
    let sessions = Sessions::new(config, Arc::clone(&db), &store, publisher, keys)?;
    let registry = Registry::new();
    registry.register(Box::new(db.queries()))?;
    registry.register(Box::new(sessions.audit().counts()))?;
    let outcomes = Opts::new(
        "portcullis_auth_outcomes_total",
        "Logins, refreshes, revocations and questions, by how they ended.",
    );
    let outcomes = IntCounterVec::new(outcomes, &["endpoint", "outcome"])?;
    registry.register(Box::new(outcomes.clone()))?;
    let gauges = Gauges::new(&registry)?;
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tracing::info!(event = "listening", address = %listener.local_addr()?);
    let (draining, drained) = tokio::sync::oneshot::channel();
    let server =
        axum::serve(listener, router(Auth { sessions, db, store, registry, outcomes, gauges }))
            .with_graceful_shutdown(async move {
                tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
                tracing::info!(event = "draining");
                let _ = draining.send(());
            });
    // Whoever sends half a request does not keep it from ending.
    let late = async {
        let _ = drained.await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        ended = server => ended?,
        () = late => tracing::warn!(event = "drained_by_force"),
        // Without it revocations would not reach the store.
        _ = &mut aside => return Err("what runs beside the requests has ended".into()),
    }
    aside.abort();
    Ok(())
}

fn router(auth: Auth) -> Router {
    Router::new()
        .route("/auth/login", post(account::login))
        .route("/auth/refresh", post(account::refresh))
        .route("/auth/logout", post(account::logout))
        .route("/auth/password", post(account::password))
        .route("/auth/sessions", get(account::sessions).delete(account::end_all))
        .route("/auth/sessions/{id}", delete(account::end_one))
        .route("/oauth/token", post(oauth::token))
        .route("/oauth/introspect", post(oauth::introspect))
        .route("/oauth/revoke", post(oauth::revoke))
        .route("/.well-known/jwks.json", get(oauth::jwks))
        .route("/.well-known/oauth-authorization-server", get(oauth::metadata))
        .layer(middleware::from_fn(log))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(|| async { Problem::NotFound })
        .method_not_allowed_fallback(|| async { Problem::MethodNotAllowed })
        .with_state(Arc::new(auth))
}

async fn ready(State(auth): Shared) -> Result<&'static str, Problem> {
    auth.db.ready().await?;
    Ok("ready\n")
}

async fn metrics(State(auth): Shared) -> Result<Response, Problem> {
    let (rows, oldest) = auth.db.backlog().await?;
    let gauges = &auth.gauges;
    gauges.outbox_rows.set(rows);
    let now = i64::try_from(now().0).unwrap_or(i64::MAX);
    gauges.outbox_age_seconds.set(oldest.map_or(0, |oldest| (now - oldest).max(0)));
    auth.db.measure_pool(&gauges.connections, &gauges.connections_idle);
    let mut text = Vec::new();
    TextEncoder::new().encode(&auth.registry.gather(), &mut text).map_err(|_| Problem::Internal)?;
    let prefix = &auth.sessions.config().link.key_prefix;
    let key = portcullis_core::StoreKeys::new(prefix).metrics();
    text.extend(edge_metrics::read(&auth.store, &key).await.into_bytes());
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

/// One line a request; what it carried is not in it. Every other line of the request has its id too.
async fn log(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let request_id = text(request.headers(), "x-request-id", 64);
    let span = tracing::info_span!("request", request_id);
    let response = next.run(request).instrument(span.clone()).await;
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let status = response.status().as_u16();
    span.in_scope(|| tracing::info!(event = "request", %method, path, status, ms));
    response
}

/// From where a request came. The edge says so; nobody else should reach this server.
fn client_info(headers: &HeaderMap) -> ClientInfo {
    let country = text(headers, "portcullis-country", 2);
    let is_country = country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase());
    ClientInfo {
        address: text(headers, "x-forwarded-for", 45),
        device: text(headers, "user-agent", 256),
        country: is_country.then_some(country),
        request_id: text(headers, "x-request-id", 64),
    }
}

/// A header field's value, as far as it is visible ASCII, cut at `most` characters.
fn text(headers: &HeaderMap, name: &str, most: usize) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.chars().take(most).collect()
}

/// The token of an `Authorization: Bearer` field.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// A revocation's answer: `done` once the store has it; 202 where it will.
fn delivered(delivery: Delivery, done: StatusCode) -> Response {
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    match delivery {
        Delivery::Done => (done, no_store).into_response(),
        Delivery::Pending => {
            let body = json!({ "pending": "it is revoked; the store is being told" });
            (StatusCode::ACCEPTED, no_store, Json(body)).into_response()
        }
    }
}

const DRAIN_MAX: Duration = Duration::from_secs(15);
const WORK_WAIT_MAX: Duration = Duration::from_secs(10);

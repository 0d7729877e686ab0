//! The server: its start, its routes and its end.

use super::client_info::ClientInfoReader;
use super::gauges::Gauges;
use super::state::AppState;
use super::{account, log, metrics, oauth};
use crate::clock::now;
use crate::config::Config;
use crate::db::{Db, Migrate};
use crate::error::BoxError;
use crate::maintenance::Maintenance;
use crate::outbox::Publisher;
use crate::problem::Problem;
use crate::sessions::Sessions;
use crate::signing_keys::KeyRing;
use crate::store::Store;
use axum::Router;
use axum::middleware;
use axum::routing::{delete, get, post};
use portcullis_core::StoreKeys;
use prometheus::{IntCounterVec, Opts, Registry};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Answers requests until SIGTERM or SIGINT, and then finishes those in progress.
pub async fn serve(config: Config) -> Result<(), BoxError> {
    let db = Arc::new(Db::open(&config.database_url, Migrate::IfSqlite).await?);
    let keys = Arc::new(KeyRing::open(Arc::clone(&db), config.signing.clone(), now()).await?);
    let store = Arc::new(Store::new(&config.store.url, &config.store.token)?);
    let publisher = Arc::new(Publisher::new(
        Arc::clone(&db),
        Arc::clone(&store),
        &config.store.issuer,
        StoreKeys::new(&config.store.key_prefix),
    ));
    if config.seal.is_none() {
        tracing::warn!(event = "unsealed", fix = "set RECORD_ENCRYPTION_KEY, here and at the edge");
    }
    if config.edge_auth_keys.is_none() {
        tracing::warn!(
            event = "edge_unauthenticated",
            fix = "set EDGE_AUTH_KEY, here and at the edge"
        );
    }
    let clients = ClientInfoReader::new(&config)?;
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .map_err(|error| format!("can't listen on {}: {error}", config.listen))?;
    let maintenance = Maintenance {
        db: Arc::clone(&db),
        publisher: Arc::clone(&publisher),
        idle_seconds: config.refresh_idle_seconds,
        audit_seconds: config.audit_seconds,
    };
    let mut background = tokio::spawn({
        let keys = Arc::clone(&keys);
        async move { maintenance.run(&keys).await }
    });
    let sessions = Sessions::new(config, Arc::clone(&db), &store, publisher, keys)?;
    let registry = Registry::new();
    registry.register(Box::new(db.queries()))?;
    registry.register(Box::new(sessions.audit().counts()))?;
    registry.register(Box::new(clients.outcomes()))?;
    let outcomes = Opts::new(
        "portcullis_auth_outcomes_total",
        "Requests to the endpoints of accounts and OAuth, by outcome.",
    );
    let outcomes = IntCounterVec::new(outcomes, &["endpoint", "outcome"])?;
    registry.register(Box::new(outcomes.clone()))?;
    let gauges = Gauges::new(&registry)?;
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tracing::info!(event = "listening", address = %listener.local_addr()?);
    let (start_drain, drain_started) = tokio::sync::oneshot::channel();
    let state = AppState { sessions, db, store, registry, outcomes, gauges, clients };
    let service = router(state).into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!(event = "draining");
        let _ = start_drain.send(());
    });
    // A client that sends half a request must not delay the end for ever.
    let drain_timeout = async {
        let _ = drain_started.await;
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        ended = server => ended?,
        () = drain_timeout => tracing::warn!(event = "drained_by_force"),
        // Without these tasks revocations would not reach the store.
        _ = &mut background => return Err("the background tasks have ended".into()),
    }
    background.abort();
    Ok(())
}

fn router(state: AppState) -> Router {
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
        .layer(middleware::from_fn(log::log))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(metrics::ready))
        .route("/metrics", get(metrics::metrics))
        .fallback(|| async { Problem::NotFound })
        .method_not_allowed_fallback(|| async { Problem::MethodNotAllowed })
        .with_state(Arc::new(state))
}

const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);

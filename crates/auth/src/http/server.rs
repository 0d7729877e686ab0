//! The server: its start, its listeners and its shutdown.

use super::client_info::ClientInfoReader;
use super::gauges::Gauges;
use super::router::{admin_router, public_router};
use super::state::AppState;
use super::write_rates::WriteRates;
use crate::adjustments::Adjustments;
use crate::api_keys::ApiKeys;
use crate::clock::now;
use crate::config::{Config, ConsoleSettings, ServerSettings};
use crate::console::{ConsoleState, console_router};
use crate::db::{Db, Migrate};
use crate::error::BoxError;
use crate::maintenance::Maintenance;
use crate::outbox::{DeliveryTimes, Publisher, RecordSettings};
use crate::series::{OwnCounts, Series};
use crate::sessions::Sessions;
use crate::signing_keys::KeyRing;
use crate::store::Store;
use crate::usage::Collector;
use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::Request;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use portcullis_core::StoreKeys;
use portcullis_server::telemetry::Telemetry;
use portcullis_server::{
    Bounds, Connection, Listener, ListenerMetrics, Log, RequestBody, Signals, bind,
    raise_file_limit,
};
use prometheus::{IntCounterVec, Opts, Registry};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Serves requests until SIGTERM or SIGINT, and then finishes those in progress.
pub async fn serve(config: Config, log: Log) -> Result<(), BoxError> {
    let settings = config.server.clone();
    raise_file_limit(settings.bounds.connections_max, OTHER_FILES, "AUTH_CONNECTIONS_MAX");
    let db = Arc::new(Db::open(&config.database_url, Migrate::IfSqlite).await?);
    let keys = Arc::new(KeyRing::open(Arc::clone(&db), config.signing.clone(), now()).await?);
    let store = Arc::new(Store::new(&config.store.url, &config.store.token)?);
    let publisher = Publisher::new(
        Arc::clone(&db),
        Arc::clone(&store),
        &config.store.issuer,
        StoreKeys::new(&config.store.key_prefix),
    );
    let records = RecordSettings { audience: config.audience.clone(), seal: config.seal.clone() };
    let registry = Registry::new();
    let telemetry = Telemetry::start(&config.telemetry, &log, &registry, "portcullis_auth")?;
    let delivery_times = DeliveryTimes::new(&registry)?;
    let publisher = publisher.with_records(records).with_delivery_times(delivery_times.clone());
    let publisher = Arc::new(publisher);
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
    let socket = bind(settings.listen).await?;
    let admin_socket = bind(settings.admin_listen).await?;
    let console = match &config.console {
        Some(settings) => Some((bind(settings.listen).await?, settings.clone())),
        None => None,
    };
    let maintenance = Maintenance {
        db: Arc::clone(&db),
        publisher: Arc::clone(&publisher),
        idle_seconds: config.refresh_idle_seconds,
        audit_seconds: config.audit_seconds,
        usage_seconds: config.usage_seconds,
    };
    let store_keys = StoreKeys::new(&config.store.key_prefix);
    let (seal, lists) = (config.seal.clone(), Arc::clone(&store));
    let collector =
        Collector::new(Arc::clone(&db), lists, seal, &config.store.issuer, &store_keys, &registry)?;
    let background_keys = Arc::clone(&keys);
    let adjustments =
        Adjustments::new(Arc::clone(&db), Arc::clone(&publisher), &config.store.issuer);
    let key_settings = config.api_keys.clone();
    let write_rates = WriteRates::new(config.management_writes_per_minute);
    let sessions = Sessions::new(config, Arc::clone(&db), &store, Arc::clone(&publisher), keys)?;
    let own = OwnCounts { delivery_times, events: sessions.audit().counts() };
    let series = Series::new(Arc::clone(&db), Arc::clone(&store), store_keys, own);
    let series = Arc::new(series);
    let mut background = tokio::spawn({
        let series = Arc::clone(&series);
        async move { tokio::join!(maintenance.run(&background_keys), collector.run(), series.run()) }
    });
    let audit = Some(sessions.audit().clone());
    let api_keys = ApiKeys::new(key_settings, Arc::clone(&db), publisher, audit);
    registry.register(Box::new(db.queries()))?;
    registry.register(Box::new(sessions.audit().counts()))?;
    registry.register(Box::new(clients.outcomes()))?;
    let outcomes = Opts::new(
        "portcullis_auth_outcomes_total",
        "Requests to the account and OAuth endpoints, by outcome.",
    );
    let outcomes = IntCounterVec::new(outcomes, &["endpoint", "outcome"])?;
    registry.register(Box::new(outcomes.clone()))?;
    let metrics = ListenerMetrics::new("portcullis_auth")?;
    metrics.register(&registry)?;
    let gauges = Gauges::new(&registry)?;
    let signals = Signals::new()?;
    let (address, admin_address) = (socket.local_addr()?, admin_socket.local_addr()?);
    let (tls, loopback) = (settings.tls.is_some(), address.ip().is_loopback());
    tracing::info!(event = "listening", %address, %admin_address, tls, loopback);
    if !tls && !loopback {
        let advice = "passwords and tokens go unencrypted: give AUTH_TLS_CERT_FILE, or put a proxy \
                      with TLS before the auth service";
        tracing::warn!(event = "plain_http_beyond_loopback", advice);
    }
    let (stop, stopping) = watch::channel(false);
    let (tls_sender, tls) = watch::channel(settings.tls.clone());
    let state = Arc::new(AppState {
        sessions,
        adjustments,
        api_keys,
        db,
        store,
        series,
        registry,
        outcomes,
        gauges,
        log,
        stopping: stopping.clone(),
        clients,
        write_rates,
    });
    tokio::spawn({
        let state = Arc::clone(&state);
        async move { state.sessions.attempts().check().await }
    });
    // The admin listener serves until the process ends, so that a drain can be observed.
    let (_never_stop, never) = watch::channel(false);
    let admin = Listener {
        socket: admin_socket,
        bounds: Bounds::ADMIN,
        tls: || None,
        metrics: ListenerMetrics::new("admin")?,
        stopping: never,
    };
    let server = Listener {
        socket,
        bounds: settings.bounds,
        tls: move || tls.borrow().clone(),
        metrics,
        stopping,
    };
    let admin_router = admin_router(Arc::clone(&state));
    let admin =
        admin.serve(move |connection, request| handle(admin_router.clone(), connection, request));
    let console = serve_console(console, Arc::clone(&state));
    let router = public_router(state);
    let server =
        server.serve(move |connection, request| handle(router.clone(), connection, request));
    tokio::select! {
        () = server => {}
        stopped = console => return stopped,
        () = admin => return Err("the admin listener (AUTH_ADMIN_LISTEN) stopped".into()),
        // Without these tasks revocations would not reach the store.
        _ = &mut background => return Err("the background tasks stopped".into()),
        never = signals.serve(stop, || reload(&settings, &tls_sender)) => never,
    }
    background.abort();
    telemetry.finish().await;
    Ok(())
}

/// Serves the console, if it is on. Returns only if that fails.
async fn serve_console(
    console: Option<(TcpListener, ConsoleSettings)>,
    state: Arc<AppState>,
) -> Result<(), BoxError> {
    let Some((socket, settings)) = console else { return std::future::pending().await };
    let address = socket.local_addr()?;
    let origin = settings.origin.unwrap_or_else(|| format!("http://{address}"));
    tracing::info!(event = "console_listening", %address, origin);
    if !address.ip().is_loopback() && !origin.starts_with("https://") {
        let advice = "passwords and sessions of operators go unencrypted: listen on loopback, or \
                      put the edge or a proxy with TLS before the console and set CONSOLE_ORIGIN";
        tracing::warn!(event = "plain_http_beyond_loopback", advice);
    }
    let listener = Listener {
        socket,
        bounds: CONSOLE_BOUNDS,
        tls: || None,
        metrics: ListenerMetrics::new("console")?,
        stopping: state.stopping.clone(),
    };
    let console = Arc::new(ConsoleState::new(state, origin, settings.session_seconds));
    let router = console_router(console);
    listener.serve(move |connection, request| handle(router.clone(), connection, request)).await;
    // It stops with the drain, during which the other listeners go on.
    std::future::pending().await
}

/// Handles one request. Handlers find the connection and its peer's address among the request's
/// extensions.
async fn handle(
    router: Router,
    connection: Connection,
    mut request: Request<RequestBody>,
) -> Response {
    request.extensions_mut().insert(ConnectInfo(connection.peer()));
    request.extensions_mut().insert(connection);
    match TowerToHyperService::new(router).call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Loads the certificate again. If it is invalid, the previous one stays in use.
fn reload(settings: &ServerSettings, sender: &watch::Sender<Tls>) {
    match settings.certificate_files.server_config() {
        Ok(tls) => {
            sender.send_replace(tls);
            tracing::info!(event = "reloaded");
        }
        Err(errors) => {
            for error in errors {
                tracing::error!(event = "configuration_invalid", fault = %error);
            }
        }
    }
}

type Tls = Option<Arc<rustls::ServerConfig>>;

/// Browsers open few connections, but all of them may come through one edge or proxy.
const CONSOLE_BOUNDS: Bounds = Bounds {
    connections_max: 256,
    anonymous_per_network_max: 128,
    idle: Duration::from_secs(75),
    drain: Duration::from_secs(1),
    head_bytes_max: 16 << 10,
    headers_max: 128,
};

/// The file descriptors for the database, the store and everything else.
const OTHER_FILES: usize = 256;

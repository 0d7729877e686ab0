//! The redis gateway: serves the Upstash REST protocol in front of a Redis.
//!
//! A request passes [`portcullis_server`] (its connection), [`http`] (authentication and
//! endpoints), [`request`] (its commands), [`mod@command`] and [`token`] (permissions), [`script`]
//! (rewrites of scripts) and [`backends`] (Redis). [`stream`] serves event streams.

mod backend;
mod backends;
mod command;
mod config;
mod http;
mod metrics;
mod redis_url;
mod request;
mod script;
mod stream;
mod token;

use backend::{Backend, ResponseMemory};
use backends::Backends;
use config::{Action, CommandLine, Config, RedisSettings, command, load_health_check};
use http::Gateway;
use metrics::Metrics;
use portcullis_server::settings::SettingError;
use portcullis_server::telemetry::Telemetry;
use portcullis_server::{Bounds, Listener, ListenerMetrics, Log, Signals, bind, raise_file_limit};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, watch};

fn main() -> ExitCode {
    let log = Log::start("redis-gateway");
    // Several dependencies enable a provider. The choice must not depend on features of other
    // crates.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let command_line = CommandLine::parse();
    let code = match command_line.action {
        Action::Completions(options) => Ok(exit_code(options.print(command()))),
        Action::Health(options) => load_health_check(&command_line, options)
            .map(|check| if check.run() { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Action::Serve => Config::load(&command_line).map(|config| run(config, log.clone())),
    };
    let code = code.unwrap_or_else(|errors| {
        log_errors(&errors);
        ExitCode::from(2)
    });
    log.finish();
    code
}

fn run(config: Config, log: Log) -> ExitCode {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(config.threads).enable_all().build();
    let outcome =
        runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(serve(config, log)));
    exit_code(outcome)
}

fn exit_code<E: std::fmt::Display>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(event = "stopped", %error);
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config, log: Log) -> Result<(), Box<dyn std::error::Error>> {
    // A stream also has a connection to Redis.
    let others = config.streams_max.saturating_add(OTHER_FILES);
    raise_file_limit(config.bounds.connections_max, others, "GATEWAY_CONNECTIONS_MAX");
    let (socket, admin_socket) = (bind(config.listen).await?, bind(config.admin_listen).await?);
    let signals = Signals::new()?;
    let metrics = Arc::new(Metrics::new(log.clone())?);
    let prefix = "portcullis_redis_gateway";
    let telemetry = Telemetry::start(&config.telemetry, &log, metrics.registry(), prefix)?;
    let memory = ResponseMemory::new(config.response_memory_mib);
    let backends = config.redis.into_iter().map(|RedisSettings { deployment, connections }| {
        let (memory, metrics) = (memory.clone(), Arc::clone(&metrics));
        Backend::start(deployment, connections, config.timeout, memory, metrics)
    });
    let backends = Backends::new(backends.collect());
    let (address, admin_address) = (socket.local_addr()?, admin_socket.local_addr()?);
    let (tls, loopback) = (config.reloadable.tls.is_some(), address.ip().is_loopback());
    let tokens: Vec<&str> = config.reloadable.tokens.names().collect();
    let tokens = tokens.join(",");
    tracing::info!(event = "listening", %address, %admin_address, tls, loopback, tokens);
    if !tls && !loopback {
        let advice = "tokens and values go unencrypted: give GATEWAY_TLS_CERT_FILE, or put a proxy \
                      with TLS before the redis gateway";
        tracing::warn!(event = "plain_http_beyond_loopback", advice);
    }
    let (reloadable_sender, reloadable) = watch::channel(Arc::new(config.reloadable));
    let (stop, stopping) = watch::channel(false);
    let gateway = Arc::new(Gateway {
        backends,
        has_welcome: config.is_srh,
        reloadable: reloadable.clone(),
        metrics: Arc::clone(&metrics),
        scripts: script::Scripts::default(),
        timeout: config.timeout,
        memory,
        streams: Arc::new(Semaphore::new(config.streams_max)),
        bodies: Semaphore::new(BODIES_KIB_MAX),
        stopping: stopping.clone(),
        instance: instance(),
        writes: AtomicU64::new(0),
        requests: AtomicU64::new(0),
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
        bounds: config.bounds,
        tls: move || reloadable.borrow().tls.clone(),
        metrics: metrics.listener.clone(),
        stopping,
    };
    let admin = admin.serve({
        let gateway = Arc::clone(&gateway);
        move |_, request| http::serve_admin(Arc::clone(&gateway), request)
    });
    let server = server
        .serve(move |connection, request| http::serve(Arc::clone(&gateway), connection, request));
    let signals = signals.serve(stop, || match config.reloadable_files.load() {
        Ok(reloadable) => {
            reloadable_sender.send_replace(Arc::new(reloadable));
            tracing::info!(event = "reloaded");
        }
        // The previous configuration stays in use.
        Err(errors) => log_errors(&errors),
    });
    tokio::select! {
        () = server => {
            telemetry.finish().await;
            Ok(())
        }
        () = admin => Err("the admin listener (GATEWAY_ADMIN_LISTEN) stopped".into()),
        never = signals => never,
    }
}

fn log_errors(errors: &[SettingError]) {
    for error in errors {
        tracing::error!(event = "configuration_invalid", fault = %error);
    }
}

/// Returns a number that is unlikely to occur in another process.
fn instance() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or_default()
        ^ u64::from(std::process::id()).rotate_right(16)
}

/// The file descriptors for the pooled connections to Redis and everything else.
const OTHER_FILES: usize = 1024;
/// The bodies and commands of all requests in progress: 256 MiB.
const BODIES_KIB_MAX: usize = 256 << 10;

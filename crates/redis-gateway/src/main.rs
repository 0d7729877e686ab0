//! The redis gateway: serves the Upstash REST protocol in front of a Redis.
//!
//! A request passes [`listen`] (its connection), [`http`] (authentication and endpoints),
//! [`request`] (its commands), [`command`] and [`token`] (permissions), [`script`] (rewrites of
//! scripts) and [`backend`] (Redis). [`stream`] serves event streams.

mod backend;
mod command;
mod config;
mod http;
mod listen;
mod log;
mod metrics;
mod redis_url;
mod request;
mod script;
mod stream;
mod token;

use backend::{Backend, ResponseMemory};
use clap::Parser as _;
use config::{Config, ConfigError, Reloadable, Settings};
use http::Gateway;
use listen::Bounds;
use log::Log;
use metrics::Metrics;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};

fn main() -> ExitCode {
    let log = Log::start();
    tracing_subscriber::fmt()
        .json()
        .with_current_span(false)
        .with_max_level(tracing::Level::INFO)
        .with_writer(log.clone())
        .init();
    // Several dependencies enable a provider. The choice must not depend on features of other
    // crates.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let settings = Settings::parse();
    let code = match Config::parse(&settings) {
        Ok(config) => run(config, settings, log.clone()),
        Err(errors) => {
            log_errors(&errors);
            ExitCode::from(2)
        }
    };
    log.finish();
    code
}

fn run(config: Config, settings: Settings, log: Log) -> ExitCode {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(config.threads).enable_all().build();
    let outcome = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(serve(config, settings, log)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(event = "stopped", %error);
            ExitCode::FAILURE
        }
    }
}

async fn serve(
    config: Config,
    settings: Settings,
    log: Log,
) -> Result<(), Box<dyn std::error::Error>> {
    raise_file_limit(config.connections_max, config.streams_max);
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| format!("can't listen on {}: {error}", config.listen))?;
    let (mut terminate, mut interrupt, mut hangup) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    );
    let metrics = Arc::new(Metrics::new(log)?);
    let backend = Backend::start(
        config.deployment,
        config.redis_connections,
        config.timeout,
        ResponseMemory::new(config.response_memory_mib),
        Arc::clone(&metrics),
    );
    let address = listener.local_addr()?;
    let (tls, loopback) = (config.reloadable.tls.is_some(), address.ip().is_loopback());
    let tokens: Vec<&str> = config.reloadable.tokens.names().collect();
    tracing::info!(event = "listening", %address, tls, loopback, tokens = tokens.join(","));
    if !tls && !loopback {
        let advice = "tokens and values go unencrypted: give GATEWAY_TLS_CERT_FILE, or put a proxy \
                      with TLS before the redis gateway";
        tracing::warn!(event = "plain_http_beyond_loopback", advice);
    }
    let (reloadable_sender, reloadable) = watch::channel(Arc::new(config.reloadable));
    let (stop, stopping) = watch::channel(false);
    let gateway = Arc::new(Gateway {
        backend,
        reloadable: reloadable.clone(),
        metrics,
        scripts: script::Scripts::default(),
        timeout: config.timeout,
        streams: Arc::new(Semaphore::new(config.streams_max)),
        bodies: Semaphore::new(BODIES_KIB_MAX),
        stopping: stopping.clone(),
        instance: instance(),
        writes: AtomicU64::new(0),
        requests: AtomicU64::new(0),
    });
    let bounds = Bounds { connections_max: config.connections_max, idle: config.idle };
    let server = listen::listen(listener, gateway, bounds, reloadable, stopping);
    tokio::pin!(server);
    loop {
        tokio::select! {
            () = &mut server => return Ok(()),
            _ = hangup.recv() => match Reloadable::load(&settings) {
                Ok(reloadable) => {
                    reloadable_sender.send_replace(Arc::new(reloadable));
                    tracing::info!(event = "reloaded");
                }
                // The previous configuration stays in use.
                Err(errors) => log_errors(&errors),
            },
            _ = terminate.recv() => {
                tracing::info!(event = "draining");
                stop.send_replace(true);
            }
            _ = interrupt.recv() => {
                tracing::info!(event = "draining");
                stop.send_replace(true);
            }
        }
    }
}

fn log_errors(errors: &[ConfigError]) {
    for error in errors {
        tracing::error!(event = "configuration_invalid", fault = %error);
    }
}

/// Raises the limit of open files as far as the connections need it.
///
/// Without it, client connections could use up all files, and leave none for connections to Redis.
fn raise_file_limit(connections_max: usize, streams_max: usize) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    // A stream also has a connection to Redis.
    let wanted = u64::try_from(connections_max.saturating_add(streams_max)).unwrap_or(u64::MAX);
    let wanted = wanted.saturating_add(OTHER_FILES);
    let raised = wanted.min(hard);
    if raised > soft && setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_err() || raised < wanted
    {
        let advice = "raise the limit of open files (ulimit -n), or lower GATEWAY_CONNECTIONS_MAX";
        tracing::warn!(event = "too_few_files", limit = raised.max(soft), wanted, advice);
    }
}

/// Returns a number that is unlikely to occur in another process.
fn instance() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or_default()
        ^ u64::from(std::process::id()).rotate_right(16)
}

/// For the pooled connections to Redis and everything else.
const OTHER_FILES: u64 = 1024;
/// The bodies of all requests in progress: 256 MiB.
const BODIES_KIB_MAX: usize = 256 << 10;

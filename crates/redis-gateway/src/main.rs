//! The redis gateway: the Upstash REST protocol on one side, a Redis on the other.
//!
//! A request's way: `listen.rs` takes its connection, `http.rs` serves it (`token.rs`: who may ask;
//! `request.rs`: which commands it holds; `command.rs`: what is known of them; `script.rs`: scripts that
//! Redis would not take), `backend.rs` asks Redis, `stream.rs` follows channels. `config.rs` and
//! `redis_url.rs` read the settings, `metrics.rs` counts, `log.rs` writes.

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

use backend::Backend;
use clap::Parser as _;
use config::{Config, ConfigError, Live, Settings};
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
    // Several crates bring one; which is used must not depend on who else is built.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let settings = Settings::parse();
    let code = match Config::parse(&settings) {
        Ok(config) => run(config, settings, log.clone()),
        Err(faults) => {
            tell(&faults);
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
        config.target,
        config.redis_connections,
        config.deadline,
        Arc::clone(&metrics),
    );
    let address = listener.local_addr()?;
    let (tls, loopback) = (config.live.tls.is_some(), address.ip().is_loopback());
    let tokens: Vec<&str> = config.live.tokens.names().collect();
    tracing::info!(event = "listening", %address, tls, loopback, tokens = tokens.join(","));
    if !tls && !loopback {
        let advice = "tokens and values go unencrypted: give GATEWAY_TLS_CERT_FILE, or put a proxy \
                      with TLS before the redis gateway";
        tracing::warn!(event = "plain_http_beyond_loopback", advice);
    }
    let (live_sender, live) = watch::channel(Arc::new(config.live));
    let (stop, stopping) = watch::channel(false);
    let gateway = Arc::new(Gateway {
        backend,
        live: live.clone(),
        metrics,
        scripts: script::Scripts::default(),
        deadline: config.deadline,
        streams: Arc::new(Semaphore::new(config.streams_max)),
        bodies: Semaphore::new(BODIES_KIB_MAX),
        stopping: stopping.clone(),
        instance: instance(),
        writes: AtomicU64::new(0),
        requests: AtomicU64::new(0),
    });
    let bounds = Bounds { connections_max: config.connections_max, idle: config.idle };
    let server = listen::listen(listener, gateway, bounds, live, stopping);
    tokio::pin!(server);
    loop {
        tokio::select! {
            () = &mut server => return Ok(()),
            _ = hangup.recv() => match Live::read(&settings) {
                Ok(live) => {
                    live_sender.send_replace(Arc::new(live));
                    tracing::info!(event = "reloaded");
                }
                // What was good until now goes on.
                Err(faults) => tell(&faults),
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

fn tell(faults: &[ConfigError]) {
    for fault in faults {
        tracing::error!(event = "configuration_invalid", %fault);
    }
}

/// Each connection is a file, and where there are none left, none is left for Redis either.
fn raise_file_limit(connections_max: usize, streams_max: usize) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    // A stream has a connection to Redis, too.
    let wanted = u64::try_from(connections_max.saturating_add(streams_max)).unwrap_or(u64::MAX);
    let wanted = wanted.saturating_add(FILES_BESIDE);
    let raised = wanted.min(hard);
    if raised > soft && setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_err() || raised < wanted
    {
        let advice = "raise the limit of open files (ulimit -n), or lower GATEWAY_CONNECTIONS_MAX";
        tracing::warn!(event = "too_few_files", limit = raised.max(soft), wanted, advice);
    }
}

/// A number that no other start of a redis gateway is likely to have.
fn instance() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or_default()
        ^ u64::from(std::process::id()).rotate_right(16)
}

/// For Redis and the rest.
const FILES_BESIDE: u64 = 1024;
/// All bodies together, until they are answered: 256 MiB.
const BODIES_KIB_MAX: usize = 256 << 10;

//! The listener: connections within their bounds, with or without TLS, and a quiet end.

use crate::config::Live;
use crate::http::{Gateway, answer};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_io_timeout::TimeoutWriter;
use tokio_rustls::TlsAcceptor;

/// The listener's bounds that an operator may set.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub connections_max: usize,
    /// How long a connection may idle, and a head may take.
    pub idle: Duration,
}

/// Serves until told to stop, and then until what is under way is done, or `DRAIN_MAX` is over.
pub async fn listen(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    bounds: Bounds,
    live: watch::Receiver<Arc<Live>>,
    mut stopping: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(bounds.connections_max));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of files, most likely: a moment later there may be one.
                tracing::warn!(event = "accept_failed", %error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            gateway.metrics.connections_refused.inc();
            continue;
        };
        let tls = live.borrow().tls.clone();
        let watcher = graceful.watcher();
        tokio::spawn(serve(stream, tls, Arc::clone(&gateway), permit, bounds, watcher));
    }
    drop(listener);
    if timeout(DRAIN_MAX, graceful.shutdown()).await.is_err() {
        tracing::warn!(event = "drain_cut_short");
    }
}

async fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    gateway: Arc<Gateway>,
    _permit: OwnedSemaphorePermit,
    bounds: Bounds,
    watcher: Watcher,
) {
    let _ = stream.set_nodelay(true);
    gateway.metrics.connections.inc();
    match tls {
        Some(config) => {
            match timeout(HANDSHAKE_MAX, TlsAcceptor::from(config).accept(stream)).await {
                Ok(Ok(stream)) => speak(stream, &gateway, bounds, watcher).await,
                Ok(Err(_)) | Err(_) => gateway.metrics.connections_refused.inc(),
            }
        }
        None => speak(stream, &gateway, bounds, watcher).await,
    }
    gateway.metrics.connections.dec();
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    gateway: &Arc<Gateway>,
    bounds: Bounds,
    watcher: Watcher,
) {
    // Who does not take its answer keeps nobody's memory.
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(WRITE_MAX));
    let service = service_fn(|request| {
        let gateway = Arc::clone(gateway);
        async move { Ok::<_, Infallible>(answer(gateway, request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        // From the answer before it on, so it is also how long a connection may idle.
        .header_read_timeout(bounds.idle)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let connection = http.serve_connection(TokioIo::new(Box::pin(stream)), service);
    // What fails here is the client's connection, and there is nobody to tell.
    let _ = watcher.watch(connection).await;
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const DRAIN_MAX: Duration = Duration::from_secs(20);
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
const HEADERS_MAX: usize = 64;
/// A path may hold a command, so it may be long.
const HEAD_BYTES_MAX: usize = 128 << 10;
const WRITE_MAX: Duration = Duration::from_secs(30);

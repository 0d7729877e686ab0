//! Accepts client connections within bounds, with or without TLS, and shuts down gracefully.

use crate::config::Reloadable;
use crate::http::{Gateway, serve};
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

/// The configurable bounds of the listener.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub connections_max: usize,
    /// Timeout for an idle connection, and for a request's head.
    pub idle: Duration,
}

/// Serves until `stopping` is set, and then completes the requests in progress, for at most 20 s.
pub async fn listen(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    bounds: Bounds,
    reloadable: watch::Receiver<Arc<Reloadable>>,
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
                // Usually the limit of open files. A short pause lets other connections close.
                tracing::warn!(event = "accept_failed", %error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            gateway.metrics.connections_refused.inc();
            continue;
        };
        let tls = reloadable.borrow().tls.clone();
        let watcher = graceful.watcher();
        tokio::spawn(serve_connection(stream, tls, Arc::clone(&gateway), permit, bounds, watcher));
    }
    drop(listener);
    if timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!(event = "drain_cut_short");
    }
}

async fn serve_connection(
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
            match timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await {
                Ok(Ok(stream)) => serve_http(stream, &gateway, bounds, watcher).await,
                Ok(Err(_)) | Err(_) => gateway.metrics.connections_refused.inc(),
            }
        }
        None => serve_http(stream, &gateway, bounds, watcher).await,
    }
    gateway.metrics.connections.dec();
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    gateway: &Arc<Gateway>,
    bounds: Bounds,
    watcher: Watcher,
) {
    // A client that does not read its response must not hold memory for long.
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(WRITE_TIMEOUT));
    let service = service_fn(|request| {
        let gateway = Arc::clone(gateway);
        async move { Ok::<_, Infallible>(serve(gateway, request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        // Counts from the previous response, so it is also the idle timeout.
        .header_read_timeout(bounds.idle)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let connection = http.serve_connection(TokioIo::new(Box::pin(stream)), service);
    // An error means that the client's connection broke, so there is no response to send.
    let _ = watcher.watch(connection).await;
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADERS_MAX: usize = 64;
/// Large, because a path may contain a whole command.
const HEAD_BYTES_MAX: usize = 128 << 10;
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

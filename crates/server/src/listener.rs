//! Accepts connections within bounds, with or without TLS, and shuts down gracefully.

use crate::admission::{Admission, AdmissionLimits, Admitted};
use crate::connection::Connection;
use crate::handler::Handler;
use crate::head_memory::{BoundedHeads, HeadMemory};
use crate::metrics::ListenerMetrics;
use crate::network::Network;
use crate::request_body::RequestBody;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_io_timeout::TimeoutWriter;
use tokio_rustls::TlsAcceptor;

/// The bounds of a listener.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// Most open connections.
    pub connections_max: usize,
    /// Most connections of one network, a /24 or a /64, that have not authenticated.
    pub anonymous_per_network_max: usize,
    /// Timeout for an idle connection, and for every head but the first.
    pub idle: Duration,
    /// How long requests in progress may take after the stop.
    pub drain: Duration,
    /// Longest head of a request.
    pub head_bytes_max: usize,
    /// Most header fields of a request.
    pub headers_max: usize,
}

impl Bounds {
    /// The bounds of a listener for operators.
    pub const ADMIN: Self = Self {
        connections_max: 64,
        anonymous_per_network_max: 64,
        idle: Duration::from_secs(75),
        drain: Duration::from_secs(1),
        head_bytes_max: 8192,
        headers_max: 64,
    };
}

/// A listener that does not accept yet.
pub struct Listener<T> {
    /// The bound socket.
    pub socket: TcpListener,
    /// Its bounds.
    pub bounds: Bounds,
    /// Returns the certificate for the next connection, if there is TLS.
    pub tls: T,
    /// Counts its connections.
    pub metrics: ListenerMetrics,
    /// Becomes `true` when the drain begins.
    pub stopping: watch::Receiver<bool>,
}

/// Binds a socket. The error is a text for the operator.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| format!("can't listen on {address}: {error}"))
}

impl<T: Fn() -> Option<Arc<ServerConfig>>> Listener<T> {
    /// Serves until `stopping` is set, and then completes the requests in progress within the
    /// drain's deadline.
    pub async fn serve(mut self, handler: impl Handler) {
        let graceful = GracefulShutdown::new();
        let limits = AdmissionLimits {
            connections_max: self.bounds.connections_max,
            anonymous_per_network_max: self.bounds.anonymous_per_network_max,
        };
        let admission = Arc::new(Admission::new(limits, Instant::now()));
        let open = Arc::new(OpenConnections::default());
        let head_memory = Arc::new(HeadMemory::new(LARGE_HEADS_BYTES_MAX));
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = self.stopping.wait_for(|stopping| *stopping) => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Usually the limit of open files. A short pause lets connections close.
                    tracing::warn!(event = "accept_failed", %error);
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let id = match admission.admit(Network::of(peer.ip()), Instant::now()) {
                Admitted::Open { id, evicted } => {
                    if let Some(evicted) = evicted.and_then(|evicted| open.remove(evicted)) {
                        self.metrics.evicted.inc();
                        evicted.evict();
                    }
                    id
                }
                Admitted::Refused => {
                    self.metrics.refused.inc();
                    continue;
                }
            };
            let connection = Connection::new(id, peer, Arc::clone(&admission));
            open.insert(id, connection.clone());
            let guard = OpenGuard {
                id,
                admission: Arc::clone(&admission),
                open: Arc::clone(&open),
                metrics: self.metrics.clone(),
            };
            self.metrics.connections.inc();
            let head_memory = Arc::clone(&head_memory);
            let serving = Serving { connection, guard, bounds: self.bounds, head_memory };
            let (tls, watcher, handler) = ((self.tls)(), graceful.watcher(), handler.clone());
            tokio::spawn(serving.run(stream, tls, watcher, handler));
        }
        drop(self.socket);
        if timeout(self.bounds.drain, graceful.shutdown()).await.is_err() {
            tracing::warn!(event = "drain_cut_short");
        }
    }
}

/// The connections that may have to give way, by id.
#[derive(Default)]
struct OpenConnections(Mutex<HashMap<u64, Connection>>);

impl OpenConnections {
    fn insert(&self, id: u64, connection: Connection) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, connection);
    }

    fn remove(&self, id: u64) -> Option<Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }
}

/// Removes a connection when its task ends, also by a panic.
struct OpenGuard {
    id: u64,
    admission: Arc<Admission>,
    open: Arc<OpenConnections>,
    metrics: ListenerMetrics,
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.open.remove(self.id);
        self.admission.close(self.id);
        self.metrics.connections.dec();
    }
}

/// A connection that is being served.
struct Serving {
    connection: Connection,
    guard: OpenGuard,
    bounds: Bounds,
    head_memory: Arc<HeadMemory>,
}

impl Serving {
    /// Serves the connection. Until a request authenticates, the connection may have to give way,
    /// and its first head has a deadline of its own.
    async fn run(
        self,
        stream: TcpStream,
        tls: Option<Arc<ServerConfig>>,
        watcher: Watcher,
        handler: impl Handler,
    ) {
        let head_deadline = tokio::time::Instant::now() + FIRST_HEAD_TIMEOUT.min(self.bounds.idle);
        let _ = stream.set_nodelay(true);
        let served = async {
            match tls {
                Some(config) => match TlsAcceptor::from(config).accept(stream).await {
                    Ok(stream) => self.serve_http(stream, watcher, handler).await,
                    Err(_) => self.guard.metrics.refused.inc(),
                },
                None => self.serve_http(stream, watcher, handler).await,
            }
        };
        tokio::pin!(served);
        while !self.connection.is_authenticated() {
            tokio::select! {
                biased;
                () = &mut served => return,
                () = self.connection.changed() => {
                    if self.connection.is_evicted() {
                        return;
                    }
                }
                () = sleep_until(head_deadline), if self.connection.heads() == 0 => {
                    self.guard.metrics.refused.inc();
                    return;
                }
            }
        }
        // It does not give way any more.
        self.guard.open.remove(self.guard.id);
        served.await;
    }

    async fn serve_http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        watcher: Watcher,
        handler: impl Handler,
    ) {
        // A client that does not read its response must not hold memory for long.
        let (connection, memory) = (self.connection.clone(), Arc::clone(&self.head_memory));
        let mut stream = TimeoutWriter::new(BoundedHeads::new(stream, connection, memory));
        stream.set_timeout(Some(WRITE_TIMEOUT));
        let connection = &self.connection;
        let service = service_fn(move |request: Request<Incoming>| {
            connection.begin_request();
            let request = request.map(|body| RequestBody::new(body, connection.clone()));
            let response = handler.handle(connection.clone(), request);
            async move {
                let response = response.await;
                connection.end_request();
                Ok::<_, Infallible>(response)
            }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            // Counts from the previous response, so it is also the idle timeout.
            .header_read_timeout(self.bounds.idle)
            .max_headers(self.bounds.headers_max)
            .max_buf_size(self.bounds.head_bytes_max);
        let served = http.serve_connection(TokioIo::new(Box::pin(stream)), service);
        // An error means that the client's connection broke, so there is no response to send.
        let _ = watcher.watch(served).await;
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For the TLS handshake and the head of the first request together.
const FIRST_HEAD_TIMEOUT: Duration = Duration::from_secs(8);
/// What the heads of anonymous connections may take beyond a usual size, together.
const LARGE_HEADS_BYTES_MAX: usize = 32 << 20;
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;

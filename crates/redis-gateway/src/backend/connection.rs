//! One connection to a Redis server.
//!
//! A [`DedicatedConnection`] is opened, with TLS if configured, and authenticated. It can then
//! become a [`SharedConnection`], over which many requests are pipelined: replies come in the order
//! of the commands.

use super::batch::Step;
use super::memory::{ReplyMemory, StreamMemory, StreamReservation};
use crate::redis_url::{Address, ConnectOptions};
use portcullis_server::step;
use redis_rest::{Command, Decoder, Reply, TOO_LARGE, encode_resp2_command};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use tracing::Instrument as _;

/// The reason why no connection could be opened, for the log: Redis's error, or the system's.
pub type OpenError = String;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection with one user.
pub struct DedicatedConnection {
    stream: Box<dyn Stream>,
    decoder: Decoder,
    buffer: Vec<u8>,
    /// The memory of the message that is just being received.
    received: Vec<StreamReservation>,
    /// Whether that message is complete. The decoder releases its memory with the next read.
    is_complete: bool,
}

impl DedicatedConnection {
    /// Uses a stream as a connection that is already open.
    #[cfg(test)]
    pub fn over(stream: tokio::io::DuplexStream) -> Self {
        Self::new(Box::new(stream))
    }

    fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            decoder: Decoder::default(),
            buffer: vec![0; READ_BYTES],
            received: Vec::new(),
            is_complete: false,
        }
    }

    /// Connects, by TLS if the options have it, and authenticates (AUTH, SELECT). The caller sets
    /// the timeout.
    ///
    /// # Errors
    ///
    /// The server can't be reached, its certificate is invalid, or it refuses a command.
    pub async fn open(address: &Address, options: &ConnectOptions) -> Result<Self, OpenError> {
        let stream = connect(address, options).await.map_err(|error| error.to_string())?;
        let mut connection = Self::new(stream);
        if let Some(password) = &options.password {
            let auth =
                options.username.iter().fold(Command::new("AUTH"), |auth, name| auth.arg(name));
            // Only the error's code is reported. A server that does not understand a command may
            // repeat its arguments, and one of them is the password.
            match connection.query(&auth.arg(password.expose())).await {
                Ok(Reply::Error(text)) => {
                    return Err(format!("AUTH: {}", text.split(' ').next().unwrap_or_default()));
                }
                Ok(_) => {}
                Err(error) => return Err(format!("AUTH: {error}")),
            }
        }
        if options.database > 0 {
            connection.require(Command::new("SELECT").arg(options.database)).await?;
        }
        // PING detects a server that requires a password although none is configured. Other errors
        // are accepted: a server that is loading, for example, may still serve other requests.
        match connection.require(Command::new("PING")).await {
            Err(text) if !SERVING_CODES.iter().any(|code| text.starts_with(code)) => Err(text),
            Ok(_) | Err(_) => Ok(connection),
        }
    }

    /// Sends a command, and returns its reply. An error reply is an `Err`.
    async fn require(&mut self, command: Command) -> Result<Reply, OpenError> {
        match self.query(&command).await {
            Ok(Reply::Error(text)) => Err(text),
            Ok(reply) => Ok(reply),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Sends a command, and returns the next reply. It may be an error of Redis.
    ///
    /// # Errors
    ///
    /// The connection broke, or the reply is malformed or over 64 MiB.
    pub async fn query(&mut self, command: &Command) -> io::Result<Reply> {
        self.send(command).await?;
        self.next_reply().await
    }

    /// Sends a command without waiting for its reply.
    pub async fn send(&mut self, command: &Command) -> io::Result<()> {
        let mut bytes = Vec::new();
        encode_resp2_command(command, &mut bytes);
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await
    }

    /// Returns the next reply or pushed message. Cancellation loses no bytes.
    ///
    /// # Errors
    ///
    /// The connection broke, or the reply is malformed or over 64 MiB.
    pub async fn next_reply(&mut self) -> io::Result<Reply> {
        loop {
            if let Some(reply) = self.decoder.next(REPLY_BYTES_MAX).map_err(io::Error::other)? {
                return Ok(reply);
            }
            read(&mut self.stream, &mut self.buffer, &mut self.decoder).await?;
        }
    }

    /// Returns the next pushed message as [`Self::next_reply`] does. Counts what it receives.
    ///
    /// # Errors
    ///
    /// Those of [`Self::next_reply`], and [`io::ErrorKind::OutOfMemory`] if too little memory is
    /// left.
    pub async fn next_message(&mut self, memory: &Arc<StreamMemory>) -> io::Result<Reply> {
        loop {
            if let Some(reply) = self.decoder.next(REPLY_BYTES_MAX).map_err(io::Error::other)? {
                self.is_complete = true;
                return Ok(reply);
            }
            let count = read(&mut self.stream, &mut self.buffer, &mut self.decoder).await?;
            if std::mem::take(&mut self.is_complete) {
                self.received.clear();
            }
            self.received.push(memory.reserve(count).ok_or(io::ErrorKind::OutOfMemory)?);
        }
    }

    /// Turns this into a connection that many requests share.
    pub fn into_shared(self) -> SharedConnection {
        let (sender, requests) = mpsc::channel(UNSENT_REQUESTS_MAX);
        let (closed_sender, closed) = watch::channel(false);
        let task = tokio::spawn(async move {
            let (reader, writer) = tokio::io::split(self.stream);
            let (sent, pending) = mpsc::channel(PENDING_REQUESTS_MAX);
            tokio::select! {
                () = write_requests(writer, requests, sent) => {}
                () = read_replies(reader, self.decoder, self.buffer, pending) => {}
            }
            closed_sender.send_replace(true);
        });
        let values = Arc::new(Semaphore::new(VALUES_MAX));
        SharedConnection { requests: sender, closed, values, task: task.abort_handle() }
    }
}

/// A connection that many requests share. Dropping it closes the connection.
pub struct SharedConnection {
    requests: mpsc::Sender<Request>,
    closed: watch::Receiver<bool>,
    /// One permit for each value that Redis may still have to send.
    values: Arc<Semaphore>,
    task: AbortHandle,
}

struct Request {
    bytes: Vec<u8>,
    pending: PendingReplies,
}

/// The replies that one request waits for.
struct PendingReplies {
    missing: usize,
    replies: Vec<Reply>,
    /// The memory of the request; `None` for the gateway's own queries.
    memory: Option<Arc<ReplyMemory>>,
    sender: oneshot::Sender<Vec<Reply>>,
    _values: Option<OwnedSemaphorePermit>,
}

impl PendingReplies {
    /// Returns the largest size that the next reply may have.
    fn bytes_left(&self) -> usize {
        let bytes = self.memory.as_ref().map_or(0, |memory| memory.bytes());
        REPLY_BYTES_MAX.saturating_sub(bytes)
    }

    /// Adds a reply. If there is no memory for it, drops this one and all others of the step.
    fn push(&mut self, reply: Reply, bytes: usize) {
        self.missing = self.missing.saturating_sub(1);
        // Another node of a Cluster may have sent its own reply meanwhile.
        if bytes > self.bytes_left() {
            self.replies.push(Reply::Error(TOO_LARGE.to_owned()));
            return;
        }
        match &self.memory {
            Some(memory) if !memory.grow(bytes) => self.replies = Vec::new(),
            Some(_) | None => self.replies.push(reply),
        }
    }
}

/// The connection broke. The commands that were sent may have run.
#[derive(Debug)]
pub struct ConnectionBroken;

impl SharedConnection {
    /// Sends a step, and waits for its replies.
    ///
    /// First waits until Redis has sent enough of the values for other requests.
    /// Returns fewer replies if `memory` is exhausted.
    pub async fn send(
        &self,
        step: Step,
        memory: Option<Arc<ReplyMemory>>,
    ) -> Result<Vec<Reply>, ConnectionBroken> {
        let Step { bytes, replies: missing, values } = step;
        // Waits for other requests, until the step may be sent.
        let queue = step!("queue");
        let permits = u32::try_from(values.min(VALUES_MAX)).unwrap_or(0);
        // The gateway's own PING must not wait: it shows whether the server is alive.
        let values = match permits {
            0 => None,
            permits => {
                let values = Arc::clone(&self.values).acquire_many_owned(permits);
                Some(values.instrument(queue.clone()).await.map_err(|_| ConnectionBroken)?)
            }
        };
        let (sender, replies) = oneshot::channel();
        let pending = PendingReplies {
            missing,
            replies: Vec::with_capacity(missing),
            memory,
            sender,
            _values: values,
        };
        let queued = self.requests.send(Request { bytes, pending }).instrument(queue);
        queued.await.map_err(|_| ConnectionBroken)?;
        let redis = step!(
            "redis",
            otel.kind = "client",
            db.system.name = "redis",
            portcullis.commands = missing
        );
        replies.instrument(redis).await.map_err(|_| ConnectionBroken)
    }

    /// Returns once the connection is closed.
    pub async fn closed(&self) {
        // An error means that the connection's task is gone, so the connection is, too.
        let _ = self.closed.clone().wait_for(|closed| *closed).await;
    }
}

impl Drop for SharedConnection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Writes requests, with one write for all that wait.
async fn write_requests(
    mut stream: impl AsyncWrite + Unpin,
    mut requests: mpsc::Receiver<Request>,
    sent: mpsc::Sender<PendingReplies>,
) {
    let mut batch = Vec::new();
    let mut out = Vec::new();
    while requests.recv_many(&mut batch, UNSENT_REQUESTS_MAX).await > 0 {
        for request in batch.drain(..) {
            // The client has left, so its commands need not run.
            if request.pending.sender.is_closed() {
                continue;
            }
            out.extend(&request.bytes);
            // The request enters the queue of replies before its bytes are written. A full queue
            // delays this until earlier replies arrive.
            if sent.send(request.pending).await.is_err() {
                return;
            }
            if out.len() >= WRITE_BYTES && flush(&mut stream, &mut out).await.is_err() {
                return;
            }
        }
        if flush(&mut stream, &mut out).await.is_err() {
            return;
        }
    }
}

async fn flush(stream: &mut (impl AsyncWrite + Unpin), out: &mut Vec<u8>) -> io::Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    stream.write_all(out).await?;
    stream.flush().await?;
    out.clear();
    out.shrink_to(WRITE_BYTES);
    Ok(())
}

/// Reads replies, and passes each to its request.
async fn read_replies(
    mut stream: impl AsyncRead + Unpin,
    mut decoder: Decoder,
    mut buffer: Vec<u8>,
    mut pending: mpsc::Receiver<PendingReplies>,
) {
    let mut current: Option<PendingReplies> = None;
    loop {
        // A request enters this queue before Redis receives it, so its bound is known before its
        // first reply.
        current = current.or_else(|| pending.try_recv().ok());
        let bytes_max = current.as_ref().map_or(REPLY_BYTES_MAX, PendingReplies::bytes_left);
        match decoder.next(bytes_max) {
            Ok(Some(reply)) => {
                // An unexpected reply would shift every later reply to the wrong request.
                let Some(mut request) = current.take() else { return };
                request.push(reply, decoder.last_bytes());
                if request.missing > 0 {
                    current = Some(request);
                } else {
                    let _ = request.sender.send(request.replies);
                }
            }
            Ok(None) => {
                if read(&mut stream, &mut buffer, &mut decoder).await.is_err() {
                    return;
                }
            }
            Err(_) => {
                tracing::error!(event = "redis_garbled");
                return;
            }
        }
    }
}

async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
    decoder: &mut Decoder,
) -> io::Result<usize> {
    let count = stream.read(buffer).await?;
    if count == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "Redis closed the connection"));
    }
    decoder.push(buffer.get(..count).unwrap_or_default());
    Ok(count)
}

async fn connect(address: &Address, options: &ConnectOptions) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    // Detects a peer that vanished without closing the connection, by its missing acknowledgements.
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(2 * KEEPALIVE))?;
    match &options.tls {
        None => Ok(Box::new(stream)),
        Some(config) => {
            let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
            Ok(Box::new(TlsConnector::from(config.clone()).connect(name, stream).await?))
        }
    }
}

/// Error codes in reply to PING of a server that still serves other commands.
const SERVING_CODES: [&str; 5] = ["BUSY", "LOADING", "MASTERDOWN", "MISCONF", "NOPERM"];
/// The time is short enough to detect a lost peer within seconds.
const KEEPALIVE: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 64 << 10;
/// The most bytes of all replies to one request.
const REPLY_BYTES_MAX: usize = 64 << 20;
/// The most values that Redis may have to send over one connection at once, because its output
/// buffer is not bounded. A command that names more is sent alone.
const VALUES_MAX: usize = 128;
/// The most requests that are sent and not yet answered.
const PENDING_REQUESTS_MAX: usize = 1024;
/// The most requests in the queue for sending. Further ones wait in their own tasks until their
/// deadline.
const UNSENT_REQUESTS_MAX: usize = 64;
const WRITE_BYTES: usize = 256 << 10;

//! One connection to a Redis server: made, by TLS where that is asked for, logged in, and then shared by
//! requests, whose replies come in the order in which they were sent.

use crate::redis_url::{Address, How};
use redis_rest::{Command, Decoder, Reply, encode_resp2_command};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

/// Why there is no connection, for the log: Redis's own words, or the system's.
pub type OpenError = String;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that nobody shares.
pub struct Own {
    stream: Box<dyn Stream>,
    decoder: Decoder,
    buffer: Vec<u8>,
}

impl Own {
    /// Connects and logs in. The caller sets the time that this may take.
    pub async fn open(address: &Address, how: &How) -> Result<Self, OpenError> {
        let mut own = Self {
            stream: connect(address, how).await.map_err(|error| error.to_string())?,
            decoder: Decoder::default(),
            buffer: vec![0; READ_BYTES],
        };
        if let Some(password) = &how.password {
            let login = how.username.iter().fold(Command::new("AUTH"), |auth, name| auth.arg(name));
            // Of what Redis says to a password, the code alone: a server may repeat the words that it
            // does not understand.
            match own.ask(&login.arg(password.expose())).await {
                Ok(Reply::Error(text)) => {
                    return Err(format!("AUTH: {}", text.split(' ').next().unwrap_or_default()));
                }
                Ok(_) => {}
                Err(error) => return Err(format!("AUTH: {error}")),
            }
        }
        if how.database > 0 {
            own.agree(Command::new("SELECT").arg(how.database)).await?;
        }
        // A server that asks for a password, and was given none, says so here; one that is loading, say,
        // may say so to whoever asks.
        match own.agree(Command::new("PING")).await {
            Err(text) if !SERVES_SOME.iter().any(|code| text.starts_with(code)) => Err(text),
            Ok(_) | Err(_) => Ok(own),
        }
    }

    /// Sends a command, to which no error is an answer.
    async fn agree(&mut self, command: Command) -> Result<Reply, OpenError> {
        match self.ask(&command).await {
            Ok(Reply::Error(text)) => Err(text),
            Ok(reply) => Ok(reply),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Sends a command, and waits for its reply.
    pub async fn ask(&mut self, command: &Command) -> io::Result<Reply> {
        self.send(command).await?;
        self.next().await
    }

    pub async fn send(&mut self, command: &Command) -> io::Result<()> {
        let mut bytes = Vec::new();
        encode_resp2_command(command, &mut bytes);
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await
    }

    /// The next reply, whatever it answers. Nothing is lost if this is not waited for to the end.
    pub async fn next(&mut self) -> io::Result<Reply> {
        loop {
            if let Some(reply) = self.decoder.next(REPLY_BYTES_MAX).map_err(io::Error::other)? {
                return Ok(reply);
            }
            read(&mut self.stream, &mut self.buffer, &mut self.decoder).await?;
        }
    }

    /// Lets others send over it, too.
    pub fn share(self) -> Shared {
        let (sender, requests) = mpsc::channel(REQUESTS_WAITING);
        let (over, closed) = watch::channel(false);
        let task = tokio::spawn(async move {
            let (reader, writer) = tokio::io::split(self.stream);
            let (sent, waiting) = mpsc::channel(REQUESTS_SENT_MAX);
            tokio::select! {
                () = write(writer, requests, sent) => {}
                () = answer(reader, self.decoder, self.buffer, waiting) => {}
            }
            over.send_replace(true);
        });
        Shared { requests: sender, closed, task: task.abort_handle() }
    }
}

/// A connection that requests share. It ends when this is dropped.
pub struct Shared {
    requests: mpsc::Sender<Request>,
    closed: watch::Receiver<bool>,
    task: AbortHandle,
}

struct Request {
    bytes: Vec<u8>,
    waiting: Waiting,
}

/// Who waits for the next replies.
struct Waiting {
    count: usize,
    replies: Vec<Reply>,
    bytes: usize,
    answer: oneshot::Sender<Vec<Reply>>,
}

/// The connection broke; what was sent may have been done.
#[derive(Debug)]
pub struct Broken;

impl Shared {
    /// Sends commands as they stand, and waits for as many replies.
    pub async fn send(&self, bytes: Vec<u8>, count: usize) -> Result<Vec<Reply>, Broken> {
        let (answer, replies) = oneshot::channel();
        let waiting = Waiting { count, replies: Vec::with_capacity(count), bytes: 0, answer };
        self.requests.send(Request { bytes, waiting }).await.map_err(|_| Broken)?;
        replies.await.map_err(|_| Broken)
    }

    /// Returns when the connection is no more.
    pub async fn closed(&self) {
        // If whoever would say so is gone, so is the connection.
        let _ = self.closed.clone().wait_for(|closed| *closed).await;
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Writes what is sent, several requests at once where several wait.
async fn write(
    mut stream: impl AsyncWrite + Unpin,
    mut requests: mpsc::Receiver<Request>,
    sent: mpsc::Sender<Waiting>,
) {
    let mut batch = Vec::new();
    let mut out = Vec::new();
    while requests.recv_many(&mut batch, REQUESTS_WAITING).await > 0 {
        for request in batch.drain(..) {
            // Whoever has left by now is not asked for.
            if request.waiting.answer.is_closed() {
                continue;
            }
            out.extend(&request.bytes);
            // The place in the queue of replies comes before the bytes. While that queue is full, the
            // answers to what was written before are awaited.
            if sent.send(request.waiting).await.is_err() {
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

/// Hands each reply to whoever waits for it.
async fn answer(
    mut stream: impl AsyncRead + Unpin,
    mut decoder: Decoder,
    mut buffer: Vec<u8>,
    mut waiting: mpsc::Receiver<Waiting>,
) {
    let mut current: Option<Waiting> = None;
    loop {
        let most = current
            .as_ref()
            .map_or(REPLY_BYTES_MAX, |one| REPLY_BYTES_MAX.saturating_sub(one.bytes));
        match decoder.next(most) {
            Ok(Some(reply)) => {
                // A reply that nobody asked for makes all that follow somebody else's.
                let Some(mut one) = current.take().or_else(|| waiting.try_recv().ok()) else {
                    return;
                };
                one.bytes += decoder.last_bytes();
                one.replies.push(reply);
                if one.replies.len() < one.count {
                    current = Some(one);
                } else {
                    let _ = one.answer.send(one.replies);
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
) -> io::Result<()> {
    let count = stream.read(buffer).await?;
    if count == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "Redis closed the connection"));
    }
    decoder.push(buffer.get(..count).unwrap_or_default());
    Ok(())
}

async fn connect(address: &Address, how: &How) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    // A peer that has vanished without a word is noticed by what it does not acknowledge.
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(2 * KEEPALIVE))?;
    match &how.tls {
        None => Ok(Box::new(stream)),
        Some(config) => {
            let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
            Ok(Box::new(TlsConnector::from(config.clone()).connect(name, stream).await?))
        }
    }
}

/// Errors to PING of a server that answers other things.
const SERVES_SOME: [&str; 5] = ["BUSY", "LOADING", "MASTERDOWN", "MISCONF", "NOPERM"];
const KEEPALIVE: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 64 << 10;
/// Most bytes of all replies to one request.
const REPLY_BYTES_MAX: usize = 64 << 20;
/// Requests that are sent and not yet answered.
const REQUESTS_SENT_MAX: usize = 1024;
/// Requests that wait to be sent; more wait where they are, each until its deadline.
const REQUESTS_WAITING: usize = 64;
const WRITE_BYTES: usize = 256 << 10;

//! The client of the store, which speaks the REST protocol or memcached's.

use portcullis_server::step;
use portcullis_server::telemetry::current_traceparent;
use redis_rest::{Command, Reply, decode_replies, encode_pipeline};
use rustls::pki_types::ServerName;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tracing::Instrument as _;

/// A client that sends commands to the store.
pub struct Store {
    transport: Transport,
}

enum Transport {
    Memcached { address: memcached::Address, tls: Option<TlsConnector> },
    Rest { client: reqwest::Client, url: String, token: String },
}

/// The reason why the store did not execute commands.
#[derive(Debug)]
pub enum StoreError {
    BadResponse,
    Command(String),
    /// The database, which has what to write, failed.
    Database(String),
    Status(u16),
    Unreachable,
}

impl StoreError {
    /// Returns whether the store rejected these particular commands. Others may still succeed.
    pub fn is_rejection(&self) -> bool {
        matches!(self, Self::Command(_) | Self::Status(400 | 413))
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadResponse => f.write_str("its response does not follow the REST protocol"),
            Self::Command(text) => write!(f, "it rejected a command: {text}"),
            Self::Database(text) => write!(f, "the database failed: {text}"),
            Self::Status(status) => write!(f, "it responded with status {status}"),
            Self::Unreachable => f.write_str("it is unreachable, or did not respond in time"),
        }
    }
}

impl Store {
    /// Creates a client of the store at `url`.
    pub fn new(url: &str, token: &str) -> Result<Self, Box<dyn Error + Send + Sync>> {
        if let Some(address) = memcached::Address::parse(url) {
            let tls = address.tls.then(connector).transpose()?;
            return Ok(Self { transport: Transport::Memcached { address, tls } });
        }
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let (url, token) = (format!("{url}/pipeline"), token.to_owned());
        Ok(Self { transport: Transport::Rest { client, url, token } })
    }

    /// Returns whether the store has lists. A memcached has none.
    pub fn has_lists(&self) -> bool {
        matches!(self.transport, Transport::Rest { .. })
    }

    /// Sends `commands` and returns one reply each. A reply may be an error.
    pub async fn execute(&self, commands: &[Command]) -> Result<Vec<Reply>, StoreError> {
        self.execute_bounded(commands, RESPONSE_BYTES_MAX).await
    }

    /// Does the same, but bounds the response by `bytes_max` if the store speaks the REST protocol.
    pub async fn execute_bounded(
        &self,
        commands: &[Command],
        bytes_max: usize,
    ) -> Result<Vec<Reply>, StoreError> {
        let step = step!("store", otel.kind = "client", portcullis.commands = commands.len());
        self.send(commands, bytes_max).instrument(step).await
    }

    async fn send(&self, commands: &[Command], bytes_max: usize) -> Result<Vec<Reply>, StoreError> {
        let (client, url, token) = match &self.transport {
            Transport::Memcached { address, tls } => {
                return exchange(address, tls.as_ref(), commands).await;
            }
            Transport::Rest { client, url, token } => (client, url, token),
        };
        let mut request = client
            .post(url)
            .bearer_auth(token)
            .header("content-type", "application/json")
            .body(encode_pipeline(commands));
        if let Some(traceparent) = current_traceparent() {
            request = request.header("traceparent", traceparent);
        }
        let response = request.send().await.map_err(|_| StoreError::Unreachable)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(StoreError::Status(response.status().as_u16()));
        }
        let text = bounded_text(response, bytes_max).await?;
        decode_replies(&text, commands.len()).map_err(|_| StoreError::BadResponse)
    }

    /// Sends `commands`. Returns `Err` if the reply to any of them is an error.
    pub async fn write(&self, commands: &[Command]) -> Result<(), StoreError> {
        let replies = self.execute(commands).await?;
        match replies.into_iter().find(|reply| matches!(reply, Reply::Error(_))) {
            Some(Reply::Error(text)) => Err(StoreError::Command(text)),
            _ => Ok(()),
        }
    }
}

/// Sends one batch to memcached, on a new connection.
async fn exchange(
    address: &memcached::Address,
    tls: Option<&TlsConnector>,
    commands: &[Command],
) -> Result<Vec<Reply>, StoreError> {
    let work = async {
        let stream = TcpStream::connect(&address.host).await?;
        let batch = memcached::encode(commands);
        let Some(tls) = tls else {
            return send_batch(stream, &batch).await;
        };
        let name = address.host.rsplit_once(':').map_or(&*address.host, |(name, _)| name);
        let name = ServerName::try_from(name.trim_matches(['[', ']']).to_owned());
        send_batch(tls.connect(name.map_err(std::io::Error::other)?, stream).await?, &batch).await
    };
    let replies = tokio::time::timeout(TIMEOUT, work).await.map_err(|_| StoreError::Unreachable)?;
    let replies = replies.map_err(|_| StoreError::Unreachable)?;
    memcached::decode(commands, &replies).map_err(|_| StoreError::BadResponse)
}

/// Writes a batch and reads the replies, up to a bound.
async fn send_batch(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    batch: &[u8],
) -> std::io::Result<Vec<u8>> {
    stream.write_all(batch).await?;
    stream.flush().await?;
    let (mut replies, mut chunk) = (Vec::new(), [0; 4096]);
    while !memcached::is_whole(&replies) && replies.len() <= RESPONSE_BYTES_MAX {
        match stream.read(&mut chunk).await? {
            0 => break,
            read => replies.extend_from_slice(chunk.get(..read).unwrap_or_default()),
        }
    }
    Ok(replies)
}

/// Creates a TLS connector that trusts the system's certificates, or those of SSL_CERT_FILE.
fn connector() -> Result<TlsConnector, rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Reads a response body. Rejects one of more than `bytes_max` bytes.
async fn bounded_text(
    mut response: reqwest::Response,
    bytes_max: usize,
) -> Result<String, StoreError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| StoreError::Unreachable)? {
        if bytes.len() + chunk.len() > bytes_max {
            return Err(StoreError::BadResponse);
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| StoreError::BadResponse)
}

const TIMEOUT: Duration = Duration::from_secs(1);
const RESPONSE_BYTES_MAX: usize = 1024 * 1024;

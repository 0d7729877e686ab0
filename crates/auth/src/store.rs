//! The store: over the REST protocol, or a memcached by its own.

use redis_rest::{Command, Reply, decode_replies, encode_pipeline};
use rustls::pki_types::ServerName;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Sends commands to the store.
pub struct Store {
    way: Way,
}

enum Way {
    Memcached { address: memcached::Address, tls: Option<TlsConnector> },
    Rest { client: reqwest::Client, url: String, token: String },
}

/// Why the store did not do what it was asked.
#[derive(Debug)]
pub enum Fault {
    Answer,
    Command(String),
    Status(u16),
    Unreachable,
}

impl Fault {
    /// Whether it is about what was said, and not about the store: the next thing may go well.
    pub fn is_of_what_was_said(&self) -> bool {
        matches!(self, Self::Command(_) | Self::Status(400 | 413))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer => f.write_str("its answer is not the REST protocol's"),
            Self::Command(text) => write!(f, "it refuses a command: {text}"),
            Self::Status(status) => write!(f, "it answers with status {status}"),
            Self::Unreachable => f.write_str("it can't be reached, or not in time"),
        }
    }
}

impl Store {
    /// The store at `url`.
    pub fn new(url: &str, token: &str) -> Result<Self, Box<dyn Error + Send + Sync>> {
        if let Some(address) = memcached::Address::parse(url) {
            let tls = address.tls.then(connector).transpose()?;
            return Ok(Self { way: Way::Memcached { address, tls } });
        }
        let client = reqwest::Client::builder()
            .timeout(DEADLINE)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let (url, token) = (format!("{url}/pipeline"), token.to_owned());
        Ok(Self { way: Way::Rest { client, url, token } })
    }

    /// The replies to `commands`, each of which may be an error.
    pub async fn ask(&self, commands: &[Command]) -> Result<Vec<Reply>, Fault> {
        let (client, url, token) = match &self.way {
            Way::Memcached { address, tls } => {
                return exchange(address, tls.as_ref(), commands).await;
            }
            Way::Rest { client, url, token } => (client, url, token),
        };
        let answer = client
            .post(url)
            .bearer_auth(token)
            .header("content-type", "application/json")
            .body(encode_pipeline(commands))
            .send()
            .await
            .map_err(|_| Fault::Unreachable)?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(Fault::Status(answer.status().as_u16()));
        }
        let text = bounded_text(answer).await?;
        decode_replies(&text, commands.len()).map_err(|_| Fault::Answer)
    }

    /// Does all of `commands`, or says which fault one of them met.
    pub async fn tell(&self, commands: &[Command]) -> Result<(), Fault> {
        let replies = self.ask(commands).await?;
        match replies.into_iter().find(|reply| matches!(reply, Reply::Error(_))) {
            Some(Reply::Error(text)) => Err(Fault::Command(text)),
            _ => Ok(()),
        }
    }
}

/// One batch, on a connection of its own.
async fn exchange(
    address: &memcached::Address,
    tls: Option<&TlsConnector>,
    commands: &[Command],
) -> Result<Vec<Reply>, Fault> {
    let work = async {
        let stream = TcpStream::connect(&address.host).await?;
        let batch = memcached::encode(commands);
        let Some(tls) = tls else {
            return ask(stream, &batch).await;
        };
        let name = address.host.rsplit_once(':').map_or(&*address.host, |(name, _)| name);
        let name = ServerName::try_from(name.trim_matches(['[', ']']).to_owned());
        ask(tls.connect(name.map_err(std::io::Error::other)?, stream).await?, &batch).await
    };
    let answer = tokio::time::timeout(DEADLINE, work).await.map_err(|_| Fault::Unreachable)?;
    let answer = answer.map_err(|_| Fault::Unreachable)?;
    memcached::decode(commands, &answer).map_err(|_| Fault::Answer)
}

async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    batch: &[u8],
) -> std::io::Result<Vec<u8>> {
    stream.write_all(batch).await?;
    stream.flush().await?;
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    while !memcached::is_whole(&answer) && answer.len() <= ANSWER_BYTES_MAX {
        match stream.read(&mut chunk).await? {
            0 => break,
            read => answer.extend_from_slice(chunk.get(..read).unwrap_or_default()),
        }
    }
    Ok(answer)
}

/// TLS with the certificates that the system trusts (also by SSL_CERT_FILE).
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

/// An answer's text; what is longer than any answer to our commands is none.
async fn bounded_text(mut answer: reqwest::Response) -> Result<String, Fault> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|_| Fault::Unreachable)? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Fault::Answer);
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| Fault::Answer)
}

const DEADLINE: Duration = Duration::from_secs(1);
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

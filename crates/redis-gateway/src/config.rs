//! The redis gateway's settings, from flags and environment, with all faults reported together.

use crate::redis_url::{Extras, Secret, Target};
use crate::token::{TokenFault, Tokens};
use clap::Parser;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Gives any Redis the Upstash REST protocol.
///
/// Secrets are read from the environment alone, since a command line can be seen by everybody on the
/// machine: GATEWAY_TOKENS, a comma-separated list of name=token (or name:read=token, for one that may
/// only read), each token at least 32 characters; REDIS_SENTINEL_PASSWORD. A REDIS_URL that holds a
/// password belongs there, too. SIGHUP reads the tokens' file and the redis gateway's own
/// certificate again.
#[derive(Clone, Parser)]
#[command(version)]
pub struct Settings {
    /// Address and port to listen on.
    #[arg(long, env = "GATEWAY_LISTEN", default_value = "127.0.0.1:8379")]
    listen: String,
    /// The Redis behind: `redis://[user:password@]host:port/database`, rediss:// for TLS;
    /// `redis://s1:26379,s2:26379/mymaster` for Sentinels; `redis://n1,n2,n3` or `redis://n1?cluster` for
    /// a Cluster.
    #[arg(
        long,
        env = "REDIS_URL",
        default_value = "redis://127.0.0.1:6379",
        hide_env_values = true
    )]
    redis_url: String,
    /// How long Redis may take for one request, in milliseconds (1 to 60000).
    #[arg(long, env = "GATEWAY_DEADLINE_MS", default_value = "1000")]
    deadline_ms: String,
    /// A TOML file of tokens with roles; see docs/redis-gateway.md.
    #[arg(long, env = "GATEWAY_TOKENS_FILE")]
    tokens_file: Option<PathBuf>,
    /// The redis gateway's own certificate chain in PEM, for HTTPS.
    #[arg(long, env = "GATEWAY_TLS_CERT_FILE")]
    tls_cert_file: Option<PathBuf>,
    /// Its private key in PEM.
    #[arg(long, env = "GATEWAY_TLS_KEY_FILE")]
    tls_key_file: Option<PathBuf>,
    /// Most client connections at once (1 to 1000000); one more is closed.
    #[arg(long, env = "GATEWAY_CONNECTIONS_MAX", default_value = "4096")]
    connections_max: String,
    /// How long a client's connection may idle, and a request's head may take, in seconds (1 to 3600).
    #[arg(long, env = "GATEWAY_IDLE_SECONDS", default_value = "75")]
    idle_seconds: String,
    /// Most connections that follow channels or watch at once (0 to 100000).
    #[arg(long, env = "GATEWAY_STREAMS_MAX", default_value = "256")]
    streams_max: String,
    /// Connections to each Redis server (1 to 64); twice the number of cores, if not set.
    #[arg(long, env = "GATEWAY_REDIS_CONNECTIONS")]
    redis_connections: Option<String>,
    /// Threads that work (1 to 256); one less than the cores, if not set, since Redis, beside which the
    /// gateway stands, has one to itself.
    #[arg(long, env = "GATEWAY_THREADS")]
    threads: Option<String>,
    /// A certificate authority in PEM that vouches for the Redis servers of a rediss:// address, in place
    /// of the system's.
    #[arg(long, env = "REDIS_CA_FILE")]
    redis_ca_file: Option<PathBuf>,
    /// The certificate in PEM that the redis gateway shows to Redis.
    #[arg(long, env = "REDIS_CERT_FILE")]
    redis_cert_file: Option<PathBuf>,
    /// Its private key in PEM.
    #[arg(long, env = "REDIS_KEY_FILE")]
    redis_key_file: Option<PathBuf>,
    /// The user for the Sentinels, where they ask for one.
    #[arg(long, env = "REDIS_SENTINEL_USERNAME")]
    redis_sentinel_username: Option<String>,
}

/// What was set, checked.
pub struct Config {
    pub listen: SocketAddr,
    pub target: Target,
    /// How long Redis may take for one request.
    pub deadline: Duration,
    pub connections_max: usize,
    pub streams_max: usize,
    pub idle: Duration,
    pub redis_connections: usize,
    pub threads: usize,
    pub live: Live,
}

/// What SIGHUP reads again.
pub struct Live {
    pub tokens: Tokens,
    pub tls: Option<Arc<ServerConfig>>,
}

/// A setting that can't be used, and how to mend it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConfigError {
    Connections,
    Deadline,
    Idle,
    Listen,
    RedisCa,
    RedisCert,
    RedisCertAlone,
    RedisConnections,
    RedisKey,
    RedisPair,
    RedisUrl,
    Streams,
    Threads,
    TlsAlone,
    TlsCert,
    TlsKey,
    TlsPair,
    Token(TokenFault),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "GATEWAY_CONNECTIONS_MAX: must be a whole number, 1 to 1000000",
            Self::Deadline => "GATEWAY_DEADLINE_MS: must be a whole number, 1 to 60000",
            Self::Idle => "GATEWAY_IDLE_SECONDS: must be a whole number, 1 to 3600",
            Self::Listen => "GATEWAY_LISTEN: must be address:port, such as 127.0.0.1:8379",
            Self::RedisCa => "REDIS_CA_FILE: can't be read, or holds no certificate in PEM",
            Self::RedisCert => "REDIS_CERT_FILE: can't be read, or holds no certificate in PEM",
            Self::RedisCertAlone => "REDIS_CERT_FILE and REDIS_KEY_FILE: give both, or neither",
            Self::RedisConnections => "GATEWAY_REDIS_CONNECTIONS: must be a whole number, 1 to 64",
            Self::RedisKey => "REDIS_KEY_FILE: can't be read, or holds no private key in PEM",
            Self::RedisPair => "REDIS_KEY_FILE: is not the key of REDIS_CERT_FILE",
            Self::RedisUrl => {
                "REDIS_URL: must be redis://host:port/database (rediss:// for TLS), \
                 redis://sentinel,sentinel/name, redis://node,node or redis://node?cluster"
            }
            Self::Streams => "GATEWAY_STREAMS_MAX: must be a whole number, 0 to 100000",
            Self::Threads => "GATEWAY_THREADS: must be a whole number, 1 to 256",
            Self::TlsAlone => {
                "GATEWAY_TLS_CERT_FILE and GATEWAY_TLS_KEY_FILE: give both, or neither"
            }
            Self::TlsCert => "GATEWAY_TLS_CERT_FILE: can't be read, or holds no certificate in PEM",
            Self::TlsKey => "GATEWAY_TLS_KEY_FILE: can't be read, or holds no private key in PEM",
            Self::TlsPair => "GATEWAY_TLS_KEY_FILE: is not the key of GATEWAY_TLS_CERT_FILE",
            Self::Token(fault) => return fault.fmt(f),
        })
    }
}

impl Config {
    /// Checks the settings, with secrets from the environment.
    pub fn parse(settings: &Settings) -> Result<Self, Vec<ConfigError>> {
        Self::check(settings, |name| std::env::var(name).ok())
    }

    fn check(
        settings: &Settings,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<ConfigError>> {
        let mut faults = Vec::new();
        let mut number = |text: &str, min: usize, max: usize, fault: ConfigError| {
            let number = text.parse().ok().filter(|number| (min..=max).contains(number));
            if number.is_none() {
                faults.push(fault);
            }
            number.unwrap_or(min)
        };
        let deadline_ms = number(&settings.deadline_ms, 1, 60_000, ConfigError::Deadline);
        let connections_max =
            number(&settings.connections_max, 1, 1_000_000, ConfigError::Connections);
        let streams_max = number(&settings.streams_max, 0, 100_000, ConfigError::Streams);
        let idle_seconds = number(&settings.idle_seconds, 1, 3600, ConfigError::Idle);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = match &settings.threads {
            Some(text) => number(text, 1, 256, ConfigError::Threads),
            None => cores.saturating_sub(1).max(1),
        };
        let redis_connections = match &settings.redis_connections {
            Some(text) => number(text, 1, 64, ConfigError::RedisConnections),
            None => 2 * cores.min(32),
        };
        let listen = settings.listen.parse().ok();
        if listen.is_none() {
            faults.push(ConfigError::Listen);
        }
        let extras = Extras {
            tls: settings.redis_tls(&mut faults),
            sentinel_username: settings.redis_sentinel_username.clone(),
            sentinel_password: lookup("REDIS_SENTINEL_PASSWORD").map(Secret::new),
        };
        // Without its certificates, whose faults are named already, an address of rediss:// is no fault.
        let lacks_tls = extras.tls.is_none() && settings.redis_url.starts_with("rediss://");
        let target = Target::parse(&settings.redis_url, &extras);
        if target.is_none() && !lacks_tls {
            faults.push(ConfigError::RedisUrl);
        }
        let live = Live::check(settings, lookup).map_err(|more| faults.extend(more));
        match (listen, target, live) {
            (Some(listen), Some(target), Ok(live)) if faults.is_empty() => Ok(Self {
                listen,
                target,
                deadline: Duration::from_millis(u64::try_from(deadline_ms).unwrap_or(1)),
                connections_max,
                streams_max,
                idle: Duration::from_secs(u64::try_from(idle_seconds).unwrap_or(1)),
                redis_connections,
                threads,
                live,
            }),
            _ => Err(faults),
        }
    }
}

impl Live {
    /// Reads the tokens and the certificate, now.
    pub fn read(settings: &Settings) -> Result<Self, Vec<ConfigError>> {
        Self::check(settings, |name| std::env::var(name).ok())
    }

    fn check(
        settings: &Settings,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<ConfigError>> {
        let mut faults = Vec::new();
        let tls = settings.tls(&mut faults);
        let file = settings.tokens_file.as_ref().map(std::fs::read_to_string);
        let file = match file {
            Some(Err(_)) => {
                faults.push(ConfigError::Token(TokenFault::FileUnreadable));
                None
            }
            Some(Ok(text)) => Some(text),
            None => None,
        };
        let unreadable = settings.tokens_file.is_some() && file.is_none();
        match Tokens::parse(lookup("GATEWAY_TOKENS").as_deref(), file.as_deref()) {
            Ok(tokens) if faults.is_empty() => Ok(Self { tokens, tls }),
            Ok(_) => Err(faults),
            Err(more) => {
                // Of a file that can't be read, nobody knows that no token is in it.
                let more =
                    more.into_iter().filter(|fault| !unreadable || *fault != TokenFault::Missing);
                faults.extend(more.map(ConfigError::Token));
                Err(faults)
            }
        }
    }
}

impl Settings {
    fn tls(&self, faults: &mut Vec<ConfigError>) -> Option<Arc<ServerConfig>> {
        let named = [ConfigError::TlsAlone, ConfigError::TlsCert, ConfigError::TlsKey];
        let (chain, key) = pair(&self.tls_cert_file, &self.tls_key_file, named, faults)??;
        match ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key) {
            Ok(mut config) => {
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                Some(Arc::new(config))
            }
            Err(_) => {
                faults.push(ConfigError::TlsPair);
                None
            }
        }
    }

    /// How TLS is spoken to Redis: none if a file is no good, or a certificate does not go with its key.
    fn redis_tls(&self, faults: &mut Vec<ConfigError>) -> Option<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        match &self.redis_ca_file {
            Some(path) => {
                let read = certificates(path);
                if read.is_empty() || read.into_iter().any(|one| roots.add(one).is_err()) {
                    faults.push(ConfigError::RedisCa);
                }
            }
            // What can't be read of the system's is left out: without rediss:// nobody needs it.
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let named = [ConfigError::RedisCertAlone, ConfigError::RedisCert, ConfigError::RedisKey];
        let Some((chain, key)) = pair(&self.redis_cert_file, &self.redis_key_file, named, faults)?
        else {
            return Some(Arc::new(builder.with_no_client_auth()));
        };
        match builder.with_client_auth_cert(chain, key) {
            Ok(config) => Some(Arc::new(config)),
            Err(_) => {
                faults.push(ConfigError::RedisPair);
                None
            }
        }
    }
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A certificate chain and its key, if they are set; none at all if one of them is no good, which is said
/// by the faults of one that stands alone, of the chain and of the key.
fn pair(
    cert: &Option<PathBuf>,
    key: &Option<PathBuf>,
    [alone, no_cert, no_key]: [ConfigError; 3],
    faults: &mut Vec<ConfigError>,
) -> Option<Option<Pair>> {
    let (cert, key) = match (cert, key) {
        (None, None) => return Some(None),
        (Some(cert), Some(key)) => (cert, key),
        (Some(_), None) | (None, Some(_)) => {
            faults.push(alone);
            return None;
        }
    };
    let chain = certificates(cert);
    if chain.is_empty() {
        faults.push(no_cert);
    }
    let key = PrivateKeyDer::from_pem_file(key).ok();
    if key.is_none() {
        faults.push(no_key);
    }
    key.filter(|_| !chain.is_empty()).map(|key| Some((chain, key)))
}

/// The certificates in a file of PEM; none if it can't be read.
fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flags: &[&str], tokens: Option<&str>) -> Result<Config, Vec<ConfigError>> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let settings = Settings::parse_from([&["gateway"], flags].concat());
        Config::check(&settings, |name| {
            tokens.filter(|_| name == "GATEWAY_TOKENS").map(str::to_owned)
        })
    }

    #[test]
    fn all_faults_are_reported_at_once() {
        let faults = check(
            &[
                "--listen=x",
                "--redis-url=http://x",
                "--deadline-ms=0",
                "--connections-max=0",
                "--streams-max=-1",
                "--idle-seconds=",
                "--redis-connections=65",
                "--threads=0",
                "--tls-cert-file=/none",
                "--redis-ca-file=/none",
                "--redis-cert-file=/none",
                "--tokens-file=/none",
            ],
            None,
        );
        use ConfigError::{
            Connections, Deadline, Idle, Listen, RedisCa, RedisCertAlone, RedisConnections,
            RedisUrl, Streams, Threads, TlsAlone, Token,
        };
        let expect = [
            Deadline,
            Connections,
            Streams,
            Idle,
            Threads,
            RedisConnections,
            Listen,
            RedisCa,
            RedisCertAlone,
            RedisUrl,
            TlsAlone,
            Token(TokenFault::FileUnreadable),
        ];
        assert_eq!(faults.err().unwrap(), expect);
        let faults = check(
            &[
                "--tls-cert-file=/none",
                "--tls-key-file=/none",
                "--redis-cert-file=/none",
                "--redis-key-file=/none",
                "--redis-url=rediss://h",
            ],
            None,
        );
        use ConfigError::{RedisCert, RedisKey, TlsCert, TlsKey};
        let expect = [RedisCert, RedisKey, TlsCert, TlsKey, Token(TokenFault::Missing)];
        assert_eq!(faults.err().unwrap(), expect);
    }

    #[test]
    fn the_defaults_are_good() {
        let tokens = Some("edge=0123456789abcdef0123456789abcdef");
        let config = check(&[], tokens).ok().unwrap();
        assert!(config.listen.ip().is_loopback());
        assert_eq!(config.deadline, Duration::from_secs(1));
        assert!(config.live.tls.is_none());
    }

    #[test]
    fn every_setting_is_documented() {
        use clap::CommandFactory as _;
        let text = include_str!("../../../docs/redis-gateway.md");
        let command = Settings::command();
        let variables = command.get_arguments().filter_map(|argument| argument.get_env());
        let variables: Vec<&str> = variables.filter_map(|name| name.to_str()).collect();
        assert!(variables.len() > 10);
        for name in variables.into_iter().chain(["GATEWAY_TOKENS", "REDIS_SENTINEL_PASSWORD"]) {
            let rows = text.lines().filter(|line| line.starts_with("| `"));
            let mut names = rows.filter_map(|row| row.split('|').nth(1));
            let quoted = format!("`{name}`");
            assert!(
                names.any(|names| names.contains(&quoted)),
                "{name} is not in docs/redis-gateway.md"
            );
        }
    }
}

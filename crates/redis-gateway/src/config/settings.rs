//! The gateway's flags and environment variables.

use clap::Parser;
use std::path::PathBuf;

/// Serves the Upstash REST protocol in front of any Redis.
///
/// Secrets come only from the environment, because other users of the machine can see command
/// lines: GATEWAY_TOKENS, a comma-separated list of name=token (or name:read=token for read-only
/// access), each token at least 32 characters; REDIS_SENTINEL_PASSWORD. Set a REDIS_URL with a
/// password there, too. SIGHUP reloads the token file and the redis gateway's own certificate.
#[derive(Clone, Parser)]
#[command(version)]
pub struct Settings {
    /// Address and port to listen on.
    #[arg(long, env = "GATEWAY_LISTEN", default_value = "127.0.0.1:8379")]
    pub(super) listen: String,
    /// Address and port for readiness and metrics, without authentication.
    #[arg(long, env = "GATEWAY_ADMIN_LISTEN", default_value = "127.0.0.1:9379")]
    pub(super) admin_listen: String,
    /// The Redis server: `redis://[user:password@]host:port/database`, rediss:// for TLS;
    /// `redis://s1:26379,s2:26379/mymaster` for Sentinels; `redis://n1,n2,n3` or
    /// `redis://n1?cluster` for a Cluster.
    #[arg(
        long,
        env = "REDIS_URL",
        default_value = "redis://127.0.0.1:6379",
        hide_env_values = true
    )]
    pub(super) redis_url: String,
    /// Timeout for Redis, for one request, in milliseconds (1 to 60000).
    #[arg(long, env = "GATEWAY_DEADLINE_MS", default_value = "1000")]
    pub(super) deadline_ms: String,
    /// A TOML file of tokens with roles; see docs/redis-gateway.md.
    #[arg(long, env = "GATEWAY_TOKENS_FILE")]
    pub(super) tokens_file: Option<PathBuf>,
    /// The redis gateway's own certificate chain in PEM, for HTTPS.
    #[arg(long, env = "GATEWAY_TLS_CERT_FILE")]
    pub(super) tls_cert_file: Option<PathBuf>,
    /// Its private key in PEM.
    #[arg(long, env = "GATEWAY_TLS_KEY_FILE")]
    pub(super) tls_key_file: Option<PathBuf>,
    /// Most client connections at once (1 to 1000000); further ones are closed.
    #[arg(long, env = "GATEWAY_CONNECTIONS_MAX", default_value = "4096")]
    pub(super) connections_max: String,
    /// Most connections of one network (a /24 or a /64) without a valid token so far (1 to
    /// 1000000); default: a quarter of GATEWAY_CONNECTIONS_MAX. Loopback has no such limit.
    #[arg(long, env = "GATEWAY_CONNECTIONS_PER_NETWORK")]
    pub(super) connections_per_network: Option<String>,
    /// How long requests in progress may take after SIGTERM, in seconds (1 to 600).
    #[arg(long, env = "GATEWAY_DRAIN_SECONDS", default_value = "20")]
    pub(super) drain_seconds: String,
    /// Timeout for an idle client connection and for a request's head, in seconds (1 to 3600).
    #[arg(long, env = "GATEWAY_IDLE_SECONDS", default_value = "75")]
    pub(super) idle_seconds: String,
    /// Most event streams (SUBSCRIBE, PSUBSCRIBE, MONITOR) at once (0 to 100000).
    #[arg(long, env = "GATEWAY_STREAMS_MAX", default_value = "256")]
    pub(super) streams_max: String,
    /// Memory for the responses of all requests in progress, in MiB (128 to 1048576).
    #[arg(long, env = "GATEWAY_RESPONSE_MEMORY_MIB", default_value = "256")]
    pub(super) response_memory_mib: String,
    /// Connections to each Redis server (1 to 64); default: twice the number of cores.
    #[arg(long, env = "GATEWAY_REDIS_CONNECTIONS")]
    pub(super) redis_connections: Option<String>,
    /// Worker threads (1 to 256); default: one less than the cores, which leaves one for a Redis on
    /// the same machine.
    #[arg(long, env = "GATEWAY_THREADS")]
    pub(super) threads: Option<String>,
    /// Certificate authorities in PEM for the Redis servers of a rediss:// address, in place of the
    /// system's.
    #[arg(long, env = "REDIS_CA_FILE")]
    pub(super) redis_ca_file: Option<PathBuf>,
    /// The redis gateway's client certificate for Redis in PEM.
    #[arg(long, env = "REDIS_CERT_FILE")]
    pub(super) redis_cert_file: Option<PathBuf>,
    /// Its private key in PEM.
    #[arg(long, env = "REDIS_KEY_FILE")]
    pub(super) redis_key_file: Option<PathBuf>,
    /// The username for Sentinels that require one.
    #[arg(long, env = "REDIS_SENTINEL_USERNAME")]
    pub(super) redis_sentinel_username: Option<String>,
}

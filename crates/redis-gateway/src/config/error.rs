//! Configuration errors.

use crate::token::TokenError;
use std::fmt;

/// An invalid setting. Its text says how to fix it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConfigError {
    AdminListen,
    Connections,
    ConnectionsPerNetwork,
    Deadline,
    Drain,
    Idle,
    Listen,
    NameMisspelt { name: String, setting: String },
    RedisCa,
    RedisCert,
    RedisCertAlone,
    RedisConnections,
    RedisKey,
    RedisPair,
    RedisUrl,
    ResponseMemory,
    Streams,
    Threads,
    TlsAlone,
    TlsCert,
    TlsKey,
    TlsPair,
    Token(TokenError),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AdminListen => {
                "GATEWAY_ADMIN_LISTEN: must be address:port, such as 127.0.0.1:9379"
            }
            Self::ConnectionsPerNetwork => {
                "GATEWAY_CONNECTIONS_PER_NETWORK: must be a whole number, 1 to 1000000"
            }
            Self::Drain => "GATEWAY_DRAIN_SECONDS: must be a whole number, 1 to 600",
            Self::Connections => "GATEWAY_CONNECTIONS_MAX: must be a whole number, 1 to 1000000",
            Self::Deadline => "GATEWAY_DEADLINE_MS: must be a whole number, 1 to 60000",
            Self::Idle => "GATEWAY_IDLE_SECONDS: must be a whole number, 1 to 3600",
            Self::Listen => "GATEWAY_LISTEN: must be address:port, such as 127.0.0.1:8379",
            Self::NameMisspelt { name, setting } => {
                return write!(f, "{name}: unknown setting; rename it to {setting}, or unset it");
            }
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
            Self::ResponseMemory => {
                "GATEWAY_RESPONSE_MEMORY_MIB: must be a whole number, 128 to 1048576"
            }
            Self::Streams => "GATEWAY_STREAMS_MAX: must be a whole number, 0 to 100000",
            Self::Threads => "GATEWAY_THREADS: must be a whole number, 1 to 256",
            Self::TlsAlone => {
                "GATEWAY_TLS_CERT_FILE and GATEWAY_TLS_KEY_FILE: give both, or neither"
            }
            Self::TlsCert => "GATEWAY_TLS_CERT_FILE: can't be read, or holds no certificate in PEM",
            Self::TlsKey => "GATEWAY_TLS_KEY_FILE: can't be read, or holds no private key in PEM",
            Self::TlsPair => "GATEWAY_TLS_KEY_FILE: is not the key of GATEWAY_TLS_CERT_FILE",
            Self::Token(error) => return error.fmt(f),
        })
    }
}

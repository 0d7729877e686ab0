//! The errors of the configuration.

use portcullis_server::tls::TlsError;
use std::fmt;

/// An invalid setting, and how to fix it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConfigError {
    AccessTokenFormat,
    AudienceMissing,
    ClientSecretShort,
    ClientsMalformed,
    CookieOrigins,
    DatabaseInMemory,
    DatabaseUrl,
    EdgeAuthKey,
    FileExposed,
    FileUnreadable(String),
    IdleShort,
    IssuerMissing,
    IssuerNotAUrl,
    KeyPrefix,
    Listen { name: &'static str, example: &'static str },
    MasterKey,
    MasterKeyMissing,
    NameMisspelt { name: String, setting: &'static str },
    NameUnknown(String),
    NotText(String),
    Number { name: &'static str, min: u64, max: u64 },
    RecordEncryptionKey,
    SigningAlgorithm,
    StoreTokenMissing,
    StoreUrlMissing,
    StoreUrlNotAUrl,
    Tls(TlsError),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AccessTokenFormat => "ACCESS_TOKEN_FORMAT: must be jwt or opaque",
            Self::AudienceMissing => "AUDIENCE: is not set; give the aud that the edge expects",
            Self::ClientSecretShort => {
                "INTROSPECTION_CLIENTS: a secret is shorter than 32 characters"
            }
            Self::ClientsMalformed => {
                "INTROSPECTION_CLIENTS: must be name=secret, comma-separated, no name twice"
            }
            Self::CookieOrigins => {
                "COOKIE_ORIGINS: must be origins as browsers send them, https://app.example, \
                 comma-separated"
            }
            Self::DatabaseInMemory => {
                "DATABASE_URL: a database in memory loses all sessions and each connection has its \
                 own; give a file, such as sqlite://portcullis.db"
            }
            Self::DatabaseUrl => {
                "DATABASE_URL: must be sqlite://file.db or postgres://user:password@host/database"
            }
            Self::EdgeAuthKey => {
                "EDGE_AUTH_KEY, EDGE_AUTH_KEY_PREVIOUS: must be 32 bytes in base64 each, by openssl \
                 rand -base64 32; no EDGE_AUTH_KEY_PREVIOUS alone"
            }
            Self::FileExposed => {
                "AUTH_CONFIG: the file holds a secret and others may read it; chmod 600"
            }
            Self::FileUnreadable(why) => return write!(f, "AUTH_CONFIG: {why}"),
            Self::IdleShort => {
                "REFRESH_IDLE_SECONDS: must not be shorter than ACCESS_TOKEN_SECONDS"
            }
            Self::IssuerMissing => "ISSUER: is not set; give the edge's public URL",
            Self::IssuerNotAUrl => {
                "ISSUER: must be http:// or https:// with a host, no slash at its end"
            }
            Self::KeyPrefix => "KEY_PREFIX: may have letters, digits, - and _, 1 to 64 of them",
            Self::Listen { name, example } => {
                return write!(f, "{name}: must be address:port, such as {example}");
            }
            Self::MasterKey => {
                "MASTER_KEY, MASTER_KEY_PREVIOUS: must be name:key each, no name twice, the key by \
                 openssl rand -base64 32"
            }
            Self::MasterKeyMissing => {
                "MASTER_KEY: is not set; make one by echo \"k1:$(openssl rand -base64 32)\" and keep \
                 it"
            }
            Self::NameMisspelt { name, setting } => {
                return write!(f, "{name}: unknown setting; rename it to {setting}, or unset it");
            }
            Self::NameUnknown(name) => {
                return write!(f, "AUTH_CONFIG: {name}: there is no such setting");
            }
            Self::NotText(name) => {
                return write!(f, "AUTH_CONFIG: {name}: must be a text, or a whole number");
            }
            Self::Number { name, min, max } => {
                return write!(f, "{name}: must be a whole number, {min} to {max}");
            }
            Self::RecordEncryptionKey => {
                "RECORD_ENCRYPTION_KEY, RECORD_ENCRYPTION_KEY_PREVIOUS: must be name:key each, no \
                 name twice, the key by openssl rand -base64 32"
            }
            Self::SigningAlgorithm => "SIGNING_ALGORITHM: must be EdDSA or ES256",
            Self::StoreTokenMissing => "STORE_TOKEN: is not set; give the store's bearer token",
            Self::StoreUrlMissing => "STORE_URL: is not set; give the store's REST URL",
            Self::StoreUrlNotAUrl => {
                "STORE_URL: must be http:// or https:// with a host, or memcached://host:port \
                 (memcacheds:// for TLS)"
            }
            Self::Tls(TlsError::Certificate) => {
                "AUTH_TLS_CERT_FILE: can't be read, or holds no certificate in PEM"
            }
            Self::Tls(TlsError::Incomplete) => {
                "AUTH_TLS_CERT_FILE and AUTH_TLS_KEY_FILE: give both, or neither"
            }
            Self::Tls(TlsError::Key) => {
                "AUTH_TLS_KEY_FILE: can't be read, or holds no private key in PEM"
            }
            Self::Tls(TlsError::Pair) => {
                "AUTH_TLS_KEY_FILE: is not the key of AUTH_TLS_CERT_FILE"
            }
        })
    }
}

//! The errors of the configuration.

use std::fmt;

/// An invalid setting, and how to fix it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConfigError {
    AccessTokenFormat,
    AudienceMissing,
    ClientSecretShort,
    ClientsMalformed,
    CookieOrigins,
    FileExposed,
    FileUnreadable(String),
    IdleShort,
    IssuerMissing,
    IssuerNotAUrl,
    KeyPrefix,
    Listen,
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
            Self::Listen => "AUTH_LISTEN: must be address:port, such as 127.0.0.1:8788",
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
        })
    }
}

//! The origin's settings, from flags and environment, with all faults reported together.

use crate::attempts::AttemptLimits;
use crate::client::{Clients, ClientsError};
use clap::{Args, Parser, Subcommand};
use portcullis_core::Seal;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The auth service behind the edge.
///
/// Secrets come from the environment alone, since a command line can be seen by everybody on the
/// machine: STORE_TOKEN, the bearer token of the store; INTROSPECTION_CLIENTS, who may ask about tokens:
/// name=secret, comma-separated, each secret at least 32 characters; SEAL_KEY and SEAL_KEY_PREVIOUS,
/// name:key each, which the edge has as well.
#[derive(Parser)]
#[command(version)]
pub struct Settings {
    #[command(flatten)]
    pub database: Database,
    #[command(subcommand)]
    pub action: Action,
}

/// Where the truth is kept.
#[derive(Args)]
pub struct Database {
    /// sqlite://file.db, or postgres://user:password@host/database.
    #[arg(
        long = "database-url",
        env = "DATABASE_URL",
        default_value = "sqlite://portcullis.db",
        hide_env_values = true,
        global = true
    )]
    pub url: String,
}

#[derive(Subcommand)]
pub enum Action {
    /// Bring the database's tables up to date, and stop.
    Migrate,
    /// Answer requests.
    Serve(Box<Serve>),
    /// Manage users.
    User {
        #[command(subcommand)]
        action: UserAction,
    },
}

#[derive(Subcommand)]
pub enum UserAction {
    /// Add a user; the password is read from standard input.
    Add(NewUser),
}

#[derive(Args)]
pub struct NewUser {
    /// The name to log in with.
    #[arg(long)]
    pub username: String,
    /// The scope of the user's tokens, space-separated.
    #[arg(long, default_value = "")]
    pub scope: String,
}

#[derive(Args)]
pub struct Serve {
    /// Address and port to listen on.
    #[arg(long, env = "ORIGIN_LISTEN", default_value = "127.0.0.1:8788")]
    listen: String,
    /// The name in every token's iss: the public URL of the edge. Required.
    #[arg(long, env = "ISSUER")]
    issuer: Option<String>,
    /// The aud of every access token. Required.
    #[arg(long, env = "AUDIENCE")]
    audience: Option<String>,
    /// The client_id of every access token.
    #[arg(long, env = "CLIENT_ID", default_value = "portcullis")]
    client_id: String,
    /// The store's REST URL: Upstash's, or the gateway's. Required.
    #[arg(long, env = "STORE_URL")]
    store_url: Option<String>,
    /// What the store's keys begin with; the edge must have the same.
    #[arg(long, env = "KEY_PREFIX", default_value = "pc")]
    key_prefix: String,
    /// File of the Ed25519 signing key (PKCS#8, PEM); made if it is not there.
    #[arg(long, env = "SIGNING_KEY_FILE", default_value = "portcullis-signing-key.pem")]
    signing_key_file: PathBuf,
    /// Life of an access token, in seconds (1 to 86400).
    #[arg(long, env = "ACCESS_TOKEN_SECONDS", default_value = "900")]
    access_token_seconds: String,
    /// Life of a session, and of its refresh tokens, in seconds (60 to 31536000).
    #[arg(long, env = "REFRESH_TOKEN_SECONDS", default_value = "2592000")]
    refresh_token_seconds: String,
    /// Attempts to log in with one username before there is a wait (0 to 1000; 0: any number).
    #[arg(long, env = "LOGIN_ATTEMPTS_PER_USERNAME", default_value = "5")]
    login_attempts_per_username: String,
    /// Failed attempts to log in from one address before there is a wait (0 to 100000; 0: any number).
    #[arg(long, env = "LOGIN_ATTEMPTS_PER_ADDRESS", default_value = "20")]
    login_attempts_per_address: String,
}

/// What was set, checked.
pub struct Config {
    pub listen: SocketAddr,
    pub issuer: String,
    pub audience: String,
    pub client_id: String,
    pub store_url: String,
    pub store_token: String,
    pub key_prefix: String,
    pub signing_key_file: PathBuf,
    pub access_token_seconds: u64,
    pub refresh_token_seconds: u64,
    pub introspection_clients: Clients,
    pub attempts: AttemptLimits,
    pub seal: Option<Seal>,
}

/// A setting that can't be used, and how to mend it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConfigError {
    AccessTokenSeconds,
    AudienceMissing,
    ClientSecretShort,
    ClientsMalformed,
    IssuerMissing,
    IssuerNotAUrl,
    KeyPrefix,
    Listen,
    LoginAttempts,
    RefreshTokenSeconds,
    SealKey,
    StoreTokenMissing,
    StoreUrlMissing,
    StoreUrlNotAUrl,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AccessTokenSeconds => "ACCESS_TOKEN_SECONDS: must be a whole number, 1 to 86400",
            Self::AudienceMissing => "AUDIENCE: is not set; give the aud that the edge expects",
            Self::ClientSecretShort => {
                "INTROSPECTION_CLIENTS: a secret is shorter than 32 characters"
            }
            Self::ClientsMalformed => {
                "INTROSPECTION_CLIENTS: must be name=secret, comma-separated, no name twice"
            }
            Self::IssuerMissing => "ISSUER: is not set; give the edge's public URL",
            Self::IssuerNotAUrl => {
                "ISSUER: must be http:// or https:// with a host, no slash at its end"
            }
            Self::KeyPrefix => "KEY_PREFIX: may have letters, digits, - and _, 1 to 64 of them",
            Self::Listen => "ORIGIN_LISTEN: must be address:port, such as 127.0.0.1:8788",
            Self::LoginAttempts => {
                "LOGIN_ATTEMPTS_PER_USERNAME, LOGIN_ATTEMPTS_PER_ADDRESS: must be whole numbers, 0 to \
                 1000 and 0 to 100000"
            }
            Self::RefreshTokenSeconds => {
                "REFRESH_TOKEN_SECONDS: must be a whole number, 60 to 31536000"
            }
            Self::SealKey => {
                "SEAL_KEY, SEAL_KEY_PREVIOUS: must be name:key each, no name twice, the key by openssl \
                 rand -base64 32"
            }
            Self::StoreTokenMissing => "STORE_TOKEN: is not set; give the store's bearer token",
            Self::StoreUrlMissing => "STORE_URL: is not set; give the store's REST URL",
            Self::StoreUrlNotAUrl => {
                "STORE_URL: must be http:// or https:// with a host, or memcached://host:port \
                 (memcacheds:// for TLS)"
            }
        })
    }
}

impl Config {
    /// Checks the settings, and reads the secrets from the environment.
    pub fn parse(serve: &Serve) -> Result<Self, Vec<ConfigError>> {
        Self::check(serve, |name| std::env::var(name).ok())
    }

    fn check(
        serve: &Serve,
        secret: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<ConfigError>> {
        let mut faults = Vec::new();
        let mut require = |value: Option<String>, fault| {
            let value = value.filter(|value| !value.is_empty());
            if value.is_none() {
                faults.push(fault);
            }
            value.unwrap_or_default()
        };
        let issuer = require(serve.issuer.clone(), ConfigError::IssuerMissing);
        let audience = require(serve.audience.clone(), ConfigError::AudienceMissing);
        let store_url = require(serve.store_url.clone(), ConfigError::StoreUrlMissing);
        let is_memcached = store_url.starts_with("memcached");
        // A memcached has no tokens.
        let store_token = match is_memcached {
            true => String::new(),
            false => require(secret("STORE_TOKEN"), ConfigError::StoreTokenMissing),
        };
        if !issuer.is_empty() && (!is_url(&issuer) || issuer.ends_with('/')) {
            faults.push(ConfigError::IssuerNotAUrl);
        }
        let address = memcached::Address::parse(&store_url);
        if !store_url.is_empty() && !is_url(&store_url) && address.is_none() {
            faults.push(ConfigError::StoreUrlNotAUrl);
        }
        let safe = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !(1..=64).contains(&serve.key_prefix.len()) || !serve.key_prefix.bytes().all(safe) {
            faults.push(ConfigError::KeyPrefix);
        }
        let mut number = |text: &str, least: u64, most: u64, fault| {
            let number = text.parse().ok().filter(|number| (least..=most).contains(number));
            if number.is_none() {
                faults.push(fault);
            }
            number.unwrap_or(least)
        };
        let access_token_seconds = number(
            &serve.access_token_seconds,
            1,
            ACCESS_TOKEN_SECONDS_MAX,
            ConfigError::AccessTokenSeconds,
        );
        let refresh_token_seconds =
            number(&serve.refresh_token_seconds, 60, 31_536_000, ConfigError::RefreshTokenSeconds);
        let attempts = AttemptLimits {
            per_username: small(&serve.login_attempts_per_username, 1_000, &mut faults),
            per_address: small(&serve.login_attempts_per_address, 100_000, &mut faults),
        };
        let given = |name: &str| secret(name).filter(|text| !text.is_empty());
        let (current, previous) = (given("SEAL_KEY"), given("SEAL_KEY_PREVIOUS"));
        let seal = current.as_ref().and_then(|key| Seal::new(key, previous.as_deref()));
        if seal.is_none() && (current.is_some() || previous.is_some()) {
            faults.push(ConfigError::SealKey);
        }
        let clients = Clients::parse(&secret("INTROSPECTION_CLIENTS").unwrap_or_default());
        let introspection_clients = clients.unwrap_or_else(|error| {
            faults.push(match error {
                ClientsError::Malformed => ConfigError::ClientsMalformed,
                ClientsError::SecretShort => ConfigError::ClientSecretShort,
            });
            Clients::default()
        });
        let listen = serve.listen.parse().ok();
        if listen.is_none() {
            faults.push(ConfigError::Listen);
        }
        match listen {
            Some(listen) if faults.is_empty() => Ok(Self {
                listen,
                issuer,
                audience,
                client_id: serve.client_id.clone(),
                store_url: store_url.trim_end_matches('/').to_owned(),
                store_token,
                key_prefix: serve.key_prefix.clone(),
                signing_key_file: serve.signing_key_file.clone(),
                access_token_seconds,
                refresh_token_seconds,
                introspection_clients,
                attempts,
                seal,
            }),
            _ => Err(faults),
        }
    }
}

fn small(text: &str, most: u32, faults: &mut Vec<ConfigError>) -> u32 {
    let number = text.parse().ok().filter(|number| *number <= most);
    if number.is_none() && !faults.contains(&ConfigError::LoginAttempts) {
        faults.push(ConfigError::LoginAttempts);
    }
    number.unwrap_or(0)
}

/// Longest life of an access token that can be set, and so of the markers that revoke one.
pub const ACCESS_TOKEN_SECONDS_MAX: u64 = 86_400;

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['?', '#', ' '])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(arguments: &[&str]) -> Serve {
        let all = ["portcullis-origin", "serve"].iter().chain(arguments);
        match Settings::try_parse_from(all).unwrap().action {
            Action::Serve(serve) => *serve,
            _ => unreachable!(),
        }
    }

    #[test]
    fn all_faults_are_reported_at_once() {
        let faults = Config::check(
            &serve(&[
                "--listen",
                "x",
                "--issuer",
                "auth/",
                "--access-token-seconds",
                "0",
                "--key-prefix",
                ":",
                "--login-attempts-per-username",
                "1001",
                "--login-attempts-per-address",
                "many",
            ]),
            |name| matches!(name, "INTROSPECTION_CLIENTS" | "SEAL_KEY").then(|| "edge".into()),
        );
        use ConfigError as E;
        assert_eq!(
            faults.err().unwrap(),
            [
                E::AudienceMissing,
                E::StoreUrlMissing,
                E::StoreTokenMissing,
                E::IssuerNotAUrl,
                E::KeyPrefix,
                E::AccessTokenSeconds,
                E::LoginAttempts,
                E::SealKey,
                E::ClientsMalformed,
                E::Listen,
            ]
        );
    }

    #[test]
    fn a_full_configuration_is_read() {
        let serve = serve(&[
            "--issuer",
            "https://a.example",
            "--audience",
            "api",
            "--store-url",
            "http://s/",
        ]);
        let secret = |name: &str| match name {
            "SEAL_KEY" => Some(format!("a:{}", "A".repeat(43))),
            "SEAL_KEY_PREVIOUS" => None,
            _ => Some(format!("x={}", "s".repeat(32))),
        };
        let config = Config::check(&serve, secret).ok().unwrap();
        assert!(config.seal.is_some());
        assert_eq!((config.store_url.as_str(), config.access_token_seconds), ("http://s", 900));
    }
}

//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// The auth service behind the edge: it logs users in, and issues, refreshes and revokes tokens.
///
/// A setting comes from its flag, or else from the environment, or else from the file of --config.
/// That file is TOML with the environment's names, such as `ISSUER = "https://api.example"`.
///
/// Secrets have no flags, because every user of the machine can see a command line:
///
/// STORE_TOKEN: the store's bearer token.
///
/// MASTER_KEY and MASTER_KEY_PREVIOUS, as name:key: they encrypt the signing keys in the database.
///
/// RECORD_ENCRYPTION_KEY and RECORD_ENCRYPTION_KEY_PREVIOUS, as name:key: they encrypt the records
/// in the store. The edge must have the same.
///
/// EDGE_AUTH_KEY and EDGE_AUTH_KEY_PREVIOUS, 32 bytes in base64: with it the edge authenticates
/// what it states about a client.
///
/// INTROSPECTION_CLIENTS, as name=secret, comma-separated: the clients that may introspect tokens.
/// Each secret has at least 32 characters.
///
/// Generate a key with `echo "k1:$(openssl rand -base64 32)"`.
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    /// A TOML file of settings. If it contains a secret, only its owner may have access to it.
    #[arg(long = "config", env = "AUTH_CONFIG", global = true, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) shared: SharedArgs,
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// The settings of most commands: the database, and the store that they write to.
#[derive(Args, Default)]
pub struct SharedArgs {
    /// sqlite://file.db, or postgres://user:password@host/database [default:
    /// sqlite://portcullis.db]
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true)]
    pub database_url: Option<String>,
    /// The iss of every token: the public URL of the edge.
    #[arg(long, env = "ISSUER", global = true)]
    pub issuer: Option<String>,
    /// The store: Upstash's REST URL or the redis gateway's, or memcached://host:port.
    #[arg(long, env = "STORE_URL", global = true)]
    pub store_url: Option<String>,
    /// The prefix of the store's keys; the edge must have the same [default: pc]
    #[arg(long, env = "KEY_PREFIX", global = true)]
    pub key_prefix: Option<String>,
    /// How long a session lasts without a refresh, in seconds, 60 to 31536000, at least
    /// the life of an access token [default: 1209600]
    #[arg(long, env = "REFRESH_IDLE_SECONDS", global = true)]
    pub refresh_idle_seconds: Option<String>,
    /// How long security events are kept, in days, 90 to 36500 [default: 400]
    #[arg(long, env = "AUDIT_DAYS", global = true)]
    pub audit_days: Option<String>,
}

/// A command.
#[derive(Subcommand)]
pub enum Action {
    /// Delete expired rows, and stop. `serve` does the same every minute.
    Cleanup,
    /// Manage the keys that sign tokens.
    Keys {
        #[command(subcommand)]
        action: KeysAction,
    },
    /// Migrate the database's tables, and stop. With SQLite, every command does this first.
    Migrate,
    /// Write all live revocations to the store again, and stop. `serve` does this when it starts
    /// and when it detects that the store has lost data.
    Reconcile,
    /// Serve requests until SIGTERM or SIGINT.
    Serve(Box<ServeArgs>),
    /// Manage sessions.
    Sessions {
        #[command(subcommand)]
        action: SessionsAction,
    },
    /// Manage users.
    User {
        #[command(subcommand)]
        action: UserAction,
    },
}

/// A command about signing keys.
#[derive(Subcommand)]
pub enum KeysAction {
    /// List the keys, newest first, each with its role.
    List,
    /// Let the next key sign from now on. Running servers notice within 10 s; tokens of the
    /// previous key stay valid.
    Rotate {
        /// Withdraw all keys; running servers generate new ones within 10 s. Verifiers reject old
        /// tokens once they fetch the key set again (at the edge: jwks.fresh_seconds). Refreshes
        /// return new tokens.
        #[arg(long)]
        compromised: bool,
    },
}

/// A command about sessions.
#[derive(Subcommand)]
pub enum SessionsAction {
    /// List a user's active sessions, newest first.
    List {
        /// The name to log in with.
        #[arg(long)]
        username: String,
    },
    /// End one session, or all sessions of a user. Prints whether the store has the revocation yet.
    Revoke {
        /// The session's id, as `sessions list` shows it.
        #[arg(long, conflicts_with = "username", required_unless_present = "username")]
        session: Option<String>,
        /// All sessions of this user.
        #[arg(long)]
        username: Option<String>,
    },
}

/// A command about users.
#[derive(Subcommand)]
pub enum UserAction {
    /// Add a user; the password is read from standard input.
    Add {
        /// The name to log in with.
        #[arg(long)]
        username: String,
        /// The scope of the user's tokens, space-separated.
        #[arg(long, default_value = "")]
        scope: String,
    },
    /// Disable a user: end all their sessions, and reject their logins.
    Disable {
        /// The name to log in with.
        #[arg(long)]
        username: String,
    },
    /// Let a disabled user log in again.
    Enable {
        /// The name to log in with.
        #[arg(long)]
        username: String,
    },
    /// Set a user's password, read from standard input, and end all their sessions.
    Passwd {
        /// The name to log in with.
        #[arg(long)]
        username: String,
    },
}

/// The settings of `serve`.
#[derive(Args)]
pub struct ServeArgs {
    /// Address and port to listen on [default: 127.0.0.1:8788]
    #[arg(long, env = "AUTH_LISTEN")]
    pub listen: Option<String>,
    /// Address and port for readiness and metrics, without authentication [default: 127.0.0.1:9788]
    #[arg(long, env = "AUTH_ADMIN_LISTEN")]
    pub admin_listen: Option<String>,
    /// Most client connections at once, 1 to 1000000; more are closed [default: 1024]
    #[arg(long, env = "AUTH_CONNECTIONS_MAX")]
    pub connections_max: Option<String>,
    /// Most unauthenticated connections of one network (a /24 or a /64), 1 to 1000000; loopback
    /// has no limit [default: a quarter of AUTH_CONNECTIONS_MAX]
    #[arg(long, env = "AUTH_CONNECTIONS_PER_NETWORK")]
    pub connections_per_network: Option<String>,
    /// Timeout for an idle client connection, in seconds, 1 to 3600 [default: 75]
    #[arg(long, env = "AUTH_IDLE_SECONDS")]
    pub idle_seconds: Option<String>,
    /// How long requests in progress may take after SIGTERM, in seconds, 1 to 600 [default: 15]
    #[arg(long, env = "AUTH_DRAIN_SECONDS")]
    pub drain_seconds: Option<String>,
    /// The service's own certificate chain in PEM, for HTTPS. SIGHUP reloads it.
    #[arg(long, env = "AUTH_TLS_CERT_FILE")]
    pub tls_cert_file: Option<String>,
    /// The private key of AUTH_TLS_CERT_FILE, in PEM.
    #[arg(long, env = "AUTH_TLS_KEY_FILE")]
    pub tls_key_file: Option<String>,
    /// The aud of every access token. Required
    #[arg(long, env = "AUDIENCE")]
    pub audience: Option<String>,
    /// The client_id of every access token [default: portcullis]
    #[arg(long, env = "CLIENT_ID")]
    pub client_id: Option<String>,
    /// jwt (RFC 9068), or opaque: random, checked in the store or by introspection [default: jwt]
    #[arg(long, env = "ACCESS_TOKEN_FORMAT")]
    pub access_token_format: Option<String>,
    /// Life of an access token, in seconds, 1 to 86400 [default: 900]
    #[arg(long, env = "ACCESS_TOKEN_SECONDS")]
    pub access_token_seconds: Option<String>,
    /// Life of a session, however often refreshed, in seconds, 60 to 31536000 [default: 2592000]
    #[arg(long, env = "REFRESH_TOKEN_SECONDS")]
    pub refresh_token_seconds: Option<String>,
    /// How long a used refresh token returns the same response again, in seconds, 0 to 300
    /// [default: 10]
    #[arg(long, env = "REFRESH_GRACE_SECONDS")]
    pub refresh_grace_seconds: Option<String>,
    /// Most sessions of one user, 1 to 1000; one more login ends the oldest [default: 100]
    #[arg(long, env = "SESSIONS_PER_USER_MAX")]
    pub sessions_per_user_max: Option<String>,
    /// The algorithm of new signing keys, EdDSA or ES256 [default: EdDSA]
    #[arg(long, env = "SIGNING_ALGORITHM")]
    pub signing_algorithm: Option<String>,
    /// How long a key signs, in seconds, 3600 to 31536000, or 0: until `keys rotate` [default:
    /// 7776000]
    #[arg(long, env = "SIGNING_KEY_SECONDS")]
    pub signing_key_seconds: Option<String>,
    /// Origins whose pages may refresh by cookie, comma-separated [default: the issuer's own]
    #[arg(long, env = "COOKIE_ORIGINS")]
    pub cookie_origins: Option<String>,
    /// Login attempts with one username before it must wait, 1 to 1000, or 0 for no limit
    /// [default: 5]
    #[arg(long, env = "LOGIN_ATTEMPTS_PER_USERNAME")]
    pub login_attempts_per_username: Option<String>,
    /// Failed login attempts from one address before it must wait, 1 to 100000, or 0 for no limit
    /// [default: 20]
    #[arg(long, env = "LOGIN_ATTEMPTS_PER_ADDRESS")]
    pub login_attempts_per_address: Option<String>,
    /// How many proxies append to X-Forwarded-For, 0 to 10; 0: the connection's address counts.
    /// Used for requests without the edge's proof (EDGE_AUTH_KEY) [default: 0]
    #[arg(long, env = "TRUSTED_PROXY_HOPS")]
    pub trusted_proxy_hops: Option<String>,
}

//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// The auth service behind the edge: it logs in, issues, refreshes and revokes.
///
/// Each setting is taken from its flag, or else from the environment, or else from the file that
/// --config names (TOML, by the names of the environment: `ISSUER = "https://api.example"`).
///
/// Secrets have no flags, since every user of the machine can see a command line. STORE_TOKEN: the
/// bearer token of the store. MASTER_KEY and MASTER_KEY_PREVIOUS, name:key each: they seal the
/// signing keys in the database. RECORD_ENCRYPTION_KEY and RECORD_ENCRYPTION_KEY_PREVIOUS, name:key
/// each: the edge must have the same. EDGE_AUTH_KEY and EDGE_AUTH_KEY_PREVIOUS, 32 bytes in base64
/// each: the edge proves by it what it says of a client. INTROSPECTION_CLIENTS: the clients that may introspect
/// tokens: name=secret, comma-separated, each secret at least 32 characters. Generate a key with
/// `echo "k1:$(openssl rand -base64 32)"`.
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    /// A TOML file of settings; if it holds a secret, only its owner may have access.
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
    /// A session ends if it is not refreshed for this long, in seconds, 60 to 31536000, at least
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
    /// Delete what has expired, and stop. `serve` does the same every minute.
    Cleanup,
    /// Manage the keys that sign tokens.
    Keys {
        #[command(subcommand)]
        action: KeysAction,
    },
    /// Migrate the database's tables, and stop. On SQLite every command does so by itself.
    Migrate,
    /// Write all live revocations to the store again, and stop. `serve` does so at its start, and
    /// when it finds that the store has lost data.
    Reconcile,
    /// Answer requests, until SIGTERM or SIGINT.
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
        /// Withdraw all keys; running servers generate new ones within 10 s. Old tokens are
        /// rejected as soon as verifiers fetch the key set again (the edge's KEYS_FRESH_SECONDS),
        /// and refreshes return new ones.
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
    /// End one session, or all sessions of a user. Writes to the store, or reports that this is pending.
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
    /// End all sessions of a user, who can't log in any more.
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
    /// Set a user's password, which is read from standard input, and end all their sessions.
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
    /// Most client connections at once, 1 to 1000000; further ones are closed [default: 1024]
    #[arg(long, env = "AUTH_CONNECTIONS_MAX")]
    pub connections_max: Option<String>,
    /// Most connections of one network (a /24 or a /64) that have not authenticated, 1 to
    /// 1000000; loopback has no such limit [default: a quarter of AUTH_CONNECTIONS_MAX]
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
    /// Its private key in PEM.
    #[arg(long, env = "AUTH_TLS_KEY_FILE")]
    pub tls_key_file: Option<String>,
    /// The aud of every access token. Required.
    #[arg(long, env = "AUDIENCE")]
    pub audience: Option<String>,
    /// The client_id of every access token [default: portcullis]
    #[arg(long, env = "CLIENT_ID")]
    pub client_id: Option<String>,
    /// jwt: RFC 9068, or opaque: random, known to the store and by introspection [default: jwt]
    #[arg(long, env = "ACCESS_TOKEN_FORMAT")]
    pub access_token_format: Option<String>,
    /// Life of an access token, in seconds, 1 to 86400 [default: 900]
    #[arg(long, env = "ACCESS_TOKEN_SECONDS")]
    pub access_token_seconds: Option<String>,
    /// Life of a session, even if it is used, in seconds, 60 to 31536000 [default: 2592000]
    #[arg(long, env = "REFRESH_TOKEN_SECONDS")]
    pub refresh_token_seconds: Option<String>,
    /// How long a spent refresh token returns the same response again, in seconds, 0 to 300
    /// [default: 10]
    #[arg(long, env = "REFRESH_GRACE_SECONDS")]
    pub refresh_grace_seconds: Option<String>,
    /// Most sessions of one user at once, 1 to 1000; a login beyond ends the oldest [default: 100]
    #[arg(long, env = "SESSIONS_PER_USER_MAX")]
    pub sessions_per_user_max: Option<String>,
    /// EdDSA or ES256 [default: EdDSA]
    #[arg(long, env = "SIGNING_ALGORITHM")]
    pub signing_algorithm: Option<String>,
    /// How long a key signs, in seconds, 3600 to 31536000; 0: until `keys rotate` [default:
    /// 7776000]
    #[arg(long, env = "SIGNING_KEY_SECONDS")]
    pub signing_key_seconds: Option<String>,
    /// Origins whose pages may refresh by cookie, comma-separated [default: the issuer's own]
    #[arg(long, env = "COOKIE_ORIGINS")]
    pub cookie_origins: Option<String>,
    /// Login attempts with one username before it has to wait, 0 to 1000; 0: any number [default:
    /// 5]
    #[arg(long, env = "LOGIN_ATTEMPTS_PER_USERNAME")]
    pub login_attempts_per_username: Option<String>,
    /// Failed login attempts from one address before it has to wait, 0 to 100000; 0: any number
    /// [default: 20]
    #[arg(long, env = "LOGIN_ATTEMPTS_PER_ADDRESS")]
    pub login_attempts_per_address: Option<String>,
    /// How many proxies append to X-Forwarded-For before requests that do not prove, by
    /// EDGE_AUTH_KEY, to come through the edge, 0 to 10; 0: the connection's address counts
    /// [default: 0]
    #[arg(long, env = "TRUSTED_PROXY_HOPS")]
    pub trusted_proxy_hops: Option<String>,
}

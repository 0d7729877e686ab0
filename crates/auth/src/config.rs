//! The auth service's settings: from flags, the environment or a file, in this order, with all faults reported together.

use crate::accounts::LoginAttemptLimits;
use crate::accounts::{ClientsError, IntrospectionClients};
use crate::keys::Signing;
use crate::token::ACCESS_TOKEN_SECONDS_MAX;
use clap::{Args, Parser, Subcommand};
use portcullis_core::Seal;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The auth service behind the edge: it logs in, issues, refreshes and revokes.
///
/// Each setting is taken from its flag, or else from the environment, or else from the file that --config names
/// (TOML, by the names of the environment: `ISSUER = "https://api.example"`).
///
/// Secrets have no flags, since a command line can be seen by everybody on the machine. STORE_TOKEN: the bearer
/// token of the store. MASTER_KEY and MASTER_KEY_PREVIOUS, name:key each: the signing keys in the database are
/// sealed under it. RECORD_ENCRYPTION_KEY and RECORD_ENCRYPTION_KEY_PREVIOUS, name:key each, which the edge has as well. INTROSPECTION_CLIENTS:
/// who may ask about tokens: name=secret, comma-separated, each secret at least 32 characters. A key is made by
/// `echo "k1:$(openssl rand -base64 32)"`.
#[derive(Parser)]
#[command(version)]
pub struct Settings {
    /// A TOML file of settings; where others may read it, it must hold no secret.
    #[arg(long = "config", env = "AUTH_CONFIG", global = true, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub shared: Shared,
    #[command(subcommand)]
    pub action: Action,
}

/// What most commands need: the database, and the store that is told of what they revoke.
#[derive(Args, Default)]
pub struct Shared {
    /// sqlite://file.db, or postgres://user:password@host/database [default: sqlite://portcullis.db]
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true)]
    database_url: Option<String>,
    /// The name in every token's iss: the public URL of the edge.
    #[arg(long, env = "ISSUER", global = true)]
    issuer: Option<String>,
    /// The store: Upstash's REST URL or the redis gateway's, or memcached://host:port.
    #[arg(long, env = "STORE_URL", global = true)]
    store_url: Option<String>,
    /// What the store's keys begin with; the edge must have the same [default: pc]
    #[arg(long, env = "KEY_PREFIX", global = true)]
    key_prefix: Option<String>,
    /// A session that is not refreshed for so long is over, in seconds, 60 to 31536000, and no shorter than an access
    /// token's life [default: 1209600]
    #[arg(long, env = "REFRESH_IDLE_SECONDS", global = true)]
    refresh_idle_seconds: Option<String>,
    /// For how long security events are kept, in days, 90 to 36500 [default: 400]
    #[arg(long, env = "AUDIT_DAYS", global = true)]
    audit_days: Option<String>,
}

#[derive(Subcommand)]
pub enum Action {
    /// Delete what has ended, batch by batch, and stop. `serve` does the same every minute.
    Cleanup,
    /// Manage the keys that sign tokens.
    Keys {
        #[command(subcommand)]
        action: KeysAction,
    },
    /// Bring the database's tables up to date, and stop. On SQLite every command does so by itself.
    Migrate,
    /// Tell the store again all that it must know of revocations, and stop. `serve` does so at its start, and
    /// when it finds that the store has lost its content.
    Reconcile,
    /// Answer requests, until SIGTERM or SIGINT.
    Serve(Box<Serve>),
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

#[derive(Subcommand)]
pub enum KeysAction {
    /// List the keys, newest first, with what each is for.
    List,
    /// Let the next key sign from now on. Servers that run notice within 10 s; tokens that the key before signed
    /// stay good.
    Rotate {
        /// Withdraw all keys that there are; servers that run make new ones within 10 s. Tokens of the old ones are
        /// refused as soon as verifiers look at the key set again (the edge's KEYS_FRESH_SECONDS), and refreshes give
        /// new ones.
        #[arg(long)]
        compromised: bool,
    },
}

#[derive(Subcommand)]
pub enum SessionsAction {
    /// List a user's sessions that go on, newest first.
    List {
        /// The name to log in with.
        #[arg(long)]
        username: String,
    },
    /// End one session, or all of a user. The store is told before this ends, or it says what is pending.
    Revoke {
        /// The session's id, as `sessions list` shows it.
        #[arg(long, conflicts_with = "username", required_unless_present = "username")]
        session: Option<String>,
        /// All sessions of this user.
        #[arg(long)]
        username: Option<String>,
    },
}

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

#[derive(Args)]
pub struct Serve {
    /// Address and port to listen on [default: 127.0.0.1:8788]
    #[arg(long, env = "AUTH_LISTEN")]
    listen: Option<String>,
    /// The aud of every access token. Required.
    #[arg(long, env = "AUDIENCE")]
    audience: Option<String>,
    /// The client_id of every access token [default: portcullis]
    #[arg(long, env = "CLIENT_ID")]
    client_id: Option<String>,
    /// jwt: RFC 9068, or opaque: random, known to the store and by introspection [default: jwt]
    #[arg(long, env = "ACCESS_TOKEN_FORMAT")]
    access_token_format: Option<String>,
    /// Life of an access token, in seconds, 1 to 86400 [default: 900]
    #[arg(long, env = "ACCESS_TOKEN_SECONDS")]
    access_token_seconds: Option<String>,
    /// Life of a session, however much it is used, in seconds, 60 to 31536000 [default: 2592000]
    #[arg(long, env = "REFRESH_TOKEN_SECONDS")]
    refresh_token_seconds: Option<String>,
    /// For how long a spent refresh token gives the same answer again, in seconds, 0 to 300 [default: 10]
    #[arg(long, env = "REFRESH_GRACE_SECONDS")]
    refresh_grace_seconds: Option<String>,
    /// Most sessions of one user at once, 1 to 1000; a login beyond ends the oldest [default: 100]
    #[arg(long, env = "SESSIONS_PER_USER_MAX")]
    sessions_per_user_max: Option<String>,
    /// EdDSA or ES256 [default: EdDSA]
    #[arg(long, env = "SIGNING_ALGORITHM")]
    signing_algorithm: Option<String>,
    /// How long a key signs, in seconds, 3600 to 31536000; 0: until `keys rotate` [default: 7776000]
    #[arg(long, env = "SIGNING_KEY_SECONDS")]
    signing_key_seconds: Option<String>,
    /// Origins whose pages may refresh by cookie, comma-separated [default: the issuer's own]
    #[arg(long, env = "COOKIE_ORIGINS")]
    cookie_origins: Option<String>,
    /// LoginAttempts to log in with one username before there is a wait, 0 to 1000; 0: any number [default: 5]
    #[arg(long, env = "LOGIN_ATTEMPTS_PER_USERNAME")]
    login_attempts_per_username: Option<String>,
    /// Failed attempts to log in from one address before there is a wait, 0 to 100000; 0: any number [default: 20]
    #[arg(long, env = "LOGIN_ATTEMPTS_PER_ADDRESS")]
    login_attempts_per_address: Option<String>,
}

/// What `serve` was given, checked.
pub struct Config {
    pub listen: SocketAddr,
    pub database_url: String,
    pub link: Link,
    pub audience: String,
    pub client_id: String,
    pub seal: Option<Seal>,
    pub signing: Signing,
    pub access_token_format: AccessTokenFormat,
    pub access_token_seconds: u64,
    pub refresh_token_seconds: u64,
    pub refresh_idle_seconds: u64,
    pub refresh_grace_seconds: u64,
    pub sessions_per_user_max: u32,
    pub cookie_origins: Vec<String>,
    pub introspection_clients: IntrospectionClients,
    pub attempts: LoginAttemptLimits,
    pub audit_seconds: u64,
}

/// The store that is told, and under which names.
#[derive(Clone)]
pub struct Link {
    pub issuer: String,
    pub store_url: String,
    pub store_token: String,
    pub key_prefix: String,
}

/// What an access token is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AccessTokenFormat {
    Jwt,
    Opaque,
}

/// A setting that can't be used, and how to mend it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConfigError {
    AccessTokenFormat,
    AudienceMissing,
    ClientSecretShort,
    ClientsMalformed,
    CookieOrigins,
    FileReadable,
    FileUnreadable(String),
    IdleShort,
    IssuerMissing,
    IssuerNotAUrl,
    KeyPrefix,
    Listen,
    MasterKey,
    MasterKeyMissing,
    NameUnknown(String),
    NotText(String),
    Number(&'static str, u64, u64),
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
            Self::FileReadable => {
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
                "MASTER_KEY: is not set; make one by echo \"k1:$(openssl rand -base64 32)\" and keep it"
            }
            Self::NameUnknown(name) => {
                return write!(f, "AUTH_CONFIG: {name}: there is no such setting");
            }
            Self::NotText(name) => {
                return write!(f, "AUTH_CONFIG: {name}: must be a text, or a whole number");
            }
            Self::Number(name, least, most) => {
                return write!(f, "{name}: must be a whole number, {least} to {most}");
            }
            Self::RecordEncryptionKey => {
                "RECORD_ENCRYPTION_KEY, RECORD_ENCRYPTION_KEY_PREVIOUS: must be name:key each, no name twice, the key by openssl \
                 rand -base64 32"
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

/// Reads settings by name, and notes what is wrong with them.
pub struct Reader<'e> {
    environment: &'e dyn Fn(&str) -> Option<String>,
    file: BTreeMap<String, String>,
    pub faults: Vec<ConfigError>,
}

impl<'e> Reader<'e> {
    /// A reader of the environment and of `file`, if there is one.
    pub fn new(environment: &'e dyn Fn(&str) -> Option<String>, file: Option<&Path>) -> Self {
        let mut reader = Self { environment, file: BTreeMap::new(), faults: Vec::new() };
        if let Some(file) = file {
            reader.read(file);
        }
        reader
    }

    fn read(&mut self, file: &Path) {
        use std::os::unix::fs::PermissionsExt as _;
        let unreadable = |why: &dyn fmt::Display| {
            ConfigError::FileUnreadable(format!("{}: {why}", file.display()))
        };
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => return self.faults.push(unreadable(&error)),
        };
        // What the parser says would show the line, which may hold a secret.
        let Ok(table) = text.parse::<toml::Table>() else {
            return self.faults.push(unreadable(&"is not TOML"));
        };
        for (name, value) in table {
            let value = match value {
                toml::Value::String(text) => Some(text),
                toml::Value::Integer(number) => Some(number.to_string()),
                _ => None,
            };
            match (NAMES.contains(&name.as_str()), value) {
                (true, Some(value)) => drop(self.file.insert(name, value)),
                (true, None) => self.faults.push(ConfigError::NotText(name)),
                (false, _) => self.faults.push(ConfigError::NameUnknown(name)),
            }
        }
        let mode = std::fs::metadata(file).map_or(0, |facts| facts.permissions().mode());
        let secret = SECRETS.iter().any(|name| self.file.contains_key(*name))
            || self
                .file
                .get("DATABASE_URL")
                .is_some_and(|url| url.contains('@') || url.contains("password="));
        if mode & 0o077 != 0 && secret {
            self.faults.push(ConfigError::FileReadable);
        }
    }

    /// What is set under `name`; an empty text is nothing.
    fn secret(&self, name: &str) -> Option<String> {
        let set = (self.environment)(name).filter(|text| !text.is_empty());
        set.or_else(|| self.file.get(name).cloned()).filter(|text| !text.is_empty())
    }

    /// A flag, which has the environment's value where it was not given, or else what the file says.
    fn text(&self, flag: &Option<String>, name: &str) -> Option<String> {
        let flag = flag.clone().filter(|text| !text.is_empty());
        flag.or_else(|| self.file.get(name).cloned()).filter(|text| !text.is_empty())
    }

    fn required(&mut self, value: Option<String>, fault: ConfigError) -> String {
        if value.is_none() {
            self.faults.push(fault);
        }
        value.unwrap_or_default()
    }

    fn number(
        &mut self,
        flag: &Option<String>,
        name: &'static str,
        bounds: (u64, u64),
        default: u64,
    ) -> u64 {
        let (least, most) = bounds;
        let Some(text) = self.text(flag, name) else { return default };
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.faults.push(ConfigError::Number(name, least, most));
        }
        number.unwrap_or(default)
    }

    /// A key and the one before it.
    fn seal(&mut self, names: (&str, &str), fault: ConfigError) -> Option<Seal> {
        let (current, previous) = (self.secret(names.0), self.secret(names.1));
        let seal = current.as_ref().and_then(|key| Seal::new(key, previous.as_deref()));
        if seal.is_none() && (current.is_some() || previous.is_some()) {
            self.faults.push(fault);
        }
        seal
    }

    /// Where the database is.
    pub fn database_url(&self, shared: &Shared) -> String {
        let url = self.text(&shared.database_url, "DATABASE_URL");
        url.unwrap_or_else(|| "sqlite://portcullis.db".to_owned())
    }

    /// What the signing keys are sealed under.
    pub fn master_key(&mut self) -> Option<Seal> {
        let faults = self.faults.len();
        let seal = self.seal(("MASTER_KEY", "MASTER_KEY_PREVIOUS"), ConfigError::MasterKey);
        if seal.is_none() && self.faults.len() == faults {
            self.faults.push(ConfigError::MasterKeyMissing);
        }
        seal
    }

    /// How long a session may idle.
    pub fn idle_seconds(&mut self, shared: &Shared) -> u64 {
        let bounds = (60, YEAR_SECONDS);
        self.number(&shared.refresh_idle_seconds, "REFRESH_IDLE_SECONDS", bounds, 1_209_600)
    }

    /// How long events are kept.
    pub fn audit_seconds(&mut self, shared: &Shared) -> u64 {
        self.number(&shared.audit_days, "AUDIT_DAYS", (90, 36_500), 400) * 86_400
    }

    /// The store, and the names in it.
    pub fn link(&mut self, shared: &Shared) -> Link {
        let issuer = self.text(&shared.issuer, "ISSUER");
        let issuer = self.required(issuer, ConfigError::IssuerMissing);
        if !issuer.is_empty() && (!is_url(&issuer) || issuer.ends_with('/')) {
            self.faults.push(ConfigError::IssuerNotAUrl);
        }
        let store_url = self.text(&shared.store_url, "STORE_URL");
        let store_url = self.required(store_url, ConfigError::StoreUrlMissing);
        let memcached = memcached::Address::parse(&store_url).is_some();
        if !store_url.is_empty() && !is_url(&store_url) && !memcached {
            self.faults.push(ConfigError::StoreUrlNotAUrl);
        }
        // A memcached has no tokens.
        let store_token = match store_url.starts_with("memcached") {
            true => String::new(),
            false => self.required(self.secret("STORE_TOKEN"), ConfigError::StoreTokenMissing),
        };
        let key_prefix = self.text(&shared.key_prefix, "KEY_PREFIX");
        let key_prefix =
            key_prefix.unwrap_or_else(|| portcullis_core::StoreKeys::PREFIX.to_owned());
        let safe = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if key_prefix.len() > 64 || !key_prefix.bytes().all(safe) {
            self.faults.push(ConfigError::KeyPrefix);
        }
        let store_url = store_url.trim_end_matches('/').to_owned();
        Link { issuer, store_url, store_token, key_prefix }
    }

    /// All that `serve` needs; what is wrong with it stands in `faults`.
    pub fn serve(&mut self, shared: &Shared, serve: &Serve) -> Option<Config> {
        use ConfigError as E;
        let link = self.link(shared);
        let audience =
            self.required(self.text(&serve.audience, "AUDIENCE"), ConfigError::AudienceMissing);
        let seal = self.seal(
            ("RECORD_ENCRYPTION_KEY", "RECORD_ENCRYPTION_KEY_PREVIOUS"),
            E::RecordEncryptionKey,
        );
        let master = self.master_key();
        let algorithm = self.text(&serve.signing_algorithm, "SIGNING_ALGORITHM");
        let algorithm = algorithm.as_deref().unwrap_or("EdDSA").parse().ok();
        if algorithm.is_none() {
            self.faults.push(E::SigningAlgorithm);
        }
        let format = self.text(&serve.access_token_format, "ACCESS_TOKEN_FORMAT");
        let access_token_format = match format.as_deref() {
            None | Some("jwt") => AccessTokenFormat::Jwt,
            Some("opaque") => AccessTokenFormat::Opaque,
            Some(_) => {
                self.faults.push(E::AccessTokenFormat);
                AccessTokenFormat::Jwt
            }
        };
        let origins = self.text(&serve.cookie_origins, "COOKIE_ORIGINS");
        let judged = origins.is_some();
        let origins = origins.unwrap_or_else(|| origin_of(&link.issuer));
        let cookie_origins: Vec<String> = origins.split(',').map(|o| o.trim().to_owned()).collect();
        if judged
            && !cookie_origins.iter().all(|origin| is_url(origin) && origin_of(origin) == *origin)
        {
            self.faults.push(E::CookieOrigins);
        }
        let clients =
            IntrospectionClients::parse(&self.secret("INTROSPECTION_CLIENTS").unwrap_or_default());
        let introspection_clients = clients.unwrap_or_else(|error| {
            self.faults.push(match error {
                ClientsError::Malformed => E::ClientsMalformed,
                ClientsError::SecretShort => E::ClientSecretShort,
            });
            IntrospectionClients::default()
        });
        let listen = self.text(&serve.listen, "AUTH_LISTEN");
        let listen = listen.as_deref().unwrap_or("127.0.0.1:8788").parse().ok();
        if listen.is_none() {
            self.faults.push(E::Listen);
        }
        let mut number = |flag, name, bounds, default| self.number(flag, name, bounds, default);
        let year = YEAR_SECONDS;
        let access_token_seconds = number(
            &serve.access_token_seconds,
            "ACCESS_TOKEN_SECONDS",
            (1, ACCESS_TOKEN_SECONDS_MAX),
            900,
        );
        let refresh_token_seconds =
            number(&serve.refresh_token_seconds, "REFRESH_TOKEN_SECONDS", (60, year), 2_592_000);
        let refresh_grace_seconds =
            number(&serve.refresh_grace_seconds, "REFRESH_GRACE_SECONDS", (0, 300), 10);
        let key_seconds =
            number(&serve.signing_key_seconds, "SIGNING_KEY_SECONDS", (0, year), 7_776_000);
        let sessions_per_user_max =
            number(&serve.sessions_per_user_max, "SESSIONS_PER_USER_MAX", (1, 1000), 100);
        let per_username =
            number(&serve.login_attempts_per_username, "LOGIN_ATTEMPTS_PER_USERNAME", (0, 1000), 5);
        let per_address = number(
            &serve.login_attempts_per_address,
            "LOGIN_ATTEMPTS_PER_ADDRESS",
            (0, 100_000),
            20,
        );
        let (refresh_idle_seconds, audit_seconds) =
            (self.idle_seconds(shared), self.audit_seconds(shared));
        if refresh_idle_seconds < access_token_seconds {
            self.faults.push(E::IdleShort);
        }
        if (1..3600).contains(&key_seconds) {
            self.faults.push(E::Number("SIGNING_KEY_SECONDS", 3600, year));
        }
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let (Some(listen), Some(master), Some(algorithm)) = (listen, master, algorithm) else {
            return None;
        };
        Some(Config {
            listen,
            database_url: self.database_url(shared),
            link,
            audience,
            client_id: self
                .text(&serve.client_id, "CLIENT_ID")
                .unwrap_or_else(|| "portcullis".to_owned()),
            seal,
            signing: Signing { master, algorithm, key_seconds },
            access_token_format,
            access_token_seconds,
            refresh_token_seconds,
            refresh_idle_seconds,
            refresh_grace_seconds,
            sessions_per_user_max: small(sessions_per_user_max),
            cookie_origins,
            introspection_clients,
            attempts: LoginAttemptLimits {
                per_username: small(per_username),
                per_address: small(per_address),
            },
            audit_seconds,
        })
    }
}

const YEAR_SECONDS: u64 = 31_536_000;

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['?', '#', ' '])
    })
}

/// Scheme, host and port of a URL.
fn origin_of(url: &str) -> String {
    let host = url.split_once("://").map_or(0, |(scheme, _)| scheme.len() + 3);
    let rest = url.get(host..).unwrap_or_default();
    let end = rest.find('/').map_or(url.len(), |place| host + place);
    url.get(..end).unwrap_or_default().to_owned()
}

const SECRETS: [&str; 6] = [
    "INTROSPECTION_CLIENTS",
    "MASTER_KEY",
    "MASTER_KEY_PREVIOUS",
    "RECORD_ENCRYPTION_KEY",
    "RECORD_ENCRYPTION_KEY_PREVIOUS",
    "STORE_TOKEN",
];

/// What a file of settings may hold.
const NAMES: [&str; 25] = [
    "ACCESS_TOKEN_FORMAT",
    "ACCESS_TOKEN_SECONDS",
    "AUDIENCE",
    "AUDIT_DAYS",
    "CLIENT_ID",
    "COOKIE_ORIGINS",
    "DATABASE_URL",
    "INTROSPECTION_CLIENTS",
    "ISSUER",
    "KEY_PREFIX",
    "LOGIN_ATTEMPTS_PER_ADDRESS",
    "LOGIN_ATTEMPTS_PER_USERNAME",
    "MASTER_KEY",
    "MASTER_KEY_PREVIOUS",
    "AUTH_LISTEN",
    "REFRESH_GRACE_SECONDS",
    "REFRESH_IDLE_SECONDS",
    "REFRESH_TOKEN_SECONDS",
    "RECORD_ENCRYPTION_KEY",
    "RECORD_ENCRYPTION_KEY_PREVIOUS",
    "SESSIONS_PER_USER_MAX",
    "SIGNING_ALGORITHM",
    "SIGNING_KEY_SECONDS",
    "STORE_TOKEN",
    "STORE_URL",
];

#[cfg(test)]
mod tests;

//! The validation of settings, command by command.

use super::error::ConfigError as E;
use super::reader::SettingsReader;
use super::settings::{AccessTokenFormat, Config, StoreSettings};
use crate::accounts::{ClientsError, IntrospectionClients, LoginAttemptLimits};
use crate::cli::{ServeArgs, SharedArgs};
use crate::signing_keys::{KeyAlgorithm, SigningSettings};
use crate::token::ACCESS_TOKEN_SECONDS_MAX;
use portcullis_core::{EdgeAuthKey, EdgeAuthKeys, Seal, StoreKeys};

impl SettingsReader<'_> {
    /// Returns the URL of the database.
    pub fn database_url(&mut self, shared: &SharedArgs) -> String {
        let url = self.text(&shared.database_url, "DATABASE_URL");
        let url = url.unwrap_or_else(|| "sqlite://portcullis.db".to_owned());
        let error = if let Some(rest) = url.strip_prefix("sqlite:") {
            is_in_memory(rest).then_some(E::DatabaseInMemory)
        } else {
            let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
            (!is_postgres).then_some(E::DatabaseUrl)
        };
        // `serve` reads the setting twice.
        self.errors.extend(error.filter(|error| !self.errors.contains(error)));
        url
    }

    /// Returns how long a session may be idle.
    pub fn idle_seconds(&mut self, shared: &SharedArgs) -> u64 {
        let flag = &shared.refresh_idle_seconds;
        self.number(flag, "REFRESH_IDLE_SECONDS", 60..=YEAR_SECONDS, 1_209_600)
    }

    /// Returns how long security events are kept.
    pub fn audit_seconds(&mut self, shared: &SharedArgs) -> u64 {
        self.number(&shared.audit_days, "AUDIT_DAYS", 90..=36_500, 400) * 86_400
    }

    /// Returns the settings of the store.
    pub fn store(&mut self, shared: &SharedArgs) -> StoreSettings {
        let issuer = self.text(&shared.issuer, "ISSUER");
        let issuer = self.required(issuer, E::IssuerMissing);
        if !issuer.is_empty() && (!is_url(&issuer) || issuer.ends_with('/')) {
            self.errors.push(E::IssuerNotAUrl);
        }
        let url = self.text(&shared.store_url, "STORE_URL");
        let url = self.required(url, E::StoreUrlMissing);
        let is_memcached = memcached::Address::parse(&url).is_some();
        if !url.is_empty() && !is_url(&url) && !is_memcached {
            self.errors.push(E::StoreUrlNotAUrl);
        }
        // memcached has no tokens.
        let token = match url.starts_with("memcached") {
            true => String::new(),
            false => self.required(self.secret("STORE_TOKEN"), E::StoreTokenMissing),
        };
        let key_prefix = self.text(&shared.key_prefix, "KEY_PREFIX");
        let key_prefix = key_prefix.unwrap_or_else(|| StoreKeys::PREFIX.to_owned());
        let is_safe = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if key_prefix.len() > 64 || !key_prefix.bytes().all(is_safe) {
            self.errors.push(E::KeyPrefix);
        }
        let url = url.trim_end_matches('/').to_owned();
        StoreSettings { issuer, url, token, key_prefix }
    }

    /// Returns the settings of `serve`. The caller must reject them if there are errors. Returns
    /// `None` if a setting without a default is invalid.
    pub fn serve(&mut self, shared: &SharedArgs, serve: &ServeArgs) -> Option<Config> {
        let store = self.store(shared);
        let audience = self.required(self.text(&serve.audience, "AUDIENCE"), E::AudienceMissing);
        let seal = self.seal("RECORD_ENCRYPTION_KEY", E::RecordEncryptionKey);
        let edge_auth_keys = self.edge_auth_keys();
        let master_key = self.master_key();
        let algorithm = self.text(&serve.signing_algorithm, "SIGNING_ALGORITHM");
        let algorithm: Option<KeyAlgorithm> = algorithm.as_deref().unwrap_or("EdDSA").parse().ok();
        if algorithm.is_none() {
            self.errors.push(E::SigningAlgorithm);
        }
        let access_token_format = self.access_token_format(serve);
        let cookie_origins = self.cookie_origins(serve, &store.issuer);
        let introspection_clients = self.introspection_clients();
        let server = self.server(serve);
        let access_token_seconds = self.number(
            &serve.access_token_seconds,
            "ACCESS_TOKEN_SECONDS",
            1..=ACCESS_TOKEN_SECONDS_MAX,
            900,
        );
        let refresh_token_seconds = self.number(
            &serve.refresh_token_seconds,
            "REFRESH_TOKEN_SECONDS",
            60..=YEAR_SECONDS,
            2_592_000,
        );
        let refresh_grace_seconds =
            self.number(&serve.refresh_grace_seconds, "REFRESH_GRACE_SECONDS", 0..=300, 10);
        let key_seconds = self.number(
            &serve.signing_key_seconds,
            "SIGNING_KEY_SECONDS",
            0..=YEAR_SECONDS,
            7_776_000,
        );
        let sessions_per_user_max =
            self.number(&serve.sessions_per_user_max, "SESSIONS_PER_USER_MAX", 1..=1000, 100);
        let trusted_proxy_hops =
            self.number(&serve.trusted_proxy_hops, "TRUSTED_PROXY_HOPS", 0..=10, 0);
        let attempts = self.attempts(serve);
        let refresh_idle_seconds = self.idle_seconds(shared);
        let audit_seconds = self.audit_seconds(shared);
        if refresh_idle_seconds < access_token_seconds {
            self.errors.push(E::IdleShort);
        }
        if (1..KEY_SECONDS_MIN).contains(&key_seconds) {
            self.errors.push(E::Number {
                name: "SIGNING_KEY_SECONDS",
                min: KEY_SECONDS_MIN,
                max: YEAR_SECONDS,
            });
        }
        let client_id = self.text(&serve.client_id, "CLIENT_ID");
        Some(Config {
            server: server?,
            database_url: self.database_url(shared),
            store,
            audience,
            client_id: client_id.unwrap_or_else(|| "portcullis".to_owned()),
            seal,
            edge_auth_keys,
            trusted_proxy_hops: to_u32(trusted_proxy_hops),
            signing: SigningSettings {
                master_key: master_key?,
                algorithm: algorithm?,
                key_seconds,
            },
            access_token_format,
            access_token_seconds,
            refresh_token_seconds,
            refresh_idle_seconds,
            refresh_grace_seconds,
            sessions_per_user_max: to_u32(sessions_per_user_max),
            cookie_origins,
            introspection_clients,
            attempts,
            audit_seconds,
        })
    }

    /// Returns the key that seals the signing keys. It is required.
    fn master_key(&mut self) -> Option<Seal> {
        let errors = self.errors.len();
        let seal = self.seal("MASTER_KEY", E::MasterKey);
        if seal.is_none() && self.errors.len() == errors {
            self.errors.push(E::MasterKeyMissing);
        }
        seal
    }

    /// Returns the keys that authenticate the edge, if set.
    fn edge_auth_keys(&mut self) -> Option<EdgeAuthKeys> {
        let current = self.secret("EDGE_AUTH_KEY");
        let previous = self.secret("EDGE_AUTH_KEY_PREVIOUS");
        let parse = |text: &String| EdgeAuthKey::parse(text);
        let keys = [current.as_ref().map(parse), previous.as_ref().map(parse)];
        match keys {
            [None, None] => None,
            [Some(Some(current)), None] => Some(EdgeAuthKeys { current, previous: None }),
            [Some(Some(current)), Some(previous @ Some(_))] => {
                Some(EdgeAuthKeys { current, previous })
            }
            [_, _] => {
                self.errors.push(E::EdgeAuthKey);
                None
            }
        }
    }

    fn access_token_format(&mut self, serve: &ServeArgs) -> AccessTokenFormat {
        let format = self.text(&serve.access_token_format, "ACCESS_TOKEN_FORMAT");
        match format.as_deref() {
            None | Some("jwt") => AccessTokenFormat::Jwt,
            Some("opaque") => AccessTokenFormat::Opaque,
            Some(_) => {
                self.errors.push(E::AccessTokenFormat);
                AccessTokenFormat::Jwt
            }
        }
    }

    fn cookie_origins(&mut self, serve: &ServeArgs, issuer: &str) -> Vec<String> {
        let Some(origins) = self.text(&serve.cookie_origins, "COOKIE_ORIGINS") else {
            return origin_of(issuer).split(',').map(|origin| origin.trim().to_owned()).collect();
        };
        let origins: Vec<String> =
            origins.split(',').map(|origin| origin.trim().to_owned()).collect();
        if !origins.iter().all(|origin| is_url(origin) && origin_of(origin) == *origin) {
            self.errors.push(E::CookieOrigins);
        }
        origins
    }

    fn introspection_clients(&mut self) -> IntrospectionClients {
        let clients = self.secret("INTROSPECTION_CLIENTS").unwrap_or_default();
        IntrospectionClients::parse(&clients).unwrap_or_else(|error| {
            self.errors.push(match error {
                ClientsError::Malformed => E::ClientsMalformed,
                ClientsError::SecretShort => E::ClientSecretShort,
            });
            IntrospectionClients::default()
        })
    }

    fn attempts(&mut self, serve: &ServeArgs) -> LoginAttemptLimits {
        let per_username = self.number(
            &serve.login_attempts_per_username,
            "LOGIN_ATTEMPTS_PER_USERNAME",
            0..=1000,
            5,
        );
        let per_address = self.number(
            &serve.login_attempts_per_address,
            "LOGIN_ATTEMPTS_PER_ADDRESS",
            0..=100_000,
            20,
        );
        LoginAttemptLimits { per_username: to_u32(per_username), per_address: to_u32(per_address) }
    }
}

/// Returns whether a SQLite URL, without its scheme, names no file.
fn is_in_memory(url: &str) -> bool {
    let (file, options) = url.split_once('?').unwrap_or((url, ""));
    let file = file.trim_start_matches("//");
    file.is_empty() || file == ":memory:" || options.split('&').any(|own| own == "mode=memory")
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['?', '#', ' '])
    })
}

/// Returns scheme, host and port of a URL.
fn origin_of(url: &str) -> String {
    let host = url.split_once("://").map_or(0, |(scheme, _)| scheme.len() + 3);
    let rest = url.get(host..).unwrap_or_default();
    let end = rest.find('/').map_or(url.len(), |place| host + place);
    url.get(..end).unwrap_or_default().to_owned()
}

fn to_u32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

const YEAR_SECONDS: u64 = 31_536_000;
/// The shortest time that a key signs, unless that is unlimited.
const KEY_SECONDS_MIN: u64 = 3600;

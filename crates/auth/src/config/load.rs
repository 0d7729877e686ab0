//! The validation of settings, command by command.

use super::console::read_console;
use super::secrets::{edge_auth_keys, introspection_clients, master_key, record_encryption};
use super::server::read_server;
use super::settings::{AccessTokenFormat, Config, StoreSettings};
use super::table::{
    ACCESS_TOKEN_FORMAT, ACCESS_TOKEN_SECONDS, API_KEY_PREFIX, API_KEYS_PER_OWNER_MAX, AUDIENCE,
    AUDIT_DAYS, CLIENT_ID, COOKIE_ORIGINS, DATABASE_URL, ISSUER, KEY_PREFIX,
    LOGIN_ATTEMPTS_PER_ADDRESS, LOGIN_ATTEMPTS_PER_USERNAME, MANAGEMENT_WRITES_PER_MINUTE,
    OTEL_SERVICE_NAME, REFRESH_GRACE_SECONDS, REFRESH_IDLE_SECONDS, REFRESH_TOKEN_SECONDS,
    SESSIONS_PER_USER_MAX, SIGNING_ALGORITHM, SIGNING_KEY_SECONDS, STORE_TOKEN, STORE_URL,
    TRUSTED_PROXY_HOPS, USAGE_DAYS,
};
use super::text::{is_in_memory, origin_of};
use crate::accounts::LoginAttemptLimits;
use crate::api_keys::ApiKeySettings;
use crate::outbox::RecordSettings;
use crate::signing_keys::{KeyAlgorithm, SigningSettings};
use portcullis_server::settings::SettingsReader;
use portcullis_server::telemetry::TelemetrySettings;

/// Returns the URL of the database.
pub fn read_database_url(reader: &mut SettingsReader<'_>) -> String {
    let url = reader.text(&DATABASE_URL).unwrap_or_default();
    if is_in_memory(&url) {
        let problem = "a database in memory loses all sessions and each connection has its own; \
                       give a file, such as sqlite://portcullis.db";
        reader.add_error(&DATABASE_URL, problem);
    }
    url
}

/// Returns how long a session may be idle.
pub fn read_idle_seconds(reader: &mut SettingsReader<'_>) -> u64 {
    reader.number(&REFRESH_IDLE_SECONDS).into()
}

/// Returns how long security events are kept.
pub fn read_audit_seconds(reader: &mut SettingsReader<'_>) -> u64 {
    u64::from(reader.number(&AUDIT_DAYS)) * 86_400
}

/// Returns how long the hourly counts of requests are kept.
pub fn read_usage_seconds(reader: &mut SettingsReader<'_>) -> u64 {
    u64::from(reader.number(&USAGE_DAYS)) * 86_400
}

/// Returns the settings of the store.
pub fn read_store(reader: &mut SettingsReader<'_>) -> StoreSettings {
    let issuer = reader.text(&ISSUER).unwrap_or_default();
    let url = reader.text(&STORE_URL).unwrap_or_default();
    // memcached has no tokens.
    let token = match url.starts_with("memcached") {
        true => String::new(),
        false => reader.secret(&STORE_TOKEN).unwrap_or_default(),
    };
    let key_prefix = reader.text(&KEY_PREFIX).unwrap_or_default();
    StoreSettings { issuer, url: url.trim_end_matches('/').to_owned(), token, key_prefix }
}

/// Returns the settings of API keys.
pub fn read_api_keys(reader: &mut SettingsReader<'_>) -> ApiKeySettings {
    ApiKeySettings {
        prefix: reader.text(&API_KEY_PREFIX).unwrap_or_default(),
        per_owner_max: reader.number(&API_KEYS_PER_OWNER_MAX),
    }
}

/// Returns what the records of API keys need, for commands that may do without.
pub fn read_records(reader: &mut SettingsReader<'_>) -> Option<RecordSettings> {
    let seal = record_encryption(reader);
    if !reader.is_set(&AUDIENCE) {
        return None;
    }
    Some(RecordSettings { audience: reader.text(&AUDIENCE)?, seal })
}

/// Returns the settings of `serve`, or `None` if one without a default is invalid. The caller must
/// reject them if there are errors.
pub fn read_config(reader: &mut SettingsReader<'_>) -> Option<Config> {
    let store = read_store(reader);
    let database_url = read_database_url(reader);
    let audience = reader.text(&AUDIENCE).unwrap_or_default();
    let client_id = reader.text(&CLIENT_ID).unwrap_or_default();
    let seal = record_encryption(reader);
    let edge_auth_keys = edge_auth_keys(reader);
    let master_key = master_key(reader);
    let algorithm: Option<KeyAlgorithm> =
        reader.text(&SIGNING_ALGORITHM).and_then(|name| name.parse().ok());
    let access_token_format = match reader.text(&ACCESS_TOKEN_FORMAT).as_deref() {
        Some("opaque") => AccessTokenFormat::Opaque,
        _ => AccessTokenFormat::Jwt,
    };
    let cookie_origins = reader.list(&COOKIE_ORIGINS);
    let cookie_origins = cookie_origins.unwrap_or_else(|| vec![origin_of(&store.issuer)]);
    let introspection_clients = introspection_clients(reader);
    let server = read_server(reader);
    let access_token_seconds = reader.number(&ACCESS_TOKEN_SECONDS).into();
    let refresh_token_seconds = reader.number(&REFRESH_TOKEN_SECONDS).into();
    let refresh_grace_seconds = reader.number(&REFRESH_GRACE_SECONDS).into();
    let key_seconds = reader.number(&SIGNING_KEY_SECONDS).into();
    let sessions_per_user_max = reader.number(&SESSIONS_PER_USER_MAX);
    let trusted_proxy_hops = reader.number(&TRUSTED_PROXY_HOPS);
    let attempts = LoginAttemptLimits {
        per_username: reader.number(&LOGIN_ATTEMPTS_PER_USERNAME),
        per_address: reader.number(&LOGIN_ATTEMPTS_PER_ADDRESS),
    };
    let refresh_idle_seconds = read_idle_seconds(reader);
    let audit_seconds = read_audit_seconds(reader);
    let api_keys = read_api_keys(reader);
    let usage_seconds = read_usage_seconds(reader);
    let console = read_console(reader);
    let management_writes_per_minute = reader.number(&MANAGEMENT_WRITES_PER_MINUTE);
    let telemetry = TelemetrySettings::read(reader, &OTEL_SERVICE_NAME);
    if refresh_idle_seconds < access_token_seconds {
        let other = reader.place(&ACCESS_TOKEN_SECONDS).name().to_owned();
        let problem = format!("must not be shorter than {other}; raise it, or lower that");
        reader.add_error(&REFRESH_IDLE_SECONDS, problem);
    }
    Some(Config {
        server: server?,
        database_url,
        store,
        audience,
        client_id,
        seal,
        edge_auth_keys,
        trusted_proxy_hops,
        signing: SigningSettings { master_key: master_key?, algorithm: algorithm?, key_seconds },
        access_token_format,
        access_token_seconds,
        refresh_token_seconds,
        refresh_idle_seconds,
        refresh_grace_seconds,
        sessions_per_user_max,
        cookie_origins,
        introspection_clients,
        attempts,
        audit_seconds,
        api_keys,
        usage_seconds,
        console,
        management_writes_per_minute,
        telemetry,
    })
}

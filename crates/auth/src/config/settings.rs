//! The settings, validated.

use super::console::ConsoleSettings;
use super::server::ServerSettings;
use crate::accounts::{IntrospectionClients, LoginAttemptLimits};
use crate::api_keys::ApiKeySettings;
use crate::signing_keys::SigningSettings;
use portcullis_core::{EdgeAuthKeys, Seal};
use portcullis_server::telemetry::TelemetrySettings;

/// The settings of `serve`.
pub struct Config {
    pub server: ServerSettings,
    pub database_url: String,
    pub store: StoreSettings,
    pub audience: String,
    pub client_id: String,
    /// The key that encrypts records in the store, if any.
    pub seal: Option<Seal>,
    /// The keys that authenticate the edge, if any.
    pub edge_auth_keys: Option<EdgeAuthKeys>,
    /// How many proxies append to `X-Forwarded-For` before a request that is not the edge's.
    pub trusted_proxy_hops: u32,
    pub signing: SigningSettings,
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
    pub api_keys: ApiKeySettings,
    pub usage_seconds: u64,
    /// The operator console, if it is on.
    pub console: Option<ConsoleSettings>,
    /// Changes by one caller at the management endpoints; 0 for any number.
    pub management_writes_per_minute: u32,
    /// Where traces go.
    pub telemetry: TelemetrySettings,
}

/// The store, and the names of its keys.
#[derive(Clone)]
pub struct StoreSettings {
    pub issuer: String,
    pub url: String,
    pub token: String,
    pub key_prefix: String,
}

/// The format of access tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AccessTokenFormat {
    Jwt,
    Opaque,
}

//! The configuration, from flags and environment, with all errors reported together.

mod error;
mod reloadable;
mod settings;
mod tls;

pub use error::ConfigError;
pub use reloadable::Reloadable;
pub use settings::Settings;

use crate::redis_url::{Deployment, ExtraOptions, Secret};
use clap::CommandFactory as _;
use portcullis_server::Bounds;
use std::net::SocketAddr;
use std::time::Duration;

/// The validated configuration.
pub struct Config {
    pub listen: SocketAddr,
    /// For readiness and metrics.
    pub admin_listen: SocketAddr,
    pub bounds: Bounds,
    pub deployment: Deployment,
    /// How long Redis may take for one request.
    pub timeout: Duration,
    pub streams_max: usize,
    pub response_memory_mib: usize,
    pub redis_connections: usize,
    pub threads: usize,
    pub reloadable: Reloadable,
}

impl Config {
    /// Validates the settings, with secrets from the environment. Returns `Err` with all errors.
    pub fn parse(settings: &Settings) -> Result<Self, Vec<ConfigError>> {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let mut misspelt = misspelt_names(names);
        match Self::check(settings, |name| std::env::var(name).ok()) {
            Ok(config) if misspelt.is_empty() => Ok(config),
            outcome => {
                misspelt.extend(outcome.err().unwrap_or_default());
                Err(misspelt)
            }
        }
    }

    fn check(
        settings: &Settings,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut number = |text: &str, min: usize, max: usize, error: ConfigError| {
            let number = text.parse().ok().filter(|number| (min..=max).contains(number));
            if number.is_none() {
                errors.push(error);
            }
            number.unwrap_or(min)
        };
        let timeout_ms = number(&settings.deadline_ms, 1, 60_000, ConfigError::Deadline);
        let connections_max =
            number(&settings.connections_max, 1, 1_000_000, ConfigError::Connections);
        let streams_max = number(&settings.streams_max, 0, 100_000, ConfigError::Streams);
        let anonymous_per_network_max = match &settings.connections_per_network {
            Some(text) => number(text, 1, 1_000_000, ConfigError::ConnectionsPerNetwork),
            None => connections_max.div_ceil(4),
        };
        let idle_seconds = number(&settings.idle_seconds, 1, 3600, ConfigError::Idle);
        let drain_seconds = number(&settings.drain_seconds, 1, 600, ConfigError::Drain);
        let response_memory_mib =
            number(&settings.response_memory_mib, 128, 1 << 20, ConfigError::ResponseMemory);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = match &settings.threads {
            Some(text) => number(text, 1, 256, ConfigError::Threads),
            None => cores.saturating_sub(1).max(1),
        };
        let redis_connections = match &settings.redis_connections {
            Some(text) => number(text, 1, 64, ConfigError::RedisConnections),
            None => 2 * cores.min(32),
        };
        let mut address = |text: &str, error: ConfigError| {
            let address = text.parse().ok();
            if address.is_none() {
                errors.push(error);
            }
            address
        };
        let listen = address(&settings.listen, ConfigError::Listen);
        let admin_listen = address(&settings.admin_listen, ConfigError::AdminListen);
        let extra = ExtraOptions {
            tls: tls::client_config(settings, &mut errors),
            sentinel_username: settings.redis_sentinel_username.clone(),
            sentinel_password: lookup("REDIS_SENTINEL_PASSWORD").map(Secret::new),
        };
        // A rediss:// URL fails without TLS, but the certificates' error is reported already.
        let lacks_tls = extra.tls.is_none() && settings.redis_url.starts_with("rediss://");
        let deployment = Deployment::parse(&settings.redis_url, &extra);
        if deployment.is_none() && !lacks_tls {
            errors.push(ConfigError::RedisUrl);
        }
        let reloadable = Reloadable::check(settings, lookup).map_err(|more| errors.extend(more));
        let bounds = Bounds {
            connections_max,
            anonymous_per_network_max,
            idle: seconds(idle_seconds),
            drain: seconds(drain_seconds),
            head_bytes_max: HEAD_BYTES_MAX,
            headers_max: HEADERS_MAX,
        };
        match (listen, admin_listen, deployment, reloadable) {
            (Some(listen), Some(admin_listen), Some(deployment), Ok(reloadable))
                if errors.is_empty() =>
            {
                Ok(Self {
                    listen,
                    admin_listen,
                    bounds,
                    deployment,
                    timeout: Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(1)),
                    streams_max,
                    response_memory_mib,
                    redis_connections,
                    threads,
                    reloadable,
                })
            }
            _ => Err(errors),
        }
    }
}

/// Returns an error for each name of an environment variable that seems to mean a setting.
fn misspelt_names(names: impl Iterator<Item = String>) -> Vec<ConfigError> {
    let command = Settings::command();
    let flags = command.get_arguments().filter_map(|flag| flag.get_env()?.to_str());
    let settings: Vec<&str> = flags.chain(SECRETS).collect();
    names
        .filter_map(|name| {
            let setting = setting_names::misspelt(&name, &settings, &["GATEWAY_"])?.to_owned();
            Some(ConfigError::NameMisspelt { name, setting })
        })
        .collect()
}

/// The settings that have no flags.
const SECRETS: [&str; 2] = ["GATEWAY_TOKENS", "REDIS_SENTINEL_PASSWORD"];

fn seconds(number: usize) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(1))
}

const HEADERS_MAX: usize = 64;
/// Large, because a path may contain a whole command.
const HEAD_BYTES_MAX: usize = 128 << 10;

#[cfg(test)]
mod tests;

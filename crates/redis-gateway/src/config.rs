//! The configuration, from flags and environment, with all errors reported together.

mod error;
mod reloadable;
mod settings;
mod tls;

pub use error::ConfigError;
pub use reloadable::Reloadable;
pub use settings::Settings;

use crate::redis_url::{Deployment, ExtraOptions, Secret};
use std::net::SocketAddr;
use std::time::Duration;

/// The validated configuration.
pub struct Config {
    pub listen: SocketAddr,
    pub deployment: Deployment,
    /// How long Redis may take for one request.
    pub timeout: Duration,
    pub connections_max: usize,
    pub streams_max: usize,
    pub idle: Duration,
    pub response_memory_mib: usize,
    pub redis_connections: usize,
    pub threads: usize,
    pub reloadable: Reloadable,
}

impl Config {
    /// Validates the settings, with secrets from the environment. Returns `Err` with all errors.
    pub fn parse(settings: &Settings) -> Result<Self, Vec<ConfigError>> {
        Self::check(settings, |name| std::env::var(name).ok())
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
        let idle_seconds = number(&settings.idle_seconds, 1, 3600, ConfigError::Idle);
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
        let listen = settings.listen.parse().ok();
        if listen.is_none() {
            errors.push(ConfigError::Listen);
        }
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
        match (listen, deployment, reloadable) {
            (Some(listen), Some(deployment), Ok(reloadable)) if errors.is_empty() => Ok(Self {
                listen,
                deployment,
                timeout: Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(1)),
                connections_max,
                streams_max,
                idle: Duration::from_secs(u64::try_from(idle_seconds).unwrap_or(1)),
                response_memory_mib,
                redis_connections,
                threads,
                reloadable,
            }),
            _ => Err(errors),
        }
    }
}

#[cfg(test)]
mod tests;

//! The configuration, from flags, environment and a file, with all errors reported together.

mod command_line;
mod reloadable;
mod srh;
mod table;
mod tls;

pub use command_line::{Action, CommandLine, command};
pub use reloadable::{Reloadable, ReloadableFiles};

use crate::redis_url::{Deployment, ExtraOptions, Secret};
use portcullis_server::settings::{CertificateFiles, SettingError, SettingsReader, Sources};
use portcullis_server::telemetry::TelemetrySettings;
use portcullis_server::{Bounds, HealthCheck, HealthOptions};
use srh::{SrhEntry, SrhSource};
use std::net::SocketAddr;
use std::time::Duration;
use table::{
    GATEWAY_ADMIN_LISTEN, GATEWAY_CONNECTIONS_MAX, GATEWAY_CONNECTIONS_PER_NETWORK,
    GATEWAY_DEADLINE_MS, GATEWAY_DRAIN_SECONDS, GATEWAY_IDLE_SECONDS, GATEWAY_LISTEN,
    GATEWAY_REDIS_CONNECTIONS, GATEWAY_RESPONSE_MEMORY_MIB, GATEWAY_STREAMS_MAX, GATEWAY_THREADS,
    GATEWAY_TLS_CERT_FILE, GATEWAY_TLS_KEY_FILE, OTEL_SERVICE_NAME, REDIS_CERT_FILE,
    REDIS_KEY_FILE, REDIS_SENTINEL_PASSWORD, REDIS_SENTINEL_USERNAME, REDIS_URL, TABLE,
};

/// The validated configuration.
pub struct Config {
    pub listen: SocketAddr,
    /// For readiness and metrics.
    pub admin_listen: SocketAddr,
    pub bounds: Bounds,
    /// The Redis of each token; one, except with serverless-redis-http's configuration.
    pub redis: Vec<RedisSettings>,
    /// How long Redis may take for one request.
    pub timeout: Duration,
    pub streams_max: usize,
    pub response_memory_mib: usize,
    pub threads: usize,
    pub reloadable: Reloadable,
    /// What SIGHUP reads again.
    pub reloadable_files: ReloadableFiles,
    /// Whether the configuration is serverless-redis-http's.
    pub is_srh: bool,
    /// Where traces go.
    pub telemetry: TelemetrySettings,
}

/// A Redis deployment, and how many connections it has.
pub struct RedisSettings {
    pub deployment: Deployment,
    pub connections: usize,
}

impl Config {
    /// Validates the settings. Returns `Err` with all errors.
    pub fn load(command_line: &CommandLine) -> Result<Self, Vec<SettingError>> {
        Self::read(reader_of(command_line))
    }

    fn read(reader: SettingsReader<'_>) -> Result<Self, Vec<SettingError>> {
        Self::read_with(reader, &srh::FILES)
    }

    /// `srh_files` are the paths at which serverless-redis-http's file may be.
    fn read_with(
        mut reader: SettingsReader<'_>,
        srh_files: &[&str],
    ) -> Result<Self, Vec<SettingError>> {
        match read(&mut reader, srh_files) {
            Some(config) if reader.is_valid() => Ok(config),
            _ => Err(reader.into_errors()),
        }
    }
}

/// Returns the check of a redis gateway with these settings, or `Err` with all errors.
pub fn load_health_check(
    command_line: &CommandLine,
    options: HealthOptions,
) -> Result<HealthCheck, Vec<SettingError>> {
    let mut reader = reader_of(command_line);
    match read_health_check(&mut reader, options) {
        Some(check) if reader.is_valid() => Ok(check),
        _ => Err(reader.into_errors()),
    }
}

fn read_health_check(
    reader: &mut SettingsReader<'_>,
    options: HealthOptions,
) -> Option<HealthCheck> {
    let srh = SrhSource::detect(reader, &srh::FILES);
    let listen = match srh {
        Some(_) => srh::listen(reader),
        None => reader.address(&GATEWAY_LISTEN),
    };
    let admin = reader.address(&GATEWAY_ADMIN_LISTEN);
    let certificate = CertificateFiles::read(reader, &GATEWAY_TLS_CERT_FILE, &GATEWAY_TLS_KEY_FILE);
    let check = HealthCheck::new(options, listen?, certificate.is_set(), admin?);
    let setting = if options.ready { GATEWAY_ADMIN_LISTEN } else { GATEWAY_LISTEN };
    check.map_err(|problem| reader.add_error(&setting, problem)).ok()
}

fn reader_of(command_line: &CommandLine) -> SettingsReader<'_> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let sources = Sources {
        flags: command_line.flags.clone(),
        environment: &|name| std::env::var(name).ok(),
        names: names.collect(),
        file: command_line.file.as_deref(),
    };
    SettingsReader::new(&TABLE, sources)
}

/// Reads the settings. Returns `None` if one without a default is invalid.
fn read(reader: &mut SettingsReader<'_>, srh_files: &[&str]) -> Option<Config> {
    let srh = SrhSource::detect(reader, srh_files);
    let timeout = match srh {
        Some(_) if !reader.is_set(&GATEWAY_DEADLINE_MS) => SRH_TIMEOUT,
        _ => Duration::from_millis(reader.number(&GATEWAY_DEADLINE_MS).into()),
    };
    let connections_max = to_usize(reader.number(&GATEWAY_CONNECTIONS_MAX));
    let anonymous_per_network_max = match reader.optional_number(&GATEWAY_CONNECTIONS_PER_NETWORK) {
        Some(number) => to_usize(number),
        None => connections_max.div_ceil(4),
    };
    let bounds = Bounds {
        connections_max,
        anonymous_per_network_max,
        idle: Duration::from_secs(reader.number(&GATEWAY_IDLE_SECONDS).into()),
        drain: Duration::from_secs(reader.number(&GATEWAY_DRAIN_SECONDS).into()),
        head_bytes_max: HEAD_BYTES_MAX,
        headers_max: HEADERS_MAX,
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = match reader.optional_number(&GATEWAY_THREADS) {
        Some(number) => to_usize(number),
        None => cores.saturating_sub(1).max(1),
    };
    let redis_connections = match reader.optional_number(&GATEWAY_REDIS_CONNECTIONS) {
        Some(number) => to_usize(number),
        None => 2 * cores.min(32),
    };
    let streams_max = to_usize(reader.number(&GATEWAY_STREAMS_MAX));
    let response_memory_mib = to_usize(reader.number(&GATEWAY_RESPONSE_MEMORY_MIB));
    let listen = match srh {
        Some(_) => srh::listen(reader),
        None => reader.address(&GATEWAY_LISTEN),
    };
    let admin_listen = reader.address(&GATEWAY_ADMIN_LISTEN);
    let extra = read_extra_options(reader);
    let telemetry = TelemetrySettings::read(reader, &OTEL_SERVICE_NAME);
    let is_srh = srh.is_some();
    let (redis, reloadable_files) = match srh {
        None => {
            let deployment = read_deployment(reader, &extra);
            let settings =
                |deployment| RedisSettings { deployment, connections: redis_connections };
            (deployment.map(|one| vec![settings(one)]), ReloadableFiles::read(reader))
        }
        Some(source) => {
            source.warn_of_unused(reader);
            let entries = distinct_servers(source.entries().0);
            // All of them first, so that each error is reported.
            let redis: Vec<Option<RedisSettings>> =
                entries.iter().map(|entry| read_srh_server(reader, &extra, entry)).collect();
            let redis = redis.into_iter().collect();
            let servers = entries.into_iter().map(|entry| entry.connection_string).collect();
            (redis, ReloadableFiles::read_with_srh(reader, source, servers))
        }
    };
    let reloadable = reloadable_files.load();
    let reloadable = reloadable.map_err(|errors| {
        errors.into_iter().for_each(|error| reader.add(error));
    });
    Some(Config {
        listen: listen?,
        admin_listen: admin_listen?,
        bounds,
        redis: redis?,
        timeout,
        streams_max,
        response_memory_mib,
        threads,
        reloadable: reloadable.ok()?,
        reloadable_files,
        is_srh,
        telemetry,
    })
}

/// Reads how to connect to Redis.
fn read_extra_options(reader: &mut SettingsReader<'_>) -> ExtraOptions {
    let certificate = CertificateFiles::read(reader, &REDIS_CERT_FILE, &REDIS_KEY_FILE);
    ExtraOptions {
        tls: tls::client_config(reader, &certificate),
        sentinel_username: reader.text(&REDIS_SENTINEL_USERNAME),
        sentinel_password: reader.secret(&REDIS_SENTINEL_PASSWORD).map(Secret::new),
    }
}

/// Reads where Redis is.
fn read_deployment(reader: &mut SettingsReader<'_>, extra: &ExtraOptions) -> Option<Deployment> {
    let url = reader.text(&REDIS_URL)?;
    let deployment = Deployment::parse(&url, extra);
    if deployment.is_none() && !lacks_tls(&url, extra) {
        let problem = "must be redis://host:port/database (rediss:// for TLS), \
                       redis://sentinel,sentinel/name, redis://node,node or redis://node?cluster";
        reader.add_error(&REDIS_URL, problem);
    }
    deployment
}

/// Returns whether a URL fails for want of TLS. The certificates' error is reported already.
fn lacks_tls(url: &str, extra: &ExtraOptions) -> bool {
    extra.tls.is_none() && url.starts_with("rediss://")
}

/// Returns the first entry of each server, with the most connections that one of them has.
fn distinct_servers(entries: Vec<SrhEntry>) -> Vec<SrhEntry> {
    let mut distinct: Vec<SrhEntry> = Vec::new();
    for entry in entries {
        let mut known = distinct.iter_mut();
        match known.find(|known| known.connection_string == entry.connection_string) {
            Some(known) => known.connections = known.connections.max(entry.connections),
            None => distinct.push(entry),
        }
    }
    distinct
}

fn read_srh_server(
    reader: &mut SettingsReader<'_>,
    extra: &ExtraOptions,
    entry: &SrhEntry,
) -> Option<RedisSettings> {
    let deployment = Deployment::parse(entry.address(), extra);
    if deployment.is_none() && !lacks_tls(entry.address(), extra) {
        let problem = "must be redis://[user:password@]host:port/database, rediss:// for TLS";
        reader.add(entry.place.error(problem));
    }
    Some(RedisSettings { deployment: deployment?, connections: entry.connections() })
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// serverless-redis-http's.
const SRH_TIMEOUT: Duration = Duration::from_secs(5);
const HEADERS_MAX: usize = 64;
/// Large, because a path may contain a whole command.
const HEAD_BYTES_MAX: usize = 128 << 10;

#[cfg(test)]
mod tests;

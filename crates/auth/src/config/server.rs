//! The settings of the server's listeners.

use super::table::{
    AUTH_ADMIN_LISTEN, AUTH_CONNECTIONS_MAX, AUTH_CONNECTIONS_PER_NETWORK, AUTH_DRAIN_SECONDS,
    AUTH_IDLE_SECONDS, AUTH_LISTEN, AUTH_TLS_CERT_FILE, AUTH_TLS_KEY_FILE,
};
use portcullis_server::settings::{CertificateFiles, SettingsReader};
use portcullis_server::{Bounds, HealthCheck, HealthOptions};
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The settings of the server's listeners.
#[derive(Clone)]
pub struct ServerSettings {
    pub listen: SocketAddr,
    /// For readiness and metrics.
    pub admin_listen: SocketAddr,
    pub bounds: Bounds,
    pub certificate_files: CertificateFiles,
    /// The certificate at the start, if there is TLS.
    pub tls: Option<Arc<ServerConfig>>,
}

/// Returns the settings of the listeners, or `None` if an address is invalid.
pub(super) fn read_server(reader: &mut SettingsReader<'_>) -> Option<ServerSettings> {
    let listen = reader.address(&AUTH_LISTEN);
    let admin_listen = reader.address(&AUTH_ADMIN_LISTEN);
    let connections_max = reader.number(&AUTH_CONNECTIONS_MAX);
    let anonymous_per_network_max = reader.optional_number(&AUTH_CONNECTIONS_PER_NETWORK);
    let anonymous_per_network_max =
        anonymous_per_network_max.unwrap_or_else(|| connections_max.div_ceil(4));
    let idle = Duration::from_secs(reader.number(&AUTH_IDLE_SECONDS).into());
    let drain = Duration::from_secs(reader.number(&AUTH_DRAIN_SECONDS).into());
    let certificate_files = CertificateFiles::read(reader, &AUTH_TLS_CERT_FILE, &AUTH_TLS_KEY_FILE);
    let tls = certificate_files.server_config().unwrap_or_else(|errors| {
        errors.into_iter().for_each(|error| reader.add(error));
        None
    });
    let bounds = Bounds {
        connections_max: to_usize(connections_max),
        anonymous_per_network_max: to_usize(anonymous_per_network_max),
        idle,
        drain,
        head_bytes_max: HEAD_BYTES_MAX,
        headers_max: HEADERS_MAX,
    };
    let (listen, admin_listen) = (listen?, admin_listen?);
    Some(ServerSettings { listen, admin_listen, bounds, certificate_files, tls })
}

/// Returns the check of a server with these settings, or `None` if they are invalid.
pub fn read_health_check(
    reader: &mut SettingsReader<'_>,
    options: HealthOptions,
) -> Option<HealthCheck> {
    let (listen, admin) = (reader.address(&AUTH_LISTEN), reader.address(&AUTH_ADMIN_LISTEN));
    let certificate = CertificateFiles::read(reader, &AUTH_TLS_CERT_FILE, &AUTH_TLS_KEY_FILE);
    let check = HealthCheck::new(options, listen?, certificate.is_set(), admin?);
    let setting = if options.ready { AUTH_ADMIN_LISTEN } else { AUTH_LISTEN };
    check.map_err(|problem| reader.add_error(&setting, problem)).ok()
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// As many header fields as the edge passes on.
const HEADERS_MAX: usize = 128;
/// Tokens come in the body or in one header field. The edge's requests are far smaller.
const HEAD_BYTES_MAX: usize = 32 << 10;

//! The settings of the server's listeners.

use super::error::ConfigError as E;
use super::reader::SettingsReader;
use crate::cli::ServeArgs;
use portcullis_server::{Bounds, tls};
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::path::PathBuf;
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

/// The files of the server's certificate and key, if there is TLS.
#[derive(Clone, Default)]
pub struct CertificateFiles {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl CertificateFiles {
    /// Loads the files. Returns `None` if there is no TLS, or `Err` with all errors.
    pub fn load(&self) -> Result<Option<Arc<ServerConfig>>, Vec<E>> {
        tls::server_config(self.certificate.as_deref(), self.key.as_deref())
            .map_err(|errors| errors.into_iter().map(E::Tls).collect())
    }
}

impl SettingsReader<'_> {
    /// Returns the settings of the listeners. Returns `None` if an address is invalid.
    pub(super) fn server(&mut self, serve: &ServeArgs) -> Option<ServerSettings> {
        let listen = self.address(&serve.listen, "AUTH_LISTEN", "127.0.0.1:8788");
        let admin_listen = self.address(&serve.admin_listen, "AUTH_ADMIN_LISTEN", "127.0.0.1:9788");
        let connections_max =
            self.number(&serve.connections_max, "AUTH_CONNECTIONS_MAX", 1..=CONNECTIONS_MAX, 1024);
        let anonymous_per_network_max = self.number(
            &serve.connections_per_network,
            "AUTH_CONNECTIONS_PER_NETWORK",
            1..=CONNECTIONS_MAX,
            connections_max.div_ceil(4),
        );
        let idle = self.number(&serve.idle_seconds, "AUTH_IDLE_SECONDS", 1..=3600, 75);
        let drain = self.number(&serve.drain_seconds, "AUTH_DRAIN_SECONDS", 1..=600, 15);
        let file = |flag: &Option<String>, name: &str| self.text(flag, name).map(PathBuf::from);
        let certificate_files = CertificateFiles {
            certificate: file(&serve.tls_cert_file, "AUTH_TLS_CERT_FILE"),
            key: file(&serve.tls_key_file, "AUTH_TLS_KEY_FILE"),
        };
        let tls = certificate_files.load().unwrap_or_else(|errors| {
            self.errors.extend(errors);
            None
        });
        let bounds = Bounds {
            connections_max: to_usize(connections_max),
            anonymous_per_network_max: to_usize(anonymous_per_network_max),
            idle: Duration::from_secs(idle),
            drain: Duration::from_secs(drain),
            head_bytes_max: HEAD_BYTES_MAX,
            headers_max: HEADERS_MAX,
        };
        let (listen, admin_listen) = (listen?, admin_listen?);
        Some(ServerSettings { listen, admin_listen, bounds, certificate_files, tls })
    }

    fn address(
        &mut self,
        flag: &Option<String>,
        name: &'static str,
        default: &'static str,
    ) -> Option<SocketAddr> {
        let address = self.text(flag, name);
        let address = address.as_deref().unwrap_or(default).parse().ok();
        if address.is_none() {
            self.errors.push(E::Listen { name, example: default });
        }
        address
    }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

const CONNECTIONS_MAX: u64 = 1_000_000;
/// As many header fields as the edge passes on.
const HEADERS_MAX: usize = 128;
/// Tokens come in the body or in one header field. The edge's requests are far smaller.
const HEAD_BYTES_MAX: usize = 32 << 10;

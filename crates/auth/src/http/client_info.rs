//! The client of a request. The edge states it, if the edge has authenticated itself. Otherwise
//! trusted proxies or the connection state it.

use super::headers::text;
use crate::audit::ClientInfo;
use crate::config::Config;
use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use portcullis_core::{
    EDGE_ADDRESS_FIELD, EDGE_AUTH_FIELD, EdgeAuthError, EdgeAuthKeys, EdgeStatement, UnixSeconds,
    forwarded_address,
};
use portcullis_server::Connection;
use prometheus::{IntCounterVec, Opts};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Determines the client of a request.
pub struct ClientInfoReader {
    edge_auth_keys: Option<EdgeAuthKeys>,
    trusted_proxy_hops: u32,
    outcomes: IntCounterVec,
    /// When the last warning about a request without a valid MAC was logged, in Unix seconds.
    warned_at: AtomicU64,
    has_warned_of_proxies: AtomicBool,
}

impl ClientInfoReader {
    /// Creates a reader with the settings of `config`.
    pub fn new(config: &Config) -> Result<Self, prometheus::Error> {
        let outcomes = Opts::new(
            "portcullis_auth_edge_auth_total",
            "Requests, by the outcome of the edge's proof (EDGE_AUTH_KEY).",
        );
        Ok(Self {
            edge_auth_keys: config.edge_auth_keys.clone(),
            trusted_proxy_hops: config.trusted_proxy_hops,
            outcomes: IntCounterVec::new(outcomes, &["outcome"])?,
            warned_at: AtomicU64::new(0),
            has_warned_of_proxies: AtomicBool::new(false),
        })
    }

    /// Returns the counter of outcomes, to be registered with the metrics.
    pub fn outcomes(&self) -> IntCounterVec {
        self.outcomes.clone()
    }

    /// Returns the client of a request that is sent directly, such as one to introspect a token.
    /// The edge does not forward such requests, so none can be authenticated by it.
    pub fn direct_client_info(&self, parts: &Parts) -> ClientInfo {
        let address = self.address_without_edge(parts).map(|address| address.to_string());
        let request_id = text(&parts.headers, "x-request-id", 64);
        ClientInfo { address: address.unwrap_or_default(), request_id, ..ClientInfo::default() }
    }

    /// Returns the client of a request to the console. The edge authenticates itself to the auth
    /// service's own listener alone.
    pub fn console_client_info(&self, parts: &Parts) -> ClientInfo {
        let device = text(&parts.headers, header::USER_AGENT.as_str(), 256);
        ClientInfo { device, ..self.direct_client_info(parts) }
    }

    /// Returns the client of a request that the edge forwards.
    pub fn client_info(&self, parts: &Parts, now: UnixSeconds) -> ClientInfo {
        let headers = &parts.headers;
        if !self.is_from_edge(parts, now) {
            return self.direct_client_info(parts);
        }
        let request_id = text(headers, "x-request-id", 64);
        let address = text(headers, EDGE_ADDRESS_FIELD, 45);
        if address.is_empty() {
            self.warn_of_proxies(
                "the edge does not know its clients' addresses, and all count as one; if it is \
                 behind proxies other than Cloudflare, set client_address.trusted_proxy_hops there",
            );
        }
        let country = text(headers, COUNTRY_FIELD, 2);
        let is_country = country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase());
        ClientInfo {
            address,
            device: text(headers, header::USER_AGENT.as_str(), 256),
            country: is_country.then_some(country),
            request_id,
            action: None,
        }
    }

    /// Returns whether the edge has authenticated its statement about the client.
    fn is_from_edge(&self, parts: &Parts, now: UnixSeconds) -> bool {
        let Some(keys) = &self.edge_auth_keys else { return false };
        let outcome = verify(keys, parts, now);
        self.outcomes.with_label_values(&[outcome.name()]).inc();
        if let Some(fix) = outcome.fix() {
            let last = self.warned_at.load(Ordering::Relaxed);
            let is_due = now.0.saturating_sub(last) >= WARNING_SECONDS;
            // Only one of several concurrent requests logs.
            let changed = |at: &AtomicU64| {
                at.compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            };
            if is_due && changed(&self.warned_at) {
                tracing::warn!(event = "edge_not_authenticated", reason = outcome.name(), fix);
            }
        }
        let is_valid = matches!(outcome, Outcome::Valid);
        if let (true, Some(connection)) = (is_valid, parts.extensions.get::<Connection>()) {
            connection.authenticate();
        }
        is_valid
    }

    /// Returns the address of a client that did not come through the edge; `None` if the server
    /// does not know the connection's address.
    fn address_without_edge(&self, parts: &Parts) -> Option<IpAddr> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map(|ConnectInfo(peer)| peer.ip().to_canonical());
        let chain = joined(&parts.headers, "x-forwarded-for");
        if self.trusted_proxy_hops == 0 {
            if !chain.is_empty() && self.edge_auth_keys.is_none() {
                self.warn_of_proxies(
                    "requests have X-Forwarded-For, but all clients of that proxy count as one; \
                     set EDGE_AUTH_KEY here and at the edge, or set TRUSTED_PROXY_HOPS to the \
                     number of proxies that append to the header",
                );
            }
            return peer;
        }
        let address = forwarded_address(&chain, self.trusted_proxy_hops);
        if address.is_none() {
            self.warn_of_proxies(
                "X-Forwarded-For has fewer valid addresses than TRUSTED_PROXY_HOPS, so the \
                 connection's address counts; set TRUSTED_PROXY_HOPS to the number of proxies that \
                 append to the header, and let only those proxies reach this server",
            );
        }
        address.map(|address| address.to_canonical()).or(peer)
    }

    /// Warns once per process.
    fn warn_of_proxies(&self, fix: &str) {
        if !self.has_warned_of_proxies.swap(true, Ordering::Relaxed) {
            tracing::warn!(event = "client_address_uncertain", fix);
        }
    }
}

/// The result of verifying the edge's proof in a request.
#[derive(Clone, Copy)]
enum Outcome {
    Valid,
    Missing,
    Invalid(EdgeAuthError),
}

impl Outcome {
    /// Returns the name in the log and the metrics.
    fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Missing => "missing",
            Self::Invalid(EdgeAuthError::Malformed) => "malformed",
            Self::Invalid(EdgeAuthError::Mismatch) => "mismatch",
            Self::Invalid(EdgeAuthError::Stale) => "stale",
        }
    }

    fn fix(self) -> Option<&'static str> {
        Some(match self {
            Self::Valid => return None,
            Self::Missing => {
                "set EDGE_AUTH_KEY at the edge as well, and let only the edge reach this server"
            }
            Self::Invalid(EdgeAuthError::Malformed | EdgeAuthError::Mismatch) => {
                "give the edge this server's EDGE_AUTH_KEY or EDGE_AUTH_KEY_PREVIOUS, and let no \
                 proxy between them change User-Agent, X-Request-Id, the path or Portcullis-*"
            }
            Self::Invalid(EdgeAuthError::Stale) => {
                "set this server's clock; it differs from the edge's by more than 60 s"
            }
        })
    }
}

fn verify(keys: &EdgeAuthKeys, parts: &Parts, now: UnixSeconds) -> Outcome {
    let headers = &parts.headers;
    if !headers.contains_key(EDGE_AUTH_FIELD) {
        return Outcome::Missing;
    }
    let [field, address, country, device, request_id] =
        [EDGE_AUTH_FIELD, EDGE_ADDRESS_FIELD, COUNTRY_FIELD, "user-agent", "x-request-id"]
            .map(|name| joined(headers, name));
    let statement = EdgeStatement {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        address: &address,
        country: &country,
        device: &device,
        request_id: &request_id,
    };
    match keys.verify(&field, &statement, now) {
        Ok(()) => Outcome::Valid,
        Err(error) => Outcome::Invalid(error),
    }
}

/// Returns all fields of one name, joined as the edge joins them. A field that is not visible ASCII
/// counts as empty.
fn joined(headers: &HeaderMap, name: &str) -> String {
    let values = headers.get_all(name).into_iter();
    let values: Vec<&str> = values.map(|value| value.to_str().unwrap_or_default()).collect();
    values.join(", ")
}

const COUNTRY_FIELD: &str = "portcullis-country";
/// The interval between warnings, because an attacker who reaches this server must not fill the
/// log.
const WARNING_SECONDS: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::config;
    use axum::http::Request;
    use portcullis_core::EdgeAuthKey;

    const NOW: UnixSeconds = UnixSeconds(1_700_000_000);
    const PEER: &str = "10.0.0.1";

    fn key() -> EdgeAuthKey {
        EdgeAuthKey::parse(&"A".repeat(43)).unwrap()
    }

    fn reader(edge_auth_keys: Option<EdgeAuthKeys>, trusted_proxy_hops: u32) -> ClientInfoReader {
        let config = Config { edge_auth_keys, trusted_proxy_hops, ..config("sqlite::memory:") };
        ClientInfoReader::new(&config).unwrap()
    }

    fn request(headers: &[(&str, &str)]) -> Parts {
        let request = Request::post("/auth/login?x=%27");
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let peer: SocketAddr = format!("{PEER}:4711").parse().unwrap();
        request.extension(ConnectInfo(peer)).body(()).unwrap().into_parts().0
    }

    /// Returns a request as sent by the edge, behind a proxy that appends the address that it sees.
    fn from_edge(now: UnixSeconds) -> Parts {
        let statement = EdgeStatement {
            method: "POST",
            path: "/auth/login",
            address: "192.0.2.1",
            country: "DE",
            device: "Mozilla/5.0",
            request_id: "id",
        };
        request(&[
            (EDGE_AUTH_FIELD, &key().sign(&statement, now).unwrap()),
            (EDGE_ADDRESS_FIELD, "192.0.2.1"),
            (COUNTRY_FIELD, "DE"),
            ("user-agent", "Mozilla/5.0"),
            ("x-request-id", "id"),
            ("x-forwarded-for", "192.0.2.1, 172.71.0.1"),
        ])
    }

    #[test]
    fn edges_statement_counts_only_with_a_valid_mac() {
        let keys = || Some(EdgeAuthKeys { current: key(), previous: None });
        let reader_of_edge = reader(keys(), 0);
        let client = reader_of_edge.client_info(&from_edge(NOW), NOW);
        assert_eq!(
            (client.address.as_str(), client.device.as_str(), client.country.as_deref()),
            ("192.0.2.1", "Mozilla/5.0", Some("DE"))
        );
        let mut changed = from_edge(NOW);
        changed.headers.insert(EDGE_ADDRESS_FIELD, "192.0.2.9".parse().unwrap());
        let mut twice = from_edge(NOW);
        twice.headers.append(EDGE_ADDRESS_FIELD, "192.0.2.9".parse().unwrap());
        let mut without = from_edge(NOW);
        without.headers.remove(EDGE_AUTH_FIELD);
        for (parts, now) in
            [(changed, NOW), (twice, NOW), (without, NOW), (from_edge(NOW), NOW.plus(61))]
        {
            let client = reader_of_edge.client_info(&parts, now);
            assert_eq!((client.address.as_str(), client.device.as_str()), (PEER, ""));
            assert_eq!((client.country, client.request_id.as_str()), (None, "id"));
        }
        let count = |outcome: &str| reader_of_edge.outcomes.with_label_values(&[outcome]).get();
        let counts = ["valid", "mismatch", "missing", "stale"].map(count);
        assert_eq!(counts, [1, 2, 1, 1]);
        // Without a key there is nothing to verify.
        assert_eq!(reader(None, 0).client_info(&from_edge(NOW), NOW).address, PEER);
    }

    #[test]
    fn without_the_edge_the_trusted_proxies_entry_counts() {
        let address = |hops, fields: &[&str]| {
            let headers: Vec<_> = fields.iter().map(|value| ("x-forwarded-for", *value)).collect();
            reader(None, hops).client_info(&request(&headers), NOW).address
        };
        let chain = "203.0.113.66, 198.51.100.7, 172.71.0.1";
        for (hops, expect) in
            [(0, PEER), (1, "172.71.0.1"), (2, "198.51.100.7"), (3, "203.0.113.66"), (4, PEER)]
        {
            assert_eq!(address(hops, &[chain]), expect, "{hops}");
        }
        assert_eq!(address(2, &["198.51.100.7", "172.71.0.1"]), "198.51.100.7", "two fields");
        assert_eq!(address(1, &["unknown"]), PEER);
        assert_eq!(address(1, &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(address(1, &["::ffff:192.0.2.1"]), "192.0.2.1");
        assert_eq!(address(1, &[]), PEER);
    }
}

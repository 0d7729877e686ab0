//! The metrics of a listener, for Prometheus.

use prometheus::{IntCounter, IntGauge, Registry};

/// The metrics of a listener.
#[derive(Clone)]
pub struct ListenerMetrics {
    /// Open connections.
    pub connections: IntGauge,
    /// Connections that were closed to make room for others.
    pub evicted: IntCounter,
    /// Connections over a limit, without a TLS handshake, or without a head.
    pub refused: IntCounter,
}

impl ListenerMetrics {
    /// Creates the metrics. Each name begins with `prefix`.
    pub fn new(prefix: &str) -> prometheus::Result<Self> {
        Ok(Self {
            connections: IntGauge::new(
                format!("{prefix}_connections"),
                "Client connections that are open.",
            )?,
            evicted: IntCounter::new(
                format!("{prefix}_connections_evicted_total"),
                "Client connections without credentials or request that made room for others.",
            )?,
            refused: IntCounter::new(
                format!("{prefix}_connections_refused_total"),
                "Client connections over a limit, without a TLS handshake, or without a head.",
            )?,
        })
    }

    /// Registers the metrics.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.connections.clone()))?;
        registry.register(Box::new(self.evicted.clone()))?;
        registry.register(Box::new(self.refused.clone()))
    }
}

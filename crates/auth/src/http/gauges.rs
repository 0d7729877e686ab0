//! The gauges of the service.

use prometheus::{IntGauge, Registry};

/// The gauges that each request for the metrics measures.
pub struct Gauges {
    pub outbox_rows: IntGauge,
    pub outbox_age_seconds: IntGauge,
    pub database_up: IntGauge,
    pub connections: IntGauge,
    pub connections_idle: IntGauge,
    pub log_lines_lost: IntGauge,
}

impl Gauges {
    /// Creates and registers the gauges.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(format!("portcullis_auth_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            outbox_rows: gauge("outbox_rows", "Rows not yet delivered to the store.")?,
            outbox_age_seconds: gauge("outbox_age_seconds", "Age of the oldest of these rows.")?,
            database_up: gauge("database_up", "1 if the database answers, else 0.")?,
            connections: gauge(
                "database_connections",
                "Open connections to the database, without those for searches.",
            )?,
            connections_idle: gauge(
                "database_connections_idle",
                "Idle connections to the database, without those for searches.",
            )?,
            log_lines_lost: gauge(
                "log_lines_lost",
                "Log lines dropped because their reader was too slow.",
            )?,
        })
    }
}

//! What the redis gateway counts, for Prometheus. No label can grow with what clients send.

use crate::log::Log;
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

pub struct Metrics {
    registry: Registry,
    log: Log,
    log_lines_lost: IntGauge,
    /// Requests by endpoint and status.
    pub requests: IntCounterVec,
    /// Commands by family and outcome.
    pub commands: IntCounterVec,
    /// From a request's head to its answer.
    pub seconds: Histogram,
    /// Client connections that are open, and those that were one too many.
    pub connections: IntGauge,
    pub connections_refused: IntCounter,
    /// Clients that follow channels or watch.
    pub streams: IntGauge,
    /// Connections to Redis that are up, and how many broke.
    links_up: IntGauge,
    pub reconnects: IntCounter,
}

impl Metrics {
    pub fn new(log: Log) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(named(name), help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            prometheus::Result::Ok(counters)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(named(name), help)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(named(name), help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        let requests = counters(
            "requests_total",
            "Protocol requests by endpoint and status.",
            &["endpoint", "status"],
        )?;
        let commands = counters(
            "commands_total",
            "Commands by family and outcome: ok, error (Redis's word), refused (the redis gateway's), \
             unreachable, deadline.",
            &["family", "outcome"],
        )?;
        let seconds = HistogramOpts::new(
            named("request_seconds"),
            "From a request's head to its answer, in seconds.",
        );
        let seconds = Histogram::with_opts(seconds.buckets(vec![
            0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
        ]))?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self {
            requests,
            commands,
            seconds,
            connections: gauge("connections", "Client connections that are open.")?,
            connections_refused: counter(
                "connections_refused_total",
                "Client connections that were one too many, or did not get through TLS.",
            )?,
            streams: gauge("streams", "Clients that follow channels or watch.")?,
            links_up: gauge("redis_connections", "Connections to Redis that are up.")?,
            log_lines_lost: gauge(
                "log_lines_lost",
                "Lines of the log that its reader was too slow for.",
            )?,
            log,
            reconnects: counter("redis_reconnects_total", "Connections to Redis that broke.")?,
            registry,
        })
    }

    /// Counts a connection to Redis for as long as the value lives.
    pub fn link_up(&self) -> LinkUp {
        self.links_up.inc();
        LinkUp(self.links_up.clone())
    }

    /// All of it, in Prometheus's text; none if it can't be written.
    pub fn text(&self) -> Option<String> {
        self.log_lines_lost.set(i64::try_from(self.log.lost()).unwrap_or(i64::MAX));
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).ok()?;
        String::from_utf8(text).ok()
    }
}

/// A connection to Redis that is up.
pub struct LinkUp(IntGauge);

impl Drop for LinkUp {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn named(name: &str) -> String {
    format!("portcullis_gateway_{name}")
}

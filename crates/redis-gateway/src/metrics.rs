//! Metrics for Prometheus. No label comes from client input, so the number of series is bounded.

use portcullis_server::{ListenerMetrics, Log};
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

/// The metrics of this process.
pub struct Metrics {
    registry: Registry,
    log: Log,
    log_lines_lost: IntGauge,
    /// Requests by endpoint and status.
    pub requests: IntCounterVec,
    /// Commands by family and outcome.
    pub commands: IntCounterVec,
    /// Time from a request's head to its response.
    pub seconds: Histogram,
    /// Connections of clients.
    pub listener: ListenerMetrics,
    /// Open event streams.
    pub streams: IntGauge,
    /// Open connections to Redis.
    redis_connections: IntGauge,
    /// Masters that did not respond to the last check.
    pub redis_masters_down: IntGauge,
    /// How many Redis deployments may evict keys.
    pub redis_may_evict: IntGauge,
    /// Connections to Redis that were lost.
    pub reconnects: IntCounter,
}

impl Metrics {
    /// Creates and registers all metrics.
    ///
    /// # Errors
    ///
    /// Two metrics have one name, which is a defect.
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
             unreachable, deadline, memory.",
            &["family", "outcome"],
        )?;
        let seconds = HistogramOpts::new(
            named("request_seconds"),
            "Seconds from a request's head to its response.",
        );
        let seconds = Histogram::with_opts(seconds.buckets(vec![
            0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
        ]))?;
        registry.register(Box::new(seconds.clone()))?;
        let listener = ListenerMetrics::new("portcullis_redis_gateway")?;
        listener.register(&registry)?;
        Ok(Self {
            requests,
            commands,
            seconds,
            listener,
            streams: gauge("streams", "Open streams: /subscribe, /psubscribe and /monitor.")?,
            redis_connections: gauge("redis_connections", "Open connections to Redis.")?,
            log_lines_lost: gauge(
                "log_lines_lost",
                "Log lines dropped because their reader was too slow.",
            )?,
            log,
            redis_masters_down: gauge(
                "redis_masters_down",
                "Masters of Redis that did not respond to the last check.",
            )?,
            redis_may_evict: gauge(
                "redis_may_evict",
                "1 if Redis may evict keys, revocations among them.",
            )?,
            reconnects: counter("redis_reconnects_total", "Connections to Redis that were lost.")?,
            registry,
        })
    }

    /// Returns where these are registered, for those of other modules.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts an open connection to Redis until the guard is dropped.
    pub fn redis_connection_up(&self) -> RedisConnectionUp {
        self.redis_connections.inc();
        RedisConnectionUp(self.redis_connections.clone())
    }

    /// Encodes all metrics in Prometheus's text format. Returns `None` if that fails.
    pub fn text(&self) -> Option<String> {
        self.log_lines_lost.set(i64::try_from(self.log.dropped()).unwrap_or(i64::MAX));
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).ok()?;
        String::from_utf8(text).ok()
    }
}

/// Counts an open connection to Redis. See [`Metrics::redis_connection_up`].
pub struct RedisConnectionUp(IntGauge);

impl Drop for RedisConnectionUp {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn named(name: &str) -> String {
    format!("portcullis_redis_gateway_{name}")
}

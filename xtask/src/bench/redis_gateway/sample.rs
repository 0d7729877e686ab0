//! The load on the redis gateway, and its measurements.

/// One kind of request, and the number of its commands.
pub struct Load {
    pub name: &'static str,
    pub path: &'static str,
    pub body: &'static str,
    pub commands: u32,
}

/// One measurement.
#[derive(Clone, Copy)]
pub struct Sample {
    /// Requests a second by wrk through the redis gateway.
    pub requests: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// The redis gateway's CPU.
    pub cpu_us: f64,
    /// redis-benchmark's own figure with one command per request, at the same number of
    /// connections.
    pub yardstick: f64,
    pub yardstick_p50_ms: f64,
    pub yardstick_p99_ms: f64,
}

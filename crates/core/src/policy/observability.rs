//! What operators see of the edge.

/// Logs, timings and metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Observability {
    /// Which requests are logged.
    pub log: LogPolicy,
    /// Whether responses carry `Server-Timing`.
    pub server_timing: bool,
    /// How often an isolate adds its counters to the store; with 0 never.
    pub metrics_seconds: u32,
}

/// Which requests are logged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogPolicy {
    /// Each request.
    All,
    /// Refused requests.
    Refused,
}

impl LogPolicy {
    pub(crate) const NAMES: [(&str, Self); 2] = [("all", Self::All), ("refused", Self::Refused)];
}

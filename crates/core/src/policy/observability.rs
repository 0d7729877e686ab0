//! The logs, timings and metrics that operators get from the edge.

/// Logs, timings and metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Observability {
    /// Which requests are logged.
    pub log: LogPolicy,
    /// How the log names the caller.
    pub log_subject: LogSubject,
    /// Whether responses carry `Server-Timing`.
    pub server_timing: bool,
    /// The interval at which an isolate adds its counters to the store, 0 to 3,600 s; with 0 never.
    pub metrics_seconds: u32,
    /// Whether a sample of the refusals is written with the counters.
    pub refusals: bool,
    /// The interval at which an isolate pushes the usage of its callers to the store, 0 to 3,600 s;
    /// with 0 never.
    pub usage_seconds: u32,
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

/// How the log names the caller of a request with a valid token.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogSubject {
    /// Not at all.
    #[default]
    None,
    /// By the hash in the store's keys.
    Hash,
    /// By the subject itself.
    Plain,
}

impl LogSubject {
    pub(crate) const NAMES: [(&str, Self); 3] =
        [("hash", Self::Hash), ("none", Self::None), ("plain", Self::Plain)];
}

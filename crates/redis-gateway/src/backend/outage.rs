//! The failure to get a reply from Redis.

/// A failure to get a reply from Redis.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outage {
    /// No reply came before the deadline. The commands may have run.
    Deadline,
    /// The replies to all requests in progress take too much memory. The commands may have run.
    Memory,
    /// No connection is up, or it broke. The commands may have run.
    Unreachable,
}

impl Outage {
    /// Returns the error text for the client, which begins with an error code as Redis's errors do.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Deadline => "ERR Redis did not answer in time",
            Self::Memory => "OVERLOADED too many large responses at once; try again later",
            Self::Unreachable => "ERR Redis can't be reached",
        }
    }

    /// Returns the outcome label for the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Unreachable => "unreachable",
        }
    }
}

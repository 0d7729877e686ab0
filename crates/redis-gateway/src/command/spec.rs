//! The static properties of Redis's commands.

/// The properties of one command.
#[derive(Debug)]
pub struct CommandSpec {
    /// In capitals.
    pub name: &'static str,
    /// The group, for the metrics.
    pub family: Family,
    /// The permission that it requires.
    pub access: Access,
    /// The arguments that are keys.
    pub keys: KeyPositions,
}

/// The group that a command belongs to; a label of the metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family {
    Bitmap,
    Connection,
    Generic,
    Geo,
    Hash,
    HyperLogLog,
    List,
    PubSub,
    Scripting,
    Server,
    Set,
    SortedSet,
    Stream,
    String,
    VectorSet,
}

impl Family {
    /// Returns the label for the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bitmap => "bitmap",
            Self::Connection => "connection",
            Self::Generic => "generic",
            Self::Geo => "geo",
            Self::Hash => "hash",
            Self::HyperLogLog => "hyperloglog",
            Self::List => "list",
            Self::PubSub => "pubsub",
            Self::Scripting => "scripting",
            Self::Server => "server",
            Self::Set => "set",
            Self::SortedSet => "sorted_set",
            Self::Stream => "stream",
            Self::String => "string",
            Self::VectorSet => "vector_set",
        }
    }
}

/// The permission that a command requires.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Allowed for every token: it reads and changes no data, and no argument makes it expensive.
    Any,
    /// Allowed for tokens that name it. It can lose data, block the server, or reconfigure it.
    Dangerous,
    /// Allowed for tokens that may do more than read single keys.
    Full,
    /// Never allowed. It blocks the connection, takes it over, or changes its state for other
    /// requests.
    Never,
    /// Allowed for tokens that may read.
    Read,
}

/// The positions of a command's keys. Position 0 is the name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyPositions {
    /// The number of keys at one position, and the keys after it.
    Counted {
        at: usize,
    },
    /// From `first` to `last`; a negative `last` counts from the end.
    Span {
        first: usize,
        last: isize,
        step: usize,
    },
    /// The destination at position 1, and then as `Counted` at 2.
    StoreCounted,
    /// One at position 1, and one after STORE or STOREDIST.
    Stored,
    /// The first half of the arguments after STREAMS.
    Streams,
    /// At position 2, after the subcommand, if present.
    Sub,
    Unknown,
}

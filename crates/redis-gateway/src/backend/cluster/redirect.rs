//! Redirections and other errors by which a node rejects a command that it did not run.

use super::plan::{Part, Target};
use super::slot_map::SlotMap;
use crate::redis_url::Address;

/// An error with which a node rejects a command without running it.
pub enum Redirect {
    /// The slot is moving: retry at this node, once, after ASKING.
    Ask { slot: u16, to: Address },
    /// The slot has moved: retry at this node.
    Moved { slot: u16, to: Address },
    /// Retry soon, at this node or another one.
    RetryLater,
    /// The slot is moving, and the keys are on both nodes: retry soon.
    TryAgain,
}

impl Redirect {
    /// Parses an error's text from the node at `from`. Returns `None` for any other error.
    pub fn parse(text: &str, from: &Address) -> Option<Self> {
        let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
        match code {
            "MOVED" => {
                let (slot, to) = parse_target(rest, from)?;
                Some(Self::Moved { slot, to })
            }
            "ASK" => {
                let (slot, to) = parse_target(rest, from)?;
                Some(Self::Ask { slot, to })
            }
            "CLUSTERDOWN" | "LOADING" | "MASTERDOWN" | "READONLY" => Some(Self::RetryLater),
            "TRYAGAIN" => Some(Self::TryAgain),
            _ => None,
        }
    }

    /// Returns whether the Cluster itself may have sent this error for a part.
    ///
    /// A script may have written data before it returned such an error of its own. So a script's
    /// error counts only if it leads to another known node.
    pub fn is_plausible_for(&self, part: &Part, map: &SlotMap, from: &Address) -> bool {
        match self {
            Self::RetryLater | Self::TryAgain => !part.is_script,
            Self::Ask { slot, to } | Self::Moved { slot, to } => {
                matches!(part.target, Target::Slot(own) if own == *slot)
                    && (!part.is_script || (map.known.contains(to) && to != from))
            }
        }
    }
}

/// Parses `<slot> <host>:<port>`.
fn parse_target(text: &str, from: &Address) -> Option<(u16, Address)> {
    let (slot, address) = text.split_once(' ')?;
    let (host, port) = address.rsplit_once(':')?;
    // A node that does not know its own name means the address by which it was reached.
    let host = if host.is_empty() { &from.host } else { host };
    Some((slot.parse().ok()?, Address { host: host.to_owned(), port: port.parse().ok()? }))
}

//! Merges the replies to a command's parts into the reply to the command.

use super::slot_map::MASTERS_MAX;
use redis_rest::Reply;

/// The way in which the replies to a command's parts become its reply. Numbers are indexes into the
/// parts.
pub enum Merge {
    /// Any of the replies if all parts succeeded, or else the first error.
    AllOk(Vec<usize>),
    /// The first reply that is not an error, or else the first error.
    AnyOk(Vec<usize>),
    /// All arrays as one.
    Concat(Vec<usize>),
    /// The first reply that is not null.
    FirstSome(Vec<usize>),
    /// An array of `count` values, each at its position in the command.
    Interleave { groups: Vec<SlotGroup>, count: usize },
    /// An array of the smallest value at each position.
    Min(Vec<usize>),
    /// The reply to the only part.
    One(usize),
    /// An error without any part.
    Rejected(String),
    /// SCAN's reply, with a cursor for this master or the next one.
    Scan { part: usize, master: usize, masters: usize },
    /// The sum of all integers.
    Sum(Vec<usize>),
}

/// One part with the keys of one slot.
pub struct SlotGroup {
    pub part: usize,
    /// For each of its keys, the position among the keys of the command.
    pub positions: Vec<usize>,
}

impl Merge {
    /// Merges the replies, and leaves [`Reply::Null`] in their places.
    ///
    /// No two merges share a part.
    pub fn merge(self, replies: &mut [Reply]) -> Reply {
        let mut take = |part: usize| {
            replies.get_mut(part).map_or(Reply::Null, |reply| std::mem::replace(reply, Reply::Null))
        };
        match self {
            Self::One(part) => take(part),
            Self::Rejected(text) => Reply::Error(text),
            Self::AllOk(parts) => match all_ok(parts, take) {
                Ok(replies) => replies.into_iter().next().unwrap_or(Reply::Null),
                Err(error) => error,
            },
            Self::AnyOk(parts) => {
                let all: Vec<Reply> = parts.into_iter().map(take).collect();
                let good = all.iter().position(|reply| !matches!(reply, Reply::Error(_)));
                all.into_iter().nth(good.unwrap_or(0)).unwrap_or(Reply::Null)
            }
            Self::FirstSome(parts) => parts
                .into_iter()
                .map(take)
                .find(|reply| *reply != Reply::Null)
                .unwrap_or(Reply::Null),
            Self::Sum(parts) => match all_ok(parts, take) {
                Ok(replies) => Reply::Integer(replies.iter().map(integer).sum()),
                Err(error) => error,
            },
            Self::Concat(parts) => match all_ok(parts, take) {
                Ok(replies) => Reply::Array(replies.into_iter().flat_map(array).collect()),
                Err(error) => error,
            },
            Self::Min(parts) => match all_ok(parts, take) {
                Ok(replies) => minimums(replies),
                Err(error) => error,
            },
            Self::Interleave { groups, count } => interleave(groups, count, take),
            Self::Scan { part, master, masters } => scan_reply(take(part), master, masters),
        }
    }
}

/// Returns all replies, or the first error among them.
fn all_ok(parts: Vec<usize>, take: impl FnMut(usize) -> Reply) -> Result<Vec<Reply>, Reply> {
    let replies = parts.into_iter().map(take).map(|reply| match reply {
        Reply::Error(_) => Err(reply),
        reply => Ok(reply),
    });
    replies.collect()
}

fn minimums(replies: Vec<Reply>) -> Reply {
    let arrays: Vec<Vec<Reply>> = replies.into_iter().map(array).collect();
    let count = arrays.first().map_or(0, Vec::len);
    let minimum =
        |position: usize| arrays.iter().filter_map(|array| array.get(position)).map(integer).min();
    Reply::Array((0..count).filter_map(minimum).map(Reply::Integer).collect())
}

fn interleave(groups: Vec<SlotGroup>, count: usize, take: impl FnMut(usize) -> Reply) -> Reply {
    let parts = groups.iter().map(|group| group.part).collect();
    let replies = match all_ok(parts, take) {
        Ok(replies) => replies,
        Err(error) => return error,
    };
    let mut values: Vec<Reply> = (0..count).map(|_| Reply::Null).collect();
    for (group, reply) in groups.into_iter().zip(replies) {
        for (position, value) in group.positions.into_iter().zip(array(reply)) {
            if let Some(slot) = values.get_mut(position) {
                *slot = value;
            }
        }
    }
    Reply::Array(values)
}

/// Replaces the cursor of a master by one that also names the master.
fn scan_reply(reply: Reply, master: usize, masters: usize) -> Reply {
    let Reply::Array(mut fields) = reply else { return reply };
    let cursor = fields.first().and_then(Reply::as_text);
    let next = match cursor.and_then(|text| text.parse::<u64>().ok()) {
        Some(0) if master + 1 == masters => Some(0),
        Some(0) => u64::try_from(master + 1).ok(),
        Some(cursor) => cursor
            .checked_mul(CURSOR_STRIDE)
            .and_then(|cursor| cursor.checked_add(u64::try_from(master).ok()?)),
        None => None,
    };
    match (next, fields.first_mut()) {
        (Some(next), Some(first)) => *first = Reply::text(&next.to_string()),
        _ => return Reply::Error("ERR the cursor is too large".to_owned()),
    }
    Reply::Array(fields)
}

fn integer(reply: &Reply) -> i64 {
    match reply {
        Reply::Integer(number) => *number,
        _ => 0,
    }
}

fn array(reply: Reply) -> Vec<Reply> {
    match reply {
        Reply::Array(values) => values,
        _ => Vec::new(),
    }
}

/// A client's cursor is Redis's own cursor times this number, plus the index of the master.
pub const CURSOR_STRIDE: u64 = MASTERS_MAX as u64;

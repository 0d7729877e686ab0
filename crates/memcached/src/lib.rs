//! Translates the store's Redis commands to memcached's meta commands (1.6 or later), in batches.
//! It does no I/O.
//!
//! It supports `GET`, `MGET`, `SET … EX` and `EXAT`, also with `NX`, `DEL`, and a rate limit with
//! fixed windows. Lists and hashes, which only operators use, are skipped. Other commands, such as
//! scripts, are errors.
//!
//! ```
//! use memcached::{Address, decode, encode, is_whole};
//! use redis_rest::{Command, Reply};
//!
//! let address = Address::parse("memcacheds://cache.example:11211").unwrap();
//! assert_eq!((address.host.as_str(), address.tls), ("cache.example:11211", true));
//!
//! let commands = [
//!     Command::new("SET").arg("greeting").arg("hello").arg("EX").arg(60),
//!     Command::new("GET").arg("greeting"),
//! ];
//! let batch = encode(&commands);
//! assert_eq!(batch, b"ms greeting 5 T60\r\nhello\r\nmg greeting v\r\nmn\r\n");
//!
//! // The host sends the batch, and reads until the response is whole.
//! let response = b"HD\r\nVA 5\r\nhello\r\nMN\r\n";
//! assert!(is_whole(response) && !is_whole(b"HD\r\n"));
//! let replies = decode(&commands, response).unwrap();
//! assert_eq!(replies, [Reply::Status("OK".into()), Reply::text("hello")]);
//! ```

use redis_rest::{Command, Reply};

/// The address of a memcached server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    /// `host:port`.
    pub host: String,
    /// Whether to connect with TLS.
    pub tls: bool,
}

/// A response that does not match the commands of its batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProtocolError;

impl Address {
    /// Parses `memcached://host:port`, or `memcacheds://host:port` for TLS. Returns `None` for
    /// anything else. The port is 1 to 65,535 and has no default.
    pub fn parse(text: &str) -> Option<Self> {
        let (tls, rest) = match text.strip_prefix("memcached://") {
            Some(rest) => (false, rest),
            None => (true, text.strip_prefix("memcacheds://")?),
        };
        let host = rest.strip_suffix('/').unwrap_or(rest);
        let (name, port) = host.rsplit_once(':')?;
        let is_host_byte = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
        let is_valid = !name.is_empty()
            && name.bytes().all(is_host_byte)
            && port.parse().is_ok_and(|port: u16| port > 0);
        is_valid.then(|| Self { host: host.to_owned(), tls })
    }
}

/// The translation of a Redis command.
enum MetaCommand<'c> {
    /// Get these keys.
    Get(&'c [Vec<u8>]),
    Set {
        key: &'c [u8],
        value: &'c [u8],
        /// Seconds, or a Unix time above [`SECONDS_MAX`].
        expiry: u64,
        /// Whether to set only a key that does not exist.
        only_if_new: bool,
    },
    Delete(&'c [u8]),
    /// Count a request in a fixed window.
    Count {
        key: &'c [u8],
        quota: u64,
        window_ms: u64,
        cost: u64,
    },
    /// A command that memcached need not store.
    Skipped,
    /// A command that memcached can't execute.
    Unsupported,
}

impl<'c> MetaCommand<'c> {
    fn translate(command: &'c Command) -> Self {
        let arguments = command.words().get(1..).unwrap_or_default();
        match (command.name(), arguments) {
            ("GET", [_]) | ("MGET", [_, ..]) if arguments.iter().all(|key| is_key(key)) => {
                Self::Get(arguments)
            }
            ("SET", [key, value, ex, seconds, rest @ ..])
                if is_key(key)
                    && (ex == b"EX" || ex == b"EXAT")
                    && (rest.is_empty() || rest == [b"NX"]) =>
            {
                match number(seconds) {
                    Some(number) => {
                        let expiry = match ex.len() {
                            2 => number.clamp(1, SECONDS_MAX),
                            // A time of 1970 has passed.
                            _ => number.max(SECONDS_MAX + 1),
                        };
                        Self::Set { key, value, expiry, only_if_new: !rest.is_empty() }
                    }
                    None => Self::Unsupported,
                }
            }
            ("DEL", [key]) if is_key(key) => Self::Delete(key),
            ("EVALSHA", [_, one, key, algorithm, quota, window_ms, cost, ..])
                if one == b"1" && algorithm == b"fixed_window" && is_key(key) =>
            {
                match (number(quota), number(window_ms), number(cost)) {
                    (Some(quota), Some(window_ms), Some(cost)) => {
                        Self::Count { key, quota, window_ms, cost }
                    }
                    _ => Self::Unsupported,
                }
            }
            ("EXPIRE" | "HSET" | "ZADD" | "ZREM", _) => Self::Skipped,
            _ => Self::Unsupported,
        }
    }
}

/// Encodes commands as one batch. A no-op ends it: its response marks the end of the batch.
///
/// An expiry is at most 30 days, because memcached takes a larger one for a Unix time. A command
/// with a key that memcached rejects (over 250 bytes, or with spaces or control characters) is left
/// out, and [`decode`] returns an error as its reply.
pub fn encode(commands: &[Command]) -> Vec<u8> {
    let mut batch = Vec::new();
    for command in commands {
        match MetaCommand::translate(command) {
            MetaCommand::Get(keys) => {
                for key in keys {
                    append(&mut batch, &[b"mg ", key, b" v\r\n"]);
                }
            }
            MetaCommand::Set { key, value, expiry, only_if_new } => {
                let mode = if only_if_new { " ME" } else { "" };
                let rest_of_line = format!(" {} T{expiry}{mode}\r\n", value.len());
                append(&mut batch, &[b"ms ", key, rest_of_line.as_bytes(), value, b"\r\n"]);
            }
            MetaCommand::Delete(key) => append(&mut batch, &[b"md ", key, b"\r\n"]),
            MetaCommand::Count { key, window_ms, cost, .. } => {
                let seconds = window_ms.div_ceil(1000).clamp(1, SECONDS_MAX);
                // Creates the counter with its expiry, or increments it, in one step.
                let flags = format!(" N{seconds} J{cost} D{cost} v t\r\n");
                append(&mut batch, &[b"ma ", key, flags.as_bytes()]);
            }
            MetaCommand::Skipped | MetaCommand::Unsupported => {}
        }
    }
    batch.extend_from_slice(b"mn\r\n");
    batch
}

/// Returns whether a response is complete. The caller bounds its length.
pub fn is_whole(answer: &[u8]) -> bool {
    answer == END || answer.ends_with(b"\r\nMN\r\n")
}

/// Decodes the response to a batch as the Redis replies to its commands, one for each.
///
/// # Errors
///
/// [`ProtocolError`] if the response does not match the batch of these `commands`. An error of
/// memcached for one command is a [`Reply::Error`].
pub fn decode(commands: &[Command], answer: &[u8]) -> Result<Vec<Reply>, ProtocolError> {
    let mut reader = Reader { rest: answer };
    let replies = commands.iter().map(|command| {
        Ok(match MetaCommand::translate(command) {
            MetaCommand::Get(keys) => {
                let mut values =
                    keys.iter().map(|_| reader.value()).collect::<Result<Vec<_>, _>>()?;
                match (command.name(), values.len()) {
                    ("GET", 1) => values.pop().unwrap_or(Reply::Null),
                    _ => Reply::Array(values),
                }
            }
            MetaCommand::Set { .. } => match reader.line()? {
                b"HD" => Reply::Status("OK".into()),
                b"NS" => Reply::Null,
                other => Reply::Error(String::from_utf8_lossy(other).into_owned()),
            },
            MetaCommand::Delete(_) => match reader.line()? {
                b"HD" => Reply::Integer(1),
                b"NF" => Reply::Integer(0),
                other => Reply::Error(String::from_utf8_lossy(other).into_owned()),
            },
            MetaCommand::Count { quota, window_ms, .. } => reader.count(quota, window_ms)?,
            MetaCommand::Skipped => Reply::Integer(0),
            MetaCommand::Unsupported => Reply::Error("ERR memcached can't do that".to_owned()),
        })
    });
    let replies = replies.collect::<Result<Vec<_>, _>>()?;
    if reader.rest == END { Ok(replies) } else { Err(ProtocolError) }
}

/// The response to a get or to arithmetic.
enum ValueResponse<'a> {
    /// A value, with its return flags.
    Value(&'a [u8], &'a str),
    /// Any other status line.
    Status(&'a [u8]),
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn line(&mut self) -> Result<&'a [u8], ProtocolError> {
        let end = self.rest.windows(2).position(|two| two == b"\r\n").ok_or(ProtocolError)?;
        self.take(end)
    }

    /// Takes `length` bytes, and drops the line break after them.
    fn take(&mut self, length: usize) -> Result<&'a [u8], ProtocolError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(ProtocolError)?;
        self.rest = rest.strip_prefix(b"\r\n").ok_or(ProtocolError)?;
        Ok(taken)
    }

    /// Parses `VA <length> <flags>` and the value, or another status line.
    fn value_response(&mut self) -> Result<ValueResponse<'a>, ProtocolError> {
        let line = self.line()?;
        let Some(header) = line.strip_prefix(b"VA ") else {
            return Ok(ValueResponse::Status(line));
        };
        let header = std::str::from_utf8(header).map_err(|_| ProtocolError)?;
        let (length, flags) = header.split_once(' ').unwrap_or((header, ""));
        let length: usize = length.parse().map_err(|_| ProtocolError)?;
        Ok(ValueResponse::Value(self.take(length)?, flags))
    }

    fn value(&mut self) -> Result<Reply, ProtocolError> {
        Ok(match self.value_response()? {
            ValueResponse::Value(value, _) => Reply::Bulk(value.to_vec()),
            ValueResponse::Status(b"EN") => Reply::Null,
            ValueResponse::Status(other) => {
                Reply::Error(String::from_utf8_lossy(other).into_owned())
            }
        })
    }

    /// Parses a count as the reply of the limit script.
    ///
    /// It contains whether the request is admitted, the remaining quota, the wait before a retry,
    /// and the wait until more quota is left.
    fn count(&mut self, quota: u64, window_ms: u64) -> Result<Reply, ProtocolError> {
        let (value, flags) = match self.value_response()? {
            ValueResponse::Value(value, flags) => (value, flags),
            ValueResponse::Status(other) => {
                return Ok(Reply::Error(String::from_utf8_lossy(other).into_owned()));
            }
        };
        let used = number(value).ok_or(ProtocolError)?;
        let seconds = flags.split(' ').find_map(|flag| flag.strip_prefix('t'));
        let seconds = seconds.and_then(|text| text.parse::<u64>().ok());
        // memcached reports 0 during the last second before the expiry.
        let wait_ms = seconds.map_or(window_ms, |seconds| {
            seconds.saturating_mul(1000).clamp(1000, window_ms.max(1000))
        });
        let admitted = used <= quota;
        // Rejected requests count, too.
        let left = quota.saturating_sub(used);
        let wait = if admitted { 0 } else { wait_ms };
        let numbers = [u64::from(admitted), left, wait, wait_ms];
        let integer = |number: u64| Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        Ok(Reply::Array(numbers.map(integer).to_vec()))
    }
}

fn append(batch: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| batch.extend_from_slice(part));
}

/// Returns whether memcached accepts a key: 1 to 250 bytes, without spaces or control characters.
fn is_key(key: &[u8]) -> bool {
    (1..=250).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic)
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

const END: &[u8] = b"MN\r\n";
/// The longest expiry. memcached reads a larger number as a Unix time.
const SECONDS_MAX: u64 = 30 * 86_400;

#[cfg(test)]
mod tests;

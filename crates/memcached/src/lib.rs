//! The store's commands in memcached's words, as values: its meta commands (1.6 or later), one batch in one
//! write. No I/O.
//!
//! What edge and auth service ask of a store is a [`Command`] of Redis's. Of these, memcached can do `GET`, `MGET`,
//! `SET … EX`, also with `NX`, `DEL`, and a limit that counts in fixed windows. What lists and hashes hold for operators is
//! left out; what needs a script is an error.

use redis_rest::{Command, Reply};

/// Where a memcached is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    /// `host:port`.
    pub host: String,
    /// Whether it is spoken to by TLS.
    pub tls: bool,
}

/// An answer is not memcached's to the commands that were sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed;

impl Address {
    /// Reads `memcached://host:port`, or `memcacheds://host:port` for TLS.
    pub fn parse(text: &str) -> Option<Self> {
        let (tls, rest) = match text.strip_prefix("memcached://") {
            Some(rest) => (false, rest),
            None => (true, text.strip_prefix("memcacheds://")?),
        };
        let host = rest.strip_suffix('/').unwrap_or(rest);
        let (name, port) = host.rsplit_once(':')?;
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
        let good = !name.is_empty()
            && name.bytes().all(fits)
            && port.parse().is_ok_and(|port: u16| port > 0);
        good.then(|| Self { host: host.to_owned(), tls })
    }
}

/// What a command becomes.
enum Words<'c> {
    /// These keys are read.
    Read(&'c [Vec<u8>]),
    Write {
        key: &'c [u8],
        value: &'c [u8],
        seconds: u64,
        /// Only where nothing is yet.
        new: bool,
    },
    Delete(&'c [u8]),
    /// A fixed window: key, quota, window in milliseconds, cost.
    Count {
        key: &'c [u8],
        quota: u64,
        window_ms: u64,
        cost: u64,
    },
    /// Nothing that memcached keeps.
    LeftOut,
    /// Nothing that it can do.
    Refused,
}

impl<'c> Words<'c> {
    fn of(command: &'c Command) -> Self {
        let words = command.words();
        let rest = words.get(1..).unwrap_or_default();
        match (command.name(), rest) {
            ("GET", [_]) | ("MGET", [_, ..]) if rest.iter().all(|key| is_key(key)) => {
                Self::Read(rest)
            }
            ("SET", [key, value, ex, seconds, rest @ ..])
                if is_key(key) && ex == b"EX" && (rest.is_empty() || rest == [b"NX"]) =>
            {
                match number(seconds) {
                    Some(seconds) => Self::Write { key, value, seconds, new: !rest.is_empty() },
                    None => Self::Refused,
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
                    _ => Self::Refused,
                }
            }
            ("EXPIRE" | "HSET" | "ZADD" | "ZREM", _) => Self::LeftOut,
            _ => Self::Refused,
        }
    }
}

/// All commands in one batch; a no-op ends it, so that its end is known by its answer.
pub fn encode(commands: &[Command]) -> Vec<u8> {
    let mut batch = Vec::new();
    for command in commands {
        match Words::of(command) {
            Words::Read(keys) => {
                for key in keys {
                    put(&mut batch, &[b"mg ", key, b" v\r\n"]);
                }
            }
            Words::Write { key, value, seconds, new } => {
                let mode = if new { " ME" } else { "" };
                let seconds = seconds.clamp(1, SECONDS_MAX);
                let measure = format!(" {} T{seconds}{mode}\r\n", value.len());
                put(&mut batch, &[b"ms ", key, measure.as_bytes(), value, b"\r\n"]);
            }
            Words::Delete(key) => put(&mut batch, &[b"md ", key, b"\r\n"]),
            Words::Count { key, window_ms, cost, .. } => {
                let seconds = window_ms.div_ceil(1000).clamp(1, SECONDS_MAX);
                // Created with its life if it is not there, and increased in one step.
                let flags = format!(" N{seconds} J{cost} D{cost} v t\r\n");
                put(&mut batch, &[b"ma ", key, flags.as_bytes()]);
            }
            Words::LeftOut | Words::Refused => {}
        }
    }
    batch.extend_from_slice(b"mn\r\n");
    batch
}

/// Whether all of an answer is there.
pub fn is_whole(answer: &[u8]) -> bool {
    answer == END || answer.ends_with(b"\r\nMN\r\n")
}

/// The replies to `commands`, from the answer to their batch.
pub fn decode(commands: &[Command], answer: &[u8]) -> Result<Vec<Reply>, Malformed> {
    let mut reader = Reader { rest: answer };
    let replies = commands.iter().map(|command| {
        Ok(match Words::of(command) {
            Words::Read(keys) => {
                let mut values =
                    keys.iter().map(|_| reader.value()).collect::<Result<Vec<_>, _>>()?;
                match (command.name(), values.len()) {
                    ("GET", 1) => values.pop().unwrap_or(Reply::Null),
                    _ => Reply::Array(values),
                }
            }
            Words::Write { .. } => match reader.line()? {
                b"HD" => Reply::Status("OK".into()),
                b"NS" => Reply::Null,
                other => Reply::Error(String::from_utf8_lossy(other).into_owned()),
            },
            Words::Delete(_) => match reader.line()? {
                b"HD" => Reply::Integer(1),
                b"NF" => Reply::Integer(0),
                other => Reply::Error(String::from_utf8_lossy(other).into_owned()),
            },
            Words::Count { quota, window_ms, .. } => reader.count(quota, window_ms)?,
            Words::LeftOut => Reply::Integer(0),
            Words::Refused => Reply::Error("ERR memcached can't do that".to_owned()),
        })
    });
    let replies = replies.collect::<Result<Vec<_>, _>>()?;
    if reader.rest == END { Ok(replies) } else { Err(Malformed) }
}

/// What stands where a value may be.
enum Data<'a> {
    /// A value, with its flags.
    Value(&'a [u8], &'a str),
    /// Another word.
    Word(&'a [u8]),
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn line(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self.rest.windows(2).position(|two| two == b"\r\n").ok_or(Malformed)?;
        self.take(end)
    }

    /// So many bytes, and the line break after them.
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest.strip_prefix(b"\r\n").ok_or(Malformed)?;
        Ok(taken)
    }

    /// `VA <length> <flags>`, and the value; or else another word.
    fn data(&mut self) -> Result<Data<'a>, Malformed> {
        let line = self.line()?;
        let Some(measure) = line.strip_prefix(b"VA ") else {
            return Ok(Data::Word(line));
        };
        let measure = std::str::from_utf8(measure).map_err(|_| Malformed)?;
        let (length, flags) = measure.split_once(' ').unwrap_or((measure, ""));
        let length: usize = length.parse().map_err(|_| Malformed)?;
        Ok(Data::Value(self.take(length)?, flags))
    }

    fn value(&mut self) -> Result<Reply, Malformed> {
        Ok(match self.data()? {
            Data::Value(value, _) => Reply::Bulk(value.to_vec()),
            Data::Word(b"EN") => Reply::Null,
            Data::Word(other) => Reply::Error(String::from_utf8_lossy(other).into_owned()),
        })
    }

    /// What the limit's script would say: admitted, left, and how long until this one, and more, would be.
    fn count(&mut self, quota: u64, window_ms: u64) -> Result<Reply, Malformed> {
        let (value, flags) = match self.data()? {
            Data::Value(value, flags) => (value, flags),
            Data::Word(other) => {
                return Ok(Reply::Error(String::from_utf8_lossy(other).into_owned()));
            }
        };
        let used = number(value).ok_or(Malformed)?;
        let seconds = flags.split(' ').find_map(|flag| flag.strip_prefix('t'));
        let seconds = seconds.and_then(|text| text.parse::<u64>().ok());
        // The last second of a life counts as none.
        let wait_ms = seconds.map_or(window_ms, |seconds| {
            seconds.saturating_mul(1000).clamp(1000, window_ms.max(1000))
        });
        let admitted = used <= quota;
        // What is refused is counted, too.
        let left = quota.saturating_sub(used);
        let wait = if admitted { 0 } else { wait_ms };
        let numbers = [u64::from(admitted), left, wait, wait_ms];
        let integer = |number: u64| Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        Ok(Reply::Array(numbers.map(integer).to_vec()))
    }
}

fn put(batch: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| batch.extend_from_slice(part));
}

/// At most 250 bytes, none of which would end it.
fn is_key(key: &[u8]) -> bool {
    (1..=250).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic)
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

const END: &[u8] = b"MN\r\n";
/// More than 30 days would be taken for a moment in time.
const SECONDS_MAX: u64 = 30 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn command(words: &[&str]) -> Command {
        let (name, rest) = words.split_first().unwrap();
        rest.iter().fold(Command::new(name), |command, word| command.arg(*word))
    }

    #[test]
    fn commands_have_their_words() {
        fn check(words: &[&str], expect: &str) {
            assert_eq!(
                encode(&[command(words)]),
                format!("{expect}mn\r\n").into_bytes(),
                "{words:?}"
            );
        }
        check(&["GET", "k"], "mg k v\r\n");
        check(&["MGET", "a", "b"], "mg a v\r\nmg b v\r\n");
        check(&["SET", "k", "va lue", "EX", "60"], "ms k 6 T60\r\nva lue\r\n");
        check(&["SET", "k", "v", "EX", "9999999"], "ms k 1 T2592000\r\nv\r\n");
        check(&["SET", "k", "v", "EX", "6", "NX"], "ms k 1 T6 ME\r\nv\r\n");
        check(&["SET", "k", "v", "EX", "6", "XX"], "");
        check(&["DEL", "k"], "md k\r\n");
        let count = ["EVALSHA", "sha", "1", "k", "fixed_window", "5", "60000", "2", "5"];
        check(&count, "ma k N60 J2 D2 v t\r\n");
        check(&["HSET", "k", "f", "v"], "");
        check(&["EVALSHA", "sha", "1", "k", "gcra", "5", "60000", "1", "5"], "");
        // Nothing can end a key and begin another command.
        check(&["GET", "k v\r\nflush_all"], "");
        check(&["GET", &"k".repeat(251)], "");
        check(&["SET", "k", "v"], "");
    }

    #[test]
    fn answers_become_replies() {
        let commands = [
            command(&["MGET", "a", "b"]),
            command(&["GET", "c"]),
            command(&["SET", "c", "v", "EX", "1"]),
            command(&["ZADD", "z", "1", "m"]),
            command(&["EVALSHA", "sha", "1", "k", "fixed_window", "5", "60000", "1", "5"]),
            command(&["DEL", "c"]),
            command(&["SET", "c", "v", "EX", "1", "NX"]),
        ];
        let answer = b"EN\r\nVA 4\r\nM\r\nN\r\nEN\r\nHD\r\nVA 1 t42\r\n5\r\nNF\r\nNS\r\nMN\r\n";
        assert!(is_whole(answer));
        let count = [1, 0, 0, 42_000].map(Reply::Integer).to_vec();
        assert_eq!(
            decode(&commands, answer),
            Ok(vec![
                Reply::Array(vec![Reply::Null, Reply::Bulk(b"M\r\nN".to_vec())]),
                Reply::Null,
                Reply::Status("OK".into()),
                Reply::Integer(0),
                Reply::Array(count),
                Reply::Integer(0),
                Reply::Null,
            ])
        );
        for cut in 0..answer.len() {
            assert_eq!(decode(&commands, &answer[..cut]), Err(Malformed), "{cut}");
        }
        let longer = [answer.as_slice(), b"HD\r\n"].concat();
        assert_eq!(decode(&commands, &longer), Err(Malformed));
        let get = [command(&["GET", "k"])];
        assert_eq!(decode(&get, b"VA 99999999999999999999\r\n\r\nMN\r\n"), Err(Malformed));
        let error = decode(&get, b"SERVER_ERROR out of memory\r\nMN\r\n").unwrap();
        assert_eq!(error, [Reply::Error("SERVER_ERROR out of memory".into())]);
    }

    #[test]
    fn a_window_is_over_its_quota_or_not() {
        fn check(used: &str, cost: u64, expect: [i64; 4]) {
            let cost_text = cost.to_string();
            let words = ["EVALSHA", "sha", "1", "k", "fixed_window", "5", "60000", &cost_text, "5"];
            let answer = format!("VA {} t30\r\n{used}\r\nMN\r\n", used.len());
            let expect = Reply::Array(expect.map(Reply::Integer).to_vec());
            assert_eq!(decode(&[command(&words)], answer.as_bytes()), Ok(vec![expect]));
        }
        check("1", 1, [1, 4, 0, 30_000]);
        check("5", 1, [1, 0, 0, 30_000]);
        check("6", 1, [0, 0, 30_000, 30_000]);
        check("6", 3, [0, 0, 30_000, 30_000]);
        check("900", 1, [0, 0, 30_000, 30_000]);
    }

    #[test]
    fn an_address_is_host_and_port() {
        let address = |text: &str| Address::parse(text).map(|address| (address.host, address.tls));
        assert_eq!(address("memcached://127.0.0.1:11211"), Some(("127.0.0.1:11211".into(), false)));
        assert_eq!(
            address("memcacheds://m.example:11212/"),
            Some(("m.example:11212".into(), true))
        );
        for text in [
            "",
            "memcached://",
            "memcached://x",
            "memcached://x:0",
            "memcached://u:p@x:1",
            "http://x:1",
        ] {
            assert_eq!(address(text), None, "{text}");
        }
    }
}

//! What the redis gateway knows of Redis's commands: who may send one, which keys it names, and whether it may
//! go over a connection that everybody shares.

mod table;

use redis_rest::Command;

/// What is known of one command.
#[derive(Debug)]
pub struct Facts {
    /// In capitals.
    pub name: &'static str,
    pub family: Family,
    pub access: Access,
    keys: Keys,
}

/// What a command is about; a label of the metrics.
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

/// Who may send a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Every token: it shows and changes nothing.
    Any,
    /// Tokens that name it: it can lose data, hold up the server, or change how it runs.
    Dangerous,
    /// Tokens that may do more than read single keys.
    Full,
    /// Nobody: it changes the connection for whoever uses it next, waits, or takes it over.
    Never,
    /// Tokens that may read.
    Read,
}

/// Where a command's keys stand. Place 0 is the name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Keys {
    /// Their number at a place, and they behind it.
    Counted {
        at: usize,
    },
    /// Between two places; a negative last one counts from the end.
    Span {
        first: usize,
        last: isize,
        step: usize,
    },
    /// One at place 1, where the result goes; then as `Counted` at 2.
    StoreCounted,
    /// One at place 1, and one behind STORE or STOREDIST.
    Stored,
    /// The first half of what stands behind STREAMS.
    Streams,
    /// At place 2, behind the subcommand, if anything is there.
    Sub,
    Unknown,
}

/// What is known of the command of this name, written in any case.
pub fn facts(name: &str) -> Option<&'static Facts> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let name = name.to_ascii_uppercase();
    let place = table::TABLE.binary_search_by(|row| row.name.cmp(&name)).ok()?;
    table::TABLE.get(place)
}

/// A command's name for texts and logs: in capitals, cut, and nothing that could be a value.
pub fn shown(command: &Command) -> String {
    let name = command.name().chars().take(NAME_BYTES_MAX);
    name.map(|c| if c.is_ascii_graphic() { c.to_ascii_uppercase() } else { '?' }).collect()
}

/// Why a command may not go over a shared connection, whoever sends it; none if it may.
pub fn refusal(command: &Command, facts: Option<&Facts>) -> Option<String> {
    let never = facts.is_some_and(|facts| facts.access == Access::Never);
    // The debugger of scripts takes the connection over, and may hold up the whole server.
    let debugs = is(command, 0, "SCRIPT") && is(command, 1, "DEBUG");
    (never || debugs || blocks(command)).then(|| {
        let name = shown(command);
        format!(
            "ERR Command is not available: '{name}' would change or hold up a shared connection"
        )
    })
}

/// The keys of a command; none if they can't be told.
pub fn keys(command: &Command) -> Option<Vec<&[u8]>> {
    let facts = facts(command.name())?;
    let words = command.words();
    match facts.keys {
        Keys::Counted { at } => counted(command, at),
        Keys::Span { first: 0, .. } => Some(Vec::new()),
        Keys::Span { first, last, step } => {
            let last = match usize::try_from(last) {
                Ok(last) => last,
                Err(_) => words.len().checked_add_signed(last)?,
            };
            Some((first..=last).step_by(step).filter_map(|place| word(command, place)).collect())
        }
        Keys::StoreCounted => {
            let mut keys = counted(command, 2)?;
            keys.push(word(command, 1)?);
            Some(keys)
        }
        Keys::Stored => {
            let mut keys = vec![word(command, 1)?];
            for place in 2..words.len() {
                if is(command, place, "BY") || is(command, place, "GET") {
                    return None;
                }
                if is(command, place, "STORE") || is(command, place, "STOREDIST") {
                    keys.push(word(command, place + 1)?);
                }
            }
            Some(keys)
        }
        Keys::Streams => {
            let begin = streams(command)? + 1;
            let count = words.len().checked_sub(begin)?;
            (count % 2 == 0).then(|| {
                (begin..begin + count / 2).filter_map(|place| word(command, place)).collect()
            })
        }
        Keys::Sub => Some(word(command, 2).into_iter().collect()),
        Keys::Unknown => None,
    }
}

/// Whether the word at a place is this one, written in any case.
pub fn is(command: &Command, place: usize, name: &str) -> bool {
    word(command, place).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
}

fn word(command: &Command, place: usize) -> Option<&[u8]> {
    command.words().get(place).map(Vec::as_slice)
}

fn counted(command: &Command, at: usize) -> Option<Vec<&[u8]>> {
    let count: usize = command.text(at)?.parse().ok()?;
    let end = (at + 1).checked_add(count).filter(|end| *end <= command.words().len())?;
    Some((at + 1..end).filter_map(|place| word(command, place)).collect())
}

/// Where XREAD's or XREADGROUP's STREAMS stands.
fn streams(command: &Command) -> Option<usize> {
    options(command).find(|place| is(command, *place, "STREAMS"))
}

fn blocks(command: &Command) -> bool {
    (is(command, 0, "XREAD") || is(command, 0, "XREADGROUP"))
        && options(command)
            .take_while(|place| !is(command, *place, "STREAMS"))
            .any(|place| is(command, place, "BLOCK"))
}

/// The places of XREAD's and XREADGROUP's options, which are no values: a group may be called BLOCK.
fn options(command: &Command) -> impl Iterator<Item = usize> {
    let mut place = 1;
    std::iter::from_fn(move || {
        let here = place;
        place += match () {
            () if is(command, here, "GROUP") => 3,
            () if is(command, here, "COUNT") || is(command, here, "BLOCK") => 2,
            () => 1,
        };
        (here < command.words().len()).then_some(here)
    })
}

/// Longer than the name of any command.
const NAME_BYTES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> Command {
        words[1..].iter().fold(Command::new(words[0]), |command, word| command.arg(word))
    }

    #[test]
    fn the_table_is_in_order() {
        assert!(table::TABLE.is_sorted_by(|a, b| a.name < b.name));
        for row in table::TABLE {
            assert!(row.name.len() <= NAME_BYTES_MAX);
            assert_eq!(facts(&row.name.to_lowercase()).unwrap().name, row.name);
        }
        assert!(facts("NOSUCH").is_none());
        assert!(facts(&"X".repeat(1000)).is_none());
    }

    #[test]
    fn a_shared_connection_is_not_changed() {
        fn check(words: &[&str], passes: bool) {
            let command = command(words);
            assert_eq!(refusal(&command, facts(command.name())).is_none(), passes, "{words:?}");
        }
        check(&["GET", "SELECT"], true);
        check(&["select", "1"], false);
        check(&["SUBSCRIBE", "x"], false);
        check(&["XREAD", "COUNT", "1", "STREAMS", "s", "0"], true);
        check(&["XREAD", "block", "0", "STREAMS", "s", "0"], false);
        check(&["XREAD", "STREAMS", "block", "0"], true);
        check(&["XREAD", "COUNT", "1", "BLOCK", "0", "STREAMS", "s", "0"], false);
        check(&["XREAD", "COUNT", "BLOCK", "0", "STREAMS", "s", "0"], true);
        check(&["XREADGROUP", "GROUP", "block", "block", "STREAMS", "s", ">"], true);
        check(
            &["XREADGROUP", "GROUP", "g", "c", "NOACK", "BLOCK", "0", "STREAMS", "s", ">"],
            false,
        );
        check(&["EVALSHA", "x", "0"], true);
        check(&["SCRIPT", "LOAD", "return 1"], true);
        check(&["script", "debug", "SYNC"], false);
    }

    #[test]
    fn keys_are_found() {
        fn check(words: &[&str], expect: Option<&[&str]>) {
            let command = command(words);
            let expect = expect.map(|keys| keys.iter().map(|key| key.as_bytes()).collect());
            assert_eq!(keys(&command), expect, "{words:?}");
        }
        check(&["PING"], Some(&[]));
        check(&["get", "a"], Some(&["a"]));
        check(&["GET"], Some(&[]));
        check(&["MGET", "a", "b"], Some(&["a", "b"]));
        check(&["MSET", "a", "1", "b", "2"], Some(&["a", "b"]));
        check(&["BITOP", "AND", "to", "a", "b"], Some(&["to", "a", "b"]));
        check(&["EVAL", "return 1", "2", "a", "b", "c"], Some(&["a", "b"]));
        check(&["EVAL", "return 1", "0"], Some(&[]));
        check(&["EVAL", "return 1", "3", "a", "b"], None);
        check(&["EVAL", "return 1", "18446744073709551615", "a"], None);
        check(&["EVAL", "return 1", "-1"], None);
        check(&["EVAL", "return 1"], None);
        check(&["ZUNIONSTORE", "to", "2", "a", "b", "WEIGHTS", "1", "2"], Some(&["a", "b", "to"]));
        check(&["SORT", "a", "ALPHA"], Some(&["a"]));
        check(&["SORT", "a", "STORE", "b"], Some(&["a", "b"]));
        check(&["SORT", "a", "by", "w_*"], None);
        check(&["XREAD", "COUNT", "2", "STREAMS", "a", "b", "0", "0"], Some(&["a", "b"]));
        check(&["XREAD", "STREAMS", "a", "b", "0"], None);
        check(&["XREAD", "COUNT", "2"], None);
        check(&["OBJECT", "ENCODING", "a"], Some(&["a"]));
        check(&["OBJECT", "HELP"], Some(&[]));
        check(&["MIGRATE", "h", "1", "k", "0", "1"], None);
        check(&["JSON.GET", "a"], None);
    }
}

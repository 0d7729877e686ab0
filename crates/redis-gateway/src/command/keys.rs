//! Finds the keys of a command.

use super::arguments::{argument, argument_is, streams_index};
use super::spec::KeyPositions;
use super::table::find;
use redis_rest::Command;

/// Returns the keys of a command. Returns `None` if they can't be determined.
pub fn keys(command: &Command) -> Option<Vec<&[u8]>> {
    let spec = find(command.name())?;
    let arguments = command.words();
    match spec.keys {
        KeyPositions::Counted { at } => counted(command, at),
        KeyPositions::Span { first: 0, .. } => Some(Vec::new()),
        KeyPositions::Span { first, last, step } => {
            let last = match usize::try_from(last) {
                Ok(last) => last,
                Err(_) => arguments.len().checked_add_signed(last)?,
            };
            let positions = (first..=last).step_by(step);
            Some(positions.filter_map(|index| argument(command, index)).collect())
        }
        KeyPositions::StoreCounted => {
            let mut keys = counted(command, 2)?;
            keys.push(argument(command, 1)?);
            Some(keys)
        }
        KeyPositions::Stored => {
            let mut keys = vec![argument(command, 1)?];
            for index in 2..arguments.len() {
                // The pattern of BY or GET reads further keys.
                if argument_is(command, index, "BY") || argument_is(command, index, "GET") {
                    return None;
                }
                if argument_is(command, index, "STORE") || argument_is(command, index, "STOREDIST")
                {
                    keys.push(argument(command, index + 1)?);
                }
            }
            Some(keys)
        }
        KeyPositions::Streams => {
            let first = streams_index(command)? + 1;
            let count = arguments.len().checked_sub(first)?;
            let positions = first..first + count / 2;
            (count % 2 == 0)
                .then(|| positions.filter_map(|index| argument(command, index)).collect())
        }
        KeyPositions::Sub => Some(argument(command, 2).into_iter().collect()),
        KeyPositions::Unknown => None,
    }
}

fn counted(command: &Command, at: usize) -> Option<Vec<&[u8]>> {
    let count: usize = command.text(at)?.parse().ok()?;
    let end = (at + 1).checked_add(count).filter(|end| *end <= command.words().len())?;
    Some((at + 1..end).filter_map(|index| argument(command, index)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_for_each_kind_of_positions() {
        fn check(arguments: &[&str], expect: Option<&[&str]>) {
            let command = arguments[1..]
                .iter()
                .fold(Command::new(arguments[0]), |command, argument| command.arg(argument));
            let expect = expect.map(|keys| keys.iter().map(|key| key.as_bytes()).collect());
            assert_eq!(keys(&command), expect, "{arguments:?}");
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

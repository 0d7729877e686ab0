//! Reads a command's arguments. Argument 0 is the name, as in Redis's `argv`.

use redis_rest::Command;

/// Returns whether an argument equals a name, in any case.
pub fn argument_is(command: &Command, index: usize, name: &str) -> bool {
    argument(command, index).is_some_and(|argument| argument.eq_ignore_ascii_case(name.as_bytes()))
}

/// Returns an argument, if present.
pub fn argument(command: &Command, index: usize) -> Option<&[u8]> {
    command.words().get(index).map(Vec::as_slice)
}

/// Returns whether XREAD or XREADGROUP has the option BLOCK.
pub fn is_blocking_read(command: &Command) -> bool {
    (argument_is(command, 0, "XREAD") || argument_is(command, 0, "XREADGROUP"))
        && read_options(command)
            .take_while(|index| !argument_is(command, *index, "STREAMS"))
            .any(|index| argument_is(command, index, "BLOCK"))
}

/// Returns whether a command writes to another database than the connection's.
pub fn leaves_database(command: &Command) -> bool {
    let has_database = || (3..command.words().len()).any(|index| argument_is(command, index, "DB"));
    (argument_is(command, 0, "COPY") && has_database())
        || argument_is(command, 0, "MOVE")
        || argument_is(command, 0, "SWAPDB")
}

/// Returns how many values a command requests. Each may be the largest value in Redis.
pub fn values(command: &Command) -> usize {
    let is_one_of = |names: &[&str]| names.iter().any(|name| argument_is(command, 0, name));
    if is_one_of(&["SORT", "SORT_RO"]) {
        return sorted_values(command);
    }
    if is_one_of(&NAMING) {
        return command.words().len().saturating_sub(1).max(1);
    }
    if is_one_of(&DRAWING) {
        // With a negative count, the same member may be returned several times.
        let count = command.text(2).and_then(|text| text.parse::<i64>().ok());
        let drawn = count.filter(|count| *count < 0).map_or(1, i64::unsigned_abs);
        return usize::try_from(drawn).unwrap_or(usize::MAX);
    }
    1
}

/// Returns how many values SORT requests. With `GET` and a pattern that is a value for each
/// element, and so as many as the last LIMIT admits. A pattern may be called LIMIT.
fn sorted_values(command: &Command) -> usize {
    let words = command.words().len();
    let (mut index, mut patterns, mut elements) = (2, 0_usize, usize::MAX);
    while index < words {
        index += match () {
            () if argument_is(command, index, "LIMIT") => {
                let count = command.text(index + 2).and_then(|text| text.parse().ok());
                elements = count.unwrap_or(usize::MAX);
                3
            }
            () if argument_is(command, index, "GET") => {
                patterns += usize::from(argument(command, index + 1) != Some(b"#"));
                2
            }
            () if argument_is(command, index, "BY") || argument_is(command, index, "STORE") => 2,
            () => 1,
        };
    }
    patterns.saturating_mul(elements).max(words.saturating_sub(1)).max(1)
}

/// Commands that may name one value several times, or whose reply has those of many keys. Also
/// commands whose time grows by a whole value, or by a description of a command, with each name.
const NAMING: [&str; 17] = [
    "COMMAND",
    "HGETDEL",
    "HGETEX",
    "HMGET",
    "MGET",
    "PFCOUNT",
    "SDIFF",
    "SINTER",
    "SINTERCARD",
    "SUNION",
    "XCLAIM",
    "XREAD",
    "XREADGROUP",
    "ZDIFF",
    "ZINTER",
    "ZINTERCARD",
    "ZUNION",
];
/// Commands that draw random members.
const DRAWING: [&str; 4] = ["HRANDFIELD", "SRANDMEMBER", "VRANDMEMBER", "ZRANDMEMBER"];

/// Returns the index of STREAMS in XREAD or XREADGROUP.
pub fn streams_index(command: &Command) -> Option<usize> {
    read_options(command).find(|index| argument_is(command, *index, "STREAMS"))
}

/// Returns the indexes of the options of XREAD and XREADGROUP, without their values.
///
/// A consumer group, for example, may be called BLOCK.
fn read_options(command: &Command) -> impl Iterator<Item = usize> {
    let mut next = 1;
    std::iter::from_fn(move || {
        let index = next;
        next += match () {
            () if argument_is(command, index, "GROUP") => 3,
            () if argument_is(command, index, "COUNT") || argument_is(command, index, "BLOCK") => 2,
            () => 1,
        };
        (index < command.words().len()).then_some(index)
    })
}

//! A Redis command and its JSON: what a client may send.

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde_json::value::RawValue;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

/// One Redis command: its name, then its arguments. Redis's words are bytes. A copy shares them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    words: Arc<Vec<Vec<u8>>>,
}

impl Command {
    /// A command without arguments.
    pub fn new(name: &str) -> Self {
        Self { words: Arc::new(vec![name.as_bytes().to_vec()]) }
    }

    /// The command of these words, the name first; none without a name, or with one that is no text.
    pub fn from_words(words: Vec<Vec<u8>>) -> Option<Self> {
        let command = Self { words: Arc::new(words) };
        (!command.name().is_empty()).then_some(command)
    }

    /// The same command with one more argument.
    #[must_use]
    pub fn arg(self, value: impl ToString) -> Self {
        self.arg_bytes(value.to_string())
    }

    /// The same command with one more argument that need not be text.
    #[must_use]
    pub fn arg_bytes(mut self, value: impl Into<Vec<u8>>) -> Self {
        Arc::make_mut(&mut self.words).push(value.into());
        self
    }

    /// The name as it was sent; empty only for a command built from an empty name.
    pub fn name(&self) -> &str {
        self.text(0).unwrap_or_default()
    }

    /// The name and all arguments, in order.
    pub fn words(&self) -> &[Vec<u8>] {
        &self.words
    }

    /// A word, if it is there and text; 0 is the name.
    pub fn text(&self, place: usize) -> Option<&str> {
        std::str::from_utf8(self.words.get(place)?).ok()
    }

    /// Puts another word in the place of one that is there.
    pub fn replace(&mut self, place: usize, word: Vec<u8>) {
        if let Some(old) = Arc::make_mut(&mut self.words).get_mut(place) {
            *old = word;
        }
    }
}

/// JSON carries text alone: bytes that are not UTF-8 become U+FFFD.
impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.words.iter().map(|word| String::from_utf8_lossy(word)))
    }
}

/// Why a request body is no command, or no pipeline of commands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CommandError {
    /// A command is an empty array.
    Empty,
    /// The body is not JSON, or not an array of strings, numbers and booleans.
    Malformed,
    /// The pipeline holds more commands than the server takes.
    TooMany,
    /// There are more words than the server takes.
    TooManyWords,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "ERR empty command",
            Self::Malformed => "ERR failed to parse command",
            Self::TooMany => "ERR too many commands in the pipeline",
            Self::TooManyWords => "ERR too many arguments",
        })
    }
}

impl std::error::Error for CommandError {}

/// The body of `POST /pipeline` and `POST /multi-exec`.
pub fn encode_pipeline(commands: &[Command]) -> String {
    serde_json::to_string(commands).unwrap_or_default()
}

/// How much a body may hold.
#[derive(Clone, Copy, Debug)]
pub struct BodyBounds {
    /// Commands in a pipeline.
    pub commands_max: usize,
    /// Words of all commands together, their names among them.
    pub words_max: usize,
}

/// Reads the body of `POST /`.
pub fn decode_command(body: &[u8], bounds: BodyBounds) -> Result<Command, CommandError> {
    decode(body, bounds, |seed, json| seed.deserialize(json))
}

/// Reads the body of `POST /pipeline`.
pub fn decode_pipeline(body: &[u8], bounds: BodyBounds) -> Result<Vec<Command>, CommandError> {
    decode(body, bounds, |seed, json| json.deserialize_seq(PipelineVisitor(seed)))
}

type Json<'de> = serde_json::Deserializer<serde_json::de::SliceRead<'de>>;

/// Counts while it reads, so that what is too much is never held.
fn decode<'de, T>(
    body: &'de [u8],
    bounds: BodyBounds,
    read: impl for<'a> FnOnce(CommandSeed<'a>, &'a mut Json<'de>) -> Result<T, serde_json::Error>,
) -> Result<T, CommandError> {
    let (commands, words, fault) =
        (Cell::new(bounds.commands_max), Cell::new(bounds.words_max), Cell::new(None));
    let seed = CommandSeed { commands: &commands, words: &words, fault: &fault };
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = read(seed, &mut json).and_then(|value| json.end().map(|()| value));
    read.map_err(|_| fault.get().unwrap_or(CommandError::Malformed))
}

/// Reads one command, and takes it off what is left.
#[derive(Clone, Copy)]
struct CommandSeed<'a> {
    commands: &'a Cell<usize>,
    words: &'a Cell<usize>,
    /// What is wrong, if it is not the JSON.
    fault: &'a Cell<Option<CommandError>>,
}

impl CommandSeed<'_> {
    fn fail<E: serde::de::Error>(self, fault: CommandError) -> E {
        self.fault.set(Some(fault));
        E::custom(fault)
    }

    fn take<E: serde::de::Error>(self, left: &Cell<usize>, fault: CommandError) -> Result<(), E> {
        left.set(left.get().checked_sub(1).ok_or_else(|| self.fail(fault))?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for CommandSeed<'_> {
    type Value = Command;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Command, D::Error> {
        self.take(self.commands, CommandError::TooMany)?;
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for CommandSeed<'_> {
    type Value = Command;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of strings, numbers and booleans")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Command, A::Error> {
        let mut words = Vec::new();
        while let Some(raw) = seq.next_element::<&RawValue>()? {
            self.take(self.words, CommandError::TooManyWords)?;
            words.push(word(raw.get()).ok_or_else(|| self.fail(CommandError::Malformed))?);
        }
        Command::from_words(words).ok_or_else(|| self.fail(CommandError::Empty))
    }
}

struct PipelineVisitor<'a>(CommandSeed<'a>);

impl<'de> Visitor<'de> for PipelineVisitor<'_> {
    type Value = Vec<Command>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of commands")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Command>, A::Error> {
        let mut commands = Vec::new();
        while let Some(command) = seq.next_element_seed(self.0)? {
            commands.push(command);
        }
        Ok(commands)
    }
}

/// A JSON scalar as Redis receives it. Numbers keep their literal, so that 9007199254740993 is not
/// rounded on its way through a float.
fn word(raw: &str) -> Option<Vec<u8>> {
    match raw.as_bytes() {
        // Most strings hold no escape, and are what stands between their quotes.
        [b'"', text @ .., b'"'] if !text.contains(&b'\\') => Some(text.to_vec()),
        [b'"', ..] => serde_json::from_str(raw).ok().map(String::into_bytes),
        [b'-' | b'0'..=b'9' | b't' | b'f', ..] => Some(raw.as_bytes().to_vec()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(commands_max: usize) -> BodyBounds {
        BodyBounds { commands_max, words_max: 30 }
    }
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn commands_are_read_from_json() {
        fn check(body: &str, expect: Result<&[&str], CommandError>) {
            let got = decode_command(body.as_bytes(), bounds(9));
            let expect = expect.map(|words| {
                words[1..].iter().fold(Command::new(words[0]), |command, word| command.arg(word))
            });
            assert_eq!(got, expect, "{body}");
        }
        check(r#"["SET","k","v"]"#, Ok(&["SET", "k", "v"]));
        check(r#"["SET","k",9007199254740993]"#, Ok(&["SET", "k", "9007199254740993"]));
        check(r#"["SET","k",-1.50]"#, Ok(&["SET", "k", "-1.50"]));
        check(r#"["SET","k",true]"#, Ok(&["SET", "k", "true"]));
        check(r#"["SET","k","a\"\u00e9\n"]"#, Ok(&["SET", "k", "a\"é\n"]));
        check(r#"["SET","k","\ud83d\ude00é"]"#, Ok(&["SET", "k", "😀é"]));
        check(r#"["SET","k",""]"#, Ok(&["SET", "k", ""]));
        check(r#"["SET","k","\ud800"]"#, Err(CommandError::Malformed));
        check("[]", Err(CommandError::Empty));
        check(r#"[""]"#, Err(CommandError::Empty));
        check("", Err(CommandError::Malformed));
        check("{}", Err(CommandError::Malformed));
        check(r#"["GET",null]"#, Err(CommandError::Malformed));
        check(r#"["GET",["k"]]"#, Err(CommandError::Malformed));
        check(r#"["GET",{"k":1}]"#, Err(CommandError::Malformed));
        check(r#"["GET","k"] trailing"#, Err(CommandError::Malformed));
    }

    #[test]
    fn a_pipeline_is_bounded() {
        let body = br#"[["PING"],["PING"]]"#;
        assert_eq!(decode_pipeline(body, bounds(2)).map(|c| c.len()), Ok(2));
        assert_eq!(decode_pipeline(body, bounds(1)), Err(CommandError::TooMany));
        assert_eq!(decode_pipeline(b"[]", bounds(1)), Ok(vec![]));
        assert_eq!(decode_pipeline(b"[[]]", bounds(1)), Err(CommandError::Empty));
        assert_eq!(decode_pipeline(br#"["PING"]"#, bounds(1)), Err(CommandError::Malformed));
        let words = |count: usize| format!("[\"MGET\"{}]", ",1".repeat(count - 1));
        assert_eq!(
            decode_command(words(30).as_bytes(), bounds(1)).map(|c| c.words().len()),
            Ok(30)
        );
        let too_many = decode_command(words(31).as_bytes(), bounds(1));
        assert_eq!(too_many, Err(CommandError::TooManyWords));
        let two = format!("[{},{}]", words(20), words(11));
        assert_eq!(decode_pipeline(two.as_bytes(), bounds(9)), Err(CommandError::TooManyWords));
        let deep = format!("[{}", "[".repeat(100_000));
        assert_eq!(decode_pipeline(deep.as_bytes(), bounds(1)), Err(CommandError::Malformed));
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn words(words: Vec<String>) -> Option<Command> {
        Command::from_words(words.into_iter().map(String::into_bytes).collect())
    }

    #[cfg(not(target_arch = "wasm32"))]
    proptest::proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            pipeline in proptest::collection::vec(proptest::collection::vec(".{1,12}", 1..5), 0..5),
        ) {
            let commands: Vec<Command> =
                pipeline.into_iter().filter_map(words).collect();
            let body = encode_pipeline(&commands);
            proptest::prop_assert_eq!(decode_pipeline(body.as_bytes(), bounds(5)), Ok(commands));
        }

        #[test]
        fn words_that_are_no_text_are_kept(
            words in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..9), 0..5),
        ) {
            match Command::from_words(words.clone()) {
                Some(command) => proptest::prop_assert_eq!(command.words(), words),
                None => proptest::prop_assert!(
                    words.first().is_none_or(|name| name.is_empty() || std::str::from_utf8(name).is_err())
                ),
            }
        }

        #[test]
        fn no_body_panics(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = decode_command(&body, bounds(9));
            let _ = decode_pipeline(&body, bounds(9));
        }
    }
}

//! Redis commands and their JSON.

use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

/// One Redis command: its name, and its arguments as bytes. Clones share them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    words: Arc<Vec<Vec<u8>>>,
}

impl Command {
    /// Creates a command without arguments.
    pub fn new(name: &str) -> Self {
        Self { words: Arc::new(vec![name.as_bytes().to_vec()]) }
    }

    /// Creates a command from its name and arguments.
    ///
    /// Returns `None` if the name is missing, empty, or not UTF-8.
    pub fn from_words(words: Vec<Vec<u8>>) -> Option<Self> {
        let command = Self { words: Arc::new(words) };
        (!command.name().is_empty()).then_some(command)
    }

    /// Appends an argument.
    #[must_use]
    pub fn arg(self, value: impl ToString) -> Self {
        self.arg_bytes(value.to_string())
    }

    /// Appends an argument of any bytes.
    #[must_use]
    pub fn arg_bytes(mut self, value: impl Into<Vec<u8>>) -> Self {
        Arc::make_mut(&mut self.words).push(value.into());
        self
    }

    /// Returns the name as sent. It is empty only for a command created with an empty name.
    pub fn name(&self) -> &str {
        self.text(0).unwrap_or_default()
    }

    /// Returns the name and all arguments, as in Redis's `argv`.
    pub fn words(&self) -> &[Vec<u8>] {
        &self.words
    }

    /// Returns an argument, or `None` if it is missing or not UTF-8. Argument 0 is the name.
    pub fn text(&self, index: usize) -> Option<&str> {
        std::str::from_utf8(self.words.get(index)?).ok()
    }

    /// Replaces an argument. Does nothing if it is missing. Argument 0 is the name.
    pub fn replace(&mut self, index: usize, argument: Vec<u8>) {
        if let Some(old) = Arc::make_mut(&mut self.words).get_mut(index) {
            *old = argument;
        }
    }
}

/// The reason why a request body is rejected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CommandError {
    /// A command is an empty array.
    Empty,
    /// The body is not JSON, or not an array of strings, numbers and booleans.
    Malformed,
    /// The pipeline contains too many commands.
    TooMany,
    /// The commands have too many arguments.
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

/// Encodes the body of `POST /pipeline` or `POST /multi-exec`. Bytes that are not UTF-8 become
/// U+FFFD.
pub fn encode_pipeline(commands: &[Command]) -> String {
    let mut body = String::with_capacity(512);
    body.push('[');
    for (place, command) in commands.iter().enumerate() {
        body.push_str(if place == 0 { "[" } else { ",[" });
        for (place, word) in command.words.iter().enumerate() {
            body.push_str(if place == 0 { "\"" } else { ",\"" });
            push_escaped(word, &mut body);
            body.push('"');
        }
        body.push(']');
    }
    body.push(']');
    body
}

/// Appends the inside of a JSON string. Almost every word needs no escape, and is copied as it is.
fn push_escaped(word: &[u8], body: &mut String) {
    let is_plain = |byte: &u8| *byte >= b' ' && !matches!(byte, b'"' | b'\\');
    match std::str::from_utf8(word) {
        Ok(text) if word.iter().all(is_plain) => body.push_str(text),
        _ => {
            let quoted = serde_json::to_string(&String::from_utf8_lossy(word)).unwrap_or_default();
            body.push_str(quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default());
        }
    }
}

/// The bounds of a request body.
#[derive(Clone, Copy, Debug)]
pub struct BodyBounds {
    /// Most commands in a pipeline.
    pub commands_max: usize,
    /// Most arguments of all commands together, including their names.
    pub words_max: usize,
}

/// Decodes the body of `POST /`.
///
/// # Errors
///
/// [`CommandError`] if the body is not one JSON array of strings, numbers and booleans, is empty,
/// or has more words than `bounds` allow. It stops at the bound, so that no more than that is held
/// in memory.
pub fn decode_command(body: &[u8], bounds: BodyBounds) -> Result<Command, CommandError> {
    decode(body, bounds, |seed, json| seed.deserialize(json))
}

/// Decodes the body of `POST /pipeline` or `POST /multi-exec`.
///
/// # Errors
///
/// [`CommandError`], as for [`decode_command`], and if there are more commands than `bounds` allow.
pub fn decode_pipeline(body: &[u8], bounds: BodyBounds) -> Result<Vec<Command>, CommandError> {
    decode(body, bounds, |seed, json| json.deserialize_seq(PipelineVisitor(seed)))
}

type Json<'de> = serde_json::Deserializer<serde_json::de::SliceRead<'de>>;

/// Decodes a body. Counts while it parses, so that a body over the bounds is never held in memory.
fn decode<'de, T>(
    body: &'de [u8],
    bounds: BodyBounds,
    read: impl for<'a> FnOnce(CommandSeed<'a>, &'a mut Json<'de>) -> Result<T, serde_json::Error>,
) -> Result<T, CommandError> {
    let commands_left = Cell::new(bounds.commands_max);
    let words_left = Cell::new(bounds.words_max);
    let error = Cell::new(None);
    let seed =
        CommandSeed { commands_left: &commands_left, words_left: &words_left, error: &error };
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = read(seed, &mut json).and_then(|value| json.end().map(|()| value));
    read.map_err(|_| error.get().unwrap_or(CommandError::Malformed))
}

/// Parses one command, and subtracts it from the remaining bounds.
#[derive(Clone, Copy)]
struct CommandSeed<'a> {
    commands_left: &'a Cell<usize>,
    words_left: &'a Cell<usize>,
    /// The error, if it is other than malformed JSON.
    error: &'a Cell<Option<CommandError>>,
}

impl CommandSeed<'_> {
    fn fail<E: serde::de::Error>(self, error: CommandError) -> E {
        self.error.set(Some(error));
        E::custom(error)
    }

    fn take<E: serde::de::Error>(self, left: &Cell<usize>, error: CommandError) -> Result<(), E> {
        left.set(left.get().checked_sub(1).ok_or_else(|| self.fail(error))?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for CommandSeed<'_> {
    type Value = Command;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Command, D::Error> {
        self.take(self.commands_left, CommandError::TooMany)?;
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
            self.take(self.words_left, CommandError::TooManyWords)?;
            words.push(argument(raw.get()).ok_or_else(|| self.fail(CommandError::Malformed))?);
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

/// Converts a JSON scalar to an argument. Returns `None` for null, arrays and objects.
///
/// A number keeps its literal, so that 9007199254740993 is not rounded to a float.
fn argument(raw: &str) -> Option<Vec<u8>> {
    match raw.as_bytes() {
        // Fast path: most strings contain no escape.
        [b'"', text @ .., b'"'] if !text.contains(&b'\\') => Some(text.to_vec()),
        [b'"', ..] => serde_json::from_str(raw).ok().map(String::into_bytes),
        [b'-' | b'0'..=b'9' | b't' | b'f', ..] => Some(raw.as_bytes().to_vec()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

//! A Redis command and its JSON: what a client may send.

use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fmt;

/// One Redis command: its name, then its arguments.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Command {
    words: Vec<String>,
}

impl Command {
    /// A command without arguments.
    pub fn new(name: &str) -> Self {
        Self { words: vec![name.to_owned()] }
    }

    /// The same command with one more argument.
    #[must_use]
    pub fn arg(mut self, value: impl ToString) -> Self {
        self.words.push(value.to_string());
        self
    }

    /// The name as it was sent; empty only for a command built from an empty name.
    pub fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The name and all arguments, in order.
    pub fn words(&self) -> &[String] {
        &self.words
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(WordsVisitor)
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
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "ERR empty command",
            Self::Malformed => "ERR failed to parse command",
            Self::TooMany => "ERR too many commands in the pipeline",
        })
    }
}

impl std::error::Error for CommandError {}

/// The body of `POST /pipeline` and `POST /multi-exec`.
pub fn encode_pipeline(commands: &[Command]) -> String {
    serde_json::to_string(commands).unwrap_or_default()
}

/// Reads the body of `POST /`.
pub fn decode_command(body: &[u8]) -> Result<Command, CommandError> {
    let command: Command = serde_json::from_slice(body).map_err(|_| CommandError::Malformed)?;
    if command.name().is_empty() { Err(CommandError::Empty) } else { Ok(command) }
}

/// Reads the body of `POST /pipeline`, which may hold `commands_max` commands.
pub fn decode_pipeline(body: &[u8], commands_max: usize) -> Result<Vec<Command>, CommandError> {
    let commands: Vec<Command> =
        serde_json::from_slice(body).map_err(|_| CommandError::Malformed)?;
    if commands.len() > commands_max {
        return Err(CommandError::TooMany);
    }
    if commands.iter().any(|command| command.name().is_empty()) {
        return Err(CommandError::Empty);
    }
    Ok(commands)
}

struct WordsVisitor;

impl<'de> Visitor<'de> for WordsVisitor {
    type Value = Command;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of strings, numbers and booleans")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Command, A::Error> {
        let mut words = Vec::new();
        while let Some(raw) = seq.next_element::<Box<RawValue>>()? {
            words.push(word(raw.get()).ok_or_else(|| A::Error::custom("not a scalar"))?);
        }
        Ok(Command { words })
    }
}

/// A JSON scalar as Redis receives it. Numbers keep their literal, so that 9007199254740993 is not
/// rounded on its way through a float.
fn word(raw: &str) -> Option<String> {
    match raw.as_bytes().first()? {
        b'"' => serde_json::from_str(raw).ok(),
        b'-' | b'0'..=b'9' | b't' | b'f' => Some(raw.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn commands_are_read_from_json() {
        fn check(body: &str, expect: Result<&[&str], CommandError>) {
            let got = decode_command(body.as_bytes());
            let got =
                got.as_ref().map(|c| c.words().iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(got.map_err(|e| *e), expect.map(<[&str]>::to_vec), "{body}");
        }
        check(r#"["SET","k","v"]"#, Ok(&["SET", "k", "v"]));
        check(r#"["SET","k",9007199254740993]"#, Ok(&["SET", "k", "9007199254740993"]));
        check(r#"["SET","k",-1.50]"#, Ok(&["SET", "k", "-1.50"]));
        check(r#"["SET","k",true]"#, Ok(&["SET", "k", "true"]));
        check(r#"["SET","k","a\"\u00e9\n"]"#, Ok(&["SET", "k", "a\"é\n"]));
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
        assert_eq!(decode_pipeline(body, 2).map(|c| c.len()), Ok(2));
        assert_eq!(decode_pipeline(body, 1), Err(CommandError::TooMany));
        assert_eq!(decode_pipeline(b"[]", 1), Ok(vec![]));
        assert_eq!(decode_pipeline(b"[[]]", 1), Err(CommandError::Empty));
        assert_eq!(decode_pipeline(br#"["PING"]"#, 1), Err(CommandError::Malformed));
        let deep = format!("[{}", "[".repeat(100_000));
        assert_eq!(decode_pipeline(deep.as_bytes(), 1), Err(CommandError::Malformed));
    }

    #[cfg(not(target_arch = "wasm32"))]
    proptest::proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            pipeline in proptest::collection::vec(proptest::collection::vec(".{1,12}", 1..5), 0..5),
        ) {
            let commands: Vec<Command> =
                pipeline.into_iter().map(|words| Command { words }).collect();
            let body = encode_pipeline(&commands);
            proptest::prop_assert_eq!(decode_pipeline(body.as_bytes(), 5), Ok(commands));
        }

        #[test]
        fn no_body_panics(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = decode_command(&body);
            let _ = decode_pipeline(&body, 10);
        }
    }
}

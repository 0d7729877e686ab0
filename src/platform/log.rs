//! The log: one line of JSON per event, in the format that all programs share.

use super::now::now_ms;
use portcullis_core::{UnixMillis, json_text};
use serde_json::Value;
use std::fmt::Write as _;

/// A line of the log. It is written as text directly, without an intermediate value, because each
/// request logs one.
pub struct Line(String);

/// The severity of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    Info,
    Warn,
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl Line {
    /// Begins the line of an event.
    pub fn new(level: Level, event: &str) -> Self {
        let (time, level) = (UnixMillis(now_ms()), level.name());
        let mut line = String::with_capacity(BYTES);
        let _ = write!(
            line,
            r#"{{"time":"{time}","level":"{level}","program":"edge","event":"{event}""#
        );
        Self(line)
    }

    /// Adds a text, unless it is empty.
    pub fn text(&mut self, name: &str, text: &str) -> &mut Self {
        let plain = |b: u8| (b' '..=b'~').contains(&b) && !matches!(b, b'"' | b'\\');
        if text.is_empty() {
            return self;
        }
        if !text.bytes().all(plain) {
            return self.value(name, &text.into());
        }
        self.0.extend([",\"", name, "\":\"", text, "\""]);
        self
    }

    /// Adds a text or `null`.
    pub fn text_or_null(&mut self, name: &str, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(name, text),
            None => self.value(name, &Value::Null),
        }
    }

    /// Adds a number.
    pub fn number(&mut self, name: &str, number: u64) -> &mut Self {
        let _ = write!(self.0, r#","{name}":{number}"#);
        self
    }

    /// Adds a value.
    pub fn value(&mut self, name: &str, value: &Value) -> &mut Self {
        let _ = write!(self.0, r#","{name}":{}"#, json_text(value));
        self
    }

    /// Writes the line to the log.
    pub fn write(&mut self) {
        self.0.push('}');
        write(&self.0);
    }
}

/// As much as most lines have.
const BYTES: usize = 512;

#[cfg(target_arch = "wasm32")]
fn write(line: &str) {
    super::bindings::log(line);
}

/// Writes to standard error, for tests outside of a Worker.
#[cfg(not(target_arch = "wasm32"))]
fn write(line: &str) {
    eprintln!("{line}");
}

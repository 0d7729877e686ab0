//! Parses HTTP requests of the Upstash REST protocol into Redis commands.

use redis_rest::{BodyBounds, Command, CommandError, Encoding, decode_command, decode_pipeline};
use std::borrow::Cow;

/// An endpoint of the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Endpoint {
    Command,
    Monitor,
    PatternSubscribe,
    Pipeline,
    Subscribe,
    Transaction,
}

impl Endpoint {
    /// Returns the endpoint of a path. Any other path is a command.
    pub fn of(path: &str) -> Self {
        let path = path.strip_prefix('/').unwrap_or(path);
        let first = path.split('/').next().unwrap_or_default();
        let is = |name: &str| first.eq_ignore_ascii_case(name);
        match path {
            "multi-exec" => Self::Transaction,
            "pipeline" => Self::Pipeline,
            _ if is("monitor") => Self::Monitor,
            _ if is("psubscribe") => Self::PatternSubscribe,
            _ if is("subscribe") => Self::Subscribe,
            _ => Self::Command,
        }
    }

    /// Returns the name for logs and metrics. The path itself may contain keys and values.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Monitor => "monitor",
            Self::PatternSubscribe => "psubscribe",
            Self::Pipeline => "pipeline",
            Self::Subscribe => "subscribe",
            Self::Transaction => "multi-exec",
        }
    }
}

/// An endpoint without authentication. All except `Health` are for operators.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Probe {
    /// `/healthz`: the process responds.
    Health,
    /// `/metrics`, in Prometheus's text format.
    Metrics,
    /// `/readyz`: Redis responds.
    Ready,
}

impl Probe {
    /// Returns the probe of a path, if it is one.
    pub fn of(path: &str) -> Option<Self> {
        match path {
            "/healthz" => Some(Self::Health),
            "/metrics" => Some(Self::Metrics),
            "/readyz" => Some(Self::Ready),
            _ => None,
        }
    }
}

/// The format of a response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    Json(Encoding),
    /// The format of Redis itself.
    Resp2,
}

/// An error in the headers that select the format.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FormatError {
    Base64InResp2,
    Unknown,
}

impl FormatError {
    /// Returns the error text for the client.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Base64InResp2 => {
                "ERR Upstash-Encoding: base64 and Upstash-Response-Format: resp2 exclude each other"
            }
            Self::Unknown => "ERR Upstash-Response-Format must be json or resp2",
        }
    }
}

impl Format {
    /// Parses the values of `Upstash-Response-Format` (`json`, `resp2`) and `Upstash-Encoding`
    /// (`base64`).
    ///
    /// # Errors
    ///
    /// The format is unknown, or `base64` is combined with `resp2`.
    pub fn of(format: Option<&[u8]>, encoding: Option<&[u8]>) -> Result<Self, FormatError> {
        let is_base64 = encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case(b"base64"));
        match format {
            None => {}
            Some(format) if format.eq_ignore_ascii_case(b"json") => {}
            Some(format) if format.eq_ignore_ascii_case(b"resp2") => {
                return if is_base64 { Err(FormatError::Base64InResp2) } else { Ok(Self::Resp2) };
            }
            Some(_) => return Err(FormatError::Unknown),
        }
        Ok(Self::Json(if is_base64 { Encoding::Base64 } else { Encoding::Text }))
    }
}

/// Parses the command of a request.
///
/// For `/`, it is the JSON of the body. Otherwise it is the path, percent-decoded, with the body
/// and the query as further arguments.
///
/// # Errors
///
/// The body is not a command in JSON, it has over 250,000 elements, or the command is empty.
pub fn command(path: &str, query: Option<&str>, body: &[u8]) -> Result<Command, CommandError> {
    if matches!(path, "" | "/") {
        return decode_command(body, BOUNDS);
    }
    let mut arguments = segments(path);
    if !body.is_empty() {
        arguments.push(body.to_vec());
    }
    for (name, value) in pairs(query) {
        if *name != *TOKEN_PARAMETER.as_bytes() {
            arguments.push(name.into_owned());
            // `?NX=` means `?NX`, which some clients can't send.
            if !value.is_empty() {
                arguments.push(value.into_owned());
            }
        }
    }
    Command::from_words(arguments).ok_or(CommandError::Empty)
}

/// Parses the commands in the body of `/pipeline` or `/multi-exec`.
///
/// # Errors
///
/// The body is not a JSON array of commands, or has over 10,000 commands or 250,000 elements.
pub fn pipeline(body: &[u8]) -> Result<Vec<Command>, CommandError> {
    decode_pipeline(body, BOUNDS)
}

/// Returns the channels of `/subscribe/…`. Ignores the body: Upstash's client sends `[]`.
pub fn channels(path: &str) -> Vec<Vec<u8>> {
    segments(path).into_iter().skip(1).filter(|channel| !channel.is_empty()).collect()
}

/// Returns the token in the query (`_token`), percent-decoded, if present.
pub fn query_token(query: Option<&str>) -> Option<Vec<u8>> {
    let mut pairs = pairs(query);
    pairs
        .find(|(name, _)| **name == *TOKEN_PARAMETER.as_bytes())
        .map(|(_, value)| value.into_owned())
}

fn segments(path: &str) -> Vec<Vec<u8>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split('/').map(|segment| decoded(segment.as_bytes()).into_owned()).collect()
}

fn pairs(query: Option<&str>) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (form_decoded(name), form_decoded(value))
    })
}

/// Percent-decodes a text. A percent sign without two hexadecimal digits stays.
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    percent_encoding::percent_decode(text).into()
}

fn form_decoded(text: &str) -> Cow<'_, [u8]> {
    if text.contains('+') {
        Cow::Owned(decoded(text.replace('+', " ").as_bytes()).into_owned())
    } else {
        decoded(text.as_bytes())
    }
}

/// The limits are far above what a body of the largest size usually contains.
const BOUNDS: BodyBounds = BodyBounds { commands_max: 10_000, words_max: 250_000 };
const TOKEN_PARAMETER: &str = "_token";

#[cfg(test)]
mod tests;

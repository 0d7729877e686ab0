//! From the driver's values to the protocol's.

use redis::{ServerError, Value};
use redis_rest::Reply;

/// The shapes of RESP2: what RESP3 adds is flattened.
pub fn reply(value: Value) -> Reply {
    match value {
        Value::Nil => Reply::Null,
        Value::Int(number) => Reply::Integer(number),
        Value::BulkString(bytes) => Reply::Bulk(bytes),
        Value::Array(values) | Value::Set(values) => {
            Reply::Array(values.into_iter().map(reply).collect())
        }
        Value::SimpleString(text) => Reply::Status(text),
        Value::Okay => Reply::Status("OK".to_owned()),
        Value::Map(pairs) => Reply::Array(
            pairs.into_iter().flat_map(|(key, value)| [reply(key), reply(value)]).collect(),
        ),
        Value::Attribute { data, .. } => reply(*data),
        Value::Double(number) => Reply::text(&number.to_string()),
        Value::Boolean(truth) => Reply::Integer(truth.into()),
        Value::VerbatimString { text, .. } => Reply::text(&text),
        Value::BigNumber(number) => Reply::Bulk(number.to_vec()),
        Value::Push { data, .. } => Reply::Array(data.into_iter().map(reply).collect()),
        Value::ServerError(error) => Reply::Error(error_text(&error)),
        _ => Reply::Error("ERR a reply of an unknown type".to_owned()),
    }
}

/// An error as Redis wrote it: its code, then its words.
pub fn error_text(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

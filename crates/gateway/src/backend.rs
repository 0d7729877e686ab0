//! Redis, by multiplexed connections that mend themselves. A request waits for its deadline at most:
//! while Redis is gone nothing queues.

use crate::config::Config;
use redis::aio::{ConnectionLike as _, ConnectionManager, ConnectionManagerConfig};
use redis::{Pipeline, RedisResult, Value};
use redis_rest::{Command, Reply};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A few connections to one Redis, taken in turn.
pub struct Backend {
    connections: Vec<ConnectionManager>,
    turn: AtomicUsize,
    deadline: Duration,
}

/// Redis did not answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outage {
    Deadline,
    Unreachable,
}

impl Backend {
    /// Connections that are made when they are first used, so that the gateway starts before Redis does.
    pub fn new(config: &Config) -> RedisResult<Self> {
        let settings = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(config.deadline))
            .set_response_timeout(Some(config.deadline))
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(Duration::from_millis(100));
        let connections = (0..CONNECTIONS)
            .map(|_| {
                ConnectionManager::new_lazy_with_config(config.redis.clone(), settings.clone())
            })
            .collect::<RedisResult<_>>()?;
        Ok(Self { connections, turn: AtomicUsize::new(0), deadline: config.deadline })
    }

    /// Runs commands in order, not atomically: a reply each, errors among them.
    pub async fn run(&self, commands: &[Command]) -> Result<Vec<Reply>, Outage> {
        match self.send(&pipeline(commands), 0, commands.len()).await {
            Ok(values) => Ok(values.into_iter().map(reply).collect()),
            // Without a transaction, this is said of the connection: a wrong password, a loading Redis.
            Err(Failure::Discarded(text)) => {
                tracing::warn!(event = "redis_refuses", text);
                Err(Outage::Unreachable)
            }
            Err(Failure::Out(outage)) => Err(outage),
        }
    }

    /// Runs commands as one transaction on one connection: all replies, or the one error by which Redis
    /// discarded them.
    pub async fn run_atomically(&self, commands: &[Command]) -> Result<Reply, Outage> {
        let mut pipeline = pipeline(commands);
        pipeline.atomic();
        match self.send(&pipeline, commands.len() + 1, 1).await {
            Ok(values) => Ok(values.into_iter().next().map_or(Reply::Null, reply)),
            Err(Failure::Discarded(text)) => Ok(Reply::Error(text)),
            Err(Failure::Out(outage)) => Err(outage),
        }
    }

    async fn send(
        &self,
        pipeline: &Pipeline,
        skip: usize,
        count: usize,
    ) -> Result<Vec<Value>, Failure> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.connections.len().max(1);
        let mut connection = self.connections.get(turn).cloned().ok_or(Outage::Unreachable)?;
        let answer = connection.req_packed_commands(pipeline, skip, count);
        match tokio::time::timeout(self.deadline, answer).await {
            Ok(Ok(values)) if values.len() == count => Ok(values),
            Ok(Ok(_)) => Err(Outage::Unreachable.into()),
            Ok(Err(error)) if error.is_timeout() => Err(Outage::Deadline.into()),
            Ok(Err(error)) if error.is_io_error() => Err(Outage::Unreachable.into()),
            Ok(Err(error)) => match error.into_server_errors().as_deref() {
                Some([(_, first), ..]) => Err(Failure::Discarded(error_text(first))),
                Some([]) | None => Err(Outage::Unreachable.into()),
            },
            Err(_) => Err(Outage::Deadline.into()),
        }
    }
}

/// Why there are no replies to a pipeline.
enum Failure {
    /// Redis refused the whole of it, in its own words.
    Discarded(String),
    Out(Outage),
}

impl From<Outage> for Failure {
    fn from(outage: Outage) -> Self {
        Self::Out(outage)
    }
}

fn pipeline(commands: &[Command]) -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.ignore_errors();
    for command in commands {
        let mut words = command.words().iter();
        let mut packed = redis::cmd(words.next().map_or("", String::as_str));
        for word in words {
            packed.arg(word);
        }
        pipeline.add_command(packed);
    }
    pipeline
}

/// The shapes of RESP2: what RESP3 adds is flattened.
fn reply(value: Value) -> Reply {
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
fn error_text(error: &redis::ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

/// A multiplexed connection carries many requests; a few keep one large answer from holding up all.
const CONNECTIONS: usize = 4;

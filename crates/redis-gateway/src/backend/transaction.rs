//! MULTI and EXEC on one server.

use super::batch::Batch;
use super::memory::ReplyMemory;
use super::outage::Outage;
use super::pool::{NO_MULTI, Pool};
use redis_rest::{Command, Reply, TOO_LARGE};
use std::sync::Arc;
use tokio::time::Instant;

/// Runs commands as one transaction: MULTI, the commands and EXEC in one write to one connection.
///
/// If a command was not queued, returns its error, because EXEC reports only that there was an
/// error.
pub async fn transact(
    pool: &Pool,
    commands: &[Command],
    memory: &Arc<ReplyMemory>,
    deadline: Instant,
) -> Result<Reply, Outage> {
    let (multi, exec) = (Command::new("MULTI"), Command::new("EXEC"));
    let all: Vec<&Command> = [&multi].into_iter().chain(commands).chain([&exec]).collect();
    let mut batch = Batch::default();
    batch.push(&all);
    let mut replies = pool.transact(batch, memory, deadline).await?;
    if let Some(Reply::Error(text)) = replies.first()
        && text != NO_MULTI
    {
        let why = "Redis refused MULTI, so the commands may have run one by one";
        return Ok(Reply::Error(format!("{text} ({why})")));
    }
    let last = replies.pop().unwrap_or(Reply::Null);
    if let Some(error) = replies.into_iter().find(|reply| matches!(reply, Reply::Error(_))) {
        return Ok(error);
    }
    // The transaction ran, but its reply was dropped, so each command gets the error.
    if matches!(&last, Reply::Error(text) if text == TOO_LARGE) {
        return Ok(Reply::Array(commands.iter().map(|_| last.clone()).collect()));
    }
    Ok(last)
}

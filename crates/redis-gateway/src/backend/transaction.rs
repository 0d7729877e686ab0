//! MULTI and EXEC on one server.

use super::outage::Outage;
use super::pool::{NO_MULTI, Pool};
use super::protocol::encode_commands;
use redis_rest::{Command, Reply, TOO_LARGE, encode_resp2_command};
use tokio::time::Instant;

/// Runs commands as one transaction: MULTI, the commands and EXEC in one write to one connection.
///
/// If a command was not queued, returns its error: EXEC itself reports only that there was one.
pub async fn transact(
    pool: &Pool,
    commands: &[Command],
    deadline: Instant,
) -> Result<Reply, Outage> {
    let mut bytes = encode_commands(&[Command::new("MULTI")]);
    commands.iter().for_each(|command| encode_resp2_command(command, &mut bytes));
    encode_resp2_command(&Command::new("EXEC"), &mut bytes);
    let mut replies = pool.transact(bytes, commands.len() + 2, deadline).await?;
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
    // The transaction ran, but its reply was dropped: each command gets the error.
    if matches!(&last, Reply::Error(text) if text == TOO_LARGE) {
        return Ok(Reply::Array(commands.iter().map(|_| last.clone()).collect()));
    }
    Ok(last)
}

//! Sends the steps of a request over one connection.

use super::batch::Batch;
use super::connection::{ConnectionBroken, SharedConnection};
use super::memory::ReplyMemory;
use super::outage::Outage;
use redis_rest::Reply;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// Sends commands step by step, and returns all replies.
///
/// If a step after the first fails, its commands and all later ones get the error. The replies to
/// the earlier steps are kept, because their commands were executed.
pub async fn send_steps(
    connection: &SharedConnection,
    batch: Batch,
    memory: &Arc<ReplyMemory>,
    deadline: Instant,
) -> Result<Vec<Reply>, Outage> {
    let count = batch.replies();
    let mut all = Vec::with_capacity(count);
    for step in batch.into_steps() {
        let sent = connection.send(step, Some(Arc::clone(memory)));
        let outage = match within(deadline, sent).await {
            Ok(_) if memory.is_exhausted() => Outage::Memory,
            Ok(replies) => {
                all.extend(replies);
                continue;
            }
            Err(outage) => outage,
        };
        if all.is_empty() {
            return Err(outage);
        }
        all.resize(count, Reply::Error(outage.text().to_owned()));
        break;
    }
    Ok(all)
}

/// Waits for the replies to a step until the deadline.
pub async fn within(
    deadline: Instant,
    sent: impl Future<Output = Result<Vec<Reply>, ConnectionBroken>>,
) -> Result<Vec<Reply>, Outage> {
    match timeout_at(deadline, sent).await {
        Ok(Ok(replies)) => Ok(replies),
        Ok(Err(ConnectionBroken)) => Err(Outage::Unreachable),
        Err(_) => Err(Outage::Deadline),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::connection::DedicatedConnection;
    use crate::backend::memory::ResponseMemory;
    use redis_rest::{Command, TOO_LARGE};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    fn connect() -> (SharedConnection, DuplexStream) {
        let (gateway, redis) = tokio::io::duplex(1 << 20);
        (DedicatedConnection::over(gateway).into_shared(), redis)
    }

    fn gets(count: usize) -> Batch {
        Batch::new(&vec![Command::new("GET").arg("k"); count])
    }

    async fn reply(redis: &mut DuplexStream, text: &str, count: usize) {
        let request = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".len() * count;
        redis.read_exact(&mut vec![0; request]).await.unwrap();
        redis.write_all(text.repeat(count).as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn replies_before_a_failed_step_are_kept() {
        let (connection, mut redis) = connect();
        let memory = ReplyMemory::new(&ResponseMemory::new(128));
        let deadline = Instant::now() + Duration::from_millis(200);
        let sent = send_steps(&connection, gets(130), &memory, deadline);
        let (replies, ()) = tokio::join!(sent, reply(&mut redis, "+A\r\n", 64));
        let replies = replies.expect("the replies of the first step");
        let late = Reply::Error(Outage::Deadline.text().to_owned());
        assert_eq!(replies.len(), 130);
        assert!(replies[..64].iter().all(|reply| *reply == Reply::Status("A".to_owned())));
        assert!(replies[64..].iter().all(|reply| *reply == late));
        // Nothing was executed before the first step.
        let (connection, redis) = connect();
        drop(redis);
        let deadline = Instant::now() + Duration::from_secs(5);
        let sent = send_steps(&connection, gets(130), &memory, deadline).await;
        assert_eq!(sent, Err(Outage::Unreachable));
    }

    /// The limit on a request's replies applies to all of its steps together.
    #[tokio::test]
    async fn first_reply_of_a_later_step_counts_to_the_bound_of_the_request() {
        let (connection, mut redis) = connect();
        let memory = ReplyMemory::new(&ResponseMemory::new(128));
        assert!(memory.grow((64 << 20) - 10_000));
        let deadline = Instant::now() + Duration::from_secs(5);
        let large = format!("$6000\r\n{}\r\n", "x".repeat(6000));
        let sent = send_steps(&connection, gets(65), &memory, deadline);
        let (replies, ()) = tokio::join!(sent, async {
            reply(&mut redis, ":1\r\n", 63).await;
            reply(&mut redis, &large, 1).await;
            reply(&mut redis, &large, 1).await;
        });
        let replies = replies.unwrap();
        assert!(matches!(&replies[63], Reply::Bulk(_)));
        assert_eq!(replies[64], Reply::Error(TOO_LARGE.to_owned()));
    }
}

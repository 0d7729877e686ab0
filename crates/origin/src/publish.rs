//! Brings the store in step with the database: what is committed to the outbox is sent at once, and
//! again until the store has it.

use crate::db::{Db, Pending};
use redis_rest::{Command, Reply, decode_replies, encode_pipeline};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Sends commands to the store over the REST protocol.
pub struct Publisher {
    db: Arc<Db>,
    client: reqwest::Client,
    url: String,
    token: String,
    left_over: Notify,
}

/// Whether the store has what was published.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delivery {
    Done,
    Pending,
}

/// Why the store does not have it.
enum Fault {
    Answer,
    Command(String),
    Status(u16),
    Unreachable,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer => f.write_str("its answer is not the REST protocol's"),
            Self::Command(text) => write!(f, "it refuses a command: {text}"),
            Self::Status(status) => write!(f, "it answers with status {status}"),
            Self::Unreachable => f.write_str("it can't be reached, or not in time"),
        }
    }
}

impl Publisher {
    /// A publisher to the store at `url`.
    pub fn new(db: Arc<Db>, url: &str, token: &str) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(DEADLINE)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let (url, token) = (format!("{url}/pipeline"), token.to_owned());
        Ok(Self { db, client, url, token, left_over: Notify::new() })
    }

    /// Delivers what was just committed. If the store can't be told now, the outbox still has it, and
    /// [`Publisher::run`] goes on.
    pub async fn deliver(&self, pending: &Pending) -> Delivery {
        match self.send(&pending.commands).await {
            Ok(()) => {
                if let Err(error) = within(self.db.delivered(&pending.id)).await {
                    tracing::warn!(event = "outbox_row_kept", error);
                }
                Delivery::Done
            }
            Err(fault) => {
                tracing::warn!(event = "store_not_told", %fault);
                self.left_over.notify_one();
                Delivery::Pending
            }
        }
    }

    /// Delivers what earlier attempts left over, from this process or one that died: at the start, when
    /// an attempt failed, and now and then.
    pub async fn run(&self) {
        let mut pause = PAUSE_MIN;
        loop {
            match self.drain().await {
                true => {
                    pause = PAUSE_MIN;
                    let _ = tokio::time::timeout(LOOK_AGAIN, self.left_over.notified()).await;
                }
                false => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Whether nothing is left that could be delivered now. A row that the store refuses is passed over,
    /// so that it holds up no other, and tried again by the next run.
    async fn drain(&self) -> bool {
        loop {
            let batch = match within(self.db.pending(BATCH)).await {
                Ok(batch) => batch,
                Err(error) => {
                    tracing::warn!(event = "outbox_unreadable", error);
                    return false;
                }
            };
            let full = batch.len() == BATCH as usize;
            let mut refused = 0;
            for pending in batch {
                match self.send(&pending.commands).await {
                    Ok(()) => {}
                    Err(fault @ Fault::Command(_)) => {
                        tracing::error!(event = "store_refuses", row = pending.id, %fault);
                        refused += 1;
                        continue;
                    }
                    Err(fault) => {
                        tracing::warn!(event = "store_not_told", %fault);
                        return false;
                    }
                }
                if let Err(error) = within(self.db.delivered(&pending.id)).await {
                    tracing::warn!(event = "outbox_row_kept", error);
                    return false;
                }
            }
            if !full || refused > 0 {
                return refused == 0;
            }
        }
    }

    async fn send(&self, commands: &[Command]) -> Result<(), Fault> {
        let answer = self
            .client
            .post(&self.url)
            .bearer_auth(&self.token)
            .header("content-type", "application/json")
            .body(encode_pipeline(commands))
            .send()
            .await
            .map_err(|_| Fault::Unreachable)?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(Fault::Status(answer.status().as_u16()));
        }
        let text = bounded_text(answer).await?;
        let replies = decode_replies(&text, commands.len()).map_err(|_| Fault::Answer)?;
        match replies.into_iter().find(|reply| matches!(reply, Reply::Error(_))) {
            Some(Reply::Error(text)) => Err(Fault::Command(text)),
            _ => Ok(()),
        }
    }
}

/// An answer's text; what is longer than any answer to our commands is none.
async fn bounded_text(mut answer: reqwest::Response) -> Result<String, Fault> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|_| Fault::Unreachable)? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Fault::Answer);
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| Fault::Answer)
}

/// A database that has vanished without a word must not hold up what is left to deliver for ever.
async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, String> {
    match tokio::time::timeout(DATABASE_DEADLINE, work).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err("the database does not answer".to_owned()),
    }
}

const DATABASE_DEADLINE: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_secs(30);
const BATCH: u32 = 100;
const ANSWER_BYTES_MAX: usize = 64 * 1024;

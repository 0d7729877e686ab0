//! The background tasks of `serve`. They deliver the outbox, check the store, maintain the signing
//! keys and delete expired rows.

use crate::clock::now;
use crate::db::Db;
use crate::outbox::{Publisher, StoreHealth};
use crate::random::random_id;
use crate::signing_keys::KeyRing;
use portcullis_core::UnixSeconds;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The background tasks.
pub struct Maintenance {
    pub db: Arc<Db>,
    pub publisher: Arc<Publisher>,
    /// How long a session may be idle.
    pub idle_seconds: u64,
    /// How long security events are kept.
    pub audit_seconds: u64,
    /// How long hourly counts of requests are kept.
    pub usage_seconds: u64,
}

impl Maintenance {
    /// Runs the tasks until the future is dropped.
    pub async fn run(&self, keys: &KeyRing) {
        tokio::join!(
            self.publisher.run(),
            self.watch_store(),
            Self::maintain_keys(keys),
            self.clean_up(),
            self.check_connections()
        );
    }

    /// Checks the store, and next to that restores counts, which can take long.
    async fn watch_store(&self) {
        let loss = Notify::new();
        tokio::join!(self.check_store(&loss), self.restore_after(&loss));
    }

    async fn check_store(&self, loss: &Notify) {
        let (process, mut round) = (random_id(), 0);
        loop {
            if round % EVICTION_CHECK_ROUNDS == 0 {
                self.publisher.check_eviction().await;
            }
            round += 1;
            match self.publisher.check_store(&process, round, now()).await {
                StoreHealth::Intact => {}
                StoreHealth::Republished(commands) => {
                    tracing::info!(event = "store_reconciled", republished = commands);
                    loss.notify_one();
                }
                StoreHealth::Unknown => tracing::debug!(event = "store_not_checked"),
            }
            tokio::time::sleep(CHECK_EACH).await;
        }
    }

    /// Restores counts after each loss, and again while isolates report what they had counted. Does
    /// so once a day without a loss, so that credits that no caller asks for stay in the store.
    async fn restore_after(&self, loss: &Notify) {
        let (mut left, mut pause) = (0, RESTORE_IDLE);
        loop {
            if tokio::time::timeout(pause, loss.notified()).await.is_ok() {
                left = RESTORES;
            }
            pause = match self.restore_quotas().await {
                false => {
                    left = left.max(1);
                    CHECK_EACH
                }
                true if left > 1 => {
                    left -= 1;
                    RESTORE_EACH
                }
                true => {
                    left = 0;
                    RESTORE_IDLE
                }
            };
        }
    }

    /// Restores the counts that a store lost. Returns whether that is done.
    async fn restore_quotas(&self) -> bool {
        match self.publisher.restore_quotas(now()).await {
            Ok(states) => tracing::info!(event = "quotas_restored", states),
            Err(error) => {
                tracing::warn!(event = "quotas_not_restored", error);
                return false;
            }
        }
        true
    }

    async fn maintain_keys(keys: &KeyRing) {
        loop {
            tokio::time::sleep(KEYS_EACH).await;
            match tokio::time::timeout(WORK_TIMEOUT, keys.maintain(now())).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(event = "signing_keys_unread", %error),
                Err(_) => {
                    tracing::error!(event = "signing_keys_unread", error = DATABASE_SILENT);
                }
            }
        }
    }

    async fn clean_up(&self) {
        loop {
            tokio::time::sleep(CLEAN_UP_EACH).await;
            if let Err(error) = self.delete_expired(now()).await {
                tracing::warn!(event = "cleanup_failed", %error);
            }
        }
    }

    async fn check_connections(&self) {
        loop {
            tokio::time::sleep(CONNECTIONS_EACH).await;
            self.db.check_connections().await;
        }
    }

    /// Deletes expired rows, batch by batch. Returns their number.
    pub async fn delete_expired(&self, now: UnixSeconds) -> Result<u64, sqlx::Error> {
        let mut deleted = 0;
        let commands = self.publisher.commands();
        loop {
            let expire = |user: &str, id: &str| commands.session_expired(user, id);
            let batch = async {
                let (idle, audit) = (self.idle_seconds, self.audit_seconds);
                let deleted = self.db.delete_expired(now, idle, audit, expire).await;
                let ended = self.publisher.end_adjustments(now).await;
                Ok(deleted? + ended?)
            };
            // If the database does not respond, dropping the future releases the connection.
            let batch = tokio::time::timeout(WORK_TIMEOUT, batch).await;
            let usage = self.db.delete_old_usage(now, self.usage_seconds);
            let usage = tokio::time::timeout(WORK_TIMEOUT, usage).await;
            let series = tokio::time::timeout(WORK_TIMEOUT, self.shorten_series(now)).await;
            let (batch, usage) = (batch.unwrap_or(Err(SILENT))?, usage.unwrap_or(Err(SILENT))?);
            match batch + usage + series.unwrap_or(Err(SILENT))? {
                0 => break,
                batch => deleted += batch,
            }
            self.publisher.wake();
            // The pause lets waiting writers go first.
            tokio::time::sleep(PAUSE).await;
        }
        if deleted > 0 {
            tracing::info!(event = "cleaned_up", deleted);
        }
        Ok(deleted)
    }

    /// Adds up the minutes of an old hour, and deletes old hours. Returns the number of rows.
    async fn shorten_series(&self, now: UnixSeconds) -> Result<u64, sqlx::Error> {
        let rolled_up = self.db.roll_up_series(now).await?;
        Ok(rolled_up + self.db.delete_old_series(now, self.usage_seconds).await?)
    }
}

const CHECK_EACH: Duration = Duration::from_secs(2);
const EVICTION_CHECK_ROUNDS: u64 = 5;
/// How often the counts are restored after a loss, and the pauses then and without a loss.
const RESTORES: u32 = 5;
const RESTORE_EACH: Duration = Duration::from_secs(30);
const RESTORE_IDLE: Duration = Duration::from_secs(86_400);
const KEYS_EACH: Duration = Duration::from_secs(10);
const CLEAN_UP_EACH: Duration = Duration::from_secs(300);
const CONNECTIONS_EACH: Duration = Duration::from_secs(5);
/// The same as the longest time of a request.
const WORK_TIMEOUT: Duration = Duration::from_secs(10);
const SILENT: sqlx::Error = sqlx::Error::PoolTimedOut;
const DATABASE_SILENT: &str = "the database does not respond";
const PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests;

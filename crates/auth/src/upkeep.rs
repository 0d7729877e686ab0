//! What the service does by itself while it serves, each for itself: it looks after its keys, deletes what has ended, and
//! tells the store everything anew when that has lost something.

use crate::clock::now;
use crate::config::Config;
use crate::db::Db;
use crate::keys::KeyRing;
use crate::publish::{Look, Publisher};

use portcullis_core::UnixSeconds;
use std::sync::Arc;
use std::time::Duration;

/// What is looked after, and how long things last.
pub struct Upkeep {
    pub db: Arc<Db>,
    pub publisher: Arc<Publisher>,
    pub idle_seconds: u64,
    pub audit_seconds: u64,
}

impl Upkeep {
    /// As it is configured.
    pub fn new(db: Arc<Db>, publisher: Arc<Publisher>, config: &Config) -> Self {
        let (idle_seconds, audit_seconds) = (config.refresh_idle_seconds, config.audit_seconds);
        Self { db, publisher, idle_seconds, audit_seconds }
    }

    /// Goes on until it is dropped.
    pub async fn run(&self, keys: &KeyRing) {
        tokio::join!(
            self.publisher.run(),
            self.look_after_store(),
            self.look_after_keys(keys),
            async {
                loop {
                    tokio::time::sleep(CLEAN_EACH).await;
                    if let Err(error) = self.clean(now()).await {
                        tracing::warn!(event = "cleanup_failed", %error);
                    }
                }
            }
        );
    }

    async fn look_after_store(&self) {
        let (name, mut round) = (crate::random::random_id(), 0);
        loop {
            round += 1;
            match self.publisher.look_after(&name, round, now()).await {
                Look::Fine => {}
                Look::Told(told) => tracing::info!(event = "store_reconciled", told),
                Look::Unsaid => tracing::debug!(event = "store_not_asked"),
            }
            tokio::time::sleep(LOOK_EACH).await;
        }
    }

    async fn look_after_keys(&self, keys: &KeyRing) {
        loop {
            tokio::time::sleep(KEYS_EACH).await;
            if let Err(error) = keys.maintain(now()).await {
                tracing::error!(event = "signing_keys_unread", %error);
            }
        }
    }

    /// Deletes what has ended, batch by batch; how much that was.
    pub async fn clean(&self, now: UnixSeconds) -> Result<u64, sqlx::Error> {
        let mut deleted = 0;
        loop {
            let leave = |user: &str, id: &str| self.publisher.left(user, id);
            match self.db.clean(now, self.idle_seconds, self.audit_seconds, leave).await? {
                0 => break,
                batch => deleted += batch,
            }
            // Who writes meanwhile goes first.
            tokio::time::sleep(BREATH).await;
        }
        if deleted > 0 {
            tracing::info!(event = "cleaned_up", deleted);
        }
        Ok(deleted)
    }
}

const LOOK_EACH: Duration = Duration::from_secs(2);
const KEYS_EACH: Duration = Duration::from_secs(10);
const CLEAN_EACH: Duration = Duration::from_secs(60);
const BREATH: Duration = Duration::from_millis(20);

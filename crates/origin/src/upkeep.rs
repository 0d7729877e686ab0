//! What the service does by itself while it serves: it looks after its keys, deletes what has ended, and tells the
//! store everything anew when that has lost its content.

use crate::config::Config;
use crate::db::Db;
use crate::keys::KeyRing;
use crate::now;
use crate::publish::Publisher;
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
        let audit_seconds = config.audit_days * 86_400;
        Self { db, publisher, idle_seconds: config.refresh_idle_seconds, audit_seconds }
    }

    /// Goes on until it is dropped.
    pub async fn run(&self, keys: &KeyRing) {
        let mut reconciled = false;
        for round in 0_u64.. {
            // At the start in any case: what a store has that was restored from an older copy, nobody knows.
            if !reconciled || self.publisher.is_reconciled().await == Some(false) {
                reconciled = self.reconcile().await;
            }
            if round % 5 == 4
                && let Err(error) = keys.maintain(now()).await
            {
                tracing::error!(event = "signing_keys_unread", %error);
            }
            if round % 30 == 29 {
                self.clean(now()).await;
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    async fn reconcile(&self) -> bool {
        match self.publisher.reconcile(now()).await {
            Ok(told) => {
                tracing::info!(event = "store_reconciled", told);
                true
            }
            Err(fault) => {
                tracing::warn!(event = "store_not_reconciled", fault);
                false
            }
        }
    }

    /// Deletes what has ended, batch by batch; how much that was.
    pub async fn clean(&self, now: UnixSeconds) -> u64 {
        let mut deleted = 0;
        loop {
            let leave = |user: &str, id: &str| self.publisher.left(user, id);
            match self.db.clean(now, self.idle_seconds, self.audit_seconds, leave).await {
                Ok(0) => break,
                Ok(batch) => deleted += batch,
                Err(error) => {
                    tracing::warn!(event = "cleanup_failed", %error);
                    break;
                }
            }
            // Who writes meanwhile goes first.
            tokio::time::sleep(BREATH).await;
        }
        if deleted > 0 {
            tracing::info!(event = "cleaned_up", deleted);
        }
        deleted
    }
}

const ROUND: Duration = Duration::from_secs(2);
const BREATH: Duration = Duration::from_millis(20);

//! Brings the store in step with the database: what is committed to the outbox is sent at once, and
//! again until the store has it.

use crate::db::{Db, Pending};
use crate::store::{Fault, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Delivers what the outbox holds.
pub struct Publisher {
    db: Arc<Db>,
    store: Arc<Store>,
    left_over: Notify,
}

/// Whether the store has what was published.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delivery {
    Done,
    Pending,
}

impl Publisher {
    /// A publisher of what is in the database's outbox.
    pub fn new(db: Arc<Db>, store: Arc<Store>) -> Self {
        Self { db, store, left_over: Notify::new() }
    }

    /// Delivers what was just committed. If the store can't be told now, the outbox still has it, and
    /// [`Publisher::run`] goes on.
    pub async fn deliver(&self, pending: &Pending) -> Delivery {
        match self.store.tell(&pending.commands).await {
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
                match self.store.tell(&pending.commands).await {
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
}

/// A database that has vanished without a word must not hold up what is left to deliver for ever.
async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, String> {
    match tokio::time::timeout(DATABASE_DEADLINE, work).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err("the database does not answer".to_owned()),
    }
}

const DATABASE_DEADLINE: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_secs(30);
const BATCH: u32 = 100;

//! Delivers outbox rows to the store.

use super::about::is_adjustment;
use super::commands::{HolderState, StoreCommands, Subject};
use super::delivery_times::DeliveryTimes;
use super::records::RecordSettings;
use crate::clock::now;
use crate::db::{ABOUT_NETWORKS, Db, EndedSession, OutboxRow};
use crate::steps::database;
use crate::store::{Store, StoreError};
use portcullis_core::StoreKeys;
use redis_rest::Command;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tracing::Instrument as _;

/// Delivers outbox rows to the store.
pub struct Publisher {
    pub(super) db: Arc<Db>,
    pub(super) store: Arc<Store>,
    pub(super) commands: StoreCommands,
    issuer: String,
    delivery_times: Option<DeliveryTimes>,
    undelivered: Notify,
    /// The policy by which the store evicts keys; `None` if it evicts none.
    pub(super) evicting_policy: Mutex<Option<String>>,
    /// When markers are sampled next, in Unix seconds.
    pub(super) next_sample_at: AtomicU64,
    /// Whether everything must be written again, because the store has lost data.
    pub(super) must_republish: AtomicBool,
    /// For how many checks of the store this process's last write is a recent one.
    pub(super) recent_checks: AtomicU64,
    /// The ids of API keys that are being settled in the background.
    pub(super) settling: Mutex<BTreeSet<String>>,
}

/// Whether the store has executed the commands of a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delivery {
    Done,
    Pending,
}

impl Publisher {
    /// Creates a publisher of the outbox in `db` to `store`.
    pub fn new(db: Arc<Db>, store: Arc<Store>, issuer: &str, keys: StoreKeys) -> Self {
        let issuer = issuer.to_owned();
        let commands = StoreCommands::new(issuer.clone(), keys);
        Self {
            db,
            store,
            commands,
            issuer,
            delivery_times: None,
            undelivered: Notify::new(),
            evicting_policy: Mutex::default(),
            next_sample_at: AtomicU64::default(),
            must_republish: AtomicBool::default(),
            recent_checks: AtomicU64::default(),
            settling: Mutex::default(),
        }
    }

    /// Lets the publisher write the records of API keys. Without it, changes of keys remove their
    /// records, and a publisher that has the settings writes them again.
    pub fn with_records(mut self, records: RecordSettings) -> Self {
        self.commands.set_records(records);
        self
    }

    /// Lets the publisher measure how long deliveries take.
    pub fn with_delivery_times(mut self, times: DeliveryTimes) -> Self {
        self.delivery_times = Some(times);
        self
    }

    /// Returns the builder of commands for the store.
    pub fn commands(&self) -> &StoreCommands {
        &self.commands
    }

    /// Queries when the edge last saw each session. Returns `None` for each session that the store
    /// does not know, and for all if it is unavailable.
    pub async fn last_seen(&self, ids: &[&str]) -> Vec<Option<u64>> {
        let query = |id: &&str| {
            let key = self.commands.keys().session(&self.issuer, id);
            Command::new("HGET").arg(key).arg("last_seen_at")
        };
        let commands: Vec<Command> = ids.iter().map(query).collect();
        let mut seen = Vec::new();
        for batch in commands.chunks(COMMANDS_MAX) {
            let replies = self.store.execute(batch).await.unwrap_or_default();
            let replies = replies.iter().map(|reply| reply.as_text()?.parse().ok());
            seen.extend(replies.chain(std::iter::repeat(None)).take(batch.len()));
        }
        seen
    }

    /// Delivers rows that were just committed. If that fails, they stay in the outbox, and
    /// [`Publisher::run`] retries. The delivery continues if its caller is aborted.
    pub async fn deliver(self: &Arc<Self>, rows: Vec<OutboxRow>) -> Delivery {
        let publisher = Arc::clone(self);
        let task = async move { publisher.deliver_all(&rows).await };
        tokio::spawn(task.in_current_span()).await.unwrap_or(Delivery::Pending)
    }

    async fn deliver_all(&self, rows: &[OutboxRow]) -> Delivery {
        let (committed, mut delivery) = (Instant::now(), Delivery::Done);
        for row in rows {
            match self.write_row(row).await {
                Ok(()) => {
                    self.observe(committed.elapsed());
                    let step = database("delete_outbox_row");
                    if let Err(error) = self.complete(row).instrument(step).await {
                        tracing::warn!(event = "outbox_row_kept", error);
                    }
                }
                Err(error) => {
                    tracing::warn!(event = "store_not_updated", fault = %error);
                    delivery = Delivery::Pending;
                    // If the store is unavailable, each further row would wait for a timeout.
                    if !error.is_rejection() {
                        break;
                    }
                }
            }
        }
        if delivery == Delivery::Pending {
            self.undelivered.notify_one();
        }
        delivery
    }

    /// Delivers the rows of sessions that have ended.
    pub async fn deliver_ended(self: &Arc<Self>, ended: &[EndedSession]) -> Delivery {
        self.deliver(ended.iter().map(|ended| ended.outbox_row.clone()).collect()).await
    }

    /// Returns whether the store has executed all commands that belong to `about`. It is for
    /// requests that changed nothing.
    pub async fn delivery_of(&self, about: &str) -> Result<Delivery, sqlx::Error> {
        match self.db.has_outbox_rows(about).await? {
            true => Ok(Delivery::Pending),
            false => Ok(Delivery::Done),
        }
    }

    /// Returns whether the store has the current list of blocked networks.
    pub async fn delivery_of_list(&self) -> Result<Delivery, sqlx::Error> {
        self.delivery_of(ABOUT_NETWORKS).await
    }

    /// Returns whether the store has executed all commands that belong to a user, or to a session
    /// or an API key of the user.
    pub async fn delivery_of_user(&self, user_id: &str) -> Result<Delivery, sqlx::Error> {
        match self.db.has_outbox_rows_of_user(user_id).await? {
            true => Ok(Delivery::Pending),
            false => Ok(Delivery::Done),
        }
    }

    /// Deletes a delivered row. If that fails, a later state of an API key may have been delivered
    /// before, so the key's records are deleted: a missing one is introspected.
    async fn complete(&self, row: &OutboxRow) -> Result<(), String> {
        let completed = self.complete_row(row).await;
        if completed.is_err() {
            self.withdraw(&self.commands.key_records(&row.commands)).await;
        }
        completed
    }

    /// Deletes a delivered row. If the row was discarded during its delivery, undoes its commands.
    /// If it is an API key's, the store receives the key's present state.
    async fn complete_row(&self, row: &OutboxRow) -> Result<(), String> {
        if with_timeout(self.db.delete_outbox_row(&row.id)).await? || is_adjustment(&row.about) {
            return Ok(());
        }
        if let Some(state) = with_timeout(self.db.key_state(&row.about, now())).await? {
            return self.settle_keys(vec![state], now()).await.map(|_| ());
        }
        let session_revoked = with_timeout(self.db.is_session_revoked(&row.about)).await?;
        let user = with_timeout(self.db.user_by_id(&row.about)).await?;
        let client = with_timeout(self.db.client_state(&row.about)).await?;
        let now = now();
        let subject = Subject {
            is_ended_session: session_revoked == Some(true),
            user: user.map(|user| HolderState::of(user.disabled, user.tokens_revoked_at, now)),
            client: client.map(|client| {
                HolderState::of(client.disabled_at.is_some(), client.tokens_revoked_at, now)
            }),
        };
        let undo = self.commands.undo(row, &subject, now);
        match undo.is_empty() {
            true => Ok(()),
            false => self.write(&undo).await.map_err(|error| error.to_string()),
        }
    }

    /// Sends what a row says.
    async fn write_row(&self, row: &OutboxRow) -> Result<(), StoreError> {
        match is_adjustment(&row.about) {
            true => self.write_adjustment(&row.about).await,
            false => self.write(&row.commands).await,
        }
    }

    fn observe(&self, time: Duration) {
        if let Some(times) = &self.delivery_times {
            times.observe(time);
        }
    }

    /// Sends commands, in as many requests as necessary.
    pub(crate) async fn write(&self, commands: &[Command]) -> Result<(), StoreError> {
        for batch in commands.chunks(COMMANDS_MAX) {
            self.recent_checks.store(RECENT_CHECKS, Ordering::Relaxed);
            self.store.write(batch).await?;
        }
        Ok(())
    }

    /// Lets [`Publisher::run`] deliver rows that were written without a delivery.
    pub fn wake(&self) {
        self.undelivered.notify_one();
    }

    /// Delivers undelivered rows of this process or of one that died: at the start, after a failed
    /// delivery, and every few seconds.
    pub async fn run(&self) {
        let mut pause = PAUSE_MIN;
        loop {
            match self.drain().await {
                true => {
                    pause = PAUSE_MIN;
                    let _ = tokio::time::timeout(DRAIN_EACH, self.undelivered.notified()).await;
                }
                false => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Delivers all rows. Returns `false` if any remain. A row that the store rejects is skipped,
    /// so that it does not block others, and retried in the next run. A row of a newer version is
    /// left for the newer process that wrote it.
    pub async fn drain(&self) -> bool {
        let (mut rejected, mut newer, mut last) = (0, 0, None);
        loop {
            let page = match with_timeout(self.db.outbox_rows(last.as_ref(), BATCH)).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(event = "outbox_unreadable", error);
                    return false;
                }
            };
            newer += page.newer;
            for row in &page.rows {
                match self.write_row(row).await {
                    // The row says when it was committed to the second. So up to a second of this
                    // time may be too much.
                    Ok(()) => {
                        self.observe(Duration::from_secs(now().0.saturating_sub(row.created_at)));
                    }
                    Err(error) if error.is_rejection() => {
                        tracing::error!(event = "store_refuses", row = row.id, fault = %error);
                        rejected += 1;
                        continue;
                    }
                    Err(error) => {
                        tracing::warn!(event = "store_not_updated", fault = %error);
                        return false;
                    }
                }
                if let Err(error) = self.complete(row).await {
                    tracing::warn!(event = "outbox_row_kept", error);
                    return false;
                }
            }
            last = page.last;
            if last.is_none() {
                if newer > 0 {
                    let fix = "start the newer portcullis-auth that wrote them";
                    tracing::warn!(event = "outbox_rows_newer", rows = newer, fix);
                }
                return rejected == 0 && newer == 0;
            }
        }
    }
}

/// Waits for the database for a limited time, so that an outage does not block deliveries for ever.
pub(super) async fn with_timeout<T>(
    query: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, String> {
    match tokio::time::timeout(DATABASE_TIMEOUT, query).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the database does not respond".to_owned()),
    }
}

/// The most commands of one request: fewer than any gateway accepts.
const COMMANDS_MAX: usize = 100;
const DATABASE_TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often markers are sampled, some at once: that takes two queries.
pub(super) const SAMPLE_EACH_SECONDS: u64 = 10;
const DRAIN_EACH: Duration = Duration::from_secs(10);
/// A time above the loss of a store that writes to its disk or replicas every second.
pub(super) const RECENT_SECONDS: u64 = 60;
/// The checks of the store in that time.
const RECENT_CHECKS: u64 = 30;
/// The most rows of one query.
pub(super) const BATCH: u32 = 100;

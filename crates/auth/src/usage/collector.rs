//! Takes the batches of the edges from the store's list, and adds them to the database.
//!
//! A batch leaves the list after it was committed together with its id. If the process dies in
//! between, or two processes take the same batch, its id shows that it was counted.

use crate::clock::now;
use crate::db::{Db, key_uses};
use crate::store::{Store, StoreError};
use portcullis_core::{Seal, StoreKeys, UnixSeconds, UsageBatch};
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use redis_rest::{Command, Reply, TOO_LARGE};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// The collector of an auth service. Several may run at once.
pub struct Collector {
    db: Arc<Db>,
    store: Arc<Store>,
    seal: Option<Seal>,
    /// The issuer of the service's own API keys.
    issuer: String,
    key: String,
    malformed_key: String,
    /// How many batches are read at once: fewer after a reply that is too long.
    page: AtomicUsize,
    /// How often in a row not even one batch could be read.
    unreadable: AtomicUsize,
    /// How many unreadable batches at the begin of the list are skipped, and since when.
    skipped: AtomicUsize,
    skipped_at: AtomicU64,
    metrics: Metrics,
}

struct Metrics {
    batches: IntCounterVec,
    requests: IntCounter,
    waiting: IntGauge,
    lag_seconds: IntGauge,
}

/// The result of one round.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Round {
    /// There were no batches.
    Empty,
    /// All batches were taken that were there.
    Done,
    /// Further batches wait.
    More,
}

impl Collector {
    /// Creates a collector, and registers its metrics.
    pub fn new(
        db: Arc<Db>,
        store: Arc<Store>,
        seal: Option<Seal>,
        issuer: &str,
        keys: &StoreKeys,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::new(registry)?;
        let (key, malformed_key) = (keys.usage(), keys.usage_malformed());
        Ok(Self {
            db,
            store,
            seal,
            issuer: issuer.to_owned(),
            key,
            malformed_key,
            page: AtomicUsize::new(PAGE_MAX),
            unreadable: AtomicUsize::default(),
            skipped: AtomicUsize::default(),
            skipped_at: AtomicU64::default(),
            metrics,
        })
    }

    /// Collects until the future is dropped. A memcached has no lists, so nothing is collected
    /// there.
    pub async fn run(&self) {
        if !self.store.has_lists() {
            return std::future::pending().await;
        }
        let mut has_failed = false;
        loop {
            let pause = match self.collect(now()).await {
                Ok(Round::Empty) => COLLECT_EACH,
                // So that further ones are added up before they are written.
                Ok(Round::Done) => GATHER_PAUSE,
                // The pause lets other writers of the database go first.
                Ok(Round::More) => PAUSE,
                Err(error) => {
                    match has_failed {
                        true => tracing::debug!(event = "usage_not_collected", error),
                        false => tracing::warn!(event = "usage_not_collected", error),
                    }
                    has_failed = true;
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                    continue;
                }
            };
            has_failed = false;
            tokio::time::sleep(pause).await;
        }
    }

    /// Takes one page of batches from the list.
    pub async fn collect(&self, now: UnixSeconds) -> Result<Round, String> {
        let (page, skipped) = (self.page.load(Ordering::Relaxed), self.skipped(now));
        let query = [
            Command::new("LLEN").arg(&self.key),
            Command::new("LRANGE").arg(&self.key).arg(skipped).arg(skipped + page - 1),
        ];
        // A whole batch of long names can be longer than any other reply.
        let bytes_max = if page > 1 { PAGE_BYTES_MAX } else { BATCH_BYTES_MAX };
        let replies = self.store.execute_bounded(&query, bytes_max).await;
        let (waiting, texts) = match replies.as_deref() {
            Ok([Reply::Integer(waiting), Reply::Array(texts)]) => (*waiting, texts),
            Ok([Reply::Error(text), _]) => return Err(text.clone()),
            Ok([_, Reply::Error(text)]) if !is_too_long(text) => return Err(text.clone()),
            Ok(_) | Err(StoreError::BadResponse) => return self.read_less(page, now),
            Err(error) => return Err(error.to_string()),
        };
        self.unreadable.store(0, Ordering::Relaxed);
        self.page.store((page * 2).min(PAGE_MAX), Ordering::Relaxed);
        self.metrics.waiting.set(waiting);
        if texts.is_empty() {
            self.metrics.lag_seconds.set(0);
        }
        let (mut batches, mut own_texts) = (Vec::new(), Vec::new());
        for text in texts.iter().filter_map(Reply::as_text) {
            match UsageBatch::decode(text, &self.key, self.seal.as_ref()) {
                Some(batch) => {
                    batches.push(batch);
                    own_texts.push(text);
                }
                None => self.set_aside(text).await?,
            }
        }
        let mut rest = batches.as_slice();
        while !rest.is_empty() {
            // A transaction holds SQLite's only writer.
            let mut rows = 0;
            let fits = rest.iter().take_while(|batch| {
                rows += batch.rows.len() + batch.periods.len();
                rows <= ROWS_MAX
            });
            let (batches, others) = rest.split_at(fits.count().max(1));
            self.count(batches, now).await?;
            rest = others;
        }
        let (mut counted, mut bytes) = (Vec::new(), 0);
        for text in own_texts {
            counted.push(Command::new("LREM").arg(&self.key).arg(1).arg(text));
            bytes += text.len();
            if bytes >= REQUEST_BYTES_MAX {
                self.write(&std::mem::take(&mut counted)).await?;
                bytes = 0;
            }
        }
        self.write(&counted).await?;
        let is_whole = i64::try_from(skipped + texts.len()).is_ok_and(|taken| taken >= waiting);
        Ok(match (is_whole, texts.is_empty()) {
            (true, true) => Round::Empty,
            (true, false) => Round::Done,
            (false, _) => Round::More,
        })
    }

    /// Adds batches to the database, except those that were added before.
    async fn count(&self, batches: &[UsageBatch], now: UnixSeconds) -> Result<(), String> {
        let added = timeout(DATABASE_TIMEOUT, self.db.add_usage(batches, now)).await;
        let added = added.map_err(|_| "the database does not respond".to_owned())?;
        let mut added = added.map_err(|error| error.to_string())?;
        let mut new = Vec::new();
        for batch in batches {
            let is_new = added.remove(&batch.id);
            let result = if is_new { "counted" } else { "repeated" };
            self.metrics.batches.with_label_values(&[result]).inc();
            if is_new {
                self.metrics.requests.inc_by(batch.requests());
                new.push(batch);
            }
            let lag_seconds = now.0.saturating_sub(batch.at);
            self.metrics.lag_seconds.set(i64::try_from(lag_seconds).unwrap_or(i64::MAX));
        }
        self.record_key_use(&new).await;
        Ok(())
    }

    /// Records when the API keys of these batches were last used. If that fails, the next batch
    /// with these keys does it.
    async fn record_key_use(&self, batches: &[&UsageBatch]) {
        let uses = key_uses(batches.iter().flat_map(|batch| &batch.rows), &self.issuer);
        if uses.is_empty() {
            return;
        }
        match timeout(DATABASE_TIMEOUT, self.db.record_key_use(&uses)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(event = "key_use_not_recorded", %error),
            Err(_) => {
                tracing::warn!(event = "key_use_not_recorded", error = "the database is slow")
            }
        }
    }

    /// Moves a malformed batch to a list of its own, where the newest ones stay for a while. A long
    /// one is only removed.
    async fn set_aside(&self, text: &str) -> Result<(), String> {
        let (key, fix) = (&self.malformed_key, "give edge and auth service the same record keys");
        let mut commands = vec![
            Command::new("RPUSH").arg(key).arg(text),
            Command::new("LTRIM").arg(key).arg(-MALFORMED_MAX).arg(-1),
            Command::new("EXPIRE").arg(key).arg(MALFORMED_SECONDS),
            Command::new("LREM").arg(&self.key).arg(1).arg(text),
        ];
        if text.len() > MALFORMED_BYTES_MAX {
            commands.drain(..3);
        }
        self.write(&commands).await?;
        self.metrics.batches.with_label_values(&["malformed"]).inc();
        tracing::error!(event = "usage_batch_malformed", bytes = text.len(), fix);
        Ok(())
    }

    /// Reads fewer batches in the next round, because the reply was too long or malformed. If that
    /// is so for one batch alone, again and again, the next rounds skip it. It stays in the list:
    /// without its text, only its place could name it, and another process may change the places.
    fn read_less(&self, page: usize, now: UnixSeconds) -> Result<Round, String> {
        if page > 1 {
            self.page.store(page / 2, Ordering::Relaxed);
            return Ok(Round::More);
        }
        if self.unreadable.fetch_add(1, Ordering::Relaxed) + 1 < UNREADABLE_MAX {
            return Err("the reply to LRANGE can't be read".to_owned());
        }
        self.unreadable.store(0, Ordering::Relaxed);
        let place = self.skipped.fetch_add(1, Ordering::Relaxed);
        self.skipped_at.store(now.0, Ordering::Relaxed);
        self.metrics.batches.with_label_values(&["malformed"]).inc();
        let fix = "see who can write pc:usage, and remove the element";
        tracing::error!(event = "usage_batch_unreadable", place, fix);
        Ok(Round::More)
    }

    /// Returns how many batches to skip. Now and then that begins again, because the list may have
    /// changed.
    fn skipped(&self, now: UnixSeconds) -> usize {
        if now.0.saturating_sub(self.skipped_at.load(Ordering::Relaxed)) >= SKIP_SECONDS {
            self.skipped.store(0, Ordering::Relaxed);
        }
        self.skipped.load(Ordering::Relaxed)
    }

    async fn write(&self, commands: &[Command]) -> Result<(), String> {
        match commands.is_empty() {
            true => Ok(()),
            false => self.store.write(commands).await.map_err(|error| error.to_string()),
        }
    }
}

impl Metrics {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let batches =
            Opts::new("portcullis_auth_usage_batches_total", "Batches of usage, by result.");
        let metrics = Self {
            batches: IntCounterVec::new(batches, &["result"])?,
            requests: IntCounter::new(
                "portcullis_auth_usage_requests_total",
                "Requests that these batches counted.",
            )?,
            waiting: IntGauge::new(
                "portcullis_auth_usage_batches_waiting",
                "Batches that waited in the store in the last round.",
            )?,
            lag_seconds: IntGauge::new(
                "portcullis_auth_usage_lag_seconds",
                "Age of the batch that was collected last; 0 if none waits.",
            )?,
        };
        registry.register(Box::new(metrics.batches.clone()))?;
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.waiting.clone()))?;
        registry.register(Box::new(metrics.lag_seconds.clone()))?;
        Ok(metrics)
    }
}

/// Returns whether an error of the redis gateway or of Upstash says that a reply is too long.
fn is_too_long(error: &str) -> bool {
    error == TOO_LARGE || error.contains("max request size exceeded")
}

const COLLECT_EACH: Duration = Duration::from_secs(2);
/// How long further batches gather in the store after some were written to the database.
const GATHER_PAUSE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);
const DATABASE_TIMEOUT: Duration = Duration::from_secs(5);
/// The most batches of one reply.
const PAGE_MAX: usize = 16;
/// The most rows of one transaction, unless one batch alone has more.
const ROWS_MAX: usize = 4096;
/// How long a request to the store may become before it is sent.
const REQUEST_BYTES_MAX: usize = 256 * 1024;
/// The longest reply with several batches, and with one. The redis gateway takes requests of
/// 10 MB, so that no batch is longer.
const PAGE_BYTES_MAX: usize = 1024 * 1024;
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often one batch alone is read without success before it is skipped, and for how long.
const UNREADABLE_MAX: usize = 10;
const SKIP_SECONDS: u64 = 3600;
/// The longest malformed batch that is kept.
const MALFORMED_BYTES_MAX: usize = REQUEST_BYTES_MAX;
/// How many malformed batches are kept, and for how long.
const MALFORMED_MAX: i64 = 20;
const MALFORMED_SECONDS: u32 = 7 * 86_400;

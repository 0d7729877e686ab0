//! The series, as the console queries them.

use super::edges::EdgeReport;
use super::live::Live;
use super::own::OwnCounts;
use super::policies::{LimitSettings, limits_of, policy_hash};
use super::refusals::{ENTRIES_MAX, RecentRefusal, read_ring};
use crate::db::{Counters, Db, add_counters};
use crate::store::{Store, StoreError};
use portcullis_core::StoreKeys;
use redis_rest::{Command, Reply};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What the edges and this service count, over time.
pub struct Series {
    pub(super) db: Arc<Db>,
    pub(super) store: Arc<Store>,
    pub(super) keys: StoreKeys,
    pub(super) own: OwnCounts,
    pub(super) live: Mutex<Live>,
    pub(super) observed: Mutex<Observed>,
    /// The number of rounds of the collector.
    pub(super) rounds: watch::Sender<u64>,
    ring: tokio::sync::Mutex<Option<Ring>>,
    /// Policies by their hashes. What has a hash never changes.
    policies: Mutex<VecDeque<(String, Arc<Value>)>>,
}

/// What was counted in one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// When the step starts, in Unix seconds.
    pub start: u64,
    pub counters: Counters,
}

/// What the last round of the collector found.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// When, in Unix seconds; 0 before the first round.
    pub at: u64,
    pub store_up: bool,
    pub database_up: bool,
    pub outbox_rows: u64,
    pub outbox_age_seconds: u64,
    /// What the isolates of the edges reported, the newest first.
    pub edges: Arc<Vec<EdgeReport>>,
}

/// The ring of refusals, and when it was read; `None` if the store did not answer.
type Ring = (Instant, Option<Arc<Vec<RecentRefusal>>>);

impl Series {
    /// Creates the series of `db`, for the edges that write to `store`.
    pub fn new(db: Arc<Db>, store: Arc<Store>, keys: StoreKeys, own: OwnCounts) -> Self {
        Self {
            db,
            store,
            keys,
            own,
            live: Mutex::default(),
            observed: Mutex::default(),
            rounds: watch::Sender::new(0),
            ring: tokio::sync::Mutex::default(),
            policies: Mutex::default(),
        }
    }

    /// Returns what was counted from `from` until before `to`, in steps of `step_seconds`. A step
    /// without a row is missing. What is older than a day counts in the step in which its hour
    /// starts.
    pub async fn range(
        &self,
        from: u64,
        to: u64,
        step_seconds: u64,
    ) -> Result<Vec<Point>, sqlx::Error> {
        let steps = self.db.series(from, to, step_seconds).await?.into_steps();
        let points = steps.into_iter().map(|(start, counters)| Point { start, counters });
        Ok(points.collect())
    }

    /// Returns the last ten minutes in steps of ten seconds. Of this service's own counters, they
    /// have those of this process alone.
    pub fn live(&self) -> Vec<Point> {
        let steps = locked(&self.live).steps().into_iter();
        steps.map(|(start, counters)| Point { start, counters }).collect()
    }

    /// Returns the last ten seconds.
    pub fn last(&self) -> Option<Point> {
        locked(&self.live).last().map(|(start, counters)| Point { start, counters })
    }

    /// Returns what the last round of the collector found.
    pub fn observed(&self) -> Observed {
        locked(&self.observed).clone()
    }

    /// Returns a receiver that changes with each round of the collector.
    pub fn rounds(&self) -> watch::Receiver<u64> {
        self.rounds.subscribe()
    }

    /// Returns the recent refusals that the edges reported, the newest first. They may be two
    /// seconds old.
    pub async fn recent_refusals(&self) -> Result<Arc<Vec<RecentRefusal>>, StoreError> {
        if !self.store.has_lists() {
            return Ok(Arc::default());
        }
        // Under one lock, so that many who ask at once cost the store one query. An outage is
        // remembered, too, so that they wait for one timeout.
        let mut ring = self.ring.lock().await;
        if let Some((_, refusals)) = ring.as_ref().filter(|(at, _)| at.elapsed() < RING_FRESH) {
            return refusals.clone().ok_or(StoreError::Unreachable);
        }
        let refusals = self.read_refusals().await;
        *ring = Some((Instant::now(), refusals.as_ref().ok().map(Arc::clone)));
        refusals
    }

    async fn read_refusals(&self) -> Result<Arc<Vec<RecentRefusal>>, StoreError> {
        let query = Command::new("LRANGE").arg(self.keys.refusals()).arg(0).arg(ENTRIES_MAX - 1);
        let replies = self.store.execute_bounded(&[query], RING_BYTES_MAX).await?;
        match replies.first() {
            Some(Reply::Array(entries)) => Ok(Arc::new(read_ring(entries))),
            Some(Reply::Error(text)) => Err(StoreError::Command(text.clone())),
            _ => Err(StoreError::BadResponse),
        }
    }

    /// Returns the policy with a hash as the edges report it; `None` if the store does not have it,
    /// or has a text with another hash.
    pub async fn policy(&self, hash: &str) -> Result<Option<Arc<Value>>, StoreError> {
        let known = locked(&self.policies).iter().find(|(own, _)| own == hash).cloned();
        if let Some((_, policy)) = known {
            return Ok(Some(policy));
        }
        let query = Command::new("GET").arg(self.keys.policy(hash));
        let replies = self.store.execute(&[query]).await?;
        let Some(policy) = replies.first().and_then(Reply::as_text) else {
            return match replies.first() {
                Some(Reply::Error(text)) => Err(StoreError::Command(text.clone())),
                _ => Ok(None),
            };
        };
        if policy_hash(policy) != hash {
            return Ok(None);
        }
        let policy: Value = serde_json::from_str(policy).map_err(|_| StoreError::BadResponse)?;
        let policy = Arc::new(policy);
        let mut policies = locked(&self.policies);
        policies.push_back((hash.to_owned(), Arc::clone(&policy)));
        if policies.len() > POLICIES_MAX {
            policies.pop_front();
        }
        Ok(Some(policy))
    }

    /// Returns the limits of the policy that an edge reported last, and its hash.
    pub async fn limits(&self) -> Result<Option<(String, Vec<LimitSettings>)>, StoreError> {
        let edges = self.observed().edges;
        let Some(edge) = edges.iter().find(|edge| !edge.policy.is_empty()) else {
            return Ok(None);
        };
        let policy = self.policy(&edge.policy).await?;
        Ok(policy.map(|policy| (edge.policy.clone(), limits_of(&policy))))
    }
}

/// Returns the sums of points.
pub fn add_all(points: &[Point]) -> Counters {
    let mut sum = Counters::new();
    points.iter().for_each(|point| add_counters(&mut sum, &point.counters));
    sum
}

/// Locks. A panic while it was locked leaves nothing half done.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const RING_FRESH: Duration = Duration::from_secs(2);
/// 1,000 entries of at most 2 KiB, escaped.
const RING_BYTES_MAX: usize = 5 * 1024 * 1024;
const POLICIES_MAX: usize = 16;

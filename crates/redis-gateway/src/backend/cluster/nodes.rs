//! The nodes of a Cluster: the current slot map, and a pool of connections to each node.

use super::plan::Target;
use super::slot_map::SlotMap;
use crate::backend::outage::Outage;
use crate::backend::pool::Pool;
use crate::backend::source::Source;
use crate::metrics::Metrics;
use crate::redis_url::{Address, ConnectOptions};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// The nodes of a Cluster.
pub struct Nodes {
    /// The servers of `REDIS_URL`, which name all others.
    pub seeds: Vec<Address>,
    options: ConnectOptions,
    connections: usize,
    timeout: Duration,
    metrics: Arc<Metrics>,
    pools: Mutex<HashMap<Address, Arc<Pool>>>,
    slot_map: watch::Sender<Arc<SlotMap>>,
    /// The slots that were ever found to be moving, and when they last were.
    moving: Mutex<HashMap<u16, Instant>>,
    refresh_requested: Notify,
    /// Distributes work that any master can do over all of them.
    turn: AtomicUsize,
}

impl Nodes {
    /// Creates the nodes with an empty slot map, without any connection.
    pub fn new(
        seeds: Vec<Address>,
        options: ConnectOptions,
        connections: usize,
        timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            seeds,
            options,
            connections,
            timeout,
            metrics,
            pools: Mutex::default(),
            slot_map: watch::channel(Arc::default()).0,
            moving: Mutex::default(),
            refresh_requested: Notify::new(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Returns the current slot map. Waits for the first one.
    pub async fn slot_map(&self, deadline: Instant) -> Result<Arc<SlotMap>, Outage> {
        let mut receiver = self.slot_map.subscribe();
        let loaded = receiver.wait_for(|map| !map.masters.is_empty());
        match timeout_at(deadline, loaded).await {
            Ok(Ok(map)) => Ok(Arc::clone(&map)),
            Ok(Err(_)) | Err(_) => Err(Outage::Unreachable),
        }
    }

    /// Returns the masters of the current slot map, which may be empty.
    pub fn masters(&self) -> Vec<Address> {
        self.slot_map.borrow().masters.clone()
    }

    /// Returns the current slot map, which may be empty.
    pub fn current_slot_map(&self) -> Arc<SlotMap> {
        Arc::clone(&self.slot_map.borrow())
    }

    /// Replaces the slot map, and drops the pools of nodes that left.
    pub fn replace_slot_map(&self, map: SlotMap) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|address, _| map.known.contains(address) || self.seeds.contains(address));
        drop(pools);
        self.slot_map.send_replace(Arc::new(map));
    }

    /// Notes that a node rejected a part because its slot is moving.
    pub fn note_moving(&self, slot: u16) {
        let mut moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        moving.insert(slot, Instant::now());
    }

    /// Returns whether a slot was found to be moving recently.
    pub fn is_moving(&self, slot: u16) -> bool {
        let moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        moving.get(&slot).is_some_and(|found| found.elapsed() < MOVING)
    }

    /// Requests a refresh of the slot map.
    pub fn request_refresh(&self) {
        self.refresh_requested.notify_one();
    }

    /// Returns once a refresh is requested.
    pub async fn refresh_requested(&self) {
        self.refresh_requested.notified().await;
    }

    /// Requests a refresh, and waits a short time for a slot map other than `old`.
    pub async fn wait_for_newer_map(&self, old: &Arc<SlotMap>) {
        let mut receiver = self.slot_map.subscribe();
        self.request_refresh();
        sleep(RETRY_PAUSE).await;
        let _ = timeout(RETRY_PAUSE, receiver.wait_for(|map| !Arc::ptr_eq(map, old))).await;
    }

    /// Returns the address of a target. Returns `None` if its slot has no master.
    pub fn resolve(&self, target: &Target, map: &SlotMap) -> Option<Address> {
        match target {
            Target::AnyMaster => self.any_master(map),
            Target::Node(address) => Some(address.clone()),
            Target::Slot(slot) => map.owner(*slot).cloned(),
        }
    }

    /// Returns the next master that is up, or the first one if none is.
    fn any_master(&self, map: &SlotMap) -> Option<Address> {
        let turn = self.next_turn();
        let rotated = map.masters.iter().cycle().skip(turn % map.masters.len().max(1));
        let mut masters = rotated.take(map.masters.len());
        masters.find(|master| self.pool(master).is_up()).or(map.masters.first()).cloned()
    }

    /// Returns a number that increases with each call.
    pub fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the pool of a node. Creates it on first use.
    ///
    /// The address must be a seed or a known node of the slot map.
    pub fn pool(&self, address: &Address) -> Arc<Pool> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = pools.entry(address.clone()).or_insert_with(|| {
            let source = Source::Fixed { address: address.clone(), options: self.options.clone() };
            let metrics = Arc::clone(&self.metrics);
            Arc::new(Pool::start(source, self.connections, self.timeout, metrics))
        });
        Arc::clone(pool)
    }
}

/// While clients use a slot that moves, its nodes reject something more often than this.
const MOVING: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_millis(25);

//! One client connection, and what ends it early.

use crate::admission::{Admission, Phase};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::Notify;

/// A client connection, as the handler of its requests sees it.
#[derive(Clone)]
pub struct Connection(Arc<State>);

struct State {
    id: u64,
    peer: SocketAddr,
    admission: Arc<Admission>,
    /// How many heads have come, as long as it is anonymous.
    heads: AtomicUsize,
    is_authenticated: AtomicBool,
    is_evicted: AtomicBool,
    /// Wakes the task of the connection when one of these values changes.
    changed: Notify,
}

impl Connection {
    pub(crate) fn new(id: u64, peer: SocketAddr, admission: Arc<Admission>) -> Self {
        Self(Arc::new(State {
            id,
            peer,
            admission,
            heads: AtomicUsize::new(0),
            is_authenticated: AtomicBool::new(false),
            is_evicted: AtomicBool::new(false),
            changed: Notify::new(),
        }))
    }

    /// Returns the address of the other end.
    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// Notes that a request on this connection has shown valid credentials. From then on, the
    /// connection does not give way to others, and its network may use the reserve.
    pub fn authenticate(&self) {
        if !self.0.is_authenticated.swap(true, Ordering::Relaxed) {
            self.0.admission.enter(self.0.id, Phase::Authenticated, Instant::now());
            self.0.changed.notify_one();
        }
    }

    /// Returns whether a request on this connection has shown valid credentials.
    pub fn is_authenticated(&self) -> bool {
        self.0.is_authenticated.load(Ordering::Relaxed)
    }

    /// Notes the head of a request.
    pub(crate) fn begin_request(&self) {
        if !self.is_authenticated() && self.0.heads.fetch_add(1, Ordering::Relaxed) == 0 {
            self.0.changed.notify_one();
        }
    }

    /// Notes that a request has arrived whole. Until then, the connection may have to give way.
    pub(crate) fn complete_request(&self) {
        if !self.is_authenticated() {
            self.0.admission.enter(self.0.id, Phase::Busy, Instant::now());
        }
    }

    /// Notes the response to a request.
    pub(crate) fn end_request(&self) {
        if !self.is_authenticated() {
            self.0.admission.enter(self.0.id, Phase::Idle, Instant::now());
        }
    }

    /// Returns how many heads have come, as long as the connection is anonymous.
    pub(crate) fn heads(&self) -> usize {
        self.0.heads.load(Ordering::Relaxed)
    }

    pub(crate) fn is_evicted(&self) -> bool {
        self.0.is_evicted.load(Ordering::Relaxed)
    }

    /// Lets the connection give way to another one.
    pub(crate) fn evict(&self) {
        self.0.is_evicted.store(true, Ordering::Relaxed);
        self.0.changed.notify_one();
    }

    /// Waits until the first head has come, a request has authenticated, or the connection must
    /// give way.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }
}

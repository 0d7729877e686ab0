//! The memory of the replies and responses of all requests in progress, and of event streams.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The memory for all requests in progress, and all event streams. Its clones are one memory.
#[derive(Clone)]
pub struct ResponseMemory {
    /// One permit for each KiB.
    permits: Arc<Semaphore>,
    kib_max: usize,
}

impl ResponseMemory {
    /// Creates the memory with this many MiB.
    pub fn new(mib: usize) -> Self {
        let kib_max = (mib << 10).min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(kib_max)), kib_max }
    }
}

/// Reserved memory, until it is dropped.
pub struct Reservation {
    _permit: Option<OwnedSemaphorePermit>,
}

/// The memory of the replies to one request, from all servers together. Dropping it releases it.
pub struct ReplyMemory {
    permits: Arc<Semaphore>,
    kib_max: usize,
    bytes: AtomicUsize,
    held: Mutex<Option<OwnedSemaphorePermit>>,
    exhausted: AtomicBool,
}

impl ReplyMemory {
    /// Creates an account of a request, which holds nothing yet.
    pub fn new(memory: &ResponseMemory) -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::clone(&memory.permits),
            kib_max: memory.kib_max,
            bytes: AtomicUsize::new(0),
            held: Mutex::new(None),
            exhausted: AtomicBool::new(false),
        })
    }

    /// Returns the size of all replies so far, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns whether a reply found no memory, so that the request fails.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted.load(Ordering::Relaxed)
    }

    /// Reserves memory for the body of the response, which is built while the replies are still
    /// held. Returns `None` if too little is left.
    ///
    /// If there is only one response, its body always fits, however large its encoding is.
    pub fn reserve(&self, bytes: usize) -> Option<Reservation> {
        if bytes <= FREE_BYTES {
            return Some(Reservation { _permit: None });
        }
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let kib = bytes.div_ceil(1024).min(self.kib_max.saturating_sub(held));
        let kib = u32::try_from(kib).ok()?;
        let permit = Arc::clone(&self.permits).try_acquire_many_owned(kib).ok()?;
        Some(Reservation { _permit: Some(permit) })
    }

    /// Reserves memory for a reply. Returns `false` if too little is left. Then the request fails,
    /// and keeps the memory of the replies that it has.
    pub fn grow(&self, bytes: usize) -> bool {
        if self.is_exhausted() {
            return false;
        }
        let total = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        // Avoids the lock for the many requests with small replies.
        if total <= FREE_BYTES {
            return true;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let kib = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = total.div_ceil(1024).saturating_sub(kib);
        let more = u32::try_from(missing)
            .ok()
            .and_then(|missing| Arc::clone(&self.permits).try_acquire_many_owned(missing).ok());
        match (more, &mut *held) {
            (Some(more), Some(held)) => held.merge(more),
            (Some(more), none) => *none = Some(more),
            (None, _) => {
                self.exhausted.store(true, Ordering::Relaxed);
                return false;
            }
        }
        true
    }
}

/// The memory of one event stream: what it receives from Redis, and what waits for its client.
pub struct StreamMemory {
    permits: Arc<Semaphore>,
    held: Mutex<StreamBytes>,
}

#[derive(Default)]
struct StreamBytes {
    bytes: usize,
    permit: Option<OwnedSemaphorePermit>,
}

/// Memory of a stream that is reserved until it is dropped.
pub struct StreamReservation {
    memory: Arc<StreamMemory>,
    bytes: usize,
}

impl StreamMemory {
    /// Creates an account of a stream, which holds nothing yet.
    pub fn new(memory: &ResponseMemory) -> Arc<Self> {
        Arc::new(Self { permits: Arc::clone(&memory.permits), held: Mutex::default() })
    }

    /// Reserves memory. Returns `None` if too little is left, and the stream must end.
    pub fn reserve(self: &Arc<Self>, bytes: usize) -> Option<StreamReservation> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let total = held.bytes.saturating_add(bytes);
        let missing = counted_kib(total).saturating_sub(held.kib());
        if missing > 0 {
            let missing = u32::try_from(missing).ok()?;
            let more = Arc::clone(&self.permits).try_acquire_many_owned(missing).ok()?;
            match &mut held.permit {
                Some(permit) => permit.merge(more),
                none => *none = Some(more),
            }
        }
        held.bytes = total;
        Some(StreamReservation { memory: Arc::clone(self), bytes })
    }
}

impl StreamBytes {
    fn kib(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

impl Drop for StreamReservation {
    fn drop(&mut self) {
        let mut held = self.memory.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.bytes = held.bytes.saturating_sub(self.bytes);
        let excess = held.kib().saturating_sub(counted_kib(held.bytes));
        // Dropping the part that is split off releases it.
        drop(held.permit.as_mut().and_then(|permit| permit.split(excess)));
    }
}

/// Returns how many KiB of a stream's bytes are counted.
fn counted_kib(bytes: usize) -> usize {
    if bytes <= FREE_BYTES { 0 } else { bytes.div_ceil(1024) }
}

/// Replies and bodies of up to this size are not counted, nor is as much of a stream.
const FREE_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn replies_and_responses_share_the_memory() {
        let memory = ResponseMemory::new(2);
        let first = ReplyMemory::new(&memory);
        assert!(first.grow(10_000) && first.grow(MIB) && first.grow(1));
        let second = ReplyMemory::new(&memory);
        assert!(!second.grow(MIB) && second.is_exhausted());
        assert!(!second.grow(1), "a request that failed stays so");
        assert!(second.reserve(MIB).is_none() && second.reserve(10_000).is_some());
        assert!(first.reserve(100 * MIB).is_some(), "alone, a response of any size");
        // The body outlives the replies from which it was built.
        let body = first.reserve(MIB / 2).unwrap();
        assert!(second.reserve(MIB).is_none());
        drop(first);
        assert!(second.reserve(MIB).is_some());
        assert!(ReplyMemory::new(&memory).grow(MIB));
        drop(body);
    }
    #[test]
    fn streams_and_responses_share_the_memory() {
        let memory = ResponseMemory::new(2);
        let (one, other) = (StreamMemory::new(&memory), StreamMemory::new(&memory));
        let small: Vec<_> = (0..16).map(|_| one.reserve(1024).unwrap()).collect();
        assert_eq!(memory.permits.available_permits(), 2048, "small amounts are not counted");
        let large = one.reserve(MIB).unwrap();
        assert!(other.reserve(MIB).is_none() && other.reserve(10_000).is_some());
        let response = ReplyMemory::new(&memory);
        assert!(!response.grow(MIB), "a response has only what streams leave");
        drop(small);
        assert_eq!(memory.permits.available_permits(), 1024);
        let second = other.reserve(MIB).unwrap();
        drop((large, second));
        assert_eq!(memory.permits.available_permits(), 2048, "all of it is released");
        assert!(one.reserve(2 * MIB).is_some());
    }
}

//! The questions that wait to be sent.

use portcullis_core::{LimitCheck, RenewedToken};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// The questions of an isolate, bounded in number. Each POST carries many of them.
#[derive(Default)]
pub struct Renewals {
    leases: RefCell<VecDeque<LimitCheck<'static>>>,
    clearances: RefCell<VecDeque<RenewedToken>>,
    /// Whether the last POST was about leases.
    took_leases: Cell<bool>,
    /// Each task that sends questions holds it once more, until it ends or is dropped.
    sending: Rc<()>,
}

/// The questions of one POST. All are of one kind, so that large records of some tokens cost no
/// caller a lease.
pub enum Batch {
    /// How much of each limit's quota may be taken in advance.
    Leases(Vec<LimitCheck<'static>>),
    /// Whether the store still clears each token.
    Clearances(Vec<RenewedToken>),
}

impl Renewals {
    /// Adds a question about a lease. Returns whether it did: if too many wait, the next request
    /// that needs the answer asks the store itself.
    pub fn add_lease(&self, question: LimitCheck<'static>) -> bool {
        add(&self.leases, question)
    }

    /// Adds a question about a clearance, unless too many wait.
    pub fn add_clearance(&self, question: RenewedToken) {
        add(&self.clearances, question);
    }

    /// Takes the questions of the next POST, in their order; `None` if none wait. Both kinds have
    /// their turn.
    pub fn take(&self) -> Option<Batch> {
        let (mut leases, mut clearances) = (self.leases.borrow_mut(), self.clearances.borrow_mut());
        if leases.is_empty() && clearances.is_empty() {
            return None;
        }
        let takes_leases = clearances.is_empty() || (!leases.is_empty() && !self.took_leases.get());
        self.took_leases.set(takes_leases);
        Some(if takes_leases {
            let count = leases.len().min(LEASES_PER_POST_MAX);
            Batch::Leases(leases.drain(..count).collect())
        } else {
            let count = clearances.len().min(CLEARANCES_PER_POST_MAX);
            Batch::Clearances(clearances.drain(..count).collect())
        })
    }

    /// Returns what a task must hold while it sends questions; `None` if none wait, or if enough
    /// tasks send them.
    pub fn sender(&self) -> Option<Rc<()>> {
        let is_due = !self.leases.borrow().is_empty() || !self.clearances.borrow().is_empty();
        let in_flight = Rc::strong_count(&self.sending) - 1;
        (is_due && in_flight < POSTS_MAX).then(|| Rc::clone(&self.sending))
    }
}

fn add<T>(waiting: &RefCell<VecDeque<T>>, question: T) -> bool {
    let mut waiting = waiting.borrow_mut();
    let has_room = waiting.len() < WAITING_MAX;
    if has_room {
        waiting.push_back(question);
    }
    has_room
}

/// The most questions of one kind that wait.
const WAITING_MAX: usize = 1024;
/// The most leases in one POST.
const LEASES_PER_POST_MAX: usize = 32;
/// The most clearances in one POST. Replies with records of usual size fit into the largest
/// response. If they do not, each token's next request asks for itself.
const CLEARANCES_PER_POST_MAX: usize = 16;
/// The most POSTs in flight in one isolate.
const POSTS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::{Limit, LimitAlgorithm, LimitBy, LimitOutage, LimitTiming, StoreKeys};

    fn lease() -> LimitCheck<'static> {
        let limit = Limit {
            name: "l".into(),
            algorithm: LimitAlgorithm::Gcra,
            quota: 100,
            window_seconds: 1,
            period: None,
            overrides: false,
            burst: None,
            by: vec![LimitBy::Address],
            plans: None,
            shadow: false,
            headers: false,
            on_store_outage: LimitOutage::Local,
            local_quota: None,
            timing: LimitTiming::Leased { seconds: 1 },
        };
        let limit: &'static Limit = Box::leak(Box::new(limit));
        let keys: &'static StoreKeys = Box::leak(Box::new(StoreKeys::new("pc")));
        let terms = limit.lease_terms(100);
        let (key, quota, cost, ahead) = ([0; 32], 100, 0, 8);
        let (is_own, lease, owes_nothing) = (false, None, false);
        LimitCheck { limit, keys, key, quota, is_own, cost, terms, ahead, lease, owes_nothing }
    }

    #[test]
    fn waiting_questions_and_posts_in_flight_are_bounded() {
        let renewals = Renewals::default();
        assert!(renewals.sender().is_none(), "nothing waits");
        for _ in 0..WAITING_MAX {
            assert!(renewals.add_lease(lease()));
        }
        assert!(!renewals.add_lease(lease()));
        let mut senders: Vec<_> = (0..POSTS_MAX).filter_map(|_| renewals.sender()).collect();
        assert_eq!(senders.len(), POSTS_MAX);
        assert!(renewals.sender().is_none());
        senders.pop();
        assert!(renewals.sender().is_some(), "a task has ended");
        let count = |batch| match batch {
            Batch::Leases(questions) => questions.len(),
            Batch::Clearances(questions) => panic!("{} clearances", questions.len()),
        };
        let counts: Vec<usize> = std::iter::from_fn(|| renewals.take()).map(count).collect();
        assert!(counts.iter().all(|count| *count <= LEASES_PER_POST_MAX), "{counts:?}");
        assert_eq!(counts.iter().sum::<usize>(), WAITING_MAX);
    }
}

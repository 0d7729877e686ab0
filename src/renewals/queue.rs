//! The questions that wait to be sent.

use portcullis_core::{LimitCheck, TokenRequirement, VerifiedToken};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// The questions of an isolate, bounded in number. Each POST carries many of them.
#[derive(Default)]
pub struct Renewals {
    waiting: RefCell<VecDeque<Question>>,
    /// Each task that sends questions holds it once more, until it ends or is dropped.
    sending: Rc<()>,
}

/// A question to the store.
pub enum Question {
    /// How much of a limit's quota may be taken in advance.
    Lease(LimitCheck<'static>),
    /// Whether the store still clears a token for this requirement.
    Clearance(Rc<VerifiedToken>, TokenRequirement),
}

impl Renewals {
    /// Adds a question. Returns whether it did: if too many wait, the next request that needs the
    /// answer asks the store itself.
    pub fn add(&self, question: Question) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let has_room = waiting.len() < WAITING_MAX;
        if has_room {
            waiting.push_back(question);
        }
        has_room
    }

    /// Takes the questions of the next POST, in their order. All are of one kind, so that large
    /// records of some tokens cost no caller a lease.
    pub fn take(&self) -> Vec<Question> {
        let mut waiting = self.waiting.borrow_mut();
        let is_lease = |question: &Question| matches!(question, Question::Lease(_));
        let Some(first) = waiting.front().map(is_lease) else {
            return Vec::new();
        };
        let most = if first { LEASES_PER_POST_MAX } else { CLEARANCES_PER_POST_MAX };
        let same = waiting.iter().take(most).take_while(|own| is_lease(own) == first).count();
        waiting.drain(..same).collect()
    }

    /// Returns what a task must hold while it sends questions; `None` if none wait, or if enough
    /// tasks send them.
    pub fn sender(&self) -> Option<Rc<()>> {
        let is_due = !self.waiting.borrow().is_empty();
        let in_flight = Rc::strong_count(&self.sending) - 1;
        (is_due && in_flight < POSTS_MAX).then(|| Rc::clone(&self.sending))
    }
}

/// The most questions that wait.
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

    fn lease() -> Question {
        let limit = Limit {
            name: "l".into(),
            algorithm: LimitAlgorithm::Gcra,
            quota: 100,
            window_seconds: 1,
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
        Question::Lease(LimitCheck { limit, keys, key, quota, cost, terms, ahead, lease: None })
    }

    #[test]
    fn waiting_questions_and_posts_in_flight_are_bounded() {
        let renewals = Renewals::default();
        assert!(renewals.sender().is_none(), "nothing waits");
        for _ in 0..WAITING_MAX {
            assert!(renewals.add(lease()));
        }
        assert!(!renewals.add(lease()));
        let mut senders: Vec<_> = (0..POSTS_MAX).filter_map(|_| renewals.sender()).collect();
        assert_eq!(senders.len(), POSTS_MAX);
        assert!(renewals.sender().is_none());
        senders.pop();
        assert!(renewals.sender().is_some(), "a task has ended");
        let posts = std::iter::from_fn(|| Some(renewals.take().len()).filter(|count| *count > 0));
        let counts: Vec<usize> = posts.collect();
        assert!(counts.iter().all(|count| *count <= LEASES_PER_POST_MAX), "{counts:?}");
        assert_eq!(counts.iter().sum::<usize>(), WAITING_MAX);
    }
}

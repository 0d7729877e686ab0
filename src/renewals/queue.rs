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
    /// Adds a question. If too many wait, it is dropped: the next request that needs its answer
    /// asks the store itself.
    pub fn add(&self, question: Question) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() < WAITING_MAX {
            waiting.push_back(question);
        }
    }

    /// Takes the questions of the next POST, in their order.
    pub fn take(&self) -> Vec<Question> {
        let mut waiting = self.waiting.borrow_mut();
        let count = waiting.len().min(PER_POST_MAX);
        waiting.drain(..count).collect()
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
/// The most questions in one POST. Their replies fit into the largest response.
const PER_POST_MAX: usize = 32;
/// The most POSTs in flight in one isolate.
const POSTS_MAX: usize = 4;

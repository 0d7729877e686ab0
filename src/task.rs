//! Tasks: what is done for a request, and beside it. A task runs until it needs the platform, says which step that is,
//! and is resumed with what came of it. So the platform's promises stay in JavaScript, where waiting for them costs next to
//! nothing.

use crate::host;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// What a task needs next. A task needs one thing at a time.
pub enum Step {
    /// An answer in text, as `ask` of host.js reads it.
    Ask(String),
    /// The answer of whoever the request is for, as `forward` of host.js reads it.
    Forward(String),
    /// What the promise comes to that the host holds for the task.
    Settle,
}

type Work = Pin<Box<dyn Future<Output = String>>>;

thread_local! {
    static TASKS: RefCell<HashMap<u32, Work>> = RefCell::default();
    /// The one that runs.
    static CURRENT: Cell<u32> = const { Cell::new(0) };
    /// What it needs.
    static STEP: RefCell<Option<Step>> = const { RefCell::new(None) };
    /// What came of that.
    static OUTCOME: RefCell<Option<(u16, String)>> = const { RefCell::new(None) };
}

/// The number of the task that runs.
pub fn current() -> u32 {
    CURRENT.get()
}

/// Takes a step: a status, or 0, and a text.
pub async fn take(step: Step) -> (u16, String) {
    let mut step = Some(step);
    poll_fn(|_| {
        if let Some(step) = step.take() {
            STEP.set(Some(step));
            return Poll::Pending;
        }
        OUTCOME.take().map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Begins a task for a request. Its end is the response, as entry.js reads it.
pub fn begin(id: u32, work: impl Future<Output = String> + 'static) -> String {
    run(id, Box::pin(work))
}

/// Goes on with a task after its step; and begins one that stands beside a request.
pub fn resume(id: u32, status: u16, text: String) -> String {
    let Some(work) = TASKS.with_borrow_mut(|tasks| tasks.remove(&id)) else {
        return String::new();
    };
    OUTCOME.set(Some((status, text)));
    run(id, work)
}

/// Drops a task.
pub fn forget(id: u32) {
    TASKS.with_borrow_mut(|tasks| tasks.remove(&id));
}

/// Does something that the answer need not wait for.
pub fn after(work: impl Future<Output = ()> + 'static) {
    let id = host::adopt(current());
    let work = async {
        work.await;
        String::new()
    };
    TASKS.with_borrow_mut(|tasks| tasks.insert(id, Box::pin(work)));
}

fn run(id: u32, mut work: Work) -> String {
    CURRENT.set(id);
    if let Poll::Ready(end) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return end;
    }
    TASKS.with_borrow_mut(|tasks| tasks.insert(id, work));
    match STEP.take() {
        Some(Step::Ask(step)) => format!("A{step}"),
        Some(Step::Forward(step)) => format!("F{step}"),
        Some(Step::Settle) | None => "S".to_owned(),
    }
}

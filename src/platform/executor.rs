//! A minimal executor. Each request runs as one task. A task runs until it needs JavaScript (a
//! fetch, a timer, a signature), returns a [`Step`], and is resumed with the result.
//!
//! Promises stay in JavaScript, where awaiting them costs next to nothing.

use super::bindings;
use super::log::{Level, Line};
use super::protocol::{End, PlatformError, Resume, Step, TaskFailure, TextResponse, UnknownWord};
use js_sys::Promise;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use wasm_bindgen::JsValue;

/// The tasks of an isolate that wait for JavaScript, by their number.
#[derive(Default)]
pub struct Executor {
    tasks: RefCell<HashMap<u32, Task>>,
    load: Rc<Load>,
}

/// What the open requests of an isolate hold together. Background tasks are not counted: each ends
/// with an open request, or soon after.
#[derive(Default)]
pub struct Load {
    requests: Cell<usize>,
    bytes: Cell<usize>,
}

/// The share of one request in the load, until it is dropped.
struct Share {
    load: Rc<Load>,
    bytes: Cell<usize>,
}

struct Task {
    port: Rc<TaskPort>,
    work: Work,
}

enum Work {
    Request(Pin<Box<dyn Future<Output = End>>>),
    Background(Pin<Box<dyn Future<Output = ()>>>),
}

/// The connection of one task to JavaScript. Each call of the platform takes it.
pub struct TaskPort {
    id: u32,
    /// `None` for a background task.
    share: Option<Share>,
    /// The encoded step that the task waits for.
    step: RefCell<Option<String>>,
    /// The result of that step.
    resume: RefCell<Option<Resume>>,
}

impl Executor {
    /// Begins the task of a request. Returns its first step or its end, encoded.
    /// `head_bytes` is the size of the request's head.
    pub fn begin<F: Future<Output = End> + 'static>(
        &self,
        id: u32,
        head_bytes: usize,
        work: impl FnOnce(Rc<TaskPort>) -> F,
    ) -> String {
        let port = TaskPort::new(id, Some(Share::new(&self.load, head_bytes)));
        self.run(Task { port: Rc::clone(&port), work: Work::Request(Box::pin(work(port))) })
    }

    /// Resumes a task with the result of its step. Returns its next step or its end, encoded.
    pub fn resume(&self, id: u32, status: u16, text: String) -> String {
        let Some(task) = self.tasks.borrow_mut().remove(&id) else {
            return End::Failed(TaskFailure::Unknown).encode();
        };
        let resume = Resume::decode(status, text).unwrap_or_else(|UnknownWord(word)| {
            protocol_error(id, "unknown failure", &word);
            Resume::Failed(PlatformError::Protocol)
        });
        task.port.resume.replace(Some(resume));
        self.run(task)
    }

    /// Returns what the open requests hold, those whose client has left unnoticed included.
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// Drops a task that is never resumed.
    pub fn forget(&self, id: u32) {
        let task = self.tasks.borrow_mut().remove(&id);
        drop(task);
    }

    /// Adds a background task, which the response of `parent` does not wait for.
    pub fn spawn<F: Future<Output = ()> + 'static>(
        &self,
        parent: &TaskPort,
        work: impl FnOnce(Rc<TaskPort>) -> F,
    ) {
        let port = TaskPort::new(self.adopt(parent), None);
        let work = Work::Background(Box::pin(work(Rc::clone(&port))));
        self.tasks.borrow_mut().insert(port.id, Task { port, work });
    }

    #[cfg(target_arch = "wasm32")]
    fn adopt(&self, parent: &TaskPort) -> u32 {
        bindings::adopt(parent.id)
    }

    /// Returns a free number, for tests outside of a Worker.
    #[cfg(not(target_arch = "wasm32"))]
    fn adopt(&self, parent: &TaskPort) -> u32 {
        let tasks = self.tasks.borrow();
        (parent.id + 1..).find(|id| !tasks.contains_key(id)).unwrap_or_default()
    }

    fn run(&self, mut task: Task) -> String {
        let mut context = Context::from_waker(Waker::noop());
        let polled = match &mut task.work {
            Work::Request(work) => work.as_mut().poll(&mut context),
            Work::Background(work) => work.as_mut().poll(&mut context).map(|()| End::Pass),
        };
        if let Poll::Ready(end) = polled {
            return end.encode();
        }
        match task.port.step.take() {
            Some(step) => {
                self.tasks.borrow_mut().insert(task.port.id, task);
                step
            }
            None => End::Failed(TaskFailure::Stalled).encode(),
        }
    }
}

impl Load {
    /// Returns whether there are more requests than `requests_max`, or whether they hold more bytes
    /// than `bytes_max`.
    pub fn exceeds(&self, requests_max: u32, bytes_max: u32) -> bool {
        let above =
            |now: &Cell<usize>, most: u32| u32::try_from(now.get()).unwrap_or(u32::MAX) > most;
        above(&self.requests, requests_max) || above(&self.bytes, bytes_max)
    }
}

impl Share {
    fn new(load: &Rc<Load>, bytes: usize) -> Self {
        load.requests.set(load.requests.get() + 1);
        let share = Self { load: Rc::clone(load), bytes: Cell::new(0) };
        share.add(bytes);
        share
    }

    fn add(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_add(bytes));
        self.load.bytes.set(self.load.bytes.get().saturating_add(bytes));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.load.requests.set(self.load.requests.get().saturating_sub(1));
        self.load.bytes.set(self.load.bytes.get().saturating_sub(self.bytes.get()));
    }
}

impl TaskPort {
    fn new(id: u32, share: Option<Share>) -> Rc<Self> {
        Rc::new(Self { id, share, step: RefCell::default(), resume: RefCell::default() })
    }

    /// Counts bytes that the task holds until it ends, for example of a body.
    pub fn hold(&self, bytes: usize) {
        if let Some(share) = &self.share {
            share.add(bytes);
        }
    }

    /// The task's number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Takes a step whose result is a response.
    pub async fn fetch(&self, step: Step<'_>) -> Result<TextResponse, PlatformError> {
        match self.call(step).await? {
            Resume::Response(response) => Ok(response),
            _ => Err(PlatformError::Protocol),
        }
    }

    /// Awaits a promise, which settles within `within_ms` if its client stays.
    pub async fn settle(
        &self,
        promise: &Promise,
        within_ms: u32,
    ) -> Result<JsValue, PlatformError> {
        bindings::set_promise(self.id, promise);
        match self.call(Step::Settle { within_ms }).await? {
            Resume::Settled => Ok(bindings::take_value(self.id)),
            _ => Err(PlatformError::Protocol),
        }
    }

    async fn call(&self, step: Step<'_>) -> Result<Resume, PlatformError> {
        let Ok(step) = step.encode() else {
            line_break(self);
            return Err(PlatformError::Protocol);
        };
        let mut step = Some(step);
        let resume = poll_fn(|_| {
            if let Some(step) = step.take() {
                self.step.replace(Some(step));
                return Poll::Pending;
            }
            self.resume.take().map_or(Poll::Pending, Poll::Ready)
        });
        match resume.await {
            Resume::Failed(error) => Err(error),
            resume => Ok(resume),
        }
    }
}

/// Longer than anything takes that the platform does by itself.
pub const PLATFORM_MS_MAX: u32 = 10_000;

/// Logs that a field of a step contains a line break.
pub fn line_break(port: &TaskPort) {
    protocol_error(port.id, "line break in a field", "");
}

/// Logs that one side does not follow the wire format.
fn protocol_error(task: u32, fault: &str, word: &str) {
    Line::new(Level::Error, "protocol_error")
        .number("task", task.into())
        .text("fault", fault)
        .text("word", word)
        .write();
}

#[cfg(test)]
mod tests;

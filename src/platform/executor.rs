//! A minimal executor. Each request runs as one task. A task runs until it needs JavaScript (a
//! fetch, a timer, a signature), returns a [`Step`], and is resumed with the result.
//!
//! Promises stay in JavaScript, where awaiting them costs almost nothing.

use super::bindings;
use super::log::{Level, Line};
use super::protocol::{End, PlatformError, Resume, Step, TaskFailure, TextResponse, UnknownWord};
use js_sys::Promise;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use wasm_bindgen::JsValue;

/// The tasks of an isolate that wait for JavaScript, by their numbers.
#[derive(Default)]
pub struct Executor {
    tasks: RefCell<HashMap<u32, Task>>,
    load: Rc<Load>,
}

/// The load of an isolate's open requests, including those whose client has left unnoticed. A
/// background task is counted only if it may outlive its request for long and holds as much.
#[derive(Default)]
struct Load {
    all: Cell<Holding>,
    clients: RefCell<HashMap<String, Holding>>,
}

/// A number of open requests, and the bytes that they hold.
#[derive(Clone, Copy, Default)]
pub struct Holding {
    /// Requests whose task has not ended.
    pub requests: usize,
    /// The bytes of their heads and bodies.
    pub bytes: usize,
}

/// One request's part of the load. Dropping it subtracts the part.
struct Share {
    load: Rc<Load>,
    bytes: Cell<usize>,
    /// The client whose load includes the request, once it is known.
    client: OnceCell<String>,
}

struct Task {
    port: Rc<TaskPort>,
    work: Work,
}

enum Work {
    Request(Pin<Box<dyn Future<Output = End>>>),
    Background(Pin<Box<dyn Future<Output = ()>>>),
}

/// The connection of one task to JavaScript. Each call to the platform needs it.
pub struct TaskPort {
    id: u32,
    /// The task's part of the load; `None` for a background task that is not counted.
    share: RefCell<Option<Rc<Share>>>,
    /// The encoded step that the task waits for.
    step: RefCell<Option<String>>,
    /// The result of that step.
    resume: RefCell<Option<Resume>>,
}

impl Executor {
    /// Begins the task of a request whose head has `head_bytes` bytes. Returns its first step or
    /// its end, encoded.
    pub fn begin<F: Future<Output = End> + 'static>(
        &self,
        id: u32,
        head_bytes: usize,
        work: impl FnOnce(Rc<TaskPort>) -> F,
    ) -> String {
        let port = TaskPort::new(id, Some(Share::open(&self.load, head_bytes)));
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

    /// Drops a task that will not be resumed. Returns whether it was the task of a request.
    pub fn forget(&self, id: u32) -> bool {
        let task = self.tasks.borrow_mut().remove(&id);
        task.is_some_and(|task| matches!(task.work, Work::Request(_)))
    }

    /// Adds a background task, which the response of `parent` does not wait for.
    pub fn spawn<F: Future<Output = ()> + 'static>(
        &self,
        parent: &TaskPort,
        work: impl FnOnce(Rc<TaskPort>) -> F,
    ) {
        self.add(TaskPort::new(self.adopt(parent), None), work);
    }

    /// Adds a background task, and counts the request as open until both have ended.
    pub fn spawn_counted<F: Future<Output = ()> + 'static>(
        &self,
        parent: &TaskPort,
        work: impl FnOnce(Rc<TaskPort>) -> F,
    ) {
        self.add(TaskPort::new(self.adopt(parent), parent.share.borrow().clone()), work);
    }

    fn add<F: Future<Output = ()> + 'static>(
        &self,
        port: Rc<TaskPort>,
        work: impl FnOnce(Rc<TaskPort>) -> F,
    ) {
        let work = Work::Background(Box::pin(work(Rc::clone(&port))));
        self.tasks.borrow_mut().insert(port.id, Task { port, work });
    }

    #[cfg(target_arch = "wasm32")]
    fn adopt(&self, parent: &TaskPort) -> u32 {
        bindings::adopt(parent.id)
    }

    /// Returns an unused number, for tests outside of a Worker.
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

impl Holding {
    /// Returns the most that one client may hold if all clients together may hold this.
    fn client_max(self) -> Self {
        Self { requests: self.requests.div_ceil(SHARES), bytes: self.bytes.div_ceil(SHARES) }
    }

    fn exceeds(self, most: Self) -> bool {
        self.requests > most.requests || self.bytes > most.bytes
    }

    fn plus(self, other: Self) -> Self {
        Self { requests: self.requests + other.requests, bytes: self.bytes + other.bytes }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(other.requests),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

impl Share {
    fn open(load: &Rc<Load>, bytes: usize) -> Rc<Self> {
        let held = Holding { requests: 1, bytes };
        load.all.set(load.all.get().plus(held));
        let (load, bytes) = (Rc::clone(load), Cell::new(bytes));
        Rc::new(Self { load, bytes, client: OnceCell::new() })
    }

    fn held(&self) -> Holding {
        Holding { requests: 1, bytes: self.bytes.get() }
    }

    fn hold(&self, bytes: usize) {
        let more = Holding { requests: 0, bytes };
        self.bytes.set(self.bytes.get() + bytes);
        self.load.all.set(self.load.all.get().plus(more));
        if let Some(client) = self.client.get()
            && let Some(held) = self.load.clients.borrow_mut().get_mut(client)
        {
            *held = held.plus(more);
        }
    }

    /// Adds the request to its client's load. Returns that load.
    fn set_client(&self, client: &str) -> Holding {
        let mut clients = self.load.clients.borrow_mut();
        let held = clients.entry(client.to_owned()).or_default();
        if self.client.set(client.to_owned()).is_ok() {
            *held = held.plus(self.held());
        }
        *held
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let own = self.held();
        self.load.all.set(self.load.all.get().minus(own));
        if let Some(client) = self.client.get() {
            let mut clients = self.load.clients.borrow_mut();
            if let Some(held) = clients.get_mut(client) {
                *held = held.minus(own);
                if held.requests == 0 {
                    clients.remove(client);
                }
            }
        }
    }
}

impl TaskPort {
    fn new(id: u32, share: Option<Rc<Share>>) -> Rc<Self> {
        let share = RefCell::new(share);
        Rc::new(Self { id, share, step: RefCell::default(), resume: RefCell::default() })
    }

    /// Counts the task no longer, because a program answers its request, which may never say so.
    pub fn release(&self) {
        self.share.take();
    }

    /// Adds bytes to the load until the task ends, for example those of a body.
    pub fn hold(&self, bytes: usize) {
        if let Some(share) = self.share.borrow().as_ref() {
            share.hold(bytes);
        }
    }

    /// Returns whether all open requests hold at most `most`, and those of `client` at most its
    /// share. A client's only request is always within its share. With `client` as `None`, no share
    /// applies.
    pub fn is_within(&self, most: Holding, client: Option<&str>) -> bool {
        let share = self.share.borrow();
        let Some(share) = share.as_ref() else {
            return true;
        };
        let held = client.map(|client| share.set_client(client)).unwrap_or_default();
        !share.load.all.get().exceeds(most)
            && (held.requests <= 1 || !held.exceeds(most.client_max()))
    }

    /// Returns the task's number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Runs a step whose result is a response.
    pub async fn fetch(&self, step: Step<'_>) -> Result<TextResponse, PlatformError> {
        match self.call(step).await? {
            Resume::Response(response) => Ok(response),
            _ => Err(PlatformError::Protocol),
        }
    }

    /// Awaits a promise, which settles within `within_ms` unless the client leaves.
    pub async fn settle(
        &self,
        promise: &Promise,
        within_ms: u32,
    ) -> Result<JsValue, PlatformError> {
        self.await_step(promise, Step::Settle { within_ms }).await
    }

    /// Awaits the promise of a computation of the platform.
    pub async fn compute(&self, promise: &Promise) -> Result<JsValue, PlatformError> {
        self.await_step(promise, Step::Compute { within_ms: PLATFORM_MS_MAX }).await
    }

    async fn await_step(
        &self,
        promise: &Promise,
        step: Step<'_>,
    ) -> Result<JsValue, PlatformError> {
        bindings::set_promise(self.id, promise);
        match self.call(step).await? {
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

/// The divisor of the load that one client may hold: a quarter.
const SHARES: usize = 4;
/// A time longer than any of the platform's own operations takes.
pub const PLATFORM_MS_MAX: u32 = 10_000;

/// Logs that a field of a step contains a line break.
pub fn line_break(port: &TaskPort) {
    protocol_error(port.id, "line break in a field", "");
}

/// Logs that one side violated the wire format.
fn protocol_error(task: u32, fault: &str, word: &str) {
    Line::new(Level::Error, "protocol_error")
        .number("task", task.into())
        .text("fault", fault)
        .text("word", word)
        .write();
}

#[cfg(test)]
mod tests;

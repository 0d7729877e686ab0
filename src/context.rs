//! The context of one request: its isolate, its task and the policy.

use crate::isolate::Isolate;
use crate::platform::executor::TaskPort;
use crate::platform::http::Response;
use crate::trace::Trace;
use portcullis_core::{Answer, CircuitOpen, Cors, Outage, Policy, Route, UnixSeconds};
use std::cell::Cell;
use std::rc::Rc;

/// The context of one request, or of one of its background tasks.
pub struct RequestContext {
    /// What outlives the request.
    pub isolate: Rc<Isolate>,
    /// The task's connection to JavaScript.
    pub port: Rc<TaskPort>,
    /// The policy of the gate that received the request.
    pub policy: &'static Policy,
    /// What becomes of the request if it is permitted.
    pub purpose: Purpose,
    /// The time at which the request arrived, in Unix ms.
    pub now_ms: u64,
    /// The same time in seconds, as tokens state times.
    pub now: UnixSeconds,
    /// A random UUID (RFC 9562), made for this request.
    pub request_id: String,
    /// The route that matches the request, once it is known.
    pub route: Cell<Option<&'static Route>>,
    /// The CORS settings that apply to the response.
    pub cors: Cell<Option<&'static Cors>>,
    /// The reason why the store is not queried again for this request.
    pub store_failure: Cell<Option<Outage>>,
    /// Whether the platform refused a call to the store because the request made too many calls.
    pub calls_used_up: Cell<bool>,
    /// How often the clock had gone back when the token was checked.
    pub clock_steps: Cell<u32>,
    /// Whether the token's provider confirmed it during this request.
    pub introspected_now: Cell<bool>,
    /// The circuit breaker that rejected the last call, and how long it stays open.
    pub circuit_open: Cell<Option<CircuitOpen<Outage>>>,
    pub trace: Trace,
}

/// What becomes of a permitted request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// It is forwarded to its upstream.
    Forward,
    /// JavaScript gets a permit and answers it. Requests for the auth service are forwarded.
    Permit,
}

/// How a request that is not refused is answered.
pub enum Outcome {
    /// With a response of the edge itself.
    Answered(Answer),
    /// With a response of the upstream or the auth service.
    Forwarded(Response),
}

impl RequestContext {
    /// Creates the context of a task that has done nothing yet.
    pub fn new(
        isolate: Rc<Isolate>,
        port: Rc<TaskPort>,
        policy: &'static Policy,
        purpose: Purpose,
        now_ms: u64,
        request_id: String,
    ) -> Self {
        Self {
            isolate,
            port,
            policy,
            purpose,
            now_ms,
            now: UnixSeconds(now_ms / 1000),
            request_id,
            route: Cell::default(),
            cors: Cell::default(),
            store_failure: Cell::default(),
            calls_used_up: Cell::default(),
            clock_steps: Cell::default(),
            introspected_now: Cell::default(),
            circuit_open: Cell::default(),
            trace: Trace::default(),
        }
    }

    /// Starts a background task, which the response does not wait for. The task has its own
    /// context.
    pub fn spawn<F: Future<Output = ()> + 'static>(&self, work: impl FnOnce(Self) -> F) {
        self.isolate.executor.spawn(&self.port, |port| work(self.background(port)));
    }

    /// Starts a background task that may outlive the request and holds its headers or body. The
    /// request counts as open until both have ended.
    pub fn spawn_counted<F: Future<Output = ()> + 'static>(&self, work: impl FnOnce(Self) -> F) {
        self.isolate.executor.spawn_counted(&self.port, |port| work(self.background(port)));
    }

    fn background(&self, port: Rc<TaskPort>) -> Self {
        let isolate = Rc::clone(&self.isolate);
        Self::new(isolate, port, self.policy, self.purpose, self.now_ms, self.request_id.clone())
    }

    /// Returns a random number that stays the same for the whole request. The request id has
    /// 122 random bits.
    pub fn jitter(&self) -> u32 {
        self.request_id.get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or(0)
    }
}

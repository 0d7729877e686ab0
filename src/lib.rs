//! The edge: a Cloudflare Worker that lets a request through only with a [`Permit`].
//!
//! This crate has all of the I/O and none of the judgement, which is `portcullis-core`'s. `pass` is
//! the way of every request; a refusal becomes a response in `reply.rs` alone.

mod breakers;
mod config;
mod forward;
mod host;
mod introspect;
mod keys;
mod limits;
mod metrics;
mod refresh;
mod reply;
mod retry;
mod store;
mod task;
mod trace;
mod verify;

use portcullis_core::{
    Answer, Check, Destination, Permit, Policy, Refusal, RequestHead, UnixSeconds,
};
use trace::Trace;
use wasm_bindgen::prelude::wasm_bindgen;

/// Begins the task of a request, whose head is as `head` of host.js writes it. Its first step, or its end.
#[wasm_bindgen]
pub fn begin(id: u32, head: String) -> String {
    task::begin(id, async move {
        let arrival = Arrival::read(&head);
        let outcome = match config::policy() {
            Ok(policy) => pass(&arrival, policy).await,
            Err(refusal) => Err(refusal),
        };
        reply::settle(outcome, &arrival)
    })
}

/// Says in the log where a panic is, which nothing else does. Not what it says: that may quote what it met.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line()));
        host::log(&reply::panic_line(&place.unwrap_or_default()));
    }));
}

/// Ends a task that is never gone on with.
#[wasm_bindgen]
pub fn forget(id: u32) {
    task::forget(id);
}

/// Goes on with a task: its next step, or its end.
#[wasm_bindgen]
pub fn resume(id: u32, status: u16, text: String) -> String {
    task::resume(id, status, text)
}

/// The steps of a request: route, check, verify, ask, decide, send.
async fn pass(arrival: &Arrival, policy: &'static Policy) -> Result<Outcome, Refusal> {
    let (head, trace) = (arrival.head(), &arrival.trace);
    trace.policy.set(Some(policy));
    trace.cors.set(policy.cors(None));
    let route = match policy.destination(&head)? {
        Destination::Edge(answer) => return Ok(Outcome::Answered(answer)),
        Destination::Route(route) => route,
    };
    trace.route.set(Some(route));
    trace.cors.set(policy.cors(Some(route)));

    let check = Check::new(&head, route, policy)?;
    let mut authenticated = verify::holder(&check, policy, arrival).await?;
    if breakers::is_open(breakers::Dependency::Store) {
        authenticated.check_all_limits_now();
    }
    limits::reject_if_over_limit(&authenticated, arrival)?;
    let mut results = store::ask(policy, &check.commands(&authenticated), arrival).await;
    introspect::complete(&check, &authenticated, &mut results, policy, arrival).await?;
    limits::settle(&check, &authenticated, &mut results, arrival).await;
    let verdict: Result<Permit<'_>, Refusal> = check.decide(&authenticated, &results);
    verify::remember(&check, &verdict, policy, arrival);
    let permit = verdict?;
    limits::count_late(&authenticated, policy, arrival);
    verify::note_seen(&permit, policy, arrival);
    forward::send(&permit, &head, policy, arrival).await.map(Outcome::Forwarded)
}

/// How a request that was not refused ended.
enum Outcome {
    /// By the edge itself.
    Answered(Answer),
    /// By whoever it was for.
    Forwarded(host::Response),
}

/// A request as it came: the one reading of the clock, its id and its head; and what becomes known of it.
struct Arrival {
    now_ms: u64,
    now: UnixSeconds,
    request_id: String,
    /// The place that serves it.
    colo: String,
    method: String,
    head: String,
    trace: Trace,
}

impl Arrival {
    fn read(text: &str) -> Self {
        let mut parts = text.splitn(4, '\n');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        let now_ms: u64 = part().parse().unwrap_or_default();
        let (request_id, colo, head) = (part(), part(), part());
        let method = head.split('\n').next().unwrap_or_default().to_owned();
        let now = UnixSeconds(now_ms / 1000);
        Self { now_ms, now, request_id, colo, method, head, trace: Trace::default() }
    }

    fn head(&self) -> RequestHead<'_> {
        RequestHead::parse(&self.head).unwrap_or_else(|| RequestHead::new("GET", "", Vec::new()))
    }

    /// Chance, the same for a whole request: the id has 122 bits of it.
    fn jitter(&self) -> u32 {
        self.request_id.get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or(0)
    }

    /// The same request without its head, for what is done after it.
    fn alone(&self) -> Self {
        Self {
            now_ms: self.now_ms,
            now: self.now,
            request_id: self.request_id.clone(),
            colo: String::new(),
            method: String::new(),
            head: String::new(),
            trace: Trace::default(),
        }
    }
}

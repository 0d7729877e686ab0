//! The edge: a Cloudflare Worker that lets a request through only with a [`Permit`].
//!
//! This crate has all of the I/O and none of the judgement, which is `portcullis-core`'s. `pass` is
//! the way of every request; a refusal becomes a response in `reply.rs` alone.

mod config;
mod forward;
mod host;
mod introspect;
mod keys;
mod memory;
mod reply;
mod store;
mod verify;

use portcullis_core::{
    Answer, Check, Cors, Destination, Head, LogPolicy, Permit, Policy, Refusal, Route, UnixSeconds,
};
use worker::{Context, Env, event};

#[event(fetch)]
async fn fetch(
    request: web_sys::Request,
    env: Env,
    context: Context,
) -> worker::Result<web_sys::Response> {
    let arrival = Arrival::read(&request, context);
    let mut trace = Trace::default();
    let outcome = match config::policy(&env) {
        Ok(policy) => pass(&request, &arrival, policy, &mut trace).await,
        Err(refusal) => Err(refusal),
    };
    Ok(reply::settle(outcome, &arrival, &trace))
}

/// The steps of a request: route, check, verify, ask, decide, send.
async fn pass(
    request: &web_sys::Request,
    arrival: &Arrival,
    policy: &'static Policy,
    trace: &mut Trace,
) -> Result<Outcome, Refusal> {
    let head = arrival.head();
    trace.policy = Some(policy);
    trace.cors = policy.cors(None);
    let route = match policy.destination(&head)? {
        Destination::Gate(answer) => return Ok(Outcome::Answered(answer)),
        Destination::Route(route) => route,
    };
    trace.route = Some(route);
    trace.cors = policy.cors(Some(route));

    let check = Check::new(&head, route, policy)?;
    let proof = verify::holder(&check, policy, arrival).await?;
    let answer = store::ask(policy, check.commands(&proof), &arrival.request_id).await;
    let answer = introspect::complete(&check, &proof, answer, policy, arrival).await?;
    let permit: Permit<'_> = check.decide(&proof, answer)?;
    verify::remember_cleared(&permit, policy, arrival);
    forward::send(request, &permit, &head, policy, arrival).await.map(Outcome::Forwarded)
}

/// How a request that was not refused ended.
enum Outcome {
    /// By the gate itself.
    Answered(Answer),
    /// By whoever it was for.
    Forwarded(web_sys::Response),
}

/// A request as it came: the one reading of the clock, its id and its head.
struct Arrival {
    now_ms: u64,
    now: UnixSeconds,
    request_id: String,
    head: String,
    context: Context,
}

impl Arrival {
    fn read(request: &web_sys::Request, context: Context) -> Self {
        let text = host::head(request);
        let mut parts = text.splitn(3, '\n');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        let now_ms: u64 = part().parse().unwrap_or_default();
        let (now, request_id, head) = (UnixSeconds(now_ms / 1000), part(), part());
        Self { now_ms, now, request_id, head, context }
    }

    fn head(&self) -> Head<'_> {
        Head::parse(&self.head).unwrap_or_else(|| Head::new("GET", "", Vec::new()))
    }

    /// Does something that the answer need not wait for.
    fn after(&self, work: impl Future<Output = ()> + 'static) {
        self.context.wait_until(work);
    }
}

/// What is known of a request beyond its outcome.
#[derive(Default)]
struct Trace {
    policy: Option<&'static Policy>,
    route: Option<&'static Route>,
    cors: Option<&'static Cors>,
}

impl Trace {
    fn logs(&self, refused: bool) -> bool {
        refused || self.policy.is_none_or(|policy| policy.log == LogPolicy::All)
    }
}

//! The edge: a Cloudflare Worker that lets a request through only with a [`Permit`].
//!
//! This crate has all of the I/O and none of the judgement, which is `portcullis-core`'s. `pass` is
//! the way of every request; a refusal becomes a response in `reply.rs` alone.

mod config;
mod forward;
mod host;
mod keys;
mod memory;
mod reply;
mod store;
mod verify;

use portcullis_core::{Check, Head, Permit, Policy, Refusal, Route, UnixSeconds};
use worker::{Context, Env, event};

#[event(fetch)]
async fn fetch(
    request: web_sys::Request,
    env: Env,
    _: Context,
) -> worker::Result<web_sys::Response> {
    let arrival = Arrival::read(&request);
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
) -> Result<web_sys::Response, Refusal> {
    let head = arrival.head();
    trace.log = Some(policy.log);
    let route = policy.route(&head)?;
    trace.route = Some(route);

    let check = Check::new(&head, route, policy, arrival.now)?;
    let proof = verify::signature(&check, policy, arrival).await?;
    let answer = store::ask(policy, check.commands(&proof), &arrival.request_id).await;
    let permit: Permit<'_> = check.decide(proof, answer)?;
    forward::send(request, &permit, &head, policy, &arrival.request_id).await
}

/// A request as it came: the one reading of the clock, its id and its head.
struct Arrival {
    now_ms: u64,
    now: UnixSeconds,
    request_id: String,
    head: String,
}

impl Arrival {
    fn read(request: &web_sys::Request) -> Self {
        let text = host::head(request);
        let mut parts = text.splitn(3, '\n');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        let now_ms: u64 = part().parse().unwrap_or_default();
        Self { now_ms, now: UnixSeconds(now_ms / 1000), request_id: part(), head: part() }
    }

    fn head(&self) -> Head<'_> {
        Head::parse(&self.head).unwrap_or_else(|| Head::new("GET", "", Vec::new()))
    }
}

/// What the log says of a request beyond its outcome.
#[derive(Default)]
struct Trace {
    log: Option<portcullis_core::LogPolicy>,
    route: Option<&'static Route>,
}

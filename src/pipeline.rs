//! The steps of a request.

use crate::context::{Outcome, RequestContext};
use crate::dependency::breakers::Dependency;
use crate::isolate::Isolate;
use crate::platform::clock;
use crate::platform::executor::TaskPort;
use crate::platform::protocol::{End, IncomingRequest, TaskFailure};
use crate::token::{authenticate, introspect};
use crate::{forward, limits, response, store};
use portcullis_core::{Check, Destination, Permit, Refusal, RequestHead, client_group};
use std::rc::Rc;

/// Begins the task of a request. Returns its first step or its end, encoded.
pub fn begin(isolate: &Rc<Isolate>, id: u32, request: String) -> String {
    let shared = Rc::clone(isolate);
    isolate.executor.begin(id, |port| respond(shared, port, request))
}

async fn respond(isolate: Rc<Isolate>, port: Rc<TaskPort>, request: String) -> End {
    let Some(request) = IncomingRequest::decode(&request) else {
        return End::Failed(TaskFailure::HeadInvalid);
    };
    let Some(policy) = isolate.config.policy else {
        return response::misconfigured(&request);
    };
    let request_id = request.request_id.to_owned();
    let context = RequestContext::new(isolate, port, policy, request.now_ms, request_id);
    let outcome = handle(&request.head, &context).await;
    response::finish(outcome, &request, &context)
}

/// Routes, decides, and forwards.
async fn handle(head: &RequestHead<'_>, context: &RequestContext) -> Result<Outcome, Refusal> {
    let policy = context.policy;
    context.trace.describe(head.path(), client_group(head, policy.trusted_proxies));
    context.cors.set(policy.cors(None));
    let route = match policy.destination(head)? {
        Destination::Edge(answer) => return Ok(Outcome::Answered(answer)),
        Destination::Route(route) => route,
    };
    context.route.set(Some(route));
    context.cors.set(policy.cors(Some(route)));

    let check = Check::new(head, route, policy)?;
    let permit = decide(&check, context).await.inspect_err(|_| {
        context.trace.received.replace(check.received_claims());
    })?;
    forward::send(&permit, head, context).await.map(Outcome::Forwarded)
}

/// Authenticates, queries the store, and decides.
async fn decide(
    check: &Check<'_, 'static>,
    context: &RequestContext,
) -> Result<Permit<'static>, Refusal> {
    let mut authenticated = authenticate::authenticate(check, context).await?;
    if context.isolate.breakers.is_open(Dependency::Store, clock::now_ms()) {
        authenticated.check_all_limits_now();
    }
    limits::reject_if_over_limit(&authenticated, context)?;
    let mut results = store::query(&check.commands(&authenticated), context).await;
    introspect::complete(check, &authenticated, &mut results, context).await?;
    limits::settle(check, &authenticated, &mut results, context).await;
    let verdict: Result<Permit<'_>, Refusal> = check.decide(&authenticated, &results);
    authenticate::remember(check, &authenticated, &results, &verdict, context);
    let permit = verdict?;
    limits::count_after_response(&authenticated, context);
    authenticate::record_session_seen(&permit, context);
    Ok(permit)
}

//! The steps of a request.

use crate::context::{Outcome, Purpose, RequestContext};
use crate::instance::Instance;
use crate::platform::executor::{Holding, TaskPort};
use crate::platform::http;
use crate::platform::protocol::{End, IncomingRequest, TaskFailure};
use crate::token::{api_keys, authenticate, introspect};
use crate::{blocks, events, forward, limits, operator, renewals, response, store, usage};
use forward::Outbound;
use portcullis_core::{
    Answer, AuthenticatedRequest, Check, Destination, OperatorRequest, Outage, Permit, Refusal,
    RequestHead, Route, StoreResult, Target, client_group,
};
use std::rc::Rc;

/// Begins the task of a request. Returns its first step or its end, encoded.
pub fn begin(instance: &Rc<Instance>, id: u32, purpose: Purpose, request: String) -> String {
    let shared = Rc::clone(instance);
    let head_bytes = request.len();
    instance.executor.begin(id, head_bytes, |port| respond(shared, port, purpose, request))
}

async fn respond(
    instance: Rc<Instance>,
    port: Rc<TaskPort>,
    purpose: Purpose,
    request: String,
) -> End {
    let Some(mut incoming) = IncomingRequest::decode(&request) else {
        return End::Failed(TaskFailure::HeadInvalid);
    };
    let isolate = instance.isolate_for_request(&port, incoming.now_ms).await;
    let Some(policy) = isolate.config.policy else {
        return response::misconfigured(&incoming, &isolate.config);
    };
    if policy.needs_location {
        incoming.head.set_location(http::location(&port));
    }
    let request_id = incoming.request_id.to_owned();
    let context = RequestContext::new(isolate, port, policy, purpose, incoming.now_ms, request_id);
    let outbound = match handle(&incoming.head, &context).await {
        Ok(Decision::Forward(outbound)) => outbound,
        Ok(Decision::Answer(answer)) => {
            return response::finish(Ok(Outcome::Answered(answer)), &incoming, &context);
        }
        Ok(Decision::Operator(asked)) => {
            let answer = operator::answer(asked, &context).await;
            return response::respond(answer, &incoming, &context);
        }
        Err(refusal) => return response::finish(Err(refusal), &incoming, &context),
    };
    // From here on, nothing keeps the headers: the upstream may be slow, and the client may leave
    // without notice.
    let rest = incoming.encode_rest();
    drop(incoming);
    drop(request);
    let outcome = forward::send(*outbound, &context).await.map(Outcome::Forwarded);
    match IncomingRequest::decode(&rest) {
        Some(incoming) => response::finish(outcome, &incoming, &context),
        None => End::Failed(TaskFailure::HeadInvalid),
    }
}

/// The outcome of a request that is not refused.
enum Decision {
    /// The edge answers the request itself.
    Answer(Answer),
    /// The edge answers an operator.
    Operator(OperatorRequest),
    Forward(Box<Outbound>),
}

/// Routes the request, decides, and prepares to forward it.
async fn handle(head: &RequestHead<'_>, context: &RequestContext) -> Result<Decision, Refusal> {
    let policy = context.policy;
    context.trace.describe(head.path(), client_group(head, policy.trusted_proxy_hops));
    context.cors.set(policy.cors(None));
    if let Some(request) = policy.operator_request(head)? {
        return Ok(Decision::Operator(request));
    }
    let blocked = blocks::check_network(head, context);
    // Only a route can be one that refuses nothing.
    let route = match (policy.destination(head), blocked) {
        (Ok(Destination::Route(route)), _) => route,
        (_, Err(refusal)) => return Err(refusal),
        (Ok(Destination::Edge(answer)), Ok(())) => return Ok(Decision::Answer(answer)),
        (Err(denial), Ok(())) => return Err(denial.into()),
    };
    context.route.set(Some(route));
    context.cors.set(policy.cors(Some(route)));

    match blocked {
        Err(refusal) if route.enforce => return Err(refusal),
        Err(refusal) => context.trace.would_refuse.set(Some(refusal.code())),
        Ok(()) => {}
    }
    let permit = match admit(head, route, context).await {
        // The limit on open requests protects the edge itself, so a shadow route enforces it, too.
        Err(refusal @ Refusal::Out(Outage::Overloaded)) => return Err(refusal),
        Err(refusal) => {
            let Some(permit) = Permit::unenforced(route, policy) else {
                usage::count(route, Err(refusal), context);
                return Err(refusal);
            };
            context.trace.would_refuse.set(Some(refusal.code()));
            permit
        }
        Ok(permit) => permit,
    };
    usage::count(route, Ok(()), context);
    if permit.target() == Target::Edge {
        return events::receive(head, route, context).await.map(Decision::Answer);
    }
    forward::prepare(&permit, head, context)
        .await
        .map(|outbound| Decision::Forward(Box::new(outbound)))
}

/// Checks a request of a route, unless too many requests are open.
async fn admit(
    head: &RequestHead<'_>,
    route: &'static Route,
    context: &RequestContext,
) -> Result<Permit<'static>, Refusal> {
    let policy = context.policy;
    let check = Check::new(head, route, policy)?;
    // Requests that the edge answers itself are not limited: they are served under any load.
    let most = Holding {
        requests: policy.open_requests_max as usize,
        bytes: policy.open_requests_bytes_max as usize,
    };
    let client = Some(check.address()).filter(|_| check.is_limited());
    if !context.port.is_within(most, client) {
        return Err(Outage::Overloaded.into());
    }
    decide(&check, context).await.inspect_err(|_| {
        context.trace.received.replace(check.received_claims());
    })
}

/// Authenticates, queries the store, and decides.
async fn decide(
    check: &Check<'_, 'static>,
    context: &RequestContext,
) -> Result<Permit<'static>, Refusal> {
    let mut authenticated = authenticate::authenticate(check, context).await?;
    let mut results = ask(check, &mut authenticated, context).await?;
    if let Some(changed) = api_keys::adopt_change(check, &authenticated, &results, context)? {
        if changed.has_limits_of(&authenticated) {
            authenticated = changed.with_limits_of(authenticated);
        } else {
            // Other quotas apply than those that were asked for.
            authenticated = changed;
            results = ask(check, &mut authenticated, context).await?;
            let again = api_keys::adopt_change(check, &authenticated, &results, context)?;
            if let Some(again) = again {
                authenticated = again.with_limits_of(authenticated);
            }
        }
    }
    limits::settle(check, &authenticated, &mut results, context).await;
    let verdict: Result<Permit<'_>, Refusal> = check.decide(&authenticated, &results);
    authenticate::remember(check, &authenticated, &results, &verdict, context);
    let permit = verdict?;
    authenticate::record_session_seen(&permit, context);
    Ok(permit)
}

/// Asks the store everything that the verdict needs, and the token's provider what it lacks.
async fn ask(
    check: &Check<'_, 'static>,
    authenticated: &mut AuthenticatedRequest<'static>,
    context: &RequestContext,
) -> Result<Vec<StoreResult>, Refusal> {
    limits::reject_if_over_limit(authenticated, context)?;
    let asked_ms = limits::spend_leases(authenticated, context);
    let commands = check.commands(authenticated);
    // A query for a limit asks about the token as well.
    if let Some(token) = authenticated.verified().filter(|_| commands.is_empty()) {
        renewals::renew_clearance(token, context);
    }
    renewals::send(context);
    let results = store::query(&commands, context).await;
    let mut results = check.divide(authenticated, results);
    limits::keep_leases(check, authenticated, &results, asked_ms, context);
    introspect::complete(check, authenticated, &mut results, context).await?;
    Ok(results)
}

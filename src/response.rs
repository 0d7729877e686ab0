//! The only place where a refusal becomes a response and where a request is logged.

mod access_log;
mod headers;
mod problem;

use crate::config::Config;
use crate::context::{Outcome, RequestContext};
use crate::metrics::ending::Ending;
use crate::metrics::export;
use crate::platform::clock;
use crate::platform::http::Response;
use crate::platform::protocol::{End, Fields, IncomingRequest};
use crate::trace::Enforcement;
use crate::usage;
use portcullis_core::{Access, Answer, Denial, LogPolicy, Refusal, RequestHead};

/// Returns the response to a request, and logs and counts it.
pub fn finish(
    outcome: Result<Outcome, Refusal>,
    request: &IncomingRequest<'_>,
    context: &RequestContext,
) -> End {
    let (status, end, outcome, code) = match outcome {
        Ok(Outcome::Forwarded(response)) => {
            (response.status, decorate(&response, &request.head, context), "forwarded", None)
        }
        Ok(Outcome::Answered(answer)) => {
            (answer.status, respond(answer, request, context), "answered", None)
        }
        Err(refusal) => {
            let (status, end) = refuse(refusal, &request.head, context);
            (status, end, "refused", Some(refusal.code()))
        }
    };
    let ms = clock::now_ms().saturating_sub(context.now_ms);
    let method = request.head.method();
    let ending = Ending { outcome, code, status, ms, method, colo: request.colo };
    export::record(&ending, context);
    usage::push_if_due(context);
    if code.is_some() || context.policy.observability.log == LogPolicy::All {
        access_log::write(&ending, request, context);
    }
    end
}

/// Returns a response of the edge itself.
pub fn respond(answer: Answer, request: &IncomingRequest<'_>, context: &RequestContext) -> End {
    let Answer { status, mut fields, body } = answer;
    let body = if request.head.method() == "HEAD" { String::new() } else { body };
    fields.push(("x-request-id", context.request_id.clone()));
    End::Respond { status, fields, body }
}

/// Returns and logs the response of an isolate whose configuration is invalid, or whose secrets
/// could not be read.
pub fn misconfigured(request: &IncomingRequest<'_>, config: &Config) -> End {
    let refusal = Refusal::Misconfigured;
    let (status, ..) = refusal.status_and_challenge();
    let mut fields = problem_fields(request.request_id);
    // The next request reads the secrets again.
    let seconds = match config.stored_secrets.is_incomplete() {
        true => Some(1),
        false => headers::retry_after_seconds(refusal, 0, None),
    };
    if let Some(seconds) = seconds {
        fields.push(("retry-after", seconds.to_string()));
    }
    let ending = Ending {
        outcome: "refused",
        code: Some(refusal.code()),
        status,
        ms: clock::now_ms().saturating_sub(request.now_ms),
        method: request.head.method(),
        colo: request.colo,
    };
    access_log::write_misconfigured(&ending, request);
    End::Respond { status, fields, body: problem::body(refusal, request.request_id, Vec::new()) }
}

/// Adds the edge's own headers to the forwarded response. A response that needs none is passed on
/// unchanged, because a new response around the same body costs as much as the whole policy.
fn decorate(response: &Response, head: &RequestHead<'_>, context: &RequestContext) -> End {
    response.hold(&context.port);
    let mut fields = headers::info_headers(false, context);
    if context.route.get().is_some_and(|route| route.access == Access::Auth) {
        // Caches must not store tokens. The auth service may still allow them to store documents.
        fields.push(("?cache-control", "no-store".to_owned()));
        fields.extend(["-server", "-via", "-x-powered-by"].map(|name| (name, String::new())));
    }
    let owns_cors = context.cors.get().is_some();
    if !owns_cors && fields.is_empty() {
        return End::Pass;
    }
    fields.extend(headers::cors_headers(head, context));
    fields.push(("x-request-id", context.request_id.clone()));
    End::Decorate { owns_cors, fields }
}

/// Returns problem details (RFC 9457), with the challenge of RFC 6750 section 3.
fn refuse(refusal: Refusal, head: &RequestHead<'_>, context: &RequestContext) -> (u16, End) {
    if let Refusal::Denied(
        Denial::ClaimMissing(claim) | Denial::InsufficientUserAuthentication(claim),
    ) = refusal
    {
        context.trace.missing_claim.set(Some(claim));
    }
    let event_format = context.trace.event_format.get();
    if let Some(body) = event_format.and_then(|own| own.refusal_body(refusal, &context.request_id))
    {
        let mut fields = problem_fields(&context.request_id);
        if let Some((_, content_type)) = fields.first_mut() {
            *content_type = "application/json".to_owned();
        }
        // RFC 8935 section 2.3.
        fields.push(("content-language", "en".to_owned()));
        return (400, End::Respond { status: 400, fields, body });
    }
    let (status, ..) = refusal.status_and_challenge();
    // With CORS, a page must be able to read a refusal, too.
    let mut fields = headers::cors_headers(head, context);
    fields.extend(headers::info_headers(true, context));
    fields.extend(problem_fields(&context.request_id));
    if let Some(challenge) = context.policy.challenge(refusal, context.route.get()) {
        fields.push(("www-authenticate", challenge));
    }
    if refusal == Refusal::Denied(Denial::MethodNotAllowed) {
        fields.push(("allow", context.policy.allowed_methods(head).join(", ")));
    }
    let circuit_open = context.circuit_open.get();
    if let Some(seconds) = headers::retry_after_seconds(refusal, context.jitter(), circuit_open) {
        fields.push(("retry-after", seconds.to_string()));
    }
    let exceeded = context.trace.exceeded_limits(Enforcement::Enforced);
    let body = problem::body(refusal, &context.request_id, exceeded);
    (status, End::Respond { status, fields, body })
}

fn problem_fields(request_id: &str) -> Fields {
    vec![
        ("content-type", "application/problem+json".to_owned()),
        ("cache-control", "no-store".to_owned()),
        ("x-request-id", request_id.to_owned()),
    ]
}

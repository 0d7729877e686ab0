//! The response headers of the edge.

use crate::context::RequestContext;
use crate::platform::clock;
use crate::platform::protocol::Fields;
use crate::trace::VerdictSource;
use portcullis_core::{
    CircuitOpen, Denial, LimitAlgorithm, LimitDecision, Outage, Period, Refusal, RequestHead,
};

/// Returns the `Access-Control-` headers and `Vary`; none without a CORS policy (the Fetch
/// standard).
pub fn cors_headers(head: &RequestHead<'_>, context: &RequestContext) -> Fields {
    context.cors.get().map(|cors| cors.fields(head)).unwrap_or_default()
}

/// Returns the informational headers: `RateLimit-Policy` and `RateLimit`, `Portcullis-Degraded`,
/// and `Server-Timing` with durations in ms.
pub fn info_headers(refused: bool, context: &RequestContext) -> Fields {
    let (trace, mut fields) = (&context.trace, Vec::new());
    fields.extend(rate_limit_headers(refused, context));
    if let Some(degraded) = trace.degraded.get() {
        fields.push(("portcullis-degraded", degraded.to_owned()));
    }
    if context.policy.observability.server_timing {
        let total = clock::now_ms().saturating_sub(context.now_ms);
        let cache = trace.verdict_source.get().map(VerdictSource::name);
        let cache = cache.map(|name| format!("cache;desc={name}, ")).unwrap_or_default();
        let (store, provider) = (trace.store_ms.get(), trace.provider_ms.get());
        let upstream = trace.upstream_ms.get();
        fields.push((
            "server-timing",
            format!(
                "{cache}store;dur={store}, provider;dur={provider}, upstream;dur={upstream}, \
                 total;dur={total}"
            ),
        ));
    }
    fields
}

/// Returns the headers of draft-ietf-httpapi-ratelimit-headers-11.
fn rate_limit_headers(refused: bool, context: &RequestContext) -> Fields {
    let limit_decisions = context.trace.limit_decisions.borrow();
    let shown = |decision: &&LimitDecision<'_>| {
        !decision.limit.shadow
            && decision.left.is_some()
            && (decision.limit.headers || (refused && !decision.admitted))
    };
    let shown: Vec<&LimitDecision<'_>> = limit_decisions.iter().filter(shown).collect();
    if shown.is_empty() {
        return Vec::new();
    }
    let list = |item: fn(&LimitDecision<'_>) -> String| {
        shown.iter().map(|decision| item(decision)).collect::<Vec<_>>().join(", ")
    };
    let policy = list(|decision| {
        let limit = decision.limit;
        // Months are not of one length, and a balance has none.
        let window = match (limit.algorithm, limit.period) {
            (LimitAlgorithm::Credits, None) | (_, Some(Period::Month)) => String::new(),
            _ => format!(";w={}", limit.window_seconds),
        };
        format!("\"{}\";q={}{window}", limit.name, decision.quota)
    });
    let state = list(|decision| {
        let (limit, left) = (decision.limit, decision.left.unwrap_or_default());
        let until_more = match (limit.algorithm, limit.period) {
            (LimitAlgorithm::Credits, None) => String::new(),
            _ => format!(";t={}", decision.more_ms.div_ceil(1000)),
        };
        format!("\"{}\";r={left}{until_more}", limit.name)
    });
    vec![("ratelimit-policy", policy), ("ratelimit", state)]
}

/// Returns the seconds after which a client should retry (`Retry-After`, RFC 9110 section 10.2.3),
/// at least 1; `None` if a retry would not help. Clients over a limit are spread over a tenth of
/// the wait, from a second to 10 min, so that they don't retry all at once.
pub fn retry_after_seconds(
    refusal: Refusal,
    jitter: u32,
    circuit_open: Option<CircuitOpen<Outage>>,
) -> Option<u64> {
    match refusal {
        Refusal::Denied(
            Denial::CreditsExhausted { wait_ms: 0 } | Denial::RateLimited { wait_ms: 0 },
        ) => None,
        Refusal::Denied(
            Denial::CreditsExhausted { wait_ms }
            | Denial::RateLimited { wait_ms }
            | Denial::TooManyInvalidTokens { wait_ms },
        ) => {
            let spread_ms = (wait_ms / 10).clamp(1000, 600_000);
            let spread_ms = spread_ms * u64::from(jitter) / u64::from(u32::MAX);
            Some((wait_ms + spread_ms).div_ceil(1000).max(1))
        }
        Refusal::Denied(_) => None,
        Refusal::Misconfigured => Some(60),
        Refusal::Out(outage) => {
            let open = circuit_open.filter(|open| open.cause == outage);
            Some(open.map_or(1, |open| open.wait_ms.div_ceil(1000).max(1)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_is_announced_where_it_helps() {
        let of = |denial: Denial| retry_after_seconds(Refusal::Denied(denial), 0, None);
        assert_eq!(of(Denial::RateLimited { wait_ms: 1 }), Some(1));
        assert_eq!(of(Denial::RateLimited { wait_ms: 2500 }), Some(3));
        // A request that costs more than the whole quota of its period.
        assert_eq!(of(Denial::RateLimited { wait_ms: 0 }), None);
        assert_eq!(of(Denial::CreditsExhausted { wait_ms: 0 }), None);
        assert_eq!(of(Denial::TokenMissing), None);
    }
}

//! The trace that a request belongs to.

use hyper::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId};
use opentelemetry::{Context, trace::TraceState};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// Returns the span that caused a request: that of `traceparent` (W3C Trace Context), or else that
/// which the edge derives from a request's id. Returns `None` if the request has neither.
pub(super) fn parent_of(headers: &HeaderMap) -> Option<SpanContext> {
    let context =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &Parent(headers));
    let given = context.span().span_context().clone();
    match given.is_valid() {
        true => Some(given),
        false => of_request_id(headers.get("x-request-id")?.to_str().ok()?),
    }
}

/// The header fields, without `tracestate`, which other systems fill as they like.
struct Parent<'h>(&'h HeaderMap);

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.0.get(key)?.to_str().ok(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

/// Returns the span in the `traceparent` that the edge makes of a request's id: the id's digits,
/// and the last half of them. The edge's own queries carry the id alone.
fn of_request_id(id: &str) -> Option<SpanContext> {
    let digits: String = id.chars().filter(|char| *char != '-').collect();
    let is_uuid = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let trace_id = TraceId::from_hex(&digits).ok().filter(|_| is_uuid)?;
    let span_id = SpanId::from_hex(digits.get(16..)?).ok()?;
    let context =
        SpanContext::new(trace_id, span_id, TraceFlags::default(), true, TraceState::default());
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parent_is_that_of_the_header_or_of_the_request_id() {
        let parent = |fields: &[(&'static str, &str)]| {
            let fields = fields.iter().map(|(name, value)| {
                (hyper::header::HeaderName::from_static(name), value.parse().unwrap())
            });
            let found = parent_of(&fields.collect())?;
            assert!(found.is_remote());
            let flags = found.trace_flags().to_u8();
            Some(format!("{}-{}-{flags:02x}", found.trace_id(), found.span_id()))
        };
        let given = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let id = "0af76519-16cd-43dd-8448-eb211c80319c";
        let derived = "0af7651916cd43dd8448eb211c80319c-8448eb211c80319c-00";
        let header = format!("00-{given}");
        let field = ("traceparent", header.as_str());
        assert_eq!(parent(&[field]).as_deref(), Some(given));
        assert_eq!(parent(&[field, ("x-request-id", id)]).as_deref(), Some(given));
        assert_eq!(parent(&[("x-request-id", id)]).as_deref(), Some(derived));
        assert_eq!(parent(&[("tracestate", "a=1"), ("traceparent", "00-1")]), None);
        let zeros = "0".repeat(32);
        let letters = "g".repeat(32);
        for none in ["", "r-1", zeros.as_str(), letters.as_str()] {
            assert_eq!(parent(&[("x-request-id", none)]), None, "{none}");
        }
        assert_eq!(parent(&[]), None);
    }
}

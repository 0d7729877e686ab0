//! The spans of requests and of their steps.

use super::parent::parent_of;
use hyper::{HeaderMap, Method};
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use tracing::field::Empty;
use tracing::{Level, Span};

/// The target of the spans of requests.
pub const REQUEST_TARGET: &str = "portcullis::request";
/// The target of the spans of steps.
pub const STEP_TARGET: &str = "portcullis::step";

/// Makes the span of a step of a request: its name, and fields as those of [`tracing::info_span!`].
/// A field must not have a secret, nor what a client may choose freely.
#[macro_export]
macro_rules! step {
    ($name:literal $(, $($fields:tt)+)?) => {
        ::tracing::info_span!(target: $crate::telemetry::STEP_TARGET, $name $(, $($fields)+)?)
    };
}

/// The span of a request to a server.
pub struct RequestSpan(Span);

impl RequestSpan {
    /// Begins the span of a request. `route` is a name of the endpoint, not the path, which may
    /// have what a client chose. Its parent is the span that the request's header fields name.
    pub fn begin(method: &Method, route: &str, request_id: &str, headers: &HeaderMap) -> Self {
        if !tracing::span_enabled!(target: REQUEST_TARGET, Level::INFO) {
            return Self(Span::none());
        }
        let parent = parent_of(headers);
        let _parent = parent.map(|parent| Context::new().with_remote_span_context(parent).attach());
        let method = method_name(method);
        Self(tracing::info_span!(
            target: REQUEST_TARGET,
            "request",
            otel.name = format!("{method} {route}"),
            otel.kind = "server",
            otel.status_code = Empty,
            http.request.method = method,
            http.route = route,
            http.response.status_code = Empty,
            "error.type" = Empty,
            portcullis.request_id = request_id,
        ))
    }

    /// Returns the span, in which the request is to be handled.
    pub fn span(&self) -> Span {
        self.0.clone()
    }

    /// Notes how the request ended: by its status, and by the code of an error if it has one.
    pub fn end(self, status: u16, code: Option<&str>) {
        self.0.record("http.response.status_code", status);
        if let Some(code) = code {
            self.0.record("error.type", code);
        }
        if status >= 500 {
            self.0.record("otel.status_code", "ERROR");
        }
    }
}

/// Returns the `traceparent` for a request that the current span causes; `None` outside of a trace.
pub fn current_traceparent() -> Option<String> {
    Context::map_current(|context| {
        let span = context.span();
        let own = span.span_context();
        let flags = own.trace_flags().to_u8();
        own.is_valid().then(|| format!("00-{}-{}-{flags:02x}", own.trace_id(), own.span_id()))
    })
}

/// Returns the name of a method, or `_OTHER` for one that HTTP does not define.
fn method_name(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] =
        ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

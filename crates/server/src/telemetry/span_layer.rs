//! The subscriber's part that makes OpenTelemetry spans of tracing's.

use super::spans::{REQUEST_TARGET, STEP_TARGET};
use opentelemetry::Context as TraceContext;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::trace::SdkTracer;
use std::sync::{Arc, OnceLock};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Makes spans of those of the targets of telemetry, once it was started. The log begins before the
/// settings of telemetry are known, so the tracer comes later.
pub(crate) struct SpanLayer<S>(Arc<OnceLock<OpenTelemetryLayer<S, SdkTracer>>>);

impl<S> Clone for SpanLayer<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Default for SpanLayer<S> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> SpanLayer<S> {
    /// Starts to make spans.
    pub fn start(&self, tracer: SdkTracer) {
        let layer = OpenTelemetryLayer::new(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false);
        // A second start changes nothing.
        let _ = self.0.set(layer);
        tracing::callsite::rebuild_interest_cache();
    }

    /// Returns whether a span or an event is wanted: all but spans for telemetry before its start.
    pub fn wants(&self, metadata: &Metadata<'_>) -> bool {
        !is_of_telemetry(metadata) || self.0.get().is_some()
    }
}

/// Returns whether a span is for telemetry alone. The log does not show it.
pub(crate) fn is_of_telemetry(metadata: &Metadata<'_>) -> bool {
    matches!(metadata.target(), REQUEST_TARGET | STEP_TARGET)
}

/// Events are not forwarded: they are the log's, and no one has checked what they contain.
impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for SpanLayer<S> {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(layer) = self.0.get() else { return };
        let is_wanted = match attributes.metadata().target() {
            REQUEST_TARGET => true,
            // Work in the background belongs to no request.
            STEP_TARGET => {
                TraceContext::map_current(|current| current.span().span_context().is_sampled())
            }
            _ => false,
        };
        if is_wanted {
            layer.on_new_span(attributes, id, context);
        }
    }

    // What follows has no effect on spans that the other layer has not seen.
    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(layer) = self.0.get() {
            layer.on_record(id, values, context);
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if let Some(layer) = self.0.get() {
            layer.on_enter(id, context);
        }
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        if let Some(layer) = self.0.get() {
            layer.on_exit(id, context);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some(layer) = self.0.get() {
            layer.on_close(id, context);
        }
    }
}

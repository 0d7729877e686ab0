//! Traces of requests, sent to a collector by OTLP over HTTP.
//!
//! A [`RequestSpan`] is the span of a request, and [`step!`](crate::step) makes those of its steps.
//! Both cost next to nothing unless [`Telemetry::start`] has been called with an endpoint.

mod export;
mod parent;
mod sampler;
mod settings;
mod span_layer;
mod spans;

pub use settings::{
    OTLP_ENDPOINT, OTLP_HEADERS, SERVICE_NAME, TRACES_SAMPLER, TRACES_SAMPLER_ARG,
    TelemetrySettings,
};
pub use spans::{REQUEST_TARGET, RequestSpan, STEP_TARGET, current_traceparent};

pub(crate) use span_layer::{SpanLayer, is_of_telemetry};

use crate::log::Log;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::Registry;
use std::time::Duration;

/// The export of spans, from its start to the end of the process.
pub struct Telemetry(Option<SdkTracerProvider>);

impl Telemetry {
    /// Starts to export spans if the settings name an endpoint. Needs a Tokio runtime.
    ///
    /// # Errors
    ///
    /// The exporter can't be built, or another metric has the name of its counter.
    pub fn start(
        settings: &TelemetrySettings,
        log: &Log,
        registry: &Registry,
        prefix: &str,
    ) -> Result<Self, String> {
        let Some(endpoint) = settings.endpoint.as_deref() else { return Ok(Self(None)) };
        let processor = export::processor(endpoint, &settings.headers, registry, prefix)
            .map_err(|error| format!("telemetry: {error}; unset other variables OTEL_…"))?;
        let resource = Resource::builder()
            .with_service_name(settings.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = settings
            .sampler
            .install(SdkTracerProvider::builder())
            .with_span_processor(processor)
            .with_resource(resource)
            .build();
        let scope = InstrumentationScope::builder("portcullis").build();
        log.spans().start(provider.tracer_with_scope(scope));
        tracing::info!(event = "telemetry_started", service = settings.service_name);
        Ok(Self(Some(provider)))
    }

    /// Sends the spans that are still queued, for 2 s at most.
    pub async fn finish(self) {
        let Some(provider) = self.0 else { return };
        let finishing =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FINISH_TIMEOUT));
        let _ = tokio::time::timeout(FINISH_TIMEOUT, finishing).await;
    }
}

/// A collector that hangs must not delay the end of the process for long.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;

//! The export of spans: a bounded queue, and a thread that posts batches to the collector.
//!
//! A request only appends to the queue. If the collector is slow or down, the queue fills, and
//! further spans are dropped and counted.

use hyper::body::Bytes;
use hyper::{Request, Response};
use opentelemetry::Context;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter as Export, SpanProcessor,
};
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// Returns the processor that exports spans to `endpoint`.
pub(super) fn processor(
    endpoint: &str,
    headers: &[(String, String)],
    registry: &Registry,
    prefix: &str,
) -> Result<BoundedProcessor, Box<dyn Error + Send + Sync>> {
    let state = Arc::new(State::new(registry, prefix)?);
    let http = reqwest::Client::builder()
        .timeout(EXPORT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()?;
    let client = Client { http, runtime: Handle::current(), state: Arc::clone(&state) };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_headers(headers.iter().cloned().collect::<HashMap<_, _>>())
        .with_timeout(EXPORT_TIMEOUT)
        .build()?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE_SPANS_MAX)
        .with_max_export_batch_size(BATCH_SPANS_MAX)
        .with_scheduled_delay(EXPORT_INTERVAL)
        .build();
    let exporter = CountingExporter { exporter, state: Arc::clone(&state) };
    let queue = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    Ok(BoundedProcessor { queue, state })
}

/// What became of spans, and whether the collector takes them.
struct State {
    queued: AtomicUsize,
    dropped: IntCounter,
    exported: IntCounter,
    failed: IntCounter,
    is_failing: AtomicBool,
    /// Why the last request to the collector failed.
    fault: Mutex<String>,
}

impl State {
    fn new(registry: &Registry, prefix: &str) -> prometheus::Result<Self> {
        let spans = Opts::new(
            format!("{prefix}_telemetry_spans_total"),
            "Spans by result: exported, failed (the collector did not take them), or dropped (the \
             queue was full).",
        );
        let spans = IntCounterVec::new(spans, &["result"])?;
        registry.register(Box::new(spans.clone()))?;
        Ok(Self {
            queued: AtomicUsize::new(0),
            dropped: spans.with_label_values(&["dropped"]),
            exported: spans.with_label_values(&["exported"]),
            failed: spans.with_label_values(&["failed"]),
            is_failing: AtomicBool::new(false),
            fault: Mutex::default(),
        })
    }

    /// Counts a batch that was sent, and logs when an outage of the collector begins and ends.
    fn note(&self, spans: usize, outcome: &OTelSdkResult) {
        let spans = u64::try_from(spans).unwrap_or(u64::MAX);
        match outcome {
            Ok(()) => {
                self.exported.inc_by(spans);
                if self.is_failing.swap(false, Ordering::Relaxed) {
                    let (failed, dropped) = (self.failed.get(), self.dropped.get());
                    tracing::info!(event = "telemetry_recovered", failed, dropped);
                }
            }
            Err(error) => {
                self.failed.inc_by(spans);
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    let cause = std::mem::take(&mut *self.fault());
                    let fault = if cause.is_empty() { error.to_string() } else { cause };
                    tracing::warn!(event = "telemetry_failed", fault);
                }
            }
        }
    }

    fn fault(&self) -> std::sync::MutexGuard<'_, String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue of spans, with a count of those that did not fit.
pub(super) struct BoundedProcessor {
    queue: BatchSpanProcessor,
    state: Arc<State>,
}

impl SpanProcessor for BoundedProcessor {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.queue.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        // The batch in progress counts as well, so the queue itself is never full.
        if self.state.queued.fetch_add(1, Ordering::Relaxed) < QUEUE_SPANS_MAX {
            self.queue.on_end(span);
        } else {
            self.state.queued.fetch_sub(1, Ordering::Relaxed);
            self.state.dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.queue.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.queue.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.queue.set_resource(resource);
    }
}

/// An exporter that counts what it did.
struct CountingExporter {
    exporter: SpanExporter,
    state: Arc<State>,
}

impl Export for CountingExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let outcome = self.exporter.export(batch).await;
        self.state.queued.fetch_sub(spans, Ordering::Relaxed);
        self.state.note(spans, &outcome);
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The client of the collector. The exporter's thread has no runtime, so requests run in the
/// server's.
struct Client {
    http: reqwest::Client,
    runtime: Handle,
    state: Arc<State>,
}

impl HttpClient for Client {
    fn send_bytes<'client, 'request>(
        &'client self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'request>>
    where
        'client: 'request,
        Self: 'request,
    {
        let sent = self.runtime.spawn(send(self.http.clone(), request));
        Box::pin(async move {
            let outcome = sent.await.map_err(HttpError::from).flatten();
            *self.state.fault() = match &outcome {
                Ok(response) => format!("the collector responded with {}", response.status()),
                Err(error) => causes(&**error),
            };
            outcome
        })
    }
}

/// Sends a request, and reads the response within a bound.
async fn send(
    http: reqwest::Client,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let without_url = reqwest::Error::without_url;
    let mut response = http.execute(request.try_into()?).await.map_err(without_url)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(without_url)? {
        if body.len() + chunk.len() > RESPONSE_BYTES_MAX {
            return Err("the collector's response is over 64 KiB".into());
        }
        body.extend_from_slice(&chunk);
    }
    let mut whole = Response::new(Bytes::from(body));
    *whole.status_mut() = response.status();
    *whole.headers_mut() = response.headers().clone();
    Ok(whole)
}

/// Returns an error with its causes.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

// The header fields for the collector may have a secret, so these show nothing.
impl fmt::Debug for BoundedProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoundedProcessor")
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl fmt::Debug for CountingExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CountingExporter")
    }
}

/// As OpenTelemetry's specification has them by default.
const QUEUE_SPANS_MAX: usize = 2048;
const BATCH_SPANS_MAX: usize = 512;
/// Traces appear soon, and a busy server still sends full batches.
const EXPORT_INTERVAL: Duration = Duration::from_secs(1);
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
const RESPONSE_BYTES_MAX: usize = 64 << 10;

//! A collector of traces, which takes OTLP over HTTP.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A collector, and the spans that it received.
pub struct Collector {
    pub url: String,
    received: Received,
}

type Received = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

/// A span as it was received.
#[derive(Clone, Debug)]
pub struct Span {
    pub service: String,
    pub name: String,
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub attributes: Vec<(String, String)>,
    /// Everything that was sent of it.
    pub whole: String,
}

impl Span {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let own = self.attributes.iter().find(|(own, _)| own == name);
        own.map(|(_, value)| value.as_str())
    }
}

impl Collector {
    pub async fn start() -> Self {
        let received = Received::default();
        let router =
            Router::new().route("/v1/traces", post(receive)).with_state(Arc::clone(&received));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, received }
    }

    pub fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for request in self.received.lock().unwrap().iter() {
            for resource in &request.resource_spans {
                let of = resource.resource.clone().unwrap_or_default();
                let own = texts(&of.attributes);
                let service = own.iter().find(|(name, _)| name == "service.name");
                let service = service.map(|(_, name)| name.clone()).unwrap_or_default();
                for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
                    spans.push(Span {
                        service: service.clone(),
                        name: span.name.clone(),
                        trace: hex(&span.trace_id),
                        id: hex(&span.span_id),
                        parent: hex(&span.parent_span_id),
                        attributes: texts(&span.attributes),
                        whole: format!("{resource:?}"),
                    });
                }
            }
        }
        spans
    }

    /// Waits until there are spans of a trace for which `is_whole` returns `true`.
    pub async fn trace(&self, trace: &str, is_whole: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let begun = Instant::now();
        loop {
            let spans = self.spans();
            let own: Vec<Span> = spans.iter().filter(|span| span.trace == trace).cloned().collect();
            if is_whole(&own) {
                return own;
            }
            let names = || spans.iter().map(|span| format!("{} {}", span.trace, span.name));
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{trace} is incomplete:\n{}",
                names().collect::<Vec<_>>().join("\n")
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn receive(State(received): State<Received>, body: Bytes) -> StatusCode {
    match ExportTraceServiceRequest::decode(body) {
        Ok(request) => {
            received.lock().unwrap().push(request);
            StatusCode::OK
        }
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

fn texts(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |value: &KeyValue| match value.value.clone().and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

//! Spans as a collector receives them, over HTTP in protobuf.

use super::*;
use hyper::{HeaderMap, Method};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span as ReceivedSpan;
use prost::Message as _;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tracing::Instrument as _;
use tracing::instrument::WithSubscriber as _;

/// What a collector does with requests.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Manner {
    Accepts,
    Hangs,
    Refuses,
}

/// A collector, and what it received.
struct Collector {
    address: std::net::SocketAddr,
    received: Arc<Mutex<Vec<(String, ExportTraceServiceRequest)>>>,
}

impl Collector {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, manner, Arc::clone(&all)));
            }
        });
        Self { address, received }
    }

    fn settings(&self, sampler: &str, share: f64) -> TelemetrySettings {
        TelemetrySettings {
            endpoint: Some(format!("http://{}/v1/traces", self.address)),
            headers: vec![("x-collector-key".to_owned(), "collector-secret".to_owned())],
            service_name: "a service".to_owned(),
            sampler: sampler::SpanSampler::new(sampler, share),
        }
    }

    fn spans(&self) -> Vec<ReceivedSpan> {
        let received = self.received.lock().unwrap();
        let resources = received.iter().flat_map(|(_, request)| &request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

/// Serves requests of one connection.
async fn serve(
    mut stream: TcpStream,
    manner: Manner,
    all: Arc<Mutex<Vec<(String, ExportTraceServiceRequest)>>>,
) {
    let mut bytes = Vec::new();
    loop {
        let head = bytes.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4);
        let text = head.map(|end| String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase());
        let length = text.as_deref().and_then(|text| {
            text.split("content-length: ").nth(1)?.split("\r\n").next()?.parse::<usize>().ok()
        });
        if let (Some(head), Some(text), Some(length)) = (head, text, length)
            && bytes.len() >= head + length
        {
            let body = &bytes[head..head + length];
            match manner {
                Manner::Hangs => std::future::pending().await,
                Manner::Refuses => {
                    stream.write_all(b"HTTP/1.1 403 x\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                }
                Manner::Accepts => {
                    let request = ExportTraceServiceRequest::decode(body).unwrap();
                    all.lock().unwrap().push((text, request));
                    stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                }
            }
            bytes.drain(..head + length);
            continue;
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

fn attribute(span: &ReceivedSpan, name: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match attribute.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn headers(traceparent: &str) -> HeaderMap {
    let value = traceparent.parse().unwrap();
    [(hyper::header::HeaderName::from_static("traceparent"), value)].into_iter().collect()
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Handles one request, as the servers do, and returns the `traceparent` of its call to a store.
async fn handle(request: &HeaderMap, status: u16) -> Option<String> {
    let own = tracing::info_span!("request", request_id = "r-1");
    let trace = own.in_scope(|| RequestSpan::begin(&Method::POST, "/auth/login", "r-1", request));
    let work = async {
        let task = async {
            tracing::info!(event = "inside", password = "log-only");
            async { current_traceparent() }.instrument(crate::step!("store", count = 2)).await
        };
        tokio::spawn(task.in_current_span().with_current_subscriber()).await.unwrap()
    };
    let traceparent = work.instrument(trace.span()).instrument(own).await;
    trace.end(status, (status >= 500).then_some("store_unavailable"));
    traceparent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_and_its_steps_reach_the_collector_with_the_callers_trace() {
    let collector = Collector::start(Manner::Accepts).await;
    let (log, registry) = (Log::default(), Registry::new());
    let work = async {
        // Nothing is made before the start.
        assert_eq!(handle(&headers(&format!("00-{TRACE}-{PARENT}-01")), 200).await, None);
        let settings = collector.settings("always_on", 1.0);
        let telemetry = Telemetry::start(&settings, &log, &registry, "portcullis_x").unwrap();
        let traceparent = handle(&headers(&format!("00-{TRACE}-{PARENT}-00")), 503).await;
        // A step without a request is not a trace.
        drop(crate::step!("background").entered());
        telemetry.finish().await;
        traceparent.unwrap()
    };
    let traceparent = work.with_subscriber(log.subscriber("auth")).await;
    let spans = collector.spans();
    assert_eq!(spans.len(), 2, "{spans:?}");
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let (request, step) = (named("POST /auth/login"), named("store"));
    assert_eq!(hex(&request.trace_id), TRACE);
    assert_eq!(hex(&request.parent_span_id), PARENT);
    assert_eq!(request.kind, 2);
    assert_eq!(hex(&step.trace_id), TRACE);
    assert_eq!(step.parent_span_id, request.span_id);
    assert_eq!(traceparent, format!("00-{TRACE}-{}-01", hex(&step.span_id)));
    assert!(request.start_time_unix_nano <= step.start_time_unix_nano);
    assert!(request.end_time_unix_nano >= step.end_time_unix_nano);
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/auth/login"),
        ("http.response.status_code", "503"),
        ("error.type", "store_unavailable"),
        ("portcullis.request_id", "r-1"),
    ] {
        assert_eq!(attribute(request, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(request.status.as_ref().unwrap().code, 2);
    assert_eq!(attribute(step, "count").as_deref(), Some("2"));
    // Events are the log's alone.
    assert!(spans.iter().all(|span| span.events.is_empty()));
    let (head, export) = collector.received.lock().unwrap().remove(0);
    assert!(head.starts_with("post /v1/traces ") && head.contains("application/x-protobuf"));
    assert!(head.contains("x-collector-key: collector-secret"), "{head}");
    let resource = format!("{:?}", export.resource_spans[0].resource);
    assert!(resource.contains("a service") && resource.contains("service.version"), "{resource}");
    // The log has the fields of its own span, and none of telemetry's.
    let lines = log.buffered();
    let inside: Vec<&str> = lines.lines().filter(|line| line.contains("inside")).collect();
    assert_eq!(inside.len(), 2);
    for line in inside {
        let rest = line.split_once(r#""program":"auth""#).unwrap().1;
        let expect = r#","event":"inside","password":"log-only","request_id":"r-1"}"#;
        assert_eq!(rest, expect);
    }
    assert!(!lines.contains("collector-secret"));
    assert_eq!(counted(&registry, "exported"), 2);
}

fn counted(registry: &Registry, result: &str) -> u64 {
    let families = registry.gather();
    let metrics = families.iter().flat_map(|family| family.get_metric());
    let of_result =
        metrics.filter(|metric| metric.get_label().iter().any(|label| label.value() == result));
    of_result.map(|metric| metric.get_counter().get_value() as u64).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sampler_decides_which_traces_are_recorded() {
    for (sampler, share, flags, recorded) in [
        ("always_off", 1.0, "01", 0),
        ("parentbased_always_on", 1.0, "00", 0),
        ("parentbased_always_on", 1.0, "01", 2),
        ("parentbased_always_off", 1.0, "01", 2),
        ("traceidratio", 0.0, "01", 0),
        ("traceidratio", 1.0, "00", 2),
    ] {
        let collector = Collector::start(Manner::Accepts).await;
        let (log, registry) = (Log::default(), Registry::new());
        let settings = collector.settings(sampler, share);
        let work = async {
            let telemetry = Telemetry::start(&settings, &log, &registry, "portcullis_x").unwrap();
            let traceparent = handle(&headers(&format!("00-{TRACE}-{PARENT}-{flags}")), 200).await;
            telemetry.finish().await;
            traceparent.unwrap()
        };
        let traceparent = work.with_subscriber(log.subscriber("auth")).await;
        assert_eq!(collector.spans().len(), recorded, "{sampler} {share} {flags}");
        // The next server hears of the decision.
        let own_flags = if recorded == 0 { "-00" } else { "-01" };
        assert!(traceparent.contains(TRACE) && traceparent.ends_with(own_flags), "{traceparent}");
    }
}

/// A collector that does not answer fills the queue, and costs requests nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collector_that_hangs_or_refuses_delays_nothing() {
    for manner in [Manner::Hangs, Manner::Refuses] {
        let collector = Collector::start(manner).await;
        let (log, registry) = (Log::default(), Registry::new());
        let settings = collector.settings("always_on", 1.0);
        let work = async {
            let telemetry = Telemetry::start(&settings, &log, &registry, "portcullis_x").unwrap();
            let request = headers(&format!("00-{TRACE}-{PARENT}-01"));
            let started = Instant::now();
            let mut slowest = Duration::ZERO;
            for _ in 0..4000 {
                let began = Instant::now();
                handle(&request, 200).await;
                slowest = slowest.max(began.elapsed());
            }
            assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
            // One export takes up to 5 s.
            assert!(slowest < Duration::from_secs(1), "{slowest:?}");
            let finishing = Instant::now();
            telemetry.finish().await;
            assert!(finishing.elapsed() < Duration::from_secs(3), "{:?}", finishing.elapsed());
        };
        work.with_subscriber(log.subscriber("auth")).await;
        if manner == Manner::Hangs {
            // 8000 spans ended, and the queue has room for 2048.
            assert!(counted(&registry, "dropped") >= 5000, "{}", counted(&registry, "dropped"));
        } else {
            assert!(counted(&registry, "failed") > 0);
            assert_eq!(counted(&registry, "exported"), 0);
        }
    }
}

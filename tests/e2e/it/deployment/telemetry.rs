//! Traces of both servers, as a collector receives them.

use crate::support::auth_service::AuthService;
use crate::support::collector::{Collector, Span};
use crate::support::gateway::{Gateway, TOKEN};
use crate::support::http::{client, get_with};
use crate::support::redis_server::Redis;
use crate::support::stack::{Stack, Tokens, stop};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn named<'s>(spans: &'s [Span], service: &str, name: &str) -> Vec<&'s Span> {
    spans.iter().filter(|span| span.service == service && span.name == name).collect()
}

/// A login through the edge, the auth service and the redis gateway to Redis.
#[tokio::test(flavor = "multi_thread")]
async fn login_is_one_trace_through_both_servers_and_has_no_secret() {
    let collector = Collector::start().await;
    let url = collector.url.clone();
    let start = move || {
        let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str())];
        // The throttle asks the store, too.
        let attempts = "LOGIN_ATTEMPTS_PER_USERNAME=5";
        Stack::start_with_env(&["--auth-env", attempts], None, &env)
    };
    let stack = tokio::task::spawn_blocking(start).await.unwrap();
    let login = client()
        .post(stack.edge("/auth/login"))
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
        .json(&json!({ "username": stack.username(), "password": stack.password() }));
    let response = login.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let tokens = Tokens::read(response).await;
    let (auth, gateway) = ("portcullis-auth", "portcullis-redis-gateway");
    let spans = collector
        .trace(TRACE, |spans| {
            !named(spans, auth, "POST /auth/login").is_empty()
                && named(spans, gateway, "POST pipeline").len() >= 2
                && named(spans, gateway, "redis").len() >= 2
        })
        .await;
    let [request] = named(&spans, auth, "POST /auth/login")[..] else { panic!("{spans:?}") };
    assert_eq!(request.parent, PARENT);
    assert_eq!(request.attribute("http.response.status_code"), Some("200"));
    for step in ["throttle", "verify_password"] {
        let [step] = named(&spans, auth, step)[..] else { panic!("{step}: {spans:?}") };
        assert_eq!(step.parent, request.id, "{}", step.name);
    }
    let operations: Vec<&str> = named(&spans, auth, "database")
        .into_iter()
        .filter_map(|span| span.attribute("db.operation.name"))
        .collect();
    for operation in ["user_by_name", "begin_session"] {
        assert!(operations.contains(&operation), "{operations:?}");
    }
    let stores: Vec<&str> =
        named(&spans, auth, "store").iter().map(|span| span.id.as_str()).collect();
    for span in named(&spans, gateway, "POST pipeline") {
        assert!(stores.contains(&span.parent.as_str()), "{span:?}");
        for step in ["authenticate", "redis"] {
            let steps = named(&spans, gateway, step);
            assert!(steps.iter().any(|step| step.parent == span.id), "{step}: {spans:?}");
        }
    }
    // The edge begins a trace, whose id is the request's.
    let refreshed = stack.refresh(&tokens.refresh).await;
    let id = refreshed.headers()["x-request-id"].to_str().unwrap().replace('-', "");
    let refreshed = Tokens::read(refreshed).await;
    let is_refresh = |span: &Span| span.name == "POST /auth/refresh";
    let spans = collector.trace(&id, |spans| spans.iter().any(is_refresh)).await;
    assert_eq!(spans.iter().find(|span| is_refresh(span)).unwrap().parent, id[16..]);
    let rotated = |span: &Span| span.attribute("db.operation.name") == Some("rotate_refresh_token");
    assert!(spans.iter().any(rotated), "{spans:?}");
    // Its question to the store has the id alone.
    let api = get_with(&stack.edge("/api/x"), &refreshed.access).await;
    assert_eq!(api.status(), 200);
    let echo: Value = api.json().await.unwrap();
    let id = echo["headers"]["x-request-id"].as_str().unwrap().replace('-', "");
    let of_gateway = |spans: &[Span]| !named(spans, gateway, "POST pipeline").is_empty();
    let spans = collector.trace(&id, of_gateway).await;
    assert_eq!(named(&spans, gateway, "POST pipeline")[0].parent, id[16..]);
    let logout = client().post(stack.edge("/auth/logout")).bearer_auth(&refreshed.access);
    assert!(logout.send().await.unwrap().status().is_success());
    let all = || collector.spans();
    let ended = |span: &Span| span.attribute("db.operation.name") == Some("end_sessions");
    let begun = Instant::now();
    while !all().iter().any(ended) {
        assert!(begun.elapsed() < Duration::from_secs(20), "the logout left no span");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let secrets = [
        stack.username(),
        stack.password(),
        &tokens.access,
        &tokens.refresh,
        &refreshed.access,
        &refreshed.refresh,
        stack.fact("store_token"),
        stack.fact("edge_store_token"),
    ];
    for span in all() {
        for secret in secrets {
            assert!(!span.whole.contains(secret), "{} of {}", span.name, span.service);
        }
    }
    for part in ["auth", "redis-gateway"] {
        let log = stack.log(part);
        assert!(log.contains("telemetry_started"), "{log}");
        assert!(!log.contains("telemetry_failed"), "{log}");
    }
    stop(stack).await;
}

/// A service that answers nothing, and no service at all.
#[tokio::test(flavor = "multi_thread")]
async fn collector_that_is_down_or_hangs_costs_no_request_anything() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs = format!("http://{}", silent.local_addr().unwrap());
    let redis = Redis::start(&[]);
    for (endpoint, says) in
        [("http://127.0.0.1:1", "telemetry_failed"), (&hangs, "telemetry_failed")]
    {
        let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)];
        let mut auth = AuthService::start(&settings);
        let gateway = Gateway::start(&redis.url(), &settings);
        gateway.ready().await;
        let mut slowest = Duration::ZERO;
        for _ in 0..1500 {
            let begun = Instant::now();
            gateway.run(json!(["GET", "a"])).await;
            slowest = slowest.max(begun.elapsed());
        }
        for _ in 0..200 {
            let begun = Instant::now();
            let keys = client().get(auth.at("/.well-known/jwks.json")).send().await.unwrap();
            assert_eq!(keys.status(), 200);
            slowest = slowest.max(begun.elapsed());
        }
        // One attempt at the collector takes up to 5 s.
        assert!(slowest < Duration::from_secs(4), "{endpoint}: {slowest:?}");
        let log = auth.process.says(says).await;
        assert_eq!(log.matches("telemetry_failed").count(), 1, "{log}");
        gateway.process.says(says).await;
        // What did not fit the queue is counted.
        let metrics = client().get(format!("{}/metrics", gateway.admin_url)).send().await.unwrap();
        let text = metrics.text().await.unwrap();
        let lost = text.lines().filter(|line| line.contains("telemetry_spans_total{"));
        let lost = lost.filter(|line| !line.contains("exported"));
        let lost: u64 =
            lost.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
        assert!(lost > 0, "{text}");
        assert!(!text.contains(TOKEN));
        // Neither does it delay the end for long.
        let begun = Instant::now();
        auth.process.signal("-TERM");
        assert_eq!(auth.process.ended(20), Some(0));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

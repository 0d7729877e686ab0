//! The redis gateway under connections that never send a valid token, and its admin listener.

use crate::support::gateway::{Gateway, TOKEN};
use crate::support::http::get;
use crate::support::redis_server::Redis;
use crate::support::silent;
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_do_not_keep_clients_out() {
    let redis = Redis::start(&[]);
    let gateway = Gateway::start(&redis.url(), &[("GATEWAY_CONNECTIONS_MAX", "16")]);
    let ping = format!("{}/ping", gateway.url);
    let client = [127, 0, 1, 1];
    assert_eq!(silent::get_from(&ping, client, TOKEN).await, Ok(200));
    let mut all = silent::open(&gateway.url, [127, 0, 7, 1], 64).await;
    assert_eq!(silent::get_from(&ping, client, TOKEN).await, Ok(200), "a client from before");
    // There are many more networks than connections.
    for network in 8..72 {
        all.extend(silent::open(&gateway.url, [127, 0, network, 1], 1).await);
    }
    assert_eq!(silent::get_from(&ping, client, TOKEN).await, Ok(200), "a client from before");
    assert_eq!(silent::get_from(&ping, [127, 0, 2, 1], TOKEN).await, Ok(200), "a new client");
    let ready = format!("{}/readyz", gateway.admin_url);
    assert_eq!(silent::get_from(&ready, client, TOKEN).await, Ok(200), "the operator");
    let metrics = get(&format!("{}/metrics", gateway.admin_url)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let name = "portcullis_redis_gateway_connections_evicted_total ";
    let evicted = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    assert!(evicted.parse::<u64>().unwrap() >= 100, "{evicted}");
    let closed = silent::closed_after(&mut all).await;
    assert!(closed < Duration::from_secs(12), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_a_token_are_closed_soon() {
    let redis = Redis::start(&[]);
    let gateway = Gateway::start(&redis.url(), &[]);
    let begun = Instant::now();
    // A request without a token does not authenticate a connection.
    let request = "GET /ping HTTP/1.1\r\nhost: x\r\n\r\n";
    let address = gateway.url.trim_start_matches("http://");
    let answer = crate::support::http::raw_at(address, request, "\0");
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn only_the_admin_listener_serves_readiness_and_metrics() {
    let redis = Redis::start(&[]);
    let gateway = Gateway::start(&redis.url(), &[]);
    let status = async |base: &str, path: &str| {
        get(&format!("{base}{path}")).send().await.unwrap().status().as_u16()
    };
    for path in ["/readyz", "/metrics"] {
        assert_eq!(status(&gateway.url, path).await, 404, "{path}");
    }
    assert_eq!(status(&gateway.url, "/healthz").await, 200);
    gateway.ready().await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(status(&gateway.admin_url, path).await, 200, "{path}");
    }
    assert_eq!(status(&gateway.admin_url, "/ping").await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_ends_at_its_deadline() {
    let redis = Redis::start(&[]);
    let settings = [("GATEWAY_DRAIN_SECONDS", "2"), ("GATEWAY_DEADLINE_MS", "60000")];
    let mut gateway = Gateway::start(&redis.url(), &settings);
    let url = gateway.url.clone();
    let wait = json!([
        "EVAL",
        "local t = redis.call('TIME')[1] + 12; \
                               while redis.call('TIME')[1] + 0 < t do end return 1",
        0
    ]);
    let request = crate::support::http::client().post(url).bearer_auth(TOKEN).json(&wait);
    let request = tokio::spawn(request.send());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = Instant::now();
    gateway.process.signal("-TERM");
    assert_eq!(gateway.process.ended(10), Some(0));
    let elapsed = begun.elapsed();
    assert!((1500..6000).contains(&elapsed.as_millis()), "{elapsed:?}");
    assert!(request.await.unwrap().is_err(), "the request was cut short");
    assert!(gateway.process.text().contains("drain_cut_short"), "{}", gateway.process.text());
}

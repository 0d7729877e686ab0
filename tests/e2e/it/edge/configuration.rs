//! Invalid configuration, as an operator sees it.

use crate::support::environment::xtask;
use crate::support::http::{assert_refused, get};
use crate::support::stack::{Stack, stop};
use serde_json::json;

#[tokio::test]
async fn invalid_configuration_rejects_requests_and_lists_every_error() {
    let vars = json!({ "store.url": "redis.example", "store.timeout_ms": "soon", "routes": [],
        "revocation.delay_second_max": 5, "upstream.url": "${API_URL}", "STORE_TOKN": "5",
        "UNRELATED": "x", "client_address.trusted_proxy_hops": 99, "logging.server_timing": true, "metrics.interval_seconds": true });
    let edge = tokio::task::spawn_blocking(|| Stack::start(&["--only", "edge"], Some(vars)))
        .await
        .unwrap();
    for path in ["/public/x", "/api/hello", "/auth/login"] {
        assert_refused(get(&edge.edge(path)).send().await.unwrap(), 503, "configuration_invalid")
            .await;
    }
    let log = edge.log("edge");
    let line = log.lines().find(|line| line.contains("configuration_invalid")).unwrap_or_default();
    for log in [line, &edge.own_log()] {
        for name in [
            "store.url: is not a URL",
            "store.timeout_ms: must be a whole number, 1 to 60000",
            "routes: is empty",
            "client_address.trusted_proxy_hops",
            "metrics.interval_seconds",
            "upstream.url: the variable API_URL is not set",
            "revocation.delay_second_max: unknown member; did you mean delay_seconds_max?",
            "STORE_TOKN: unknown variable; rename it to STORE_TOKEN",
        ] {
            assert!(log.contains(name), "{name}: {log}");
        }
        assert!(!log.contains("server_timing"), "true is true: {log}");
        assert!(!log.contains("UNRELATED"), "a variable of the user's: {log}");
    }
    stop(edge).await;
}

#[test]
fn taken_port_is_reported_with_the_flag_that_changes_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = xtask().args(["dev", "--port", &port]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains(&format!("port {port} is taken")) && text.contains("--port"), "{text}");
}

#[test]
fn servers_list_every_invalid_setting() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/debug");
    let run = |program: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new(format!("{root}/{program}"));
        command.env("REFRESH_GRACE_SECOND", "5").env("GATEWAY_TOKEN", "x");
        let output = command.args(arguments).env_remove("STORE_TOKEN").output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = run("portcullis-auth", &["serve", "--listen", "nowhere"]);
    for name in
        ["ISSUER", "AUDIENCE", "STORE_URL", "STORE_TOKEN", "AUTH_LISTEN", "REFRESH_GRACE_SECOND:"]
    {
        assert!(text.contains(name), "{name}: {text}");
    }
    let text = run("portcullis-redis-gateway", &["--listen", "nowhere", "--redis-url", "http://x"]);
    for name in ["GATEWAY_LISTEN", "REDIS_URL", "GATEWAY_TOKENS", "GATEWAY_TOKEN:"] {
        assert!(text.contains(name), "{name}: {text}");
    }
}

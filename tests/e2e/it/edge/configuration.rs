//! Invalid configuration, as an operator sees it.

use crate::support::environment::xtask;
use crate::support::http::{assert_refused, get};
use crate::support::stack::{Stack, stop};
use serde_json::json;

#[tokio::test]
async fn invalid_configuration_rejects_requests_and_lists_every_error() {
    let vars = json!({ "STORE_URL": "redis.example", "STORE_DEADLINE_MS": "soon", "ROUTES": [],
        // Numbers and booleans, as TOML has them.
        "REVOCATION_SECOND_MAX": "5", "UNRELATED": "x", "TRUSTED_PROXIES": 99, "SERVER_TIMING": true, "METRICS_SECONDS": true });
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
            "STORE_URL",
            "STORE_DEADLINE_MS",
            "ROUTES",
            "TRUSTED_PROXIES",
            "METRICS_SECONDS",
            "REVOCATION_SECOND_MAX: unknown setting; rename it to REVOCATION_SECONDS_MAX",
        ] {
            assert!(log.contains(name), "{name}: {log}");
        }
        assert!(!log.contains("SERVER_TIMING"), "true is true: {log}");
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

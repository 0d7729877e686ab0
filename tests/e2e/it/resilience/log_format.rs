//! The format of the log, which all three programs share.

use crate::support::http::get;
use crate::support::stack::SHARED;
use serde_json::Value;

#[tokio::test]
async fn programs_log_requests_in_one_format() {
    SHARED.login().await;
    let answer = get(&SHARED.edge("/api/hello")).header("x-portcullis-test", "x").send().await;
    assert_eq!(answer.unwrap().status(), 401);
    for (file, program) in [("edge", "edge"), ("auth", "auth"), ("redis-gateway", "redis-gateway")]
    {
        let log = SHARED.log(file);
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines: Vec<Value> = lines.filter(|line| !line["event"].is_null()).collect();
        let requests = lines.iter().filter(|line| line["event"] == "request").count();
        assert!(requests > 0, "{program}: no request in\n{log}");
        for line in &lines {
            assert_eq!(line["program"], program, "{line}");
            let time = line["time"].as_str().unwrap_or_default();
            assert!(
                time.len() == 24 && time.ends_with('Z') && time.starts_with("20"),
                "{program}: {line}"
            );
            let level = line["level"].as_str().unwrap_or_default();
            assert!(["error", "warn", "info"].contains(&level), "{program}: {line}");
            if line["event"] == "request" {
                assert!(line["request_id"].is_string(), "{program}: {line}");
                assert!(line["status"].is_u64() && line["ms"].is_number(), "{program}: {line}");
            }
        }
    }
}

//! The store's protocol, as the gateway speaks it before a real Redis.

use crate::stack::{SHARED, client};
use serde_json::{Value, json};

async fn send(path: &str, body: Value, encoding: Option<&str>) -> (u16, Value) {
    let url = format!("{}{path}", SHARED.fact("store_url"));
    let mut request = client().post(url).bearer_auth(SHARED.fact("store_token")).json(&body);
    if let Some(encoding) = encoding {
        request = request.header("upstash-encoding", encoding);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn commands_are_answered_in_the_protocols_shapes() {
    let check = async |body: Value, status: u16, expect: Value| {
        assert_eq!(send("/", body.clone(), None).await, (status, expect), "{body}");
    };
    check(
        json!(["SET", "gw:a", 9_007_199_254_740_993_i64, "EX", 60]),
        200,
        json!({ "result": "OK" }),
    )
    .await;
    check(json!(["get", "gw:a"]), 200, json!({ "result": "9007199254740993" })).await;
    check(json!(["GET", "gw:none"]), 200, json!({ "result": null })).await;
    check(json!(["INCRBY", "gw:n", 2]), 200, json!({ "result": 2 })).await;
    check(json!(["HSET", "gw:h", "f", "v"]), 200, json!({ "result": 1 })).await;
    check(json!(["HGETALL", "gw:h"]), 200, json!({ "result": ["f", "v"] })).await;
    let (status, body) = send("/", json!(["INCR", "gw:h"]), None).await;
    assert_eq!(status, 400);
    assert!(body["error"].as_str().unwrap().starts_with("WRONGTYPE "), "{body}");
    let (status, body) = send("/", json!(["EVALSHA", "0".repeat(40), 0]), None).await;
    assert_eq!(status, 400);
    assert!(body["error"].as_str().unwrap().starts_with("NOSCRIPT "), "{body}");
    let (_, body) = send("/", json!(["GET", "gw:a"]), Some("base64")).await;
    assert_eq!(body, json!({ "result": "OTAwNzE5OTI1NDc0MDk5Mw==" }));
    check(json!([]), 400, json!({ "error": "ERR empty command" })).await;
    check(json!({}), 400, json!({ "error": "ERR failed to parse command" })).await;
    send("/", json!(["DEL", "gw:a", "gw:n", "gw:h"]), None).await;
}

#[tokio::test]
async fn a_pipeline_answers_each_and_a_transaction_all_or_none() {
    let commands =
        json!([["SET", "gw:p", 1], ["LPUSH", "gw:p", 1], ["SELECT", 1], ["GET", "gw:p"]]);
    let (status, body) = send("/pipeline", commands, None).await;
    assert_eq!(status, 200);
    assert_eq!((&body[0]["result"], &body[3]["result"]), (&json!("OK"), &json!("1")));
    assert!(body[1]["error"].as_str().unwrap().starts_with("WRONGTYPE"), "{body}");
    assert!(
        body[2]["error"].as_str().unwrap().starts_with("ERR Command is not available"),
        "{body}"
    );

    let (status, body) =
        send("/multi-exec", json!([["INCR", "gw:p"], ["INCR", "gw:p"]]), None).await;
    assert_eq!((status, body), (200, json!([{ "result": 2 }, { "result": 3 }])));
    let (status, body) = send("/multi-exec", json!([["INCR", "gw:p"], ["NOSUCH"]]), None).await;
    assert_eq!(status, 400);
    assert!(body["error"].is_string(), "{body}");
    let (_, body) = send("/", json!(["GET", "gw:p"]), None).await;
    assert_eq!(body["result"], "3", "a discarded transaction leaves nothing");
    send("/", json!(["DEL", "gw:p"]), None).await;
}

#[tokio::test]
async fn no_command_changes_what_the_next_request_sees() {
    for command in [
        json!(["SELECT", 1]),
        json!(["SUBSCRIBE", "x"]),
        json!(["MONITOR"]),
        json!(["MULTI"]),
        json!(["WATCH", "x"]),
        json!(["HELLO", 3]),
        json!(["RESET"]),
        json!(["QUIT"]),
        json!(["CLIENT", "REPLY", "OFF"]),
        json!(["BLPOP", "x", 0]),
        json!(["XREAD", "BLOCK", 0, "STREAMS", "x", "$"]),
        json!(["script", "debug", "YES"]),
    ] {
        let (status, body) = send("/", command.clone(), None).await;
        assert_eq!(status, 400, "{command}: {body}");
        let (status, _) = send("/multi-exec", json!([command]), None).await;
        assert_eq!(status, 400);
        assert_eq!(send("/", json!(["PING"]), None).await, (200, json!({ "result": "PONG" })));
    }
}

#[tokio::test]
async fn nobody_asks_without_a_token() {
    let url = SHARED.fact("store_url");
    let with = |token: &str| client().post(url).bearer_auth(token).json(&json!(["PING"])).send();
    for response in [
        client().post(url).json(&json!(["PING"])).send().await.unwrap(),
        with("wrong").await.unwrap(),
        with(&SHARED.fact("store_token").to_uppercase()).await.unwrap(),
    ] {
        assert_eq!(response.status(), 401);
        let body: Value = response.json().await.unwrap();
        assert!(body["error"].as_str().unwrap().starts_with("WRONGPASS"), "{body}");
    }
    assert_eq!(client().get(url).bearer_auth("x").send().await.unwrap().status(), 405);
    assert_eq!(client().get(format!("{url}/nowhere")).send().await.unwrap().status(), 404);
    let long = vec![b'x'; 10_000_001];
    let response =
        client().post(url).bearer_auth(SHARED.fact("store_token")).body(long).send().await.unwrap();
    assert_eq!(response.status(), 413);
}

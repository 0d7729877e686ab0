//! The store's REST protocol, as the redis gateway serves it in front of a real Redis.

use crate::support::gateway::{GATEWAY, Gateway, TOKEN, read_reply};
use crate::support::http::{client, field, get};
use crate::support::redis_server::Redis;
use crate::support::stack::SHARED;
use reqwest::Method;
use serde_json::{Value, json};

async fn send(path: &str, body: Value) -> (u16, Value) {
    GATEWAY.1.send(path, body).await
}

/// Sends a raw request. Returns the status and the body's bytes.
async fn raw(method: Method, path: &str, fields: &[(&str, &str)], body: &[u8]) -> (u16, Vec<u8>) {
    let url = format!("{}{path}", GATEWAY.1.url);
    let mut request = client().request(method, url).bearer_auth(TOKEN).body(body.to_vec());
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
}

fn error(body: &Value) -> &str {
    body["error"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn commands_are_answered_in_the_protocols_shapes() {
    let check = async |body: Value, status: u16, expect: Value| {
        assert_eq!(send("/", body.clone()).await, (status, expect), "{body}");
    };
    let big = 9_007_199_254_740_993_i64;
    check(json!(["SET", "gw:a", big, "EX", 60]), 200, json!({ "result": "OK" })).await;
    check(json!(["get", "gw:a"]), 200, json!({ "result": "9007199254740993" })).await;
    check(json!(["INCR", "gw:a"]), 200, json!({ "result": big + 1 })).await;
    check(json!(["GET", "gw:none"]), 200, json!({ "result": null })).await;
    check(json!(["INCRBY", "gw:n", 2]), 200, json!({ "result": 2 })).await;
    check(json!(["SET", "gw:f", 1.5]), 200, json!({ "result": "OK" })).await;
    check(json!(["SET", "gw:t", true]), 200, json!({ "result": "OK" })).await;
    check(json!(["GET", "gw:t"]), 200, json!({ "result": "true" })).await;
    check(json!(["HSET", "gw:h", "f", "v"]), 200, json!({ "result": 1 })).await;
    check(json!(["HGETALL", "gw:h"]), 200, json!({ "result": ["f", "v"] })).await;
    check(json!(["ZADD", "gw:z", 1.5, "m"]), 200, json!({ "result": 1 })).await;
    check(json!(["ZSCORE", "gw:z", "m"]), 200, json!({ "result": "1.5" })).await;
    check(
        json!(["ECHO", "\u{1f600} é \" \\ \n"]),
        200,
        json!({ "result": "\u{1f600} é \" \\ \n" }),
    )
    .await;
    check(json!([]), 400, json!({ "error": "ERR empty command" })).await;
    check(json!({}), 400, json!({ "error": "ERR failed to parse command" })).await;
    check(json!(["GET", null]), 400, json!({ "error": "ERR failed to parse command" })).await;
    let (status, body) = send("/", json!(["INCR", "gw:h"])).await;
    assert!(status == 400 && error(&body).starts_with("WRONGTYPE "), "{body}");
    let (status, body) = send("/", json!(["EVALSHA", "0".repeat(40), 0])).await;
    assert!(status == 400 && error(&body).starts_with("NOSCRIPT "), "{body}");
    let script = "return redis.error_reply('my words')";
    check(json!(["EVAL", script, 0]), 400, json!({ "error": "my words" })).await;
    check(
        json!(["EVAL", "return {1,{2,'x'},false}", 0]),
        200,
        json!({ "result": [1, [2, "x"], null] }),
    )
    .await;
}

#[tokio::test]
async fn path_is_parsed_as_a_command() {
    let check = async |method: Method, path: &str, body: &[u8], expect: Value| {
        let (status, text) = raw(method, path, &[], body).await;
        let got: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((status, got), (200, expect), "{path}");
    };
    let ok = || json!({ "result": "OK" });
    check(Method::GET, "/SET/gw:path/value", b"", ok()).await;
    check(Method::GET, "/get/gw:path", b"", json!({ "result": "value" })).await;
    check(Method::POST, "/SeT/gw:path/a%2Fb%20c%C3%A9", b"", ok()).await;
    check(Method::POST, "/get/gw:path", b"", json!({ "result": "a/b cé" })).await;
    check(Method::PUT, "/set/gw:path?EX=100&XX=", br#"{"a": [1]}"#, ok()).await;
    check(Method::GET, "/get/gw:path", b"", json!({ "result": "{\"a\": [1]}" })).await;
    check(Method::GET, "/ttl/gw:path", b"", json!({ "result": 100 })).await;
    check(Method::GET, "/set/gw:path//KEEPTTL", b"", ok()).await;
    check(Method::GET, "/get/gw:path", b"", json!({ "result": "" })).await;
    check(Method::GET, "/mget/gw:path/gw:none", b"", json!({ "result": ["", null] })).await;

    // Bytes that are not UTF-8, in both directions.
    let bytes: Vec<u8> = (0..=255).collect();
    check(Method::POST, "/set/gw:raw", &bytes, ok()).await;
    check(Method::GET, "/strlen/gw:raw", b"", json!({ "result": 256 })).await;
    let (_, body) =
        raw(Method::GET, "/get/gw:raw", &[("upstash-response-format", "resp2")], b"").await;
    assert_eq!(body, [b"$256\r\n", bytes.as_slice(), b"\r\n"].concat());
    check(Method::GET, "/set/gw:%ff/x", b"", ok()).await;
    check(Method::GET, "/del/gw:%ff", b"", json!({ "result": 1 })).await;

    let (status, body) = raw(Method::HEAD, "/get/gw:path", &[], b"").await;
    assert_eq!((status, body.as_slice()), (200, b"".as_slice()));
    for (method, path) in [
        (Method::DELETE, "/get/gw:path"),
        (Method::OPTIONS, "/"),
        (Method::PATCH, "/pipeline"),
        (Method::GET, "/pipeline"),
        (Method::GET, "/multi-exec"),
        (Method::HEAD, "/subscribe/x"),
    ] {
        assert_eq!(raw(method.clone(), path, &[], b"").await.0, 405, "{method} {path}");
    }
    assert_eq!(raw(Method::GET, "/", &[], b"").await.0, 400);
    assert_eq!(raw(Method::GET, "/nosuch/x", &[], b"").await.0, 400);
    assert_eq!(raw(Method::GET, "//get/x", &[], b"").await.0, 400);
}

#[tokio::test]
async fn reply_has_the_requested_format() {
    send("/pipeline", json!([["SET", "gw:fmt", "bar"], ["RPUSH", "gw:list", "OK", "é"]])).await;
    let check = async |fields: &[(&str, &str)], command: Value, status: u16, expect: &[u8]| {
        let got = raw(Method::POST, "/", fields, command.to_string().as_bytes()).await;
        assert_eq!(
            (got.0, String::from_utf8_lossy(&got.1)),
            (status, String::from_utf8_lossy(expect)),
            "{command}"
        );
    };
    let base64 = [("Upstash-Encoding", "base64")];
    check(&base64, json!(["GET", "gw:fmt"]), 200, br#"{"result":"YmFy"}"#).await;
    check(&base64, json!(["SET", "gw:fmt", "bar"]), 200, br#"{"result":"OK"}"#).await;
    check(&base64, json!(["PING"]), 200, br#"{"result":"UE9ORw=="}"#).await;
    check(&base64, json!(["LRANGE", "gw:list", 0, 1]), 200, br#"{"result":["T0s=","w6k="]}"#).await;
    check(
        &base64,
        json!(["INCR", "gw:list"]),
        400,
        br#"{"error":"WRONGTYPE Operation against a key holding the wrong kind of value"}"#,
    )
    .await;
    check(&base64, json!(["GET", "gw:none"]), 200, br#"{"result":null}"#).await;
    let resp2 = [("Upstash-Response-Format", "resp2")];
    check(&resp2, json!(["SET", "gw:fmt", "bar"]), 200, b"+OK\r\n").await;
    check(&resp2, json!(["GET", "gw:fmt"]), 200, b"$3\r\nbar\r\n").await;
    check(&resp2, json!(["GET", "gw:none"]), 200, b"$-1\r\n").await;
    check(&resp2, json!(["STRLEN", "gw:fmt"]), 200, b":3\r\n").await;
    check(&resp2, json!(["LRANGE", "gw:list", 0, 0]), 200, b"*1\r\n$2\r\nOK\r\n").await;
    check(
        &resp2,
        json!(["INCR", "gw:list"]),
        400,
        b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
    )
    .await;
    let both = [resp2[0], base64[0]];
    assert_eq!(raw(Method::POST, "/", &both, b"[\"PING\"]").await.0, 400);
    assert_eq!(
        raw(Method::POST, "/", &[("Upstash-Response-Format", "resp3")], b"[\"PING\"]").await.0,
        400
    );
    let pipeline = br#"[["PING"],["GET","gw:fmt"]]"#;
    let (_, body) = raw(Method::POST, "/pipeline", &resp2, pipeline).await;
    assert_eq!(body, b"+PONG\r\n$3\r\nbar\r\n");
    let (_, body) = raw(Method::POST, "/multi-exec", &resp2, pipeline).await;
    assert_eq!(body, br#"[{"result":"PONG"},{"result":"bar"}]"#, "always JSON");
}

#[tokio::test]
async fn pipeline_reports_each_error_and_transaction_is_atomic() {
    let commands =
        json!([["SET", "gw:p", 1], ["LPUSH", "gw:p", 1], ["SELECT", 1], ["GET", "gw:p"]]);
    let (status, body) = send("/pipeline", commands).await;
    assert_eq!(status, 200);
    assert_eq!((&body[0]["result"], &body[3]["result"]), (&json!("OK"), &json!("1")));
    assert!(error(&body[1]).starts_with("WRONGTYPE"), "{body}");
    assert!(error(&body[2]).starts_with("ERR Command is not available"), "{body}");
    assert_eq!(send("/pipeline", json!([])).await, (200, json!([])));
    assert_eq!(send("/multi-exec", json!([])).await, (200, json!([])));

    let (status, body) = send("/multi-exec", json!([["INCR", "gw:p"], ["INCR", "gw:p"]])).await;
    assert_eq!((status, body), (200, json!([{ "result": 2 }, { "result": 3 }])));
    // A command that fails at run time is one item; the others have run.
    let (status, body) = send("/multi-exec", json!([["LPUSH", "gw:p", 1], ["INCR", "gw:p"]])).await;
    assert_eq!((status, &body[1]), (200, &json!({ "result": 4 })), "{body}");
    assert!(error(&body[0]).starts_with("WRONGTYPE"), "{body}");
    // A command that cannot run discards the whole transaction.
    for wrong in [
        json!(["GET"]),
        json!(["SELECT", 1]),
        json!(["NOSUCH"]),
        json!(["EXEC"]),
        json!(["FLUSHALL"]),
    ] {
        let (status, body) = send("/multi-exec", json!([["INCR", "gw:p"], wrong])).await;
        assert_eq!(status, 400, "{wrong}");
        assert!(body["error"].is_string(), "{body}");
    }
    assert_eq!(
        GATEWAY.1.run(json!(["GET", "gw:p"])).await,
        "4",
        "a discarded transaction leaves nothing"
    );

    // Concurrent transactions on shared connections are atomic.
    let transfer = async || {
        let commands = json!([["INCR", "gw:l"], ["DECR", "gw:r"], ["MGET", "gw:l", "gw:r"]]);
        let (status, body) = send("/multi-exec", commands).await;
        assert_eq!(status, 200);
        let both = &body[2]["result"];
        let number = |place: usize| both[place].as_str().unwrap().parse::<i64>().unwrap();
        assert_eq!(number(0) + number(1), 0, "{body}");
    };
    let transfers: Vec<_> = (0..40).map(|_| transfer()).collect();
    futures_util::future::join_all(transfers).await;
    let many: Vec<Value> = (0..10_001).map(|_| json!(["PING"])).collect();
    let (status, body) = send("/pipeline", json!(many)).await;
    assert!(status == 400 && error(&body).starts_with("ERR too many commands"), "{body}");
    let (status, body) = send("/pipeline", json!(many[1..])).await;
    assert_eq!((status, body.as_array().unwrap().len()), (200, 10_000));
}

#[tokio::test]
async fn connection_state_commands_are_rejected() {
    for command in [
        json!(["SELECT", 1]),
        json!(["SUBSCRIBE", "x"]),
        json!(["PSUBSCRIBE", "x"]),
        json!(["SSUBSCRIBE", "x"]),
        json!(["MONITOR"]),
        json!(["MULTI"]),
        json!(["EXEC"]),
        json!(["WATCH", "x"]),
        json!(["HELLO", 3]),
        json!(["RESET"]),
        json!(["QUIT"]),
        json!(["AUTH", "x"]),
        json!(["READONLY"]),
        json!(["ASKING"]),
        json!(["CLIENT", "REPLY", "OFF"]),
        json!(["CLIENT", "NO-EVICT", "ON"]),
        json!(["BLPOP", "x", 0]),
        json!(["BLMOVE", "x", "y", "LEFT", "LEFT", 0]),
        json!(["BZPOPMIN", "x", 0]),
        json!(["WAIT", 1, 0]),
        json!(["XREAD", "BLOCK", 0, "STREAMS", "x", "$"]),
        json!(["XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "x", ">"]),
        json!(["script", "debug", "YES"]),
    ] {
        let (status, body) = send("/", command.clone()).await;
        assert_eq!(status, 400, "{command}: {body}");
        let (status, _) = send("/multi-exec", json!([command])).await;
        assert_eq!(status, 400);
        let text = format!("{{\"result\":\"{command:?}\"}}").replace('"', "");
        let echo = send("/", json!(["ECHO", text])).await;
        assert_eq!(echo, (200, json!({ "result": text })));
    }
    // A stream or group may have the name of an option.
    let read = send("/", json!(["XREAD", "STREAMS", "BLOCK", 0])).await;
    assert_eq!(read, (200, json!({ "result": null })));
}

#[tokio::test]
async fn hostile_replies_do_not_disturb_other_requests() {
    let redis = Redis::start(&[]);
    let gateway = Gateway::start(
        &redis.url(),
        &[("GATEWAY_REDIS_CONNECTIONS", "1"), ("GATEWAY_DEADLINE_MS", "10000")],
    );
    // Errors that are not UTF-8 and huge replies, on the one shared connection.
    let hostile = async || {
        for path in
            ["/object/%ff/x", "/expire/k/1/%ff", "/xpending/%ff/%ff", "/get/%ff", "/config/%ff"]
        {
            let request = client().get(format!("{}{path}", gateway.url)).bearer_auth(TOKEN);
            let (status, _) = read_reply(request.send().await.unwrap()).await;
            assert!(status == 400 || status == 200, "{path}: {status}");
        }
        let deep = "local t = 1; for _ = 1, 200 do t = {t} end; return t";
        for script in ["return redis.error_reply('\\255\\254')", deep] {
            gateway.send("/", json!(["EVAL", script, 0])).await;
        }
        let wide = "local t = {} for n = 1, 60 do t = {t} end \
                    local all = {} for n = 1, 60000 do all[n] = t end return all";
        for script in ["return redis.status_reply(string.rep('x', 2000000))", wide] {
            let (status, _) = gateway.send("/", json!(["EVAL", script, 0])).await;
            assert!(status == 200 || status == 400, "{status}");
        }
        let large = "return string.rep('x', 70000000)";
        let (status, body) = gateway.send("/", json!(["EVAL", large, 0])).await;
        assert_eq!((status, body), (400, json!({ "error": "ERR the reply is too large" })));
    };
    let bystander = async || {
        for n in 0..300 {
            assert_eq!(gateway.run(json!(["ECHO", n])).await, n.to_string());
        }
    };
    tokio::join!(hostile(), bystander());
    let metrics = get(&format!("{}/metrics", gateway.admin_url)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("redis_reconnects_total 0\n"), "{metrics}");
    // A transaction that ran is not reported as discarded.
    let set = "return redis.call('SET', KEYS[1], string.rep('x', 70000000))";
    gateway.run(json!(["EVAL", set, 1, "large"])).await;
    let (status, body) =
        gateway.send("/multi-exec", json!([["INCR", "done"], ["GET", "large"]])).await;
    assert_eq!((status, body.as_array().unwrap().len()), (200, 2), "{body}");
    let (_, body) = gateway.send("/pipeline", json!([["GET", "large"], ["GET", "done"]])).await;
    assert_eq!(body, json!([{ "error": "ERR the reply is too large" }, { "result": "1" }]));
    let words: Vec<&str> =
        std::iter::once("DEL").chain(std::iter::repeat_n("k", 250_000)).collect();
    let (status, body) = gateway.send("/", json!(words)).await;
    assert_eq!((status, body), (400, json!({ "error": "ERR too many arguments" })));
}

#[tokio::test]
async fn writes_return_a_new_sync_token() {
    let token = async |command: Value, given: &str| {
        let request = client().post(&GATEWAY.1.url).bearer_auth(TOKEN).json(&command);
        let response = request.header("upstash-sync-token", given).send().await.unwrap();
        assert_eq!(response.status(), 200);
        field(&response, "upstash-sync-token")
    };
    let first = token(json!(["SET", "gw:sync", 1]), "").await;
    let second = token(json!(["SET", "gw:sync", 2]), &first).await;
    assert!(!first.is_empty() && first != second);
    assert!(!token(json!(["GET", "gw:sync"]), &second).await.is_empty());
    assert!(!token(json!(["GET", "gw:sync"]), "of another server").await.is_empty());
    let url = format!("{}/pipeline", GATEWAY.1.url);
    let pipeline = client().post(url).bearer_auth(TOKEN).json(&json!([["SET", "gw:sync", 3]]));
    assert!(!field(&pipeline.send().await.unwrap(), "upstash-sync-token").is_empty());
    let refused = GATEWAY.1.post("/", json!(["INCR", "gw:sync", "x"])).await;
    assert_eq!(refused.status(), 400);
    assert!(!field(&refused, "upstash-sync-token").is_empty(), "also on a refusal");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writes_return_different_sync_tokens() {
    let redis = Redis::start(&[]);
    let gateway = Gateway::start(&redis.url(), &[("GATEWAY_DEADLINE_MS", "5000")]);
    let token = async |path: &str, command: Value| {
        let response = gateway.post(path, command).await;
        assert_eq!(response.status(), 200);
        field(&response, "upstash-sync-token")
    };
    let number = |token: &str| u64::from_str_radix(token.split_once('.').unwrap().1, 16).unwrap();
    let before = number(&token("/", json!(["SET", "k", 0])).await);
    // All of them are in progress while Redis is busy, so that their replies arrive at once.
    let script = "local t = redis.call('TIME')[1] + 1; while redis.call('TIME')[1] + 0 < t do end";
    let busy = token("/", json!(["EVAL", script, 0]));
    let late = async |path: &str, command: Value| {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        token(path, command).await
    };
    let (busy, a, b, c, d) = tokio::join!(
        busy,
        late("/", json!(["SET", "k", 1])),
        late("/", json!(["INCR", "k2"])),
        late("/pipeline", json!([["SET", "k", 3], ["SET", "k", 4]])),
        late("/multi-exec", json!([["SET", "k", 5]])),
    );
    let mut numbers: Vec<u64> = [&busy, &a, &b, &c, &d].map(|token| number(token)).into();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 5, "{busy} {a} {b} {c} {d}");
    assert!(numbers.iter().all(|number| *number > before), "{numbers:?} after {before}");
    // A read that begins after a write sees the write, so its token is at least as new.
    let read = number(&token("/", json!(["GET", "k"])).await);
    assert_eq!(Some(&read), numbers.last());
}

#[tokio::test]
async fn scripts_with_key_locking_flag_run() {
    let script = "#!lua flags=allow-key-locking\nreturn redis.call('INCR', KEYS[1])";
    let sha = sha1_hex(script);
    let gateway = &GATEWAY.1;
    let evalsha = || gateway.send("/", json!(["EVALSHA", sha, 1, "gw:script"]));
    assert!(error(&evalsha().await.1).starts_with("NOSCRIPT "));
    let eval = json!(["EVAL", script, 1, "gw:script"]);
    assert_eq!(gateway.run(eval.clone()).await, 1);
    assert_eq!(evalsha().await, (200, json!({ "result": 2 })), "at the first try");
    let pipeline =
        json!([["EVALSHA", sha.to_uppercase(), 1, "gw:script"], ["SCRIPT", "EXISTS", sha]]);
    let (_, body) = gateway.send("/pipeline", pipeline).await;
    assert_eq!(body, json!([{ "result": 3 }, { "result": [1] }]));
    assert_eq!(gateway.run(json!(["SCRIPT", "FLUSH"])).await, "OK");
    assert!(error(&evalsha().await.1).starts_with("NOSCRIPT "), "Redis has forgotten it");
    assert_eq!(gateway.run(eval).await, 4);
    assert_eq!(evalsha().await, (200, json!({ "result": 5 })));
    let load = "#!lua flags=allow-key-locking,no-writes\nreturn redis.call('GET', KEYS[1])";
    assert_eq!(
        gateway.run(json!(["SCRIPT", "LOAD", load])).await,
        sha1_hex(load),
        "the client's name"
    );
    assert_eq!(gateway.run(json!(["EVALSHA_RO", sha1_hex(load), 1, "gw:script"])).await, "5");
    let (_, body) = gateway
        .send("/multi-exec", json!([["EVALSHA", sha, 1, "gw:script"], ["SCRIPT", "LOAD", load]]))
        .await;
    assert_eq!(body, json!([{ "result": 6 }, { "result": sha1_hex(load) }]));
}

#[tokio::test]
async fn request_without_a_valid_token_is_rejected() {
    let url = SHARED.fact("store_url");
    let with = |token: &str| client().post(url).bearer_auth(token).json(&json!(["PING"])).send();
    for response in [
        client().post(url).json(&json!(["PING"])).send().await.unwrap(),
        with("wrong").await.unwrap(),
        with(&SHARED.fact("store_token").to_uppercase()).await.unwrap(),
        client().get(format!("{url}/ping?_token=wrong")).send().await.unwrap(),
        client()
            .get(format!("{url}/ping"))
            .basic_auth("x", Some(SHARED.fact("store_token")))
            .send()
            .await
            .unwrap(),
        client().get(format!("{url}/monitor")).send().await.unwrap(),
    ] {
        assert_eq!(response.status(), 401);
        assert!(!field(&response, "x-request-id").is_empty());
        let (_, body) = read_reply(response).await;
        assert!(error(&body).starts_with("WRONGPASS"), "{body}");
    }
    let token = SHARED.fact("store_token");
    let by_query = client().get(format!("{url}/ping?_token={token}"));
    let by_query = by_query.header("x-request-id", "token-in-query").send().await.unwrap();
    assert_eq!(read_reply(by_query).await, (200, json!({ "result": "PONG" })));
    let begun = std::time::Instant::now();
    while !SHARED.log("redis-gateway").contains("token-in-query") {
        assert!(begun.elapsed().as_secs() < 5, "a line for each request");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let log = SHARED.log("redis-gateway");
    assert!(!log.contains(token) && !log.contains("_token"), "the log holds no token");
}

/// Returns the SHA-1 in hexadecimal, by Redis.
fn sha1_hex(script: &str) -> String {
    let mut redis = GATEWAY.0.connection();
    redis::cmd("EVAL")
        .arg("return redis.sha1hex(ARGV[1])")
        .arg(0)
        .arg(script)
        .query(&mut redis)
        .unwrap()
}

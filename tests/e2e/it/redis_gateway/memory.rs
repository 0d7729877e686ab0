//! The memory of Redis and of the redis gateway while clients request more than they read.

use crate::support::gateway::{Gateway, TOKEN, read_reply};
use crate::support::http::{client, field};
use crate::support::redis_server::Redis;
use serde_json::{Value, json};
use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

const READ: &str = "read-read-read-read-read-read-read";
const MB: u64 = 1 << 20;

fn start(redis: &Redis, settings: &[(&str, &str)]) -> Gateway {
    let tokens = format!("test={TOKEN},read:read={READ}");
    let all = [&[("GATEWAY_TOKENS", tokens.as_str())], settings].concat();
    Gateway::start(&redis.url(), &all)
}

async fn read(gateway: &Gateway, path: &str, body: &Value) -> (u16, Value) {
    let request = client().post(format!("{}{path}", gateway.url)).bearer_auth(READ).json(body);
    // An unoptimised build takes seconds to encode and decode the 64 MiB of a response.
    let request = request.timeout(Duration::from_secs(60));
    read_reply(request.send().await.unwrap()).await
}

fn peak(redis: &Redis) -> u64 {
    let info: String = redis::cmd("INFO").arg("memory").query(&mut redis.connection()).unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory_peak:")).unwrap();
    line.trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pipeline_of_large_replies_does_not_fill_redis() {
    // If the test fails, it must not use up the memory of the machine.
    let redis = Redis::start(&["--client-output-buffer-limit", "normal 3gb 0 0"]);
    let settings = [("GATEWAY_REDIS_CONNECTIONS", "2"), ("GATEWAY_DEADLINE_MS", "4000")];
    let gateway = start(&redis, &settings);
    let value = "x".repeat(1_000_000);
    gateway.run(json!(["SET", "large", value])).await;
    gateway.run(json!(["HSET", "hash", "f", value])).await;
    let before = peak(&redis);
    let gets: Vec<Value> = (0..10_000).map(|_| json!(["GET", "large"])).collect();
    let gets = json!(gets);
    let begun = Instant::now();
    let (status, _) = read(&gateway, "/pipeline", &gets).await;
    println!(
        "one pipeline: {status} after {:?}, {} MB",
        begun.elapsed(),
        (peak(&redis) - before) / MB
    );
    assert!(peak(&redis) - before < 100 * MB, "{} MB in Redis", (peak(&redis) - before) / MB);
    // Many at once share the connections, and their bounds.
    let many = (0..20).map(|_| read(&gateway, "/pipeline", &gets));
    futures_util::future::join_all(many).await;
    println!("twenty pipelines: {} MB", (peak(&redis) - before) / MB);
    assert!(peak(&redis) - before < 300 * MB, "{} MB in Redis", (peak(&redis) - before) / MB);
    // One command, or one transaction, is answered as a whole, so it has a separate bound.
    let repeated = |first: &[&str], word: &str, last: &[&str]| {
        let words: Vec<&str> = first
            .iter()
            .copied()
            .chain(std::iter::repeat_n(word, 1000))
            .chain(last.iter().copied())
            .collect();
        json!(words)
    };
    for command in [
        repeated(&["MGET"], "large", &[]),
        repeated(&["HMGET", "hash"], "f", &[]),
        json!([vec!["SORT_RO", "list"], ["GET", "large"].repeat(500)].concat()),
        json!([vec!["XREAD", "STREAMS"], ["stream"].repeat(500), ["0"].repeat(500)].concat()),
    ] {
        let (status, body) = read(&gateway, "/", &command).await;
        let error = body["error"].as_str().unwrap_or_default();
        assert!(status == 400 && error.starts_with("NOPERM"), "{}: {status} {error}", command[0]);
    }
    let (status, body) =
        read(&gateway, "/multi-exec", &json!(gets.as_array().unwrap()[..1000])).await;
    let error = body["error"].as_str().unwrap_or_default();
    assert!(status == 400 && error.starts_with("NOPERM"), "{status} {error}");
    assert!(peak(&redis) - before < 300 * MB, "{} MB in Redis", (peak(&redis) - before) / MB);
    // What reads use in practice still works.
    gateway.run(json!(["DEL", "large"])).await;
    let keys: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
    let (status, _) = read(&gateway, "/", &json!([vec!["MGET".to_owned()], keys].concat())).await;
    assert_eq!(status, 200);
    let (status, body) = read(&gateway, "/pipeline", &gets).await;
    assert_eq!((status, body.as_array().unwrap().len()), (200, 10_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_together_have_a_bound() {
    let redis = Redis::start(&[]);
    let gateway =
        start(&redis, &[("GATEWAY_RESPONSE_MEMORY_MIB", "128"), ("GATEWAY_DEADLINE_MS", "10000")]);
    let set = "return redis.call('SET', KEYS[1], string.rep('x', 30000000))";
    gateway.run(json!(["EVAL", set, 1, "large"])).await;
    gateway.run(json!(["SET", "small", "y"])).await;
    let head = format!(
        "GET /get/large HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\
         upstash-response-format: resp2\r\n\r\n"
    );
    let mut silent: Vec<TcpStream> = Vec::new();
    // Clients that never read their responses.
    for _ in 0..12 {
        let mut stream = gateway.connect();
        stream.write_all(head.as_bytes()).unwrap();
        silent.push(stream);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", gateway.process.pid())).unwrap();
    let resident: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap();
    println!("at most {} MB resident", resident / 1024);
    let response = gateway.post("/", json!(["GET", "large"])).await;
    let retry_after = field(&response, "retry-after");
    let (status, body) = read_reply(response).await;
    let error = body["error"].as_str().unwrap_or_default();
    assert!(status == 503 && error.starts_with("OVERLOADED "), "{status} {error}");
    assert_eq!(retry_after, "1");
    let (status, body) =
        gateway.send("/pipeline", json!([["GET", "large"], ["GET", "small"]])).await;
    assert_eq!(status, 503, "{body}");
    assert_eq!(gateway.run(json!(["GET", "small"])).await, "y", "small ones are answered");
    assert!(resident < 400 * 1024, "{} MB resident", resident / 1024);
    // When the clients are gone, there is memory again.
    drop(silent);
    let begun = Instant::now();
    while gateway.post("/", json!(["GET", "large"])).await.status() != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", gateway.process.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

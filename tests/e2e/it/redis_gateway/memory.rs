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

/// Returns the most memory that the redis gateway had at once, in MB.
fn resident_peak(gateway: &Gateway) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", gateway.process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let resident = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024;
    println!("at most {resident} MB resident");
    resident
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
    let resident = resident_peak(&gateway);
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
    assert!(resident < 400, "{resident} MB resident");
    // When the clients are gone, there is memory again.
    drop(silent);
    let begun = Instant::now();
    while gateway.post("/", json!(["GET", "large"])).await.status() != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", gateway.process.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Returns whether the redis gateway has received every message.
fn has_sent_all(connection: &mut redis::Connection) -> bool {
    let list = ["LIST", "TYPE", "pubsub"];
    let clients: String = redis::cmd("CLIENT").arg(&list).query(connection).unwrap();
    clients.lines().all(|client| client.contains(" omem=0 "))
}

#[tokio::test(flavor = "multi_thread")]
async fn event_streams_together_have_a_bound() {
    let redis = Redis::start(&[]);
    let gateway = start(&redis, &[("GATEWAY_RESPONSE_MEMORY_MIB", "128")]);
    let head = format!(
        "GET /subscribe/flood HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
    );
    // Clients that never read their events.
    let mut silent: Vec<TcpStream> = Vec::new();
    for _ in 0..50 {
        let mut stream = gateway.connect();
        stream.write_all(head.as_bytes()).unwrap();
        silent.push(stream);
    }
    let mut connection = redis.connection();
    let mut subscribers = || -> u64 {
        let answer: (String, u64) =
            redis::cmd("PUBSUB").arg("NUMSUB").arg("flood").query(&mut connection).unwrap();
        answer.1
    };
    let begun = Instant::now();
    while subscribers() < 50 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", gateway.process.text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let payload = "x".repeat(1 << 20);
    let mut publisher = redis.connection();
    // Without a bound for all together, half of each queue would be 200 MB.
    for _ in 0..24 {
        let receivers: u64 =
            redis::cmd("PUBLISH").arg("flood").arg(&payload).query(&mut publisher).unwrap();
        if receivers == 0 {
            break;
        }
        let begun = Instant::now();
        while !has_sent_all(&mut publisher) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", gateway.process.text());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    gateway.process.says("stream_too_slow").await;
    let resident = resident_peak(&gateway);
    println!("{} of 50 streams are left", subscribers());
    assert!(resident < 300, "{resident} MB resident");
    // When the clients are gone, there is memory again.
    drop(silent);
    gateway.run(json!(["SET", "large", "x".repeat(1_000_000)])).await;
    let begun = Instant::now();
    while gateway.post("/", json!(["GET", "large"])).await.status() != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", gateway.process.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

//! The redis gateway for its operator: reload, shutdown, metrics, logs and invalid settings.

use crate::support::gateway::{Gateway, TOKEN, read_reply};
use crate::support::http::{client, get};
use crate::support::process::{Folder, Process, free_ports, wait_for_port};
use crate::support::redis_server::Redis;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[tokio::test]
async fn token_file_is_reloaded_without_dropping_a_request() {
    let redis = Redis::start(&[]);
    let folder = Folder::new();
    let token = |name: &str, secret: &str| {
        format!("[[token]]\nname='{name}'\nrole='full'\nsecret='{secret}'\n")
    };
    let (old, new) = ("old-old-old-old-old-old-old-old-old", "new-new-new-new-new-new-new-new-new");
    let file = folder.write("tokens.toml", &token("old", old));
    let path = file.to_str().unwrap().to_owned();
    let gateway = Gateway::start_in(folder, &redis.url(), &[("GATEWAY_TOKENS_FILE", &path)]);
    let status = async |secret: &str| {
        let request = client().get(format!("{}/ping", gateway.url)).bearer_auth(secret);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((status(old).await, status(new).await), (200, 401));
    let stop = AtomicBool::new(false);
    let load = async {
        let client = client();
        let mut count = 0;
        while !stop.load(Ordering::SeqCst) {
            let response = client.get(format!("{}/ping", gateway.url)).bearer_auth(TOKEN).send();
            assert_eq!(response.await.unwrap().status(), 200);
            count += 1;
        }
        count
    };
    let reload = async {
        let turn = async |text: &str, event: &str, count: usize| {
            std::fs::write(&file, text).unwrap();
            gateway.process.signal("-HUP");
            let begun = Instant::now();
            while gateway.process.text().matches(event).count() < count {
                assert!(begun.elapsed() < Duration::from_secs(20));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let both = token("old", old) + &token("new", new);
        turn(&both, "\"reloaded\"", 1).await;
        assert_eq!((status(old).await, status(new).await), (200, 200));
        turn("[[token]]\nname='broken'\nsecret=new-new-", "configuration_invalid", 1).await;
        assert_eq!((status(old).await, status(new).await), (200, 200), "what was good goes on");
        turn(&token("new", new), "\"reloaded\"", 2).await;
        assert_eq!((status(old).await, status(new).await), (401, 200));
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.store(true, Ordering::SeqCst);
    };
    let (count, ()) = tokio::join!(load, reload);
    assert!(count > 20, "{count}");
    let log = gateway.process.text();
    assert!(!log.contains("new-new-"), "no secret is in the log");
}

#[tokio::test]
async fn certificate_is_reloaded_on_sighup() {
    let redis = Redis::start(&[]);
    let folder = Folder::new();
    let make = || {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        folder.write("cert.pem", &cert.pem());
        folder.write("key.pem", &signing_key.serialize_pem());
        cert.pem()
    };
    let first = make();
    let [port] = free_ports();
    let mut command = Gateway::command();
    command
        .env("REDIS_URL", redis.url())
        .env("GATEWAY_LISTEN", format!("127.0.0.1:{port}"))
        .env("GATEWAY_TOKENS", format!("test={TOKEN}"))
        .env("GATEWAY_TLS_CERT_FILE", folder.file("cert.pem"))
        .env("GATEWAY_TLS_KEY_FILE", folder.file("key.pem"));
    let gateway = Process::start(&mut command, folder.file("gateway.log"));
    wait_for_port(port, &gateway);
    let send = async |trusted: &str| {
        let certificate = reqwest::Certificate::from_pem(trusted.as_bytes()).unwrap();
        let client =
            reqwest::Client::builder().no_proxy().tls_certs_only([certificate]).build().unwrap();
        let request = client.get(format!("https://localhost:{port}/ping")).bearer_auth(TOKEN);
        request.send().await.map(|response| response.status().as_u16())
    };
    assert_eq!(send(&first).await.unwrap(), 200);
    let second = make();
    assert!(send(&second).await.is_err(), "not yet");
    gateway.signal("-HUP");
    let begun = Instant::now();
    while send(&second).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5), "{}", gateway.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(send(&first).await.is_err());
    // A client without TLS and a silent one do not delay others.
    let mut plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let _silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(send(&second).await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_progress_finish_before_shutdown() {
    let redis = Redis::start(&[]);
    let mut gateway = Gateway::start(&redis.url(), &[("GATEWAY_DEADLINE_MS", "5000")]);
    let mut stream = client()
        .get(format!("{}/subscribe/x", gateway.url))
        .bearer_auth(TOKEN)
        .send()
        .await
        .unwrap();
    assert!(stream.chunk().await.unwrap().is_some());
    let script = "local t = redis.call('TIME')[1] + 2; while redis.call('TIME')[1] + 0 < t do end return 'done'";
    let slow = client().post(&gateway.url).bearer_auth(TOKEN).json(&json!(["EVAL", script, 0]));
    let slow = tokio::spawn(slow.send());
    tokio::time::sleep(Duration::from_millis(500)).await;
    gateway.process.signal("-TERM");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let refused = client().get(format!("{}/ping", gateway.url)).send().await;
    assert!(refused.is_err(), "new connections are refused");
    assert_eq!(read_reply(slow.await.unwrap().unwrap()).await, (200, json!({ "result": "done" })));
    assert_eq!(gateway.process.ended(10), Some(0));
    while let Ok(Some(_)) = stream.chunk().await {}
}

#[tokio::test]
async fn requests_are_counted_and_logged_without_keys_or_values() {
    let redis = Redis::start(&[]);
    let gateway = Gateway::start(&redis.url(), &[]);
    let commands = json!([
        ["SET", "a-key-of-mine", "a-value-of-mine"],
        ["INCR", "a-key-of-mine"],
        ["FLUSHALL"],
        ["HGETALL", "another"],
    ]);
    let request = client().post(format!("{}/pipeline", gateway.url)).bearer_auth(TOKEN);
    let response = request.header("x-request-id", "r-1").json(&commands).send().await.unwrap();
    assert_eq!(response.status(), 200);
    gateway.run(json!(["EVAL", "return 'a-value-of-mine'", 0])).await;
    let stranger = client().get(format!("{}/get/a-key-of-mine?_token=wrong-of-mine", gateway.url));
    assert_eq!(stranger.send().await.unwrap().status(), 401);

    let text = get(&format!("{}/metrics", gateway.admin_url)).send().await.unwrap();
    let text = text.text().await.unwrap();
    for line in [
        "commands_total{family=\"string\",outcome=\"ok\"} 1",
        "commands_total{family=\"string\",outcome=\"error\"} 1",
        "commands_total{family=\"server\",outcome=\"refused\"} 1",
        "commands_total{family=\"hash\",outcome=\"ok\"} 1",
        "commands_total{family=\"scripting\",outcome=\"ok\"} 1",
        "requests_total{endpoint=\"pipeline\",status=\"200\"} 1",
        "requests_total{endpoint=\"command\",status=\"200\"} 1",
        "requests_total{endpoint=\"command\",status=\"401\"} 1",
        "request_seconds_count 3",
    ] {
        assert!(text.contains(&format!("portcullis_redis_gateway_{line}\n")), "{line}:\n{text}");
    }
    let log = gateway.process.says("\"status\":401").await;
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let requests: Vec<&Value> = lines.iter().filter(|line| line["event"] == "request").collect();
    assert_eq!(requests.len(), 3, "{log}");
    let first = requests[0];
    assert_eq!((&first["request_id"], &first["token"]), (&json!("r-1"), &json!("test")));
    assert_eq!((&first["commands"], &first["endpoint"]), (&json!(4), &json!("pipeline")));
    assert!(first["ms"].is_f64() && requests.iter().all(|line| !line["request_id"].is_null()));
    assert!(!log.contains("of-mine") && !text.contains("of-mine"), "{log}");
}

#[tokio::test]
async fn redis_that_may_evict_is_reported() {
    let redis = Redis::start(&["--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru"]);
    let gateway = Gateway::start(&redis.url(), &[]);
    let begun = Instant::now();
    while !gateway.process.text().contains("redis_may_evict") {
        assert!(begun.elapsed() < Duration::from_secs(5), "no warning at the start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let text = async |path: &str| {
        let response = get(&format!("{}{path}", gateway.admin_url)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.text().await.unwrap()
    };
    let ready = text("/readyz").await;
    assert!(ready.contains("ready") && ready.contains("maxmemory-policy volatile-lru"), "{ready}");
    let metric = "portcullis_redis_gateway_redis_may_evict";
    assert!(text("/metrics").await.contains(&format!("{metric} 1\n")));
    let set = |name: &str, value: &str| {
        let () =
            redis::cmd("CONFIG").arg(&["SET", name, value]).query(&mut redis.connection()).unwrap();
    };
    // Without a memory limit, or without an eviction policy, Redis keeps every key.
    for (name, value) in [("maxmemory", "0"), ("maxmemory-policy", "noeviction")] {
        set("maxmemory", "100mb");
        set("maxmemory-policy", "allkeys-lru");
        assert!(text("/readyz").await.contains("allkeys-lru"));
        set(name, value);
        assert_eq!(text("/readyz").await, "ready\n", "{name} {value}");
        assert!(text("/metrics").await.contains(&format!("{metric} 0\n")));
    }
}

#[tokio::test]
async fn invalid_settings_are_reported_all_at_once() {
    let folder = Folder::new();
    let tokens = folder.write("tokens.toml", "[[token]]\nname='a'\nrole='full'\nsecret='hush'\n");
    let mut command = Gateway::command();
    command
        .env("REDIS_URL", "redis://:topsecret@h/1/2")
        .env("GATEWAY_LISTEN", "nowhere")
        .env("GATEWAY_DEADLINE_MS", "soon")
        .env("GATEWAY_TOKENS_FILE", tokens);
    let mut gateway = Process::start(&mut command, folder.file("log"));
    assert_eq!(gateway.ended(5), Some(2));
    let log = gateway.text();
    for name in
        ["REDIS_URL", "GATEWAY_LISTEN", "GATEWAY_DEADLINE_MS", "token a: the secret must be"]
    {
        assert!(log.contains(name), "{name}: {log}");
    }
    assert!(!log.contains("topsecret") && !log.contains("hush"), "{log}");
    // An occupied port.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Gateway::command();
    command.env("GATEWAY_LISTEN", &address).env("GATEWAY_TOKENS", format!("t={TOKEN}"));
    let mut gateway = Process::start(&mut command, folder.file("log"));
    assert_eq!(gateway.ended(5), Some(1));
    assert!(gateway.text().contains(&format!("can't listen on {address}")), "{}", gateway.text());
}

//! A single Redis, with ACLs, with TLS or with Sentinels, and its failure and recovery.

use crate::support::authority::Authority;
use crate::support::gateway::{Gateway, TOKEN, read_reply};
use crate::support::http::{client, get};
use crate::support::load::under_load;
use crate::support::process::{Folder, Process, free_ports, wait_for_port};
use crate::support::redis_server::Redis;
use serde_json::json;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::test]
async fn redis_acl_and_password_are_respected() {
    let redis = Redis::start(&["--requirepass", "p@ss word"]);
    let mut admin =
        redis::Client::open(format!("redis://:p%40ss%20word@127.0.0.1:{}/", redis.port))
            .unwrap()
            .get_connection()
            .unwrap();
    let acl = ["edge", "on", ">secret", "~pc:*", "+get", "+set", "+ping", "+exec", "+discard"];
    let () = redis::cmd("ACL").arg("SETUSER").arg(&acl).query(&mut admin).unwrap();

    let url = format!("redis://:p%40ss%20word@127.0.0.1:{}/3", redis.port);
    let gateway = Gateway::start(&url, &[]);
    assert_eq!(gateway.run(json!(["SET", "k", 1])).await, "OK");
    let () = redis::cmd("SELECT").arg(3).query(&mut admin).unwrap();
    let there: i64 = redis::cmd("EXISTS").arg("k").query(&mut admin).unwrap();
    assert_eq!(there, 1, "the database of the URL");

    let gateway = Gateway::start(&format!("redis://edge:secret@127.0.0.1:{}", redis.port), &[]);
    assert_eq!(gateway.run(json!(["SET", "pc:k", 1])).await, "OK");
    for refused in [json!(["SET", "other", 1]), json!(["DEL", "pc:k"])] {
        let (status, body) = gateway.send("/", refused).await;
        assert!(status == 400 && body["error"].as_str().unwrap().starts_with("NOPERM"), "{body}");
    }
    // Without MULTI, the rest of a transaction would run one by one.
    let (status, body) = gateway.send("/multi-exec", json!([["SET", "pc:k", 2]])).await;
    assert!(status == 400 && body["error"].as_str().unwrap().starts_with("NOPERM"), "{body}");
    assert_eq!(gateway.run(json!(["GET", "pc:k"])).await, "1");

    // A user that may begin a transaction but not discard it must not be left in one.
    let acl = ["half", "on", ">secret", "~*", "+@all", "-discard"];
    let () = redis::cmd("ACL").arg("SETUSER").arg(&acl).query(&mut admin).unwrap();
    let half = Gateway::start(&format!("redis://half:secret@127.0.0.1:{}", redis.port), &[]);
    assert_eq!(half.run(json!(["SET", "pc:half", 1])).await, "OK");
    assert_eq!(half.run(json!(["GET", "pc:half"])).await, "1");
    assert_eq!(half.send("/multi-exec", json!([["GET", "pc:half"]])).await.0, 400);

    let gateway = Gateway::start(&format!("redis://edge:wrong-one@127.0.0.1:{}", redis.port), &[]);
    let (status, body) = gateway.send("/", json!(["GET", "pc:k"])).await;
    assert_eq!((status, body), (503, json!({ "error": "ERR Redis can't be reached" })));
    let log = gateway.process.says("redis_unreachable").await;
    assert!(log.contains("WRONGPASS"), "{log}");
    assert!(!log.contains("wrong-one"), "{log}");

    // A server without AUTH repeats the arguments in its error.
    let deaf = Redis::start(&["--rename-command", "AUTH", ""]);
    let gateway = Gateway::start(&format!("redis://u:echoed-one@127.0.0.1:{}", deaf.port), &[]);
    let log = gateway.process.says("redis_unreachable").await;
    assert!(log.contains("AUTH: ERR") && !log.contains("echoed-one"), "{log}");
}

#[tokio::test]
async fn redis_is_reached_over_mutual_tls() {
    let authority = Authority::new();
    let ca = authority.ca.clone();
    let [cert, key] = authority.issue("localhost");
    let [client_cert, client_key] = authority.issue("gateway");
    let [port] = free_ports();
    let redis = Redis::on(
        0,
        Folder::new(),
        [
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &cert,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            "yes",
        ]
        .map(str::to_owned)
        .into(),
    );
    let url = format!("rediss://localhost:{}", redis.port);
    let both = [
        ("REDIS_CA_FILE", ca.as_str()),
        ("REDIS_CERT_FILE", &client_cert),
        ("REDIS_KEY_FILE", &client_key),
    ];
    let gateway = Gateway::start(&url, &both);
    assert_eq!(gateway.run(json!(["SET", "k", 1])).await, "OK");
    assert_eq!(gateway.run(json!(["GET", "k"])).await, "1");
    for (settings, why) in [
        (&both[..1], "a server that requires a certificate"),
        (&both[1..], "an unknown authority"),
        (&[][..], "neither"),
    ] {
        let gateway = Gateway::start(&url, settings);
        assert_eq!(gateway.send("/", json!(["GET", "k"])).await.0, 503, "{why}");
    }
    let gateway = Gateway::start(&url.replace("rediss", "redis"), &both);
    assert_eq!(gateway.send("/", json!(["GET", "k"])).await.0, 503, "not without TLS");
}

#[tokio::test]
async fn lost_redis_is_reported_within_the_timeout_and_found_again() {
    let redis = Redis::start(&["--appendonly", "yes"]);
    let gateway = Gateway::start(&redis.url(), &[("GATEWAY_DEADLINE_MS", "500")]);
    gateway.run(json!(["SET", "k", 1])).await;

    redis.process.signal("-STOP");
    let begun = Instant::now();
    let (status, body) = gateway.send("/", json!(["GET", "k"])).await;
    assert_eq!((status, body), (503, json!({ "error": "ERR Redis did not answer in time" })));
    assert!((450..3000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    redis.process.signal("-CONT");
    gateway.ready().await;
    assert_eq!(gateway.run(json!(["GET", "k"])).await, "1");

    redis.process.signal("-KILL");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let client = client();
    let send = async || {
        let begun = Instant::now();
        let request = client.get(format!("{}/get/k", gateway.url)).bearer_auth(TOKEN);
        let (status, body) = read_reply(request.send().await.unwrap()).await;
        assert_eq!((status, body), (503, json!({ "error": "ERR Redis can't be reached" })));
        begun.elapsed()
    };
    let many: Vec<_> = (0..200).map(|_| send()).collect();
    let slowest = futures_util::future::join_all(many).await.into_iter().max().unwrap();
    assert!(slowest < Duration::from_secs(4), "{slowest:?}");
    assert_eq!(gateway.send("/pipeline", json!([["GET", "k"]])).await.0, 503);
    assert_eq!(gateway.send("/multi-exec", json!([["GET", "k"]])).await.0, 503);
    let ready = get(&format!("{}/readyz", gateway.admin_url)).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    let alive = get(&format!("{}/healthz", gateway.url)).send().await.unwrap();
    assert_eq!(alive.status(), 200);

    let begun = Instant::now();
    let _redis = redis.again();
    gateway.ready().await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(gateway.run(json!(["GET", "k"])).await, "1");
    let log = gateway.process.says("redis_reached").await;
    assert_eq!(log.matches("redis_unreachable").count(), 1, "once, not for every try: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinel_failover_is_followed() {
    let master = Redis::start(&[]);
    let replicas: Vec<Redis> = (0..2)
        .map(|_| Redis::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]))
        .collect();
    let folder = Folder::new();
    let ports: [u16; 3] = free_ports();
    let _sentinels: Vec<Process> = ports
        .iter()
        .map(|port| {
            let config = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nrequirepass sentinel-word\n\
                 sentinel sentinel-pass sentinel-word\n\
                 sentinel monitor mymaster 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds mymaster 3000\n\
                 sentinel failover-timeout mymaster 6000\n",
                folder.file("").display(),
                master.port
            );
            let file = folder.write(&format!("sentinel-{port}.conf"), &config);
            let mut command = Command::new("redis-server");
            command.arg(file).arg("--sentinel");
            let process =
                Process::start(&mut command, folder.file(&format!("sentinel-{port}.log")));
            wait_for_port(*port, &process);
            process
        })
        .collect();
    // A failover needs Sentinels that know of each other and of the replicas.
    let begun = Instant::now();
    let knows = |port: u16| -> bool {
        let client =
            redis::Client::open(format!("redis://:sentinel-word@127.0.0.1:{port}")).unwrap();
        let mut sentinel = client.get_connection().unwrap();
        let facts: std::collections::HashMap<String, String> =
            redis::cmd("SENTINEL").arg("MASTER").arg("mymaster").query(&mut sentinel).unwrap();
        facts["num-other-sentinels"] == "2" && facts["num-slaves"] == "2"
    };
    while !ports.iter().all(|port| knows(*port)) {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let url = format!("redis://{}/mymaster", hosts.join(","));
    let gateway = Arc::new(Gateway::start(&url, &[("REDIS_SENTINEL_PASSWORD", "sentinel-word")]));
    gateway.ready().await;
    // A script can forge a demoted master's error; the redis gateway does not reconnect.
    let reconnects = async || {
        let metrics = get(&format!("{}/metrics", gateway.admin_url)).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        let line = metrics
            .lines()
            .find(|line| line.starts_with("portcullis_redis_gateway_redis_reconnects_total"));
        line.unwrap().rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    for _ in 0..20 {
        let lie = json!(["EVAL", "return redis.error_reply('READONLY x')", 0]);
        assert_eq!(gateway.send("/", lie).await.0, 400);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(reconnects().await, 0);
    let (seen, ()) = under_load(&gateway, "killed", 16, true, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        master.process.signal("-KILL");
        // This waits until the new master accepts writes, and for a second more.
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_millis(500)).await;
        while gateway.send("/", json!(["SET", "after", 1])).await.0 != 200 {
            assert!(begun.elapsed() < Duration::from_secs(30), "{}", gateway.process.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("writes go on {:?} after the master was killed", begun.elapsed());
        tokio::time::sleep(Duration::from_secs(1)).await;
    })
    .await;
    assert!(seen.iter().all(|seen| seen.answered > 10), "{seen:?}");
    assert!(seen.iter().all(|seen| seen.gap < Duration::from_secs(15)), "{seen:?}");
    let is_master = |redis: &Redis| {
        let role: redis::Value = redis::cmd("ROLE").query(&mut redis.connection()).unwrap();
        matches!(&role, redis::Value::Array(role) if role[0] == redis::Value::BulkString(b"master".to_vec()))
    };
    assert!(replicas.iter().any(is_master));
    // A healthy master is demoted: its Sentinel drops the connections to it.
    let (seen, ()) = under_load(&gateway, "stepped", 4, true, async {
        let sentinel =
            redis::Client::open(format!("redis://:sentinel-word@127.0.0.1:{}", ports[0])).unwrap();
        let mut sentinel = sentinel.get_connection().unwrap();
        let begun = Instant::now();
        // This is possible only after the first failover has ended.
        while redis::cmd("SENTINEL")
            .arg("FAILOVER")
            .arg("mymaster")
            .query::<()>(&mut sentinel)
            .is_err()
        {
            assert!(begun.elapsed() < Duration::from_secs(30));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    })
    .await;
    assert!(seen.iter().all(|seen| seen.answered > 50), "{seen:?}");
    assert!(seen.iter().all(|seen| seen.gap < Duration::from_secs(5)), "{seen:?}");
    assert_eq!(gateway.run(json!(["SET", "after", 2])).await, "OK");
}

/// With serverless-redis-http's file each token has a Redis of its own.
#[tokio::test]
async fn dead_redis_of_one_token_leaves_the_others_ready() {
    let secret = "redis-password";
    let one = Redis::start(&["--requirepass", secret]);
    let other = Redis::start(&[]);
    let folder = Folder::new();
    let url = |redis: &Redis| format!("redis://:{secret}@127.0.0.1:{}", redis.port);
    let tokens = json!({
        "token-of-one": { "srh_id": "one", "connection_string": url(&one) },
        "token-of-other": { "srh_id": "other", "connection_string": other.url() },
    });
    std::fs::create_dir(folder.file("srh-config")).unwrap();
    folder.write("srh-config/tokens.json", &tokens.to_string());
    let [port, admin_port] = free_ports();
    let mut command = Gateway::command();
    command
        .current_dir(folder.file(""))
        .env("SRH_MODE", "file")
        .env("SRH_PORT", port.to_string())
        .env("GATEWAY_ADMIN_LISTEN", format!("127.0.0.1:{admin_port}"));
    let gateway = Process::start(&mut command, folder.file("gateway.log"));
    wait_for_port(port, &gateway);
    let read = async || {
        let url = format!("http://127.0.0.1:{admin_port}/readyz");
        let response = get(&url).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let wait_for = async |expect: (u16, &str)| {
        let begun = Instant::now();
        loop {
            let (status, text) = read().await;
            if (status, text.as_str()) == expect {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{status} {text}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    wait_for((200, "ready\n")).await;
    let dead =
        |redis: &Redis| format!("warning: Redis at 127.0.0.1:{} does not respond\n", redis.port);
    one.process.signal("-KILL");
    let lines = format!("ready\n{}", dead(&one));
    wait_for((200, &lines)).await;
    let request =
        client().get(format!("http://127.0.0.1:{port}/ping")).bearer_auth("token-of-other");
    assert_eq!(request.send().await.unwrap().status(), 200);
    other.process.signal("-KILL");
    let lines = format!("Redis does not respond\n{}{}", dead(&one), dead(&other));
    wait_for((503, &lines)).await;
}

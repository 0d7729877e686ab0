//! Every kind of Redis behind the gateway, and what happens when it goes, moves or comes back.

use crate::servers::{
    Folder, Gateway, Process, Redis, TOKEN, answer, connection, free_ports, wait_for_port,
};
use crate::stack::{Stack, get_with};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_password_and_a_users_rights_are_redis_own() {
    let redis = Redis::start(&["--requirepass", "p@ss word"]);
    let mut admin =
        redis::Client::open(format!("redis://:p%40ss%20word@127.0.0.1:{}/", redis.port))
            .unwrap()
            .get_connection()
            .unwrap();
    let acl = ["gate", "on", ">secret", "~pc:*", "+get", "+set", "+ping", "+exec", "+discard"];
    let () = redis::cmd("ACL").arg("SETUSER").arg(&acl).query(&mut admin).unwrap();

    let url = format!("redis://:p%40ss%20word@127.0.0.1:{}/3", redis.port);
    let gateway = Gateway::start(&url, &[]);
    assert_eq!(gateway.run(json!(["SET", "k", 1])).await, "OK");
    let () = redis::cmd("SELECT").arg(3).query(&mut admin).unwrap();
    let there: i64 = redis::cmd("EXISTS").arg("k").query(&mut admin).unwrap();
    assert_eq!(there, 1, "the database of the URL");

    let gateway = Gateway::start(&format!("redis://gate:secret@127.0.0.1:{}", redis.port), &[]);
    assert_eq!(gateway.run(json!(["SET", "pc:k", 1])).await, "OK");
    for refused in [json!(["SET", "other", 1]), json!(["DEL", "pc:k"])] {
        let (status, body) = gateway.send("/", refused).await;
        assert!(status == 400 && body["error"].as_str().unwrap().starts_with("NOPERM"), "{body}");
    }
    // Without MULTI, the rest of a transaction would run one by one.
    let (status, body) = gateway.send("/multi-exec", json!([["SET", "pc:k", 2]])).await;
    assert!(status == 400 && body["error"].as_str().unwrap().starts_with("NOPERM"), "{body}");
    assert_eq!(gateway.run(json!(["GET", "pc:k"])).await, "1");

    // One that may begin a transaction, and not end it, must not be left in one.
    let acl = ["half", "on", ">secret", "~*", "+@all", "-discard"];
    let () = redis::cmd("ACL").arg("SETUSER").arg(&acl).query(&mut admin).unwrap();
    let half = Gateway::start(&format!("redis://half:secret@127.0.0.1:{}", redis.port), &[]);
    assert_eq!(half.run(json!(["SET", "pc:half", 1])).await, "OK");
    assert_eq!(half.run(json!(["GET", "pc:half"])).await, "1");
    assert_eq!(half.send("/multi-exec", json!([["GET", "pc:half"]])).await.0, 400);

    let gateway = Gateway::start(&format!("redis://gate:wrong-one@127.0.0.1:{}", redis.port), &[]);
    let (status, body) = gateway.send("/", json!(["GET", "pc:k"])).await;
    assert_eq!((status, body), (503, json!({ "error": "ERR Redis can't be reached" })));
    let log = gateway.process.says("redis_unreachable").await;
    assert!(log.contains("WRONGPASS"), "{log}");
    assert!(!log.contains("wrong-one"), "{log}");
}

#[tokio::test]
async fn redis_is_spoken_to_over_tls_with_certificates_of_both() {
    let folder = Folder::new();
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let issue = |name: &str, host: &str| {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([host.to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &authority).unwrap();
        let cert = folder.write(&format!("{name}.pem"), &certificate.pem());
        let key = folder.write(&format!("{name}.key"), &key.serialize_pem());
        [cert, key].map(|path| path.to_str().unwrap().to_owned())
    };
    let ca = folder.write("ca.pem", &authority.pem()).to_str().unwrap().to_owned();
    let [cert, key] = issue("server", "localhost");
    let [client_cert, client_key] = issue("client", "gateway");
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
        (&both[..1], "a server that asks for a certificate"),
        (&both[1..], "an authority that nobody knows"),
        (&[][..], "neither"),
    ] {
        let gateway = Gateway::start(&url, settings);
        assert_eq!(gateway.send("/", json!(["GET", "k"])).await.0, 503, "{why}");
    }
    let gateway = Gateway::start(&url.replace("rediss", "redis"), &both);
    assert_eq!(gateway.send("/", json!(["GET", "k"])).await.0, 503, "not without TLS");
}

#[tokio::test]
async fn a_redis_that_goes_is_missed_within_the_deadline_and_found_again() {
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
    let client = crate::stack::client();
    let ask = async || {
        let begun = Instant::now();
        let request = client.get(format!("{}/get/k", gateway.url)).bearer_auth(TOKEN);
        let (status, body) = answer(request.send().await.unwrap()).await;
        assert_eq!((status, body), (503, json!({ "error": "ERR Redis can't be reached" })));
        begun.elapsed()
    };
    let many: Vec<_> = (0..200).map(|_| ask()).collect();
    let slowest = futures_util::future::join_all(many).await.into_iter().max().unwrap();
    assert!(slowest < Duration::from_secs(4), "{slowest:?}");
    assert_eq!(gateway.send("/pipeline", json!([["GET", "k"]])).await.0, 503);
    assert_eq!(gateway.send("/multi-exec", json!([["GET", "k"]])).await.0, 503);
    let ready = crate::stack::get(&format!("{}/readyz", gateway.url)).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    let alive = crate::stack::get(&format!("{}/healthz", gateway.url)).send().await.unwrap();
    assert_eq!(alive.status(), 200);

    let begun = Instant::now();
    let _redis = redis.again();
    gateway.ready().await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(gateway.run(json!(["GET", "k"])).await, "1");
    let log = gateway.process.says("redis_reached").await;
    assert_eq!(log.matches("redis_unreachable").count(), 1, "once, not for every try: {log}");
}

/// What a worker under load has seen: answers that can't be, requests that failed, and for how long.
#[derive(Default, Debug)]
struct Seen {
    answered: u64,
    failed: u64,
    wrong: Vec<String>,
    /// Increments whose fate is unknown, since they failed.
    unknown: i64,
    /// The longest time without an answer.
    gap: Duration,
    last: i64,
}

/// Counts on a key of its own until told to stop. Each request echoes a number, so that an answer to
/// another request would be seen, and increments, so that one done twice would be.
async fn count(gateway: Arc<Gateway>, key: String, stop: Arc<AtomicBool>, may_lose: bool) -> Seen {
    let client = crate::stack::client();
    let mut seen = Seen::default();
    let mut answered_at = Instant::now();
    let mut nonce = 0;
    while !stop.load(Ordering::SeqCst) {
        nonce += 1;
        let echo = format!("{key}-{nonce}");
        let body = json!([["ECHO", echo], ["INCR", key], ["GET", key]]);
        let request = client.post(format!("{}/pipeline", gateway.url)).bearer_auth(TOKEN);
        let response = request.json(&body).send().await.unwrap();
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        let number = body[1]["result"].as_i64();
        match number {
            Some(number) if status == 200 => {
                let read = body[2]["result"].as_str().and_then(|text| text.parse::<i64>().ok());
                let after = if may_lose { 1 } else { seen.last + 1 };
                // Where a server dies, what was on its way to it is an error, and nothing else.
                let echoed = body[0]["result"] == echo.as_str()
                    || (may_lose
                        && body[0]["error"].as_str().is_some_and(|e| e.starts_with("ERR Redis")));
                let right = echoed
                    && (after..=seen.last + 1 + seen.unknown).contains(&number)
                    && (read == Some(number) || !body[2]["error"].is_null());
                if !right {
                    seen.wrong
                        .push(format!("after {} ({} unknown): {body}", seen.last, seen.unknown));
                }
                seen.unknown = if may_lose { seen.unknown } else { 0 };
                seen.last = number;
                seen.answered += 1;
                seen.gap = seen.gap.max(answered_at.elapsed());
                answered_at = Instant::now();
            }
            _ => {
                seen.failed += 1;
                seen.unknown += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    seen.gap = seen.gap.max(answered_at.elapsed());
    seen
}

async fn under_load<T>(
    gateway: &Arc<Gateway>,
    name: &str,
    keys: usize,
    may_lose: bool,
    what: impl Future<Output = T>,
) -> (Vec<Seen>, T) {
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..keys)
        .map(|n| {
            tokio::spawn(count(
                Arc::clone(gateway),
                format!("{name}-{n}"),
                Arc::clone(&stop),
                may_lose,
            ))
        })
        .collect();
    let done = what.await;
    stop.store(true, Ordering::SeqCst);
    let mut seen = Vec::new();
    for worker in workers {
        seen.push(worker.await.unwrap());
    }
    let wrong: Vec<&String> = seen.iter().flat_map(|seen| &seen.wrong).take(3).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let total = |f: fn(&Seen) -> u64| seen.iter().map(f).sum::<u64>();
    let gap = seen.iter().map(|seen| seen.gap).max().unwrap();
    println!(
        "{keys} workers: {} answered, {} failed, 0 wrong; longest time without an answer {gap:?}",
        total(|seen| seen.answered),
        total(|seen| seen.failed),
    );
    (seen, done)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_of_sentinels_is_followed() {
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
                 sentinel down-after-milliseconds mymaster 1000\n\
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
    // A script can write what a demoted master would say; it moves nobody.
    let reconnects = async || {
        let metrics = crate::stack::get(&format!("{}/metrics", gateway.url)).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        let line = metrics
            .lines()
            .find(|line| line.starts_with("portcullis_gateway_redis_reconnects_total"));
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
        // Until writes go to a new master, and for a second more.
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
    // One that is told to step down while all is well: connections to it are dropped by its Sentinel.
    let (seen, ()) = under_load(&gateway, "stepped", 4, true, async {
        let sentinel =
            redis::Client::open(format!("redis://:sentinel-word@127.0.0.1:{}", ports[0])).unwrap();
        let mut sentinel = sentinel.get_connection().unwrap();
        let begun = Instant::now();
        // Not possible while the first failover is still being wound up.
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

/// Six servers: three masters with a replica each.
struct Cluster {
    servers: Vec<Redis>,
}

impl Cluster {
    fn start() -> Self {
        let servers: Vec<Redis> = (0..6)
            .map(|_| {
                let [bus] = free_ports();
                Redis::start(&[
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    &bus.to_string(),
                    "--cluster-node-timeout",
                    "2000",
                    "--cluster-replica-validity-factor",
                    "0",
                ])
            })
            .collect();
        let hosts: Vec<String> =
            servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(&hosts);
        let output = create.args(["--cluster-replicas", "1", "--cluster-yes"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let cluster = Self { servers };
        let begun = Instant::now();
        while !cluster.servers.iter().all(|server| {
            let info: String =
                redis::cmd("CLUSTER").arg("INFO").query(&mut server.connection()).unwrap();
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:6")
        }) {
            assert!(begun.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(100));
        }
        cluster
    }

    fn url(&self) -> String {
        let hosts = self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port));
        format!("redis://{}", hosts.collect::<Vec<_>>().join(","))
    }

    /// Who has a slot: port and node id; then the same of another master.
    fn owner(&self, slot: u16) -> [(u16, String); 2] {
        type Node = (String, u16, String);
        let slots: Vec<redis::Value> =
            redis::cmd("CLUSTER").arg("SLOTS").query(&mut self.servers[0].connection()).unwrap();
        let mut owner = None;
        let mut others = Vec::new();
        for range in slots {
            let redis::Value::Array(range) = range else { panic!("{range:?}") };
            let first: u16 = redis::from_redis_value(range[0].clone()).unwrap();
            let last: u16 = redis::from_redis_value(range[1].clone()).unwrap();
            let redis::Value::Array(node) = range[2].clone() else { panic!("{range:?}") };
            let node = redis::Value::Array(node[..3].to_vec());
            let (_, port, id): Node = redis::from_redis_value(node).unwrap();
            if (first..=last).contains(&slot) {
                owner = Some((port, id));
            } else {
                others.push((port, id));
            }
        }
        let owner = owner.unwrap();
        let other = others.into_iter().find(|other| *other != owner).unwrap();
        [owner, other]
    }

    /// Moves a slot to another master, key by key, with time for requests in between.
    async fn migrate(&self, slot: u16) {
        let [(from, from_id), (to, to_id)] = self.owner(slot);
        let (mut source, mut target) = (connection(from), connection(to));
        let set = |connection: &mut redis::Connection, arguments: &[&str]| {
            let () = redis::cmd("CLUSTER")
                .arg("SETSLOT")
                .arg(slot)
                .arg(arguments)
                .query(connection)
                .unwrap();
        };
        set(&mut target, &["IMPORTING", &from_id]);
        set(&mut source, &["MIGRATING", &to_id]);
        loop {
            tokio::time::sleep(Duration::from_millis(30)).await;
            let keys: Vec<String> = redis::cmd("CLUSTER")
                .arg("GETKEYSINSLOT")
                .arg(slot)
                .arg(1)
                .query(&mut source)
                .unwrap();
            let Some(key) = keys.first() else { break };
            let moved: String = redis::cmd("MIGRATE")
                .arg("127.0.0.1")
                .arg(to)
                .arg(key)
                .arg(0)
                .arg(1000)
                .query(&mut source)
                .unwrap();
            assert!(moved == "OK" || moved == "NOKEY", "{moved}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        // The new owner first; then the others, who would hear of it from each other, in a while.
        set(&mut target, &["NODE", &to_id]);
        for server in &self.servers {
            let mut connection = server.connection();
            let role: Vec<redis::Value> = redis::cmd("ROLE").query(&mut connection).unwrap();
            if role[0] == redis::Value::BulkString(b"master".to_vec()) {
                set(&mut connection, &["NODE", &to_id]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_one_redis() {
    let cluster = Cluster::start();
    let gateway = Arc::new(Gateway::start(&cluster.url(), &[]));
    gateway.ready().await;

    // More keys than slots on one node, in one pipeline, in order.
    let sets: Vec<Value> = (0..200).map(|n| json!(["SET", format!("k{n}"), n])).collect();
    let (status, body) = gateway.send("/pipeline", json!(sets)).await;
    assert!(status == 200 && body.as_array().unwrap().iter().all(|item| item["result"] == "OK"));
    let gets: Vec<Value> = (0..200).map(|n| json!(["INCR", format!("k{n}")])).collect();
    let (_, body) = gateway.send("/pipeline", json!(gets)).await;
    assert!((0..200).all(|n| body[n]["result"] == n + 1), "{body}");
    let keys: Vec<String> = (0..200).map(|n| format!("k{n}")).collect();
    let mget: Vec<&str> =
        ["MGET"].into_iter().chain(keys.iter().map(String::as_str)).chain(["none"]).collect();
    let values = gateway.run(json!(mget)).await;
    assert!((0..200).all(|n| values[n] == json!((n + 1).to_string())) && values[200].is_null());
    assert_eq!(gateway.run(json!(["MSET", "a", 1, "b", 2, "c", 3])).await, "OK");
    assert_eq!(gateway.run(json!(["EXISTS", "a", "b", "c", "none"])).await, 3);
    assert_eq!(gateway.run(json!(["DEL", "a", "b", "c", "none"])).await, 3);
    assert_eq!(gateway.run(json!(["DBSIZE"])).await, 200);
    let mut found = std::collections::BTreeSet::new();
    let mut cursor = json!("0");
    loop {
        let page = gateway.run(json!(["SCAN", cursor, "COUNT", 20])).await;
        found
            .extend(page[1].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()));
        cursor = page[0].clone();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found.len(), 200, "SCAN finds all of them, by one token's cursor over all nodes");

    // Scripts, wherever their keys are.
    let script = "return redis.call('INCR', KEYS[1])";
    let sha = gateway.run(json!(["SCRIPT", "LOAD", script])).await;
    for key in ["s1", "s2", "s3", "s4", "s5"] {
        assert_eq!(gateway.run(json!(["EVALSHA", sha, 1, key])).await, 1);
    }
    assert_eq!(gateway.run(json!(["SCRIPT", "EXISTS", sha, "00"])).await, json!([1, 0]));

    let (status, body) =
        gateway.send("/multi-exec", json!([["SET", "{x}a", 1], ["INCR", "{x}a"], ["PING"]])).await;
    assert_eq!(
        (status, body),
        (200, json!([{ "result": "OK" }, { "result": 2 }, { "result": "PONG" }]))
    );
    let (status, body) =
        gateway.send("/multi-exec", json!([["SET", "a", 1], ["SET", "b", 1]])).await;
    assert!(status == 400 && body["error"].as_str().unwrap().starts_with("CROSSSLOT"), "{body}");
    assert_eq!(gateway.run(json!(["EXISTS", "a", "b"])).await, 0);
    let (status, body) = gateway.send("/", json!(["RENAME", "k1", "k2"])).await;
    assert!(status == 400 && body["error"].as_str().unwrap().starts_with("CROSSSLOT"), "{body}");

    // Channels reach every node.
    let follow = crate::stack::client().get(format!("{}/subscribe/news", gateway.url));
    let mut stream = follow.bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(gateway.send("/", json!(["PUBLISH", "news", "hi"])).await.0, 200);
    let mut text = String::new();
    while !text.contains("message,news,hi") {
        text.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()));
    }
    drop(stream);

    // The slots of the counters move from node to node, there and back.
    let slot = |key: &str| -> u16 {
        redis::cmd("CLUSTER")
            .arg("KEYSLOT")
            .arg(key)
            .query(&mut cluster.servers[0].connection())
            .unwrap()
    };
    let (seen, ()) = under_load(&gateway, "key", 8, false, async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        for turn in 0..12 {
            cluster.migrate(slot(&format!("key-{}", turn % 8))).await;
        }
    })
    .await;
    let failed: u64 = seen.iter().map(|seen| seen.failed).sum();
    assert_eq!(failed, 0, "nothing is lost when slots move: {seen:?}");
    for (n, seen) in seen.iter().enumerate() {
        let value = gateway.run(json!(["GET", format!("key-{n}")])).await;
        assert_eq!(value, seen.last.to_string(), "each increment was done once");
    }

    // A script can write what a node would say: nobody is connected to, nothing is done again.
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let lies = slot("lies");
    let [_, (other, _)] = cluster.owner(lies);
    for lie in [
        format!("MOVED {lies} 127.0.0.1:{other}"),
        format!("ASK {lies} 127.0.0.1:{other}"),
        format!("MOVED {lies} {}", stranger.local_addr().unwrap()),
        format!("ASK {lies} {}", stranger.local_addr().unwrap()),
        "TRYAGAIN x".to_owned(),
        "CLUSTERDOWN x".to_owned(),
        "READONLY x".to_owned(),
    ] {
        gateway.run(json!(["DEL", "lies"])).await;
        let script = format!("redis.call('INCR', KEYS[1]) return redis.error_reply('{lie}')");
        let (status, _) = gateway.send("/", json!(["EVAL", script, 1, "lies"])).await;
        assert_eq!(status, 400);
        let count = gateway.run(json!(["GET", "lies"])).await;
        assert_eq!(count, "1", "{lie}");
    }
    assert!(stranger.accept().is_err(), "nobody came");

    // A pipeline keeps its order while a slot moves, also where one command must wait for the move.
    let moving = slot("{t}");
    let [(from, from_id), (to, to_id)] = cluster.owner(moving);
    gateway.run(json!(["SET", "{t}a", "old"])).await;
    let set = |port: u16, arguments: &[&str]| {
        let mut command = redis::cmd("CLUSTER");
        let () =
            command.arg("SETSLOT").arg(moving).arg(arguments).query(&mut connection(port)).unwrap();
    };
    set(to, &["IMPORTING", &from_id]);
    set(from, &["MIGRATING", &to_id]);
    let settle = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        set(to, &["STABLE"]);
        set(from, &["STABLE"]);
    };
    let commands = json!([["DEL", "{t}a", "{t}b"], ["SET", "{t}a", "new"]]);
    let ((status, body), ()) = tokio::join!(gateway.send("/pipeline", commands), settle);
    assert_eq!((status, body), (200, json!([{ "result": 1 }, { "result": "OK" }])));
    assert_eq!(gateway.run(json!(["GET", "{t}a"])).await, "new");

    // Many keys are divided in no time.
    let many: Vec<String> = (0..100_000).map(|n| format!("many{n}")).collect();
    let exists: Vec<&str> =
        std::iter::once("EXISTS").chain(many.iter().map(String::as_str)).collect();
    let begun = Instant::now();
    let (status, body) = gateway.send("/", json!(exists)).await;
    assert_eq!((status, body), (200, json!({ "result": 0 })));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());

    // A master dies; its replica takes over; the others answer all the while.
    let [(port, _), _] = cluster.owner(slot("key-0"));
    let cluster_owner_before: Vec<u16> =
        (0..8).map(|n| cluster.owner(slot(&format!("dead-{n}")))[0].0).collect();
    let victim = cluster.servers.iter().find(|server| server.port == port).unwrap();
    let (seen, ()) = under_load(&gateway, "dead", 8, true, async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        victim.process.signal("-KILL");
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_millis(500)).await;
        while gateway.send("/", json!(["SET", "key-0", 1_000_000])).await.0 != 200 {
            assert!(begun.elapsed() < Duration::from_secs(30), "{}", gateway.process.text());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("the slots of the dead master are served after {:?}", begun.elapsed());
    })
    .await;
    let dead = |n: &usize| cluster_owner_before[*n] == port;
    for (n, seen) in seen.iter().enumerate() {
        assert!(seen.answered > 50, "{seen:?}");
        assert!(dead(&n) || seen.gap < Duration::from_secs(2), "another master's key: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_cut_off_misleads_nobody() {
    let cluster = Cluster::start();
    let gateway = Gateway::start(&cluster.url(), &[]);
    gateway.ready().await;
    let keys: Vec<String> = (0..30).map(|n| format!("k{n}")).collect();
    for key in &keys {
        gateway.run(json!(["SET", key, 1])).await;
    }
    // Each of the masters in its turn would be the one that is asked first.
    let [(port, _), _] = cluster.owner(0);
    let mut alone = connection(port);
    let nodes: String = redis::cmd("CLUSTER").arg("NODES").query(&mut alone).unwrap();
    for line in nodes.lines().filter(|line| !line.contains("myself")) {
        let id = line.split(' ').next().unwrap();
        let () = redis::cmd("CLUSTER").arg("FORGET").arg(id).query(&mut alone).unwrap();
    }
    let slot = |key: &str| -> u16 {
        redis::cmd("CLUSTER").arg("KEYSLOT").arg(key).query(&mut connection(port)).unwrap()
    };
    let lonely = keys.iter().find(|key| slot(key) <= 5461).unwrap();
    let mut served = 0;
    for _ in 0..4 {
        // What it can't serve makes the gateway look for another map, again and again.
        let (_, body) = gateway.send("/", json!(["GET", lonely])).await;
        assert!(body["error"].as_str().unwrap().starts_with("CLUSTERDOWN"), "{body}");
        for key in &keys {
            // The lower third is the lonely one's own.
            if slot(key) > 5461 {
                assert_eq!(gateway.run(json!(["GET", key])).await, "1", "{key}");
                served += 1;
            }
        }
    }
    assert!(served > 40, "{served}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_system_works_on_a_cluster() {
    let cluster = Cluster::start();
    let stack = Stack::start(&["--redis-url", &cluster.url()], None);
    let tokens = stack.login().await;
    let url = stack.edge("/api/hello");
    for _ in 0..10 {
        assert_eq!(get_with(&url, &tokens.access).await.status(), 200);
    }
    let refreshed = crate::stack::tokens(stack.refresh(&tokens.refresh).await).await;
    assert_eq!(get_with(&url, &refreshed.access).await.status(), 200);
    let logout =
        crate::stack::client().post(stack.edge("/auth/logout")).bearer_auth(&refreshed.access);
    assert_eq!(logout.send().await.unwrap().status(), 204);
    let refused = get_with(&url, &refreshed.access).await;
    crate::stack::refused(refused, 401, "token_revoked").await;
}

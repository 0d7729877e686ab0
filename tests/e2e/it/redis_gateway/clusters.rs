//! A Cluster behind the redis gateway: slots that move, servers that die or are isolated, and
//! scripts that forge redirects.

use crate::support::gateway::{Gateway, TOKEN};
use crate::support::http::{assert_refused, client, get_with};
use crate::support::load::under_load;
use crate::support::process::free_ports;
use crate::support::redis_server::{Redis, connection, role};
use crate::support::stack::{Stack, Tokens};
use portcullis_core::{StoreKeys, add_up_counters, push_counters, read_totals};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

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

    /// Returns port and node id of a slot's owner, then those of another master.
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
        // The new owner is informed first, and then the others, to which it would take a while to
        // gossip it.
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

/// A limit's state and the quota of one caller are on one server, whatever the state's name is.
#[tokio::test(flavor = "multi_thread")]
async fn limit_reads_its_override_on_a_cluster() {
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let gateway = Gateway::start(&cluster.url(), &[]);
    let keys = portcullis_core::StoreKeys::new("pc");
    for caller in 0..30_u8 {
        for (script, state, arguments) in [
            (portcullis_core::LIMIT_SCRIPT, "bucket", ["gcra", "9", "60000", "1", "9"]),
            (portcullis_core::QUOTA_SCRIPT, "day", ["period", "day", "9", "1", "0"]),
        ] {
            let state = keys.limit("api", state, &[caller; 32]);
            let quota = keys.quota(&state);
            assert_eq!(gateway.run(json!(["SET", quota, 3])).await, "OK");
            let [a, b, c, d, e] = arguments;
            let count = json!(["EVAL", script, 2, state, quota, a, b, c, d, e]);
            let reply = gateway.run(count).await;
            assert_eq!((&reply[1], &reply[6]), (&json!(2), &json!(3)), "{reply}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_behaves_as_one_redis() {
    let cluster = Cluster::start();
    let gateway = Arc::new(Gateway::start(&cluster.url(), &[("GATEWAY_DEADLINE_MS", "5000")]));
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
    let follow = client().get(format!("{}/subscribe/news", gateway.url));
    let mut stream = follow.bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(gateway.send("/", json!(["PUBLISH", "news", "hi"])).await.0, 200);
    let mut text = String::new();
    while !text.contains("message,news,hi") {
        text.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()));
    }
    drop(stream);

    // The slots of the counters move from node to node, and back.
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

    // A script can forge a node's redirect: no connection is opened, and no command is repeated.
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
    assert!(stranger.accept().is_err(), "the gateway connected to a stranger");

    // A pipeline keeps its order while a slot moves, even if one command must wait for the move.
    let moving = slot("{t}");
    let [(from, from_id), (to, to_id)] = cluster.owner(moving);
    gateway.run(json!(["SET", "{t}a", "old"])).await;
    gateway.run(json!(["RPUSH", "{t}list", "x", "y"])).await;
    let set = |port: u16, arguments: &[&str]| {
        let mut command = redis::cmd("CLUSTER");
        let () =
            command.arg("SETSLOT").arg(moving).arg(arguments).query(&mut connection(port)).unwrap();
    };
    set(to, &["IMPORTING", &from_id]);
    set(from, &["MIGRATING", &to_id]);
    let settle = async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        set(to, &["STABLE"]);
        set(from, &["STABLE"]);
    };
    let one = json!([
        ["DEL", "{t}a", "{t}b"],
        ["SET", "{t}a", "new"],
        ["DEL", "{t}a", "{t}b"],
        ["SET", "{t}a", "newer"],
    ]);
    // Its first command has all keys on one node. By then the slot is known to be moving.
    let two = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let commands = json!([
            ["LMOVE", "{t}list", "{t}list", "LEFT", "RIGHT"],
            ["DEL", "{t}list", "{t}b"],
            ["RPUSH", "{t}list", "z"],
        ]);
        gateway.send("/pipeline", commands).await
    };
    let (one, two, ()) = tokio::join!(gateway.send("/pipeline", one), two, settle);
    let results = |results: Vec<Value>| {
        let items = results.into_iter().map(|result| json!({ "result": result }));
        (200, Value::Array(items.collect()))
    };
    assert_eq!(one, results(vec![json!(1), json!("OK"), json!(1), json!("OK")]));
    assert_eq!(gateway.run(json!(["GET", "{t}a"])).await, "newer");
    assert_eq!(two, results(vec![json!("x"), json!(1), json!(1)]));
    assert_eq!(gateway.run(json!(["LRANGE", "{t}list", 0, -1])).await, json!(["z"]));

    // Many keys are divided among nodes quickly.
    let many: Vec<String> = (0..100_000).map(|n| format!("many{n}")).collect();
    let exists: Vec<&str> =
        std::iter::once("EXISTS").chain(many.iter().map(String::as_str)).collect();
    let begun = Instant::now();
    let (status, body) = gateway.send("/", json!(exists)).await;
    assert_eq!((status, body), (200, json!({ "result": 0 })));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());

    // A master dies and its replica takes over; the other masters answer throughout.
    let [(port, _), _] = cluster.owner(slot("key-0"));
    let cluster_owner_before: Vec<u16> =
        (0..8).map(|n| cluster.owner(slot(&format!("dead-{n}")))[0].0).collect();
    let victim = cluster.servers.iter().find(|server| server.port == port).unwrap();
    let (seen, ()) = under_load(&gateway, "dead", 8, true, async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        victim.process.signal("-KILL");
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_millis(500)).await;
        while gateway.send("/", json!(["SET", "key-0", 1_000_000])).await.0 != 200 {
            assert!(begun.elapsed() < Duration::from_secs(30), "{}", gateway.process.text());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("the slots of the dead master are served after {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_secs(1)).await;
    })
    .await;
    let dead = |n: &usize| cluster_owner_before[*n] == port;
    for (n, seen) in seen.iter().enumerate() {
        assert!(seen.answered > 50, "{seen:?}");
        assert!(dead(&n) || seen.gap < Duration::from_secs(2), "another master's key: {seen:?}");
    }
}

#[tokio::test]
async fn counters_of_the_edge_are_added_up_in_one_slot() {
    let cluster = Cluster::start();
    let gateway = Gateway::start(&cluster.url(), &[]);
    gateway.ready().await;
    let keys = StoreKeys::new("pc");
    let run = async |words: &[Vec<u8>]| {
        gateway.run(words.iter().map(|word| str::from_utf8(word).unwrap()).collect()).await
    };
    let batch = [("a_total{}".to_owned(), 2)].into();
    for _ in 0..3 {
        for command in push_counters(&keys, &batch, true) {
            run(command.words()).await;
        }
    }
    assert_eq!(run(read_totals(&keys).words()).await, "a_total{} 6\n");
    for command in add_up_counters(&keys) {
        run(command.words()).await;
    }
    assert_eq!(gateway.run(json!(["LLEN", keys.metrics_batches()])).await, 0);
    assert_eq!(run(read_totals(&keys).words()).await, "a_total{} 6\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn isolated_node_does_not_mislead_the_gateway() {
    let cluster = Cluster::start();
    let gateway = Gateway::start(&cluster.url(), &[]);
    gateway.ready().await;
    let keys: Vec<String> = (0..30).map(|n| format!("k{n}")).collect();
    for key in &keys {
        gateway.run(json!(["SET", key, 1])).await;
    }
    // Isolate one master, which may be the first that is queried.
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
        // Each CLUSTERDOWN makes the redis gateway fetch another slot map.
        let (_, body) = gateway.send("/", json!(["GET", lonely])).await;
        assert!(body["error"].as_str().unwrap().starts_with("CLUSTERDOWN"), "{body}");
        for key in &keys {
            // The lower third of the slots is the isolated master's.
            if slot(key) > 5461 {
                assert_eq!(gateway.run(json!(["GET", key])).await, "1", "{key}");
                served += 1;
            }
        }
    }
    assert!(served > 40, "{served}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_system_works_on_a_cluster() {
    let cluster = Cluster::start();
    let stack = Stack::start(&["--redis-url", &cluster.url()], None);
    let tokens = stack.login().await;
    let url = stack.edge("/api/hello");
    for _ in 0..10 {
        assert_eq!(get_with(&url, &tokens.access).await.status(), 200);
    }
    let refreshed = Tokens::read(stack.refresh(&tokens.refresh).await).await;
    assert_eq!(get_with(&url, &refreshed.access).await.status(), 200);
    let logout = client().post(stack.edge("/auth/logout")).bearer_auth(&refreshed.access);
    assert_eq!(logout.send().await.unwrap().status(), 204);
    let refused = get_with(&url, &refreshed.access).await;
    assert_refused(refused, 401, "token_revoked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fan_out_of_a_pipeline_is_bounded() {
    let cluster = Cluster::start();
    let gateway = Gateway::start(&cluster.url(), &[("GATEWAY_DEADLINE_MS", "20000")]);
    gateway.ready().await;
    // Each MGET has keys in nearly all of the 16,384 slots, and becomes a command for each.
    let mget = || {
        let keys = (0..49_000).map(|n| format!("k{n}"));
        std::iter::once("MGET".to_owned()).chain(keys).collect::<Vec<_>>()
    };
    let (status, body) = gateway.send("/pipeline", json!([mget(), mget(), mget()])).await;
    assert_eq!((status, &body[2]["result"][48_999]), (200, &Value::Null));
    let set = json!(["SET", "beside", 1]);
    let five = json!([set, mget(), mget(), mget(), mget(), mget()]);
    let (status, body) = gateway.send("/pipeline", five).await;
    assert_eq!(status, 200);
    for item in body.as_array().unwrap() {
        let error = item["error"].as_str().unwrap_or_default();
        assert!(error.starts_with("ERR too many commands for the nodes"), "{error:?}");
    }
    assert_eq!(gateway.run(json!(["GET", "beside"])).await, Value::Null, "nothing was sent");
    let sizes = vec![json!(["DBSIZE"]); 10_000];
    let (status, body) = gateway.send("/pipeline", json!(sizes)).await;
    assert_eq!((status, &body[9_999]["result"]), (200, &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn pipeline_of_writes_to_the_same_keys_takes_few_round_trips() {
    let cluster = Cluster::start();
    let gateway = Gateway::start(&cluster.url(), &[]);
    gateway.ready().await;
    let reads = || -> u64 {
        let infos = cluster.servers.iter().map(|server| {
            let mut connection = server.connection();
            let info: String = redis::cmd("INFO").arg("stats").query(&mut connection).unwrap();
            let line = info.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
            line.unwrap().trim().parse::<u64>().unwrap()
        });
        infos.sum()
    };
    let items: Vec<String> = (0..2000).map(|n| n.to_string()).collect();
    gateway.run(json!([&["RPUSH".to_owned(), "{u}a".to_owned()], &items[..]].concat())).await;
    let moves = vec![json!(["LMOVE", "{u}a", "{u}b", "LEFT", "RIGHT"]); 3000];
    let (before, begun) = (reads(), Instant::now());
    let (status, body) = gateway.send("/pipeline", json!(moves)).await;
    let (taken, reads) = (begun.elapsed(), reads() - before);
    println!("3000 moves took {taken:?}; Redis read {reads} times");
    assert_eq!(status, 200);
    for (n, item) in body.as_array().unwrap().iter().enumerate() {
        assert_eq!(*item, json!({ "result": items.get(n) }), "{n}");
    }
    // A step has 64 commands. The servers also read from each other meanwhile.
    assert!(reads < 300, "Redis read {reads} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_master_leaves_the_store_ready() {
    let cluster = Cluster::start();
    let gateway = Gateway::start(&cluster.url(), &[]);
    gateway.ready().await;
    let keys: Vec<String> = (0..30).map(|n| format!("k{n}")).collect();
    for key in &keys {
        gateway.run(json!(["SET", key, 1])).await;
    }
    let read = async |path: &str| {
        let response = client().get(format!("{}{path}", gateway.admin_url)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(read("/readyz").await, (200, "ready\n".to_owned()));
    // Nothing takes the place of the master, and the others serve their own slots.
    let (masters, replicas): (Vec<&Redis>, Vec<&Redis>) =
        cluster.servers.iter().partition(|server| role(server) == "master");
    for server in &masters {
        let set = ["SET", "cluster-require-full-coverage", "no"];
        let () = redis::cmd("CONFIG").arg(&set).query(&mut server.connection()).unwrap();
    }
    replicas.iter().for_each(|server| server.process.signal("-KILL"));
    masters[0].process.signal("-KILL");
    let dead = format!("warning: Redis at 127.0.0.1:{} does not respond\n", masters[0].port);
    let begun = Instant::now();
    loop {
        let (status, text) = read("/readyz").await;
        assert_eq!(status, 200, "{text}");
        if text.contains(&dead) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let gauge = |count: usize| format!("portcullis_redis_gateway_redis_masters_down {count}\n");
    assert!(read("/metrics").await.1.contains(&gauge(1)));
    let mut served = 0;
    for key in &keys {
        let (status, _) = gateway.send("/", json!(["GET", key])).await;
        served += usize::from(status == 200);
    }
    assert!((10..30).contains(&served), "{served} of 30 keys are served");
    // A master that hangs fails no probe either.
    masters[1].process.signal("-STOP");
    let begun = Instant::now();
    let (status, text) = read("/readyz").await;
    assert_eq!(status, 200, "{text}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    masters[1].process.signal("-KILL");
    masters[2].process.signal("-KILL");
    let begun = Instant::now();
    while read("/readyz").await.0 != 503 {
        assert!(begun.elapsed() < Duration::from_secs(10), "{}", gateway.process.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (_, text) = read("/readyz").await;
    assert!(text.starts_with("Redis does not respond\n") && text.contains(&dead), "{text}");
    assert!(read("/metrics").await.1.contains(&gauge(3)));
}

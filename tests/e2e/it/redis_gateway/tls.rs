//! Sentinels and a Cluster that accept only TLS.

use crate::support::authority::Authority;
use crate::support::gateway::Gateway;
use crate::support::process::{Folder, Process, free_ports, wait_for_port};
use crate::support::redis_server::Redis;
use serde_json::json;
use std::process::Command;
use std::time::{Duration, Instant};

/// Servers with certificates of one authority, without plain ports.
struct Tls {
    authority: Authority,
    certificate: String,
    key: String,
}

impl Tls {
    fn new() -> Self {
        let authority = Authority::new();
        let [certificate, key] = authority.issue("localhost");
        Self { authority, certificate, key }
    }

    /// Returns the settings of a server, each with its value.
    fn settings(&self, port: u16) -> Vec<(&'static str, String)> {
        vec![
            ("tls-port", port.to_string()),
            ("tls-cert-file", self.certificate.clone()),
            ("tls-key-file", self.key.clone()),
            ("tls-ca-cert-file", self.authority.ca.clone()),
            ("tls-auth-clients", "no".to_owned()),
            ("tls-replication", "yes".to_owned()),
        ]
    }

    fn redis(&self, more: &[&str]) -> Redis {
        let [port] = free_ports();
        let settings = self.settings(port).into_iter();
        let own = settings.flat_map(|(name, value)| [format!("--{name}"), value]);
        let more = more.iter().map(|argument| (*argument).to_owned());
        Redis::on(0, Folder::new(), own.chain(more).collect())
    }

    /// Runs redis-cli, and returns what it prints.
    fn cli(&self, port: u16, arguments: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        cli.args(["--tls", "--cacert", &self.authority.ca, "-p", &port.to_string()]);
        let output = cli.args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn wait(&self, port: u16, arguments: &[&str], expect: &str) {
        let begun = Instant::now();
        while !self.cli(port, arguments).contains(expect) {
            let printed = self.cli(port, arguments);
            assert!(begun.elapsed() < Duration::from_secs(30), "{port} {arguments:?}: {printed}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn gateway(&self, url: &str) -> Gateway {
        Gateway::start(url, &[("REDIS_CA_FILE", &self.authority.ca)])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinel_failover_is_followed_over_tls() {
    let tls = Tls::new();
    let master = tls.redis(&[]);
    let replica = tls.redis(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    let folder = Folder::new();
    let ports: [u16; 3] = free_ports();
    let _sentinels: Vec<Process> = ports
        .iter()
        .map(|port| {
            let own: String = tls
                .settings(*port)
                .into_iter()
                .map(|(name, value)| format!("{name} {value}\n"))
                .collect();
            let config = format!(
                "port 0\nbind 127.0.0.1\ndir {}\n{own}\
                 sentinel monitor mymaster 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds mymaster 2000\n",
                folder.file("").display(),
                master.port
            );
            let file = folder.write(&format!("sentinel-{port}.conf"), &config);
            let mut command = Command::new("redis-server");
            command.arg(file).arg("--sentinel");
            let log = folder.file(&format!("sentinel-{port}.log"));
            let process = Process::start(&mut command, log);
            wait_for_port(*port, &process);
            process
        })
        .collect();
    for port in ports {
        tls.wait(port, &["SENTINEL", "MASTER", "mymaster"], "num-other-sentinels\n2\n");
        tls.wait(port, &["SENTINEL", "MASTER", "mymaster"], "num-slaves\n1\n");
    }
    let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let url = format!("rediss://{}/mymaster", hosts.join(","));
    let gateway = tls.gateway(&url);
    gateway.ready().await;
    assert_eq!(gateway.run(json!(["SET", "k", 1])).await, "OK");
    // Without TLS, or with another authority, no Sentinel is queried for a master.
    let stranger = Authority::new();
    for gateway in [
        tls.gateway(&url.replace("rediss", "redis")),
        Gateway::start(&url, &[("REDIS_CA_FILE", &stranger.ca)]),
    ] {
        assert_eq!(gateway.send("/", json!(["GET", "k"])).await.0, 503);
    }
    tls.wait(replica.port, &["ROLE"], "connected");
    tls.wait(ports[0], &["SENTINEL", "FAILOVER", "mymaster"], "OK");
    tls.wait(replica.port, &["ROLE"], "master");
    let begun = Instant::now();
    while gateway.send("/", json!(["SET", "k", 2])).await.0 != 200
        || tls.cli(replica.port, &["GET", "k"]).trim() != "2"
    {
        assert!(begun.elapsed() < Duration::from_secs(10), "{}", gateway.process.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_is_reached_over_tls_while_slots_move() {
    let tls = Tls::new();
    let servers: Vec<Redis> = (0..3)
        .map(|_| {
            let [bus] = free_ports();
            let bus = bus.to_string();
            tls.redis(&["--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-port", &bus])
        })
        .collect();
    let hosts: Vec<String> =
        servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
    let first = servers[0].port;
    let create = [
        &["--cluster", "create"],
        hosts.iter().map(String::as_str).collect::<Vec<_>>().as_slice(),
        &["--cluster-yes"],
    ]
    .concat();
    let created = tls.cli(first, &create);
    assert!(created.contains("All 16384 slots covered"), "{created}");
    for server in &servers {
        tls.wait(server.port, &["CLUSTER", "INFO"], "cluster_state:ok");
    }
    let gateway = tls.gateway(&format!("rediss://{}?cluster", hosts[0]));
    gateway.ready().await;
    let pairs: Vec<String> = (0..300).flat_map(|n| [format!("k{n}"), format!("v{n}")]).collect();
    let mset = [vec!["MSET".to_owned()], pairs].concat();
    assert_eq!(gateway.run(json!(mset)).await, "OK");
    // A third of the slots moves while the redis gateway reads. It follows to the ports with TLS.
    let id = |port: u16| tls.cli(port, &["CLUSTER", "MYID"]).trim().to_owned();
    let (from, to) = (id(servers[0].port), id(servers[1].port));
    let moved = {
        let (ca, host) = (tls.authority.ca.clone(), hosts[0].clone());
        tokio::task::spawn_blocking(move || {
            let mut cli = Command::new("redis-cli");
            cli.args(["--tls", "--cacert", &ca, "--cluster", "reshard", &host]);
            cli.args(["--cluster-from", &from, "--cluster-to", &to, "--cluster-slots", "1000"]);
            cli.arg("--cluster-yes").output().unwrap()
        })
    };
    let mut rounds = 0;
    while !moved.is_finished() || rounds < 10 {
        for n in (rounds % 10..300).step_by(10) {
            assert_eq!(gateway.run(json!(["GET", format!("k{n}")])).await, format!("v{n}"));
        }
        rounds += 1;
    }
    let output = moved.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(gateway.run(json!(["DBSIZE"])).await, 300);
}

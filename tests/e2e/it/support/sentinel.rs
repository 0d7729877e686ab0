//! Redis Sentinels for one test.

use crate::support::process::{Folder, Process, free_ports, wait_for_port};
use crate::support::redis_server::Redis;
use crate::support::tcp_proxy::{Link, TcpProxy};
use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, Instant};

/// A Sentinel, and the proxy by which the redis gateway reaches it.
pub struct Sentinel {
    port: u16,
    _process: Process,
    pub link: TcpProxy,
}

/// When a master counts as down, and how it is replaced.
#[derive(Clone, Copy)]
pub struct Watch {
    /// The Sentinels that must agree that the master is down.
    pub quorum: u32,
    /// How long the master must not respond.
    pub down_ms: u64,
    /// Half of the time until a failover that failed is tried again. A replica that replicates from
    /// another address than the master's is corrected after the whole time.
    pub failover_timeout_ms: u64,
}

impl Sentinel {
    /// Starts a Sentinel of a master, with further lines of its configuration.
    pub fn start(folder: &Folder, master: &Redis, watch: Watch, more: &str, link: Link) -> Self {
        let [port] = free_ports();
        let Watch { quorum, down_ms, failover_timeout_ms } = watch;
        let config = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\n\
             sentinel monitor mymaster 127.0.0.1 {} {quorum}\n{more}\
             sentinel down-after-milliseconds mymaster {down_ms}\n\
             sentinel failover-timeout mymaster {failover_timeout_ms}\n",
            folder.file("").display(),
            master.port
        );
        let file = folder.write(&format!("sentinel-{port}.conf"), &config);
        let mut command = Command::new("redis-server");
        command.arg(file).arg("--sentinel");
        let process = Process::start(&mut command, folder.file(&format!("sentinel-{port}.log")));
        wait_for_port(port, &process);
        Self { port, _process: process, link: TcpProxy::start(port, link) }
    }

    pub fn facts(&self) -> HashMap<String, String> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let mut connection = client.get_connection().unwrap();
        redis::cmd("SENTINEL").arg("MASTER").arg("mymaster").query(&mut connection).unwrap()
    }

    /// Waits until the Sentinel's facts pass the check.
    pub async fn wait(&self, check: impl Fn(&HashMap<String, String>) -> bool) {
        let begun = Instant::now();
        while !check(&self.facts()) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", self.facts());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

//! Redis gateways for one test, and a shared one.

use crate::support::http::client;
use crate::support::process::{Folder, Process, free_ports, wait_for_port};
use crate::support::redis_server::Redis;
use reqwest::Response;
use serde_json::{Value, json};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// A redis gateway with its own Redis, for tests that read all of its keys.
pub static GATEWAY: LazyLock<(Redis, Gateway)> = LazyLock::new(|| {
    let redis = Redis::start(&[]);
    let gateway = Gateway::start(&redis.url(), &[]);
    (redis, gateway)
});

/// A redis gateway before a Redis.
pub struct Gateway {
    pub url: String,
    /// The URL of readiness and metrics.
    pub admin_url: String,
    pub process: Process,
    _folder: Folder,
}

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

impl Gateway {
    /// Starts a redis gateway with the token [`TOKEN`], and waits until it listens.
    pub fn start(redis_url: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_in(Folder::new(), redis_url, settings)
    }

    pub fn start_in(folder: Folder, redis_url: &str, settings: &[(&str, &str)]) -> Self {
        let [port, admin_port] = free_ports();
        let mut command = Self::command();
        command
            .env("REDIS_URL", redis_url)
            .env("GATEWAY_LISTEN", format!("127.0.0.1:{port}"))
            .env("GATEWAY_ADMIN_LISTEN", format!("127.0.0.1:{admin_port}"))
            .env("GATEWAY_TOKENS", format!("test={TOKEN}"))
            .envs(settings.iter().copied());
        let process = Process::start(&mut command, folder.file("gateway.log"));
        wait_for_port(port, &process);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        Self { url: url(port), admin_url: url(admin_port), process, _folder: folder }
    }

    pub fn command() -> Command {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let mut command =
            Command::new(Path::new(root).join("target/debug/portcullis-redis-gateway"));
        // Several gateways run at once.
        command.env("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0");
        command
    }

    pub async fn send(&self, path: &str, body: Value) -> (u16, Value) {
        read_reply(self.post(path, body).await).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Response {
        let request = client().post(format!("{}{path}", self.url)).bearer_auth(TOKEN);
        request.json(&body).send().await.unwrap()
    }

    /// Runs one command, which must succeed.
    pub async fn run(&self, command: Value) -> Value {
        let (status, body) = self.send("/", command.clone()).await;
        assert_eq!(status, 200, "{command}: {body}\n{}", self.process.text());
        body["result"].clone()
    }

    /// Opens a connection whose reads time out.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.url.strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Waits until Redis responds.
    pub async fn ready(&self) {
        let begun = Instant::now();
        let url = format!("{}/readyz", self.admin_url);
        while client().get(&url).send().await.unwrap().status() != 200 {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", self.process.text());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

pub async fn read_reply(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(json!(text)))
}

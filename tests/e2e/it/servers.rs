//! Redis servers, and gateways before them, of a test's own.

use crate::stack::client;
use redis::Client;
use reqwest::Response;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A process that ends with the test: when it is dropped, or else, as statics never are, when the tests'
/// own process ends, which closes the pipe that its guard reads.
pub struct Process {
    child: Child,
    guard: Child,
    pub log: PathBuf,
}

impl Process {
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let output = std::fs::File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let child = command.spawn().unwrap();
        let mut guard = Command::new("sh");
        guard.args(["-c", "cat > /dev/null; kill -9 \"$1\"", "guard", &child.id().to_string()]);
        let guard = guard.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        Self { child, guard, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Its exit status, waited for.
    pub fn ended(&mut self, seconds: u64) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(seconds) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it goes on:\n{}", self.text());
    }

    /// Its log, once this is in it.
    pub async fn says(&self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            let log = self.text();
            if log.contains(text) {
                return log;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{text} is not in:\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The guard first, as long as the number is the child's own.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder that ends with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("servers-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.file(name);
        std::fs::write(&file, text).unwrap();
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One Redis server.
pub struct Redis {
    pub port: u16,
    pub process: Process,
    folder: Folder,
    arguments: Vec<String>,
}

impl Redis {
    /// Starts a server with more arguments, and waits until its port is open.
    pub fn start(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let [port] = free_ports();
        Self::on(port, Folder::new(), arguments)
    }

    pub fn on(port: u16, folder: Folder, arguments: Vec<String>) -> Self {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string(), "--dir"]);
        command.arg(folder.file("")).args(&arguments);
        let process = Process::start(&mut command, folder.file("redis.log"));
        let tls = arguments.iter().position(|argument| argument == "--tls-port");
        let port = match tls {
            Some(place) => arguments[place + 1].parse().unwrap(),
            None => port,
        };
        wait_for_port(port, &process);
        Self { port, process, folder, arguments }
    }

    /// The same server again, after it was killed.
    pub fn again(self) -> Self {
        let Self { port, process, folder, arguments } = self;
        drop(process);
        Self::on(port, folder, arguments)
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn connection(&self) -> redis::Connection {
        connection(self.port)
    }
}

pub fn connection(port: u16) -> redis::Connection {
    let client = Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
    client.get_connection().unwrap()
}

/// A redis gateway before some Redis.
pub struct Gateway {
    pub url: String,
    pub process: Process,
    _folder: Folder,
}

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

impl Gateway {
    /// Starts a redis gateway with the token TOKEN, and waits until it listens.
    pub fn start(redis_url: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_in(Folder::new(), redis_url, settings)
    }

    pub fn start_in(folder: Folder, redis_url: &str, settings: &[(&str, &str)]) -> Self {
        let [port] = free_ports();
        let mut command = Self::command();
        command
            .env("REDIS_URL", redis_url)
            .env("GATEWAY_LISTEN", format!("127.0.0.1:{port}"))
            .env("GATEWAY_TOKENS", format!("test={TOKEN}"))
            .envs(settings.iter().copied());
        let process = Process::start(&mut command, folder.file("gateway.log"));
        wait_for_port(port, &process);
        Self { url: format!("http://127.0.0.1:{port}"), process, _folder: folder }
    }

    pub fn command() -> Command {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        Command::new(Path::new(root).join("target/debug/portcullis-redis-gateway"))
    }

    pub async fn send(&self, path: &str, body: Value) -> (u16, Value) {
        answer(self.post(path, body).await).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Response {
        let request = client().post(format!("{}{path}", self.url)).bearer_auth(TOKEN);
        request.json(&body).send().await.unwrap()
    }

    /// One command, which must succeed.
    pub async fn run(&self, command: Value) -> Value {
        let (status, body) = self.send("/", command.clone()).await;
        assert_eq!(status, 200, "{command}: {body}\n{}", self.process.text());
        body["result"].clone()
    }

    /// Waits until Redis answers.
    pub async fn ready(&self) {
        let begun = Instant::now();
        let url = format!("{}/readyz", self.url);
        while client().get(&url).send().await.unwrap().status() != 200 {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", self.process.text());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

pub async fn answer(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(json!(text)))
}

/// Ports that were free a moment ago. They are below the ones that the system gives to clients, so that
/// none of those takes one meanwhile.
pub fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let base = 10_000 + std::process::id() % 10_000;
    std::array::from_fn(|_| {
        loop {
            let port = u16::try_from(base + NEXT.fetch_add(1, Ordering::SeqCst) % 10_000).unwrap();
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
    })
}

pub fn wait_for_port(port: u16, process: &Process) {
    let begun = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "port {port}:\n{}", process.text());
        std::thread::sleep(Duration::from_millis(20));
    }
}

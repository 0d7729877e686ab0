//! A running system, started by `cargo xtask stack`. Most tests share one; tests that break
//! something have their own.

use crate::support::environment::{on_memcached, xtask};
use crate::support::http::{client, post};
use crate::support::memcached::request;
use reqwest::Response;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A running system. It ends when its standard input closes, at the latest when this process ends.
pub struct Stack {
    facts: Value,
    child: Child,
    folder: PathBuf,
}

/// The tokens of a login or refresh.
pub struct Tokens {
    pub access: String,
    pub refresh: String,
}

impl Tokens {
    /// Reads the tokens of a successful login or refresh.
    pub async fn read(response: Response) -> Self {
        let body: Value = response.json().await.unwrap();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token") }
    }
}

/// The system that tests share.
pub static SHARED: LazyLock<Stack> =
    LazyLock::new(|| Stack::start(&["--engine", "wrangler"], None));

/// The encryption key of every stack.
pub const RECORD_ENCRYPTION_KEY: &str = "test:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The key by which every edge authenticates itself to every auth service.
pub const EDGE_AUTH_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

impl Stack {
    /// Starts a system, under workerd unless an option says otherwise: `wrangler dev` takes seconds
    /// of the processor. `vars` change the Worker's policy and variables.
    pub fn start(options: &[&str], vars: Option<Value>) -> Self {
        let vars = vars.unwrap_or(json!({}));
        // A program outside of the tests may have taken a port that was free when it was chosen.
        Self::launch(options, vars.clone())
            .or_else(|log| {
                println!("a stack ended, and is started once more:\n{log}");
                Self::launch(options, vars)
            })
            .unwrap_or_else(|log| panic!("the stack ended:\n{log}"))
    }

    /// Starts a system under workerd with these variables (NAME=VALUE) of the auth service.
    pub async fn start_with_auth_env(variables: &'static [&'static str]) -> Self {
        let start = move || {
            let mut options = vec![];
            variables.iter().for_each(|variable| options.extend(["--auth-env", variable]));
            Self::start(&options, None)
        };
        tokio::task::spawn_blocking(start).await.unwrap()
    }

    /// Changes the policy of an edge under wrangler, which then starts a new isolate.
    pub fn change_policy(&self, change: impl FnOnce(&mut Value)) {
        let logs = Path::new(self.fact("logs"));
        let file = logs.parent().unwrap().join("edge/policy.js");
        let module = std::fs::read_to_string(&file).unwrap();
        let text = module.strip_prefix("export default ").unwrap().trim_end_matches(";\n");
        let text: String = serde_json::from_str(text).unwrap();
        let mut policy: Value = serde_json::from_str(&text).unwrap();
        change(&mut policy);
        let module = format!("export default {};\n", Value::String(policy.to_string()));
        std::fs::write(&file, module).unwrap();
    }

    /// Starts the system of another version, which is built in `folder`.
    pub fn start_in(folder: &Path, options: &[&str], vars: Value) -> Self {
        let mut program = Command::new(folder.join("target/debug/xtask"));
        program.current_dir(folder);
        Self::launch_by(program, options, vars).unwrap_or_else(|log| panic!("it ended:\n{log}"))
    }

    /// Starts a system whose programs have these environment variables.
    pub fn start_with_env(options: &[&str], vars: Option<Value>, env: &[(&str, &str)]) -> Self {
        let mut program = xtask();
        program.envs(env.iter().copied());
        let launched = Self::launch_by(program, options, vars.unwrap_or(json!({})));
        launched.unwrap_or_else(|log| panic!("the stack ended:\n{log}"))
    }

    fn launch(options: &[&str], mut vars: Value) -> Result<Self, String> {
        // Tests count requests to the store.
        let object = vars.as_object_mut().unwrap();
        object.entry("block.refresh_seconds").or_insert(0.into());
        object.entry("usage.flush_seconds").or_insert(0.into());
        object.entry("metrics.interval_seconds").or_insert(0.into());
        Self::launch_by(xtask(), options, vars)
    }

    fn launch_by(mut command: Command, options: &[&str], mut vars: Value) -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("portcullis-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let facts_file = folder.join("stack.json");
        command
            .args(["stack", "--watch-stdin", "--prebuilt", "--json"])
            .arg(&facts_file)
            .args(options);
        // Several systems share two cores. The store's timeout must not fail unrelated tests.
        let object = vars.as_object_mut().unwrap();
        object.entry("store.timeout_ms").or_insert(3000.into());
        object.entry("RECORD_ENCRYPTION_KEY").or_insert(RECORD_ENCRYPTION_KEY.into());
        object.entry("EDGE_AUTH_KEY").or_insert(EDGE_AUTH_KEY.into());
        std::fs::write(folder.join("vars.json"), vars.to_string()).unwrap();
        command.arg("--vars").arg(folder.join("vars.json"));
        if !options.contains(&"--engine") {
            command.args(["--engine", "workerd"]);
        }
        // The same tests run on another store.
        if on_memcached() && !options.contains(&"--store") {
            command.args(["--store", "memcached"]);
        }
        // Login throttling must not fail unrelated tests.
        if !options.iter().any(|option| option.contains("LOGIN_ATTEMPTS")) {
            command.args(["--auth-env", "LOGIN_ATTEMPTS_PER_USERNAME=0"]);
            command.args(["--auth-env", "LOGIN_ATTEMPTS_PER_ADDRESS=0"]);
        }
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while !facts_file.exists() {
            let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            if child.try_wait().unwrap().is_some() {
                return Err(log());
            }
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "the stack is not ready:\n{}",
                log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        let facts = serde_json::from_slice(&std::fs::read(&facts_file).unwrap()).unwrap();
        Ok(Self { facts, child, folder })
    }

    /// Returns a text of the stack's file, for example `edge_url`.
    pub fn fact(&self, name: &str) -> &str {
        self.facts[name].as_str().unwrap()
    }

    /// Returns all facts of the stack's file.
    pub fn facts(&self) -> &Value {
        &self.facts
    }

    pub fn edge(&self, path: &str) -> String {
        format!("{}{path}", self.fact("edge_url"))
    }

    pub fn username(&self) -> &str {
        self.facts["user"]["username"].as_str().unwrap()
    }

    pub fn password(&self) -> &str {
        self.facts["user"]["password"].as_str().unwrap()
    }

    /// Returns the log of a part.
    pub fn log(&self, part: &str) -> String {
        std::fs::read_to_string(PathBuf::from(self.fact("logs")).join(format!("{part}.log")))
            .unwrap()
    }

    /// Returns the log of a part as soon as it contains `text`. A service writes its log after the
    /// response.
    pub fn log_with(&self, part: &str, text: &str) -> String {
        let begun = Instant::now();
        loop {
            let log = self.log(part);
            if log.contains(text) {
                return log;
            }
            assert!(begun.elapsed() < Duration::from_secs(5), "{text} is not in:\n{log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the log of `cargo xtask stack` itself.
    pub fn own_log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// Returns the process id that a part had at the start.
    pub fn pid(&self, part: &str) -> u32 {
        u32::try_from(self.facts["pids"][part].as_u64().unwrap()).unwrap()
    }

    /// Returns the stack's folder, which contains logs, secrets and data.
    pub fn folder(&self) -> PathBuf {
        PathBuf::from(self.fact("logs")).parent().unwrap().to_owned()
    }

    /// Sends a signal to one part.
    pub fn signal(&self, part: &str, signal: &str) {
        let pid = self.pid(part).to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub async fn login(&self) -> Tokens {
        let response = self.try_login(self.username(), self.password()).await;
        assert_eq!(response.status(), 200);
        Tokens::read(response).await
    }

    pub async fn try_login(&self, username: &str, password: &str) -> Response {
        let body = json!({ "username": username, "password": password });
        post(&self.edge("/auth/login"), body).await
    }

    pub async fn refresh(&self, refresh: &str) -> Response {
        post(&self.edge("/auth/refresh"), json!({ "refresh_token": refresh })).await
    }

    /// Writes a value to the store for a minute, as an operator would.
    pub async fn put(&self, key: &str, value: &str) {
        if let Some(address) = self.fact("store_url").strip_prefix("memcached://") {
            let command = format!("set {key} 0 60 {}\r\n{value}\r\n", value.len());
            assert_eq!(request(address, &command), "STORED\r\n");
            return;
        }
        let request = client().post(self.fact("store_url")).bearer_auth(self.fact("store_token"));
        let request = request.json(&json!(["SET", key, value, "EX", "60"]));
        assert_eq!(request.send().await.unwrap().status(), 200);
    }

    /// Returns the sum of a metric over the series whose labels contain `label`.
    pub async fn metric(&self, part: &str, name: &str, label: &str) -> u64 {
        let part = match part {
            "store_url" => "redis_gateway_admin_url",
            _ => "auth_admin_url",
        };
        let text = client().get(format!("{}/metrics", self.fact(part))).send().await.unwrap();
        let text = text.text().await.unwrap();
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

/// Returns the lines of an edge's log that report a panic or another defect. The edge continues
/// afterwards, so only its log shows them.
pub fn edge_defects(log: &str) -> Vec<&str> {
    let defects = ["panic", "task_", "head_invalid", "end_invalid", "protocol_error"];
    let events = defects.map(|event| format!(r#""event":"{event}"#));
    log.lines().filter(|line| events.iter().any(|event| line.contains(event))).collect()
}

/// Drops a value whose end blocks, without blocking the runtime.
pub async fn stop<T: Send + 'static>(running: T) {
    tokio::task::spawn_blocking(move || drop(running)).await.unwrap();
}

impl Drop for Stack {
    fn drop(&mut self) {
        let log = PathBuf::from(self.fact("logs")).join("edge.log");
        let log = std::fs::read_to_string(log).unwrap_or_default();
        drop(self.child.stdin.take());
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
        let failed = !edge_defects(&log).is_empty();
        assert!(!failed || std::thread::panicking(), "the edge failed:\n{log}");
    }
}

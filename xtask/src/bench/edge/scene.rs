//! The servers around the Worker and its peers: one Redis, one redis gateway, one upstream, and a
//! separate workerd for each contender.

use super::cells::{Contender, ROTATING};
use super::load::{self, Load, Order, Traffic, Wrk};
use super::store::{self, Counts};
use super::variables::{Common, ISSUER, with_values};
use crate::bench::measure;
use crate::process::{Server, http_get, http_post, write_private};
use crate::stack::{self, Servers, loopback, random_text};
use crate::tasks::step;
use crate::tools::Tools;
use crate::{at, edge, policy, worker};
use anyhow::{Context as _, Result, ensure};
use portcullis_core::{KEY_LOCKING, LIMIT_SCRIPT, LOCKING_LIMIT_SCRIPT_SHA1};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// The common servers, which stop when it is dropped.
pub struct Scene<'a> {
    pub tools: &'a Tools,
    /// The folder of another build of the Worker.
    pub beside: Option<PathBuf>,
    pub folder: PathBuf,
    redis: u16,
    pub gateway: u16,
    gateway_admin: u16,
    /// The distance of the store at each of these ports, in milliseconds.
    pub slow: Vec<(u32, u16)>,
    /// The number of tokens.
    pub tokens: u32,
    common: Common,
    _servers: Servers,
}

/// A running contender.
pub struct Running {
    pub port: u16,
    pub server: Server,
    /// The time from the start of its process to the first expected response.
    pub start_ms: f64,
}

impl<'a> Scene<'a> {
    /// Builds everything and starts the common servers.
    pub fn set(tools: &'a Tools, tokens: u32, beside: Option<PathBuf>) -> Result<Self> {
        let mut cargo = crate::cargo();
        cargo.args([
            "build",
            "--release",
            "-p",
            "portcullis-redis-gateway",
            "-p",
            "portcullis-bench",
        ]);
        step("redis gateway and surroundings: build", &mut cargo, &at("target/log/bench.log"))?;
        worker::build(tools)?;

        let folder = at("target/bench");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        bundle_peers(tools, &folder)?;
        let [redis, gateway, gateway_admin, upstream, near, far] = xtask_ports::free_ports()?;
        let slow = vec![(10, near), (40, far)];
        let (token, record_encryption_key) = (random_text(), stack::record_encryption_key());

        let mut servers = Servers::default();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &redis.to_string()]);
        command.arg("--dir").arg(&folder);
        servers.0.push(Server::start("redis", &mut command, folder.join("redis.log"))?);
        let redis_url = format!("redis://{}", loopback(redis));
        let mut command = Command::new(at("target/release/portcullis-redis-gateway"));
        command
            .env("REDIS_URL", &redis_url)
            .env("GATEWAY_LISTEN", loopback(gateway).to_string())
            .env("GATEWAY_ADMIN_LISTEN", loopback(gateway_admin).to_string())
            .env("GATEWAY_TOKENS", format!("bench={token}"));
        // The log is written as usual. Its destination is not the redis gateway's cost.
        servers.0.push(Server::start("redis-gateway", &mut command, "/dev/null".into())?);
        servers.wait_ready(loopback(gateway_admin), "/readyz", |status| status == 200, 20)?;

        let mut mint = Command::new(at("target/release/portcullis-bench"));
        mint.args(["mint", "--redis", &redis_url, "--issuer", ISSUER, "--audience", ISSUER]);
        mint.args(["--count", &tokens.to_string(), "--folder"]).arg(&folder);
        measure::output(mint.env("RECORD_ENCRYPTION_KEY", &record_encryption_key))?;
        let garbage: Vec<String> = (0..1000).map(|place| format!("garbage{place}")).collect();
        fs::write(folder.join("garbage.txt"), garbage.join("\n"))?;
        load::write_zipf(&folder, tokens.min(ROTATING))?;

        let mut stage = Command::new(at("target/release/portcullis-bench"));
        stage.args(["serve", "--upstream", &upstream.to_string(), "--jwks"]);
        stage.arg(folder.join("jwks.json"));
        for (ms, port) in &slow {
            stage.args(["--slow", &format!("{port}:{ms}:{gateway}")]);
        }
        servers.0.push(Server::start("upstream", &mut stage, folder.join("upstream.log"))?);
        servers.wait_ready(loopback(upstream), "/", |status| status == 200, 20)?;
        let scene = Self {
            tools,
            beside,
            folder,
            redis,
            gateway,
            gateway_admin,
            slow,
            tokens,
            common: Common { upstream, token, record_encryption_key },
            _servers: servers,
        };
        scene.load_script()?;
        Ok(scene)
    }

    /// Starts a contender, with its store at this port. `vars` override Portcullis's variables.
    pub fn start(&self, contender: Contender, store: u16, vars: &Value) -> Result<Running> {
        let [port] = xtask_ports::free_ports()?;
        let folder = self.folder.join(port.to_string());
        fs::create_dir_all(&folder)?;
        let (vars, modules) = match contender.peer() {
            None => {
                let (build, plan) = match (contender, &self.beside) {
                    (Contender::Portcullis(plan), _) => (at("build"), plan),
                    (Contender::Beside(plan), Some(folder)) => (folder.clone(), plan),
                    _ => anyhow::bail!("{}: no build of the Worker", contender.name()),
                };
                for name in edge::BUNDLE {
                    let from = build.join(name);
                    fs::copy(&from, folder.join(name))
                        .with_context(|| from.display().to_string())?;
                }
                let mut own = self.common.config(plan, store)?;
                own.lay_over(&vars.as_object().cloned().unwrap_or_default());
                if let Ok(text) = fs::read_to_string(build.join("vars.json")) {
                    own.lay_over(&with_values(text, &own.vars)?);
                }
                let faults = own.faults();
                ensure!(faults.is_empty(), "the Worker's configuration: {}", faults.join("; "));
                fs::write(folder.join(policy::MODULE), policy::module(&own.policy))?;
                (own.vars, edge::MODULES.to_vec())
            }
            Some(bundle) => {
                fs::copy(self.folder.join(bundle), folder.join(bundle))?;
                (self.common.peer_variables(contender, store), vec![bundle])
            }
        };
        let config = folder.join("config.capnp");
        write_private(&config, &edge::workerd_config(&vars, &modules, port, None, None)?)?;
        let mut workerd = self.tools.command("workerd");
        workerd.arg("serve").arg(&config);
        let (path, expected) = match contender {
            Contender::Bare401 => ("/", 401),
            _ => ("/api/first", 200),
        };
        let head = format!("authorization: Bearer {}\r\n", self.first_token()?);
        // The log is written as usual. Its destination is not the Worker's cost.
        let begun = Instant::now();
        let mut server = Server::start("workerd", &mut workerd, "/dev/null".into())?;
        loop {
            if http_get(loopback(port), path, &head).is_ok_and(|(status, _)| status == expected) {
                break;
            }
            if let Some(status) = server.ended() {
                anyhow::bail!("{}", server.obituary(status));
            }
            ensure!(begun.elapsed() < PATIENCE, "{} gives no good answer", contender.name());
            std::thread::sleep(Duration::from_millis(1));
        }
        let start_ms = begun.elapsed().as_secs_f64() * 1e3;
        Ok(Running { port, server, start_ms })
    }

    /// Runs a load on a contender. Returns it with the CPU of its workerd, in microseconds per
    /// request.
    pub fn load(&self, running: &Running, wrk: &Wrk<'_>, seconds: u32) -> Result<(Load, f64)> {
        let pid = running.server.pid();
        let before = measure::cpu_us(pid)?;
        let load = wrk.send(running.port, seconds)?;
        let cpu_us = (measure::cpu_us(pid)? - before) / load.count;
        ensure!(cpu_us > 1.0, "workerd takes no time: is its process a wrapper around it?");
        Ok((load, cpu_us))
    }

    /// Measures a single query of the store on an open connection.
    pub fn trip_ms(&self, store: u16) -> Result<f64> {
        let body = r#"["GET","pc:e"]"#;
        let question = format!(
            "POST / HTTP/1.1\r\nhost: store\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.common.token,
            body.len()
        );
        let mut stream = TcpStream::connect(loopback(store))?;
        let mut answer = [0; 4096];
        let mut ask = || -> Result<f64> {
            let begun = Instant::now();
            stream.write_all(question.as_bytes())?;
            ensure!(stream.read(&mut answer)? > 0, "the store ended the connection");
            Ok(begun.elapsed().as_secs_f64() * 1e3)
        };
        ask()?;
        ask()
    }

    /// Returns wrk's settings with this number of different tokens.
    pub fn wrk(&self, connections: u32, traffic: Traffic, tokens: u32) -> Wrk<'_> {
        Wrk {
            tools: self.tools,
            folder: &self.folder,
            connections,
            traffic,
            tokens,
            skip: 0,
            order: Order::InTurn,
            pause_ms: 0,
        }
    }

    /// Sends each of the first `tokens` tokens twice.
    pub fn prime(&self, port: u16, tokens: u32) -> Result<()> {
        let text = fs::read_to_string(self.folder.join("tokens.txt"))?;
        let lines: Vec<&str> = text.lines().take(tokens as usize).collect();
        let send = |token: &&str| {
            let head = format!("authorization: Bearer {token}\r\n");
            let (status, answer) = http_get(loopback(port), "/api/first", &head)?;
            ensure!(status == 200, "{status} {answer}");
            Ok(())
        };
        for _ in 0..2 {
            std::thread::scope(|scope| {
                let shares = lines.chunks(lines.len().div_ceil(AT_ONCE));
                let senders: Vec<_> = shares
                    .map(|share| scope.spawn(move || share.iter().try_for_each(send)))
                    .collect();
                senders.into_iter().try_for_each(measure::joined)
            })?;
        }
        Ok(())
    }

    /// Returns what the store and the upstream have counted so far.
    pub fn counts(&self) -> Result<Counts> {
        let (_, metrics) = http_get(loopback(self.gateway_admin), "/metrics", "")?;
        let posts = metrics
            .lines()
            .filter(|line| line.contains("requests_total{") && line.contains("pipeline"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>();
        let commands = store::commands(loopback(self.redis))?;
        Ok(Counts { posts: posts as u64, upstream: self.upstream_count()?, commands })
    }

    /// Returns what the upstream has counted so far.
    pub fn upstream_count(&self) -> Result<u64> {
        let (_, count) = http_get(loopback(self.common.upstream), "/count", "")?;
        Ok(count.trim().parse()?)
    }

    fn first_token(&self) -> Result<String> {
        let mut line = String::new();
        BufReader::new(File::open(self.folder.join("tokens.txt"))?).read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// Loads the limit's script. The peers call it by its hash, as Portcullis does after its first
    /// time.
    fn load_script(&self) -> Result<()> {
        let fields = format!("authorization: Bearer {}\r\n", self.common.token);
        let body = json!(["SCRIPT", "LOAD", format!("{KEY_LOCKING}{LIMIT_SCRIPT}")]);
        let (_, answer) = http_post(loopback(self.gateway), "/", &fields, &body)?;
        ensure!(
            answer.contains(LOCKING_LIMIT_SCRIPT_SHA1),
            "the redis gateway loads no script: {answer}"
        );
        Ok(())
    }
}

/// Bundles each peer into one script, like the Worker.
fn bundle_peers(tools: &Tools, folder: &std::path::Path) -> Result<()> {
    let peers = at("bench/peers");
    let installed = peers.join("node_modules/.installed-lock.json");
    let lock = fs::read(peers.join("package-lock.json"))?;
    if fs::read(&installed).ok().as_ref() != Some(&lock) {
        let mut npm = Command::new("npm");
        npm.current_dir(&peers).args(["install", "--no-save", "--no-fund", "--no-audit"]);
        npm.arg("--ignore-scripts");
        step("the peers: npm", &mut npm, &at("target/log/peers.log"))?;
        fs::copy(peers.join("package-lock.json"), installed)?;
    }
    let mut esbuild = tools.command("esbuild");
    esbuild.current_dir(&peers);
    esbuild.args(["ref.mjs", "jsopt.mjs", "floor.mjs", "pass.mjs", "bare401.mjs", "--bundle"]);
    esbuild.args(["--format=esm", "--minify", "--conditions=workerd,worker,browser"]);
    measure::output(esbuild.arg(format!("--outdir={}", folder.display())))?;
    Ok(())
}

/// How many tokens are primed at once.
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(20);

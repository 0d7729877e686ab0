//! Measures the redis gateway, and redis-benchmark on the same Redis.

mod report;
mod sample;

use super::measure::{cpu_us, output, put, resident_kib};
use crate::at;
use crate::process::{self, Server, write_atomically};
use crate::stack::{loopback, random_text};
use crate::tasks::step;
use crate::tools::{self, Extent};
use anyhow::{Context as _, Result, bail};
use report::{raw, report};
use sample::{Load, Sample};
use std::fs;
use std::process::Command;
use std::time::Duration;

/// Measures, prints a table and, with `write`, puts it into docs/performance.md.
pub fn run(quick: bool, write: bool) -> Result<()> {
    let tools = tools::ensure(Extent::Bench)?;
    let mut cargo = crate::cargo();
    cargo.args(["build", "--release", "-p", "portcullis-redis-gateway"]);
    step("redis gateway: build", &mut cargo, &at("target/log/bench.log"))?;

    let folder = at("target/bench");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let [redis_port, port, admin_port] = xtask_ports::free_ports()?;
    let mut redis = Command::new("redis-server");
    redis.args(["--bind", "127.0.0.1", "--save", "", "--port", &redis_port.to_string()]);
    let _redis = Server::start("redis", redis.arg("--dir").arg(&folder), folder.join("redis.log"))?;
    let token = random_text();
    let mut gateway = Command::new(at("target/release/portcullis-redis-gateway"));
    gateway
        .env("REDIS_URL", format!("redis://127.0.0.1:{redis_port}"))
        .env("GATEWAY_LISTEN", loopback(port).to_string())
        .env("GATEWAY_ADMIN_LISTEN", loopback(admin_port).to_string())
        .env("GATEWAY_TOKENS", format!("bench={token}"));
    // The log is written as usual. Its destination is not the redis gateway's cost.
    let mut gateway = Server::start("redis-gateway", &mut gateway, "/dev/null".into())?;
    gateway.wait_ready(
        loopback(admin_port),
        "/readyz",
        |status| status == 200,
        Duration::from_secs(20),
    )?;
    output(Command::new("redis-cli").args(["-p", &redis_port.to_string(), "SET", "key", "value"]))?;

    let bench = Bench { redis_port, port, token, pid: gateway.pid(), tools };
    let (rounds, seconds) = if quick { (1, 2) } else { (3, 4) };
    bench.load(&LOADS[0], 64, 1, true)?;
    let mut rows = Vec::new();
    for load in &LOADS {
        for connections in CONNECTIONS {
            let mut samples = Vec::new();
            for _ in 0..rounds {
                process::check_stop()?;
                samples.push(bench.sample(load, connections, seconds)?);
            }
            eprintln!("{} at {connections} connections: done", load.name);
            rows.push((load, connections, samples));
        }
    }
    let memory = bench.memory(if quick { 100_000 } else { 1_000_000 })?;
    let text = report(&rows, &memory, rounds, seconds);
    println!("\n{text}");
    write_atomically(&folder.join("redis-gateway.json"), &raw(&rows, &memory).to_string())?;
    if write {
        put("docs/performance.md", "redis-gateway", &text)?;
    }
    Ok(())
}

struct Bench {
    redis_port: u16,
    port: u16,
    token: String,
    pid: u32,
    tools: tools::Tools,
}

impl Bench {
    fn sample(&self, load: &Load, connections: u32, seconds: u32) -> Result<Sample> {
        let [yardstick, yardstick_p50_ms, yardstick_p99_ms] = self.yardstick(connections)?;
        // Checking each response costs wrk as much as the rest of its work, so it is done in an
        // earlier run.
        self.load(load, connections, 1, true)?;
        let before = cpu_us(self.pid)?;
        let [count, requests, p50_ms, p99_ms] = self.load(load, connections, seconds, false)?;
        let cpu_us = (cpu_us(self.pid)? - before) / count;
        Ok(Sample {
            requests,
            p50_ms,
            p99_ms,
            cpu_us,
            yardstick,
            yardstick_p50_ms,
            yardstick_p99_ms,
        })
    }

    /// Returns the requests a second and the latencies of GET directly to Redis.
    fn yardstick(&self, connections: u32) -> Result<[f64; 3]> {
        let text = output(
            Command::new("redis-benchmark")
                .args(["-p", &self.redis_port.to_string(), "-t", "get", "-P", "1", "--csv"])
                .args(["-c", &connections.to_string(), "-n", "150000"]),
        )?;
        let row = text.lines().find(|line| line.starts_with("\"GET\"")).context("no row of GET")?;
        let cells: Vec<f64> =
            row.split(',').skip(1).filter_map(|cell| cell.trim_matches('"').parse().ok()).collect();
        match cells.as_slice() {
            [requests, _average, _min, p50, _p95, p99, _max] => Ok([*requests, *p50, *p99]),
            _ => bail!("redis-benchmark: {row}"),
        }
    }

    /// Returns the number of requests, their rate and the latencies, through the redis gateway.
    /// Every response must be 200, and with `look` have the expected body.
    fn load(&self, load: &Load, connections: u32, seconds: u32, look: bool) -> Result<[f64; 4]> {
        let function = if look { "response" } else { "unused" };
        let script = at("target/bench/load.lua");
        let whole = format!(
            "wrk.method = 'POST'\nwrk.path = '{}'\nwrk.body = [==[{}]==]\n\
             wrk.headers['Authorization'] = 'Bearer {}'\n\
             local threads = {{}}\n\
             function setup(thread) table.insert(threads, thread) end\n\
             wrong = 0\n\
             function {function}(status, headers, body)\n\
               if status ~= 200 or not body:find('value', 1, true) then wrong = wrong + 1 end\n\
             end\n\
             function done(summary, latency)\n\
               local bad = summary.errors.connect + summary.errors.read + summary.errors.write\n\
                 + summary.errors.status + summary.errors.timeout\n\
               for _, thread in ipairs(threads) do bad = bad + thread:get('wrong') end\n\
               io.write(string.format('RESULT %d %d %d %d %d\\n', summary.requests, summary.duration,\n\
                 latency:percentile(50), latency:percentile(99), bad))\n\
             end\n",
            load.path, load.body, self.token
        );
        process::write_private(&script, &whole)?;
        let text = output(
            self.tools
                .command("wrk")
                .args(["-t1", "-c", &connections.to_string(), "-d", &format!("{seconds}s"), "-s"])
                .arg(&script)
                .arg(format!("http://127.0.0.1:{}", self.port)),
        )?;
        let line = text.lines().find_map(|line| line.strip_prefix("RESULT "));
        let numbers: Vec<f64> = line
            .context("wrk: no result")?
            .split(' ')
            .filter_map(|number| number.parse().ok())
            .collect();
        match numbers.as_slice() {
            [.., bad] if *bad > 0.0 => bail!("{bad} answers were wrong"),
            [count, micros, p50, p99, _] => {
                Ok([*count, count / micros * 1e6, p50 / 1e3, p99 / 1e3])
            }
            _ => bail!("wrk: {text}"),
        }
    }

    /// Returns the redis gateway's resident memory in KiB after each number of requests.
    fn memory(&self, most: u64) -> Result<Vec<(u64, u64)>> {
        let mut seen = vec![(0, resident_kib(self.pid)?)];
        let mut count = 0;
        while count < most {
            process::check_stop()?;
            let [requests, ..] = self.load(&LOADS[0], 64, 3, false)?;
            count += requests as u64;
            seen.push((count, resident_kib(self.pid)?));
        }
        Ok(seen)
    }
}

const LOADS: [Load; 2] = [
    Load { name: "GET", path: "/", body: r#"["GET","key"]"#, commands: 1 },
    Load {
        name: "pipeline of 4",
        path: "/pipeline",
        body: r#"[["GET","key"],["GET","key"],["GET","key"],["GET","key"]]"#,
        commands: 4,
    },
];
const CONNECTIONS: [u32; 3] = [16, 64, 256];

//! Measurements, each beside a yardstick in the same run, since machines differ and none is quiet.

mod auth;
mod edge;
pub mod instructions;

use crate::process::{Server, Step, step, write_atomically};
use crate::stack::{free_ports, loopback, random_text};
use crate::tools::{self, Extent};
use crate::{at, process};
use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use std::time::Duration;

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub struct Options {
    /// What to measure.
    #[arg(default_value = "edge")]
    subject: Subject,
    /// Fewer and shorter rounds.
    #[arg(long)]
    quick: bool,
    /// One part of what is measured of the Worker.
    #[arg(long)]
    only: Option<edge::Part>,
    /// Put what was found into docs/performance.md and beside it, or into docs/reliability.md.
    #[arg(long)]
    write: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Subject {
    /// The Worker, beside its peers.
    Edge,
    /// The whole system while its parts do harm: 20 s of each fault at 200 requests a second.
    Faults,
    /// The redis gateway, beside redis-benchmark on the same Redis.
    Gateway,
    /// Instructions of core's hot functions, beside those that are committed.
    Instructions,
    /// The auth service: refreshes and logins a second, on either database.
    Auth,
    /// Fifty clients that refresh, log out and are revoked at random for a minute, on either database.
    Storm,
}

pub fn run(options: &Options) -> Result<()> {
    process::listen()?;
    match options.subject {
        Subject::Edge => edge::run(options.quick, options.write, options.only),
        Subject::Faults => faults(options),
        Subject::Gateway => gateway(options),
        Subject::Instructions => instructions::run(options.write),
        Subject::Auth => auth::run(options.quick, options.write),
        Subject::Storm => storm(options),
    }
}

/// The end-to-end tests that do harm, for longer; what they print is the tables.
fn faults(options: &Options) -> Result<()> {
    let tools = tools::ensure(Extent::Stack)?;
    crate::stack::build(&tools)?;
    let seconds = if options.quick { 2 } else { 20 };
    let mut tables = Vec::new();
    let subjects = [
        ("resilience::faults::store", "routes_follow_their_outage_policy_under_store_faults"),
        ("resilience::faults::auth_service", "validation_is_unaffected_by_auth_service_faults"),
        ("resilience::faults::upstream", "upstream_faults_become_gateway_errors"),
        ("edge::limit_script", "concurrent_connections_do_not_exceed_the_quota"),
        ("edge::limits::outages", "counting_after_the_response_overshoots_by_one_store_round_trip"),
    ];
    for (module, name) in subjects {
        process::check_stop()?;
        eprintln!("{name}");
        let mut cargo = crate::cargo();
        cargo.args([
            "test",
            "-p",
            "portcullis-e2e",
            "--test",
            "it",
            "--",
            "--nocapture",
            "--exact",
        ]);
        cargo.arg(format!("{module}::{name}"));
        cargo.env("PORTCULLIS_XTASK", std::env::current_exe()?);
        let text = output(cargo.env("PORTCULLIS_FAULT_SECONDS", seconds.to_string()))?;
        let lines =
            text.lines().filter(|line| line.starts_with('|') || line.starts_with("counted"));
        let table: Vec<&str> = lines.collect();
        if table.is_empty() {
            bail!("{name} said nothing:\n{text}");
        }
        println!("\n{}", table.join("\n"));
        tables.push((name, table.join("\n")));
    }
    if options.write {
        for (name, table) in tables {
            put("docs/reliability.md", name, &table)?;
        }
    }
    Ok(())
}

/// The end-to-end test that does everything at random, for longer.
fn storm(options: &Options) -> Result<()> {
    let tools = tools::ensure(Extent::StackOnPostgres)?;
    crate::stack::build(&tools)?;
    let mut cargo = crate::cargo();
    cargo.args(["test", "-p", "portcullis-e2e", "--test", "it", "--"]);
    cargo.args(["--nocapture", "--test-threads", "1", "resilience::storm::"]);
    cargo.env("PORTCULLIS_XTASK", std::env::current_exe()?);
    let text =
        output(cargo.env("PORTCULLIS_STORM_SECONDS", if options.quick { "15" } else { "60" }))?;
    for line in text.lines().filter(|line| line.contains("storm of")) {
        println!("{line}");
    }
    Ok(())
}

/// What is asked, and how many commands that is.
struct Load {
    name: &'static str,
    path: &'static str,
    body: &'static str,
    commands: u32,
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

/// One measurement.
#[derive(Clone, Copy)]
struct Sample {
    /// Requests a second by wrk through the redis gateway.
    requests: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// The redis gateway's CPU.
    cpu_us: f64,
    /// redis-benchmark's own figure with one command a request, at as many connections.
    yardstick: f64,
    yardstick_p50_ms: f64,
    yardstick_p99_ms: f64,
}

fn gateway(options: &Options) -> Result<()> {
    let tools = tools::ensure(Extent::Bench)?;
    let mut cargo = crate::cargo();
    cargo.args(["build", "--release", "-p", "portcullis-redis-gateway"]);
    let build = Step { place: 1, of: 1, name: "gateway: build".to_owned(), seconds_max: None };
    step(&build, &mut cargo, &at("target/log/bench.log"))?;

    let folder = at("target/bench");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let [redis_port, port] = free_ports()?;
    let mut redis = Command::new("redis-server");
    redis.args(["--bind", "127.0.0.1", "--save", "", "--port", &redis_port.to_string()]);
    let _redis = Server::start("redis", redis.arg("--dir").arg(&folder), folder.join("redis.log"))?;
    let token = random_text();
    let mut gateway = Command::new(at("target/release/portcullis-redis-gateway"));
    gateway
        .env("REDIS_URL", format!("redis://127.0.0.1:{redis_port}"))
        .env("GATEWAY_LISTEN", loopback(port).to_string())
        .env("GATEWAY_TOKENS", format!("bench={token}"));
    // The log is written as ever; where to is not the redis gateway's cost.
    let mut gateway = Server::start("redis-gateway", &mut gateway, "/dev/null".into())?;
    gateway.wait_ready(
        loopback(port),
        "/readyz",
        |status| status == 200,
        Duration::from_secs(20),
    )?;
    output(Command::new("redis-cli").args(["-p", &redis_port.to_string(), "SET", "key", "value"]))?;

    let bench = Bench { redis_port, port, token, pid: gateway.pid(), tools };
    let (rounds, seconds) = if options.quick { (1, 2) } else { (3, 4) };
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
    let memory = bench.memory(if options.quick { 100_000 } else { 1_000_000 })?;
    let text = report(&rows, &memory, rounds, seconds);
    println!("\n{text}");
    write_atomically(&folder.join("gateway.json"), &raw(&rows, &memory).to_string())?;
    if options.write {
        put("docs/performance.md", "gateway", &text)?;
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
        // Looking at each answer costs wrk as much as the rest of its work, so it is done beforehand.
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

    /// Requests a second, and the latencies, of GET straight to Redis.
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

    /// How many requests, how many a second, and the latencies, through the redis gateway. Every answer must
    /// be 200, and with `look` the right one.
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

    /// The redis gateway's resident memory, in KiB, after as many requests as stand beside it.
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

fn report(
    rows: &[(&Load, u32, Vec<Sample>)],
    memory: &[(u64, u64)],
    rounds: u32,
    seconds: u32,
) -> String {
    let mut text = format!(
        "Medians of {rounds} rounds of {seconds} s, wrk with one thread; in brackets the lowest and the highest \
         ratio of a round.\n\n\
         | request | connections | requests/s | of redis-benchmark -P 1 | p50 ms | p99 ms | p99/p50 \
         | CPU of the redis gateway a request | redis-benchmark: requests/s, p50, p99 ms |\n\
         |---|---|---|---|---|---|---|---|---|\n"
    );
    for (load, connections, samples) in rows {
        let of = |f: fn(&Sample) -> f64| spread(samples.iter().map(f).collect());
        let ratio = spread(samples.iter().map(|s| s.requests / s.yardstick).collect());
        let commands = if load.commands > 1 {
            format!(" ({:.0} commands)", of(|s| s.requests)[1] * f64::from(load.commands))
        } else {
            String::new()
        };
        text.push_str(&format!(
            "| {} | {connections} | {:.0}{commands} | {:.2} ({:.2} to {:.2}) | {:.2} | {:.2} | {:.1} | {:.0} µs | {:.0}, {:.2}, {:.2} |\n",
            load.name,
            of(|s| s.requests)[1],
            ratio[1], ratio[0], ratio[2],
            of(|s| s.p50_ms)[1],
            of(|s| s.p99_ms)[1],
            of(|s| s.p99_ms / s.p50_ms)[1],
            of(|s| s.cpu_us)[1],
            of(|s| s.yardstick)[1],
            of(|s| s.yardstick_p50_ms)[1],
            of(|s| s.yardstick_p99_ms)[1],
        ));
    }
    let points: Vec<String> = memory
        .iter()
        .step_by((memory.len() / 6).max(1))
        .map(|(count, kib)| format!("{:.1} MiB after {count}", *kib as f64 / 1024.0))
        .collect();
    text.push_str(&format!(
        "\nResident memory of the redis gateway, after the load above and as many GETs more: {}.\n",
        points.join(", ")
    ));
    text
}

fn raw(rows: &[(&Load, u32, Vec<Sample>)], memory: &[(u64, u64)]) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|(load, connections, samples)| {
            let samples: Vec<Value> = samples
                .iter()
                .map(|s| {
                    json!({
                        "requests_per_second": s.requests, "p50_ms": s.p50_ms, "p99_ms": s.p99_ms,
                        "cpu_us": s.cpu_us, "redis_benchmark_requests_per_second": s.yardstick,
                        "redis_benchmark_p50_ms": s.yardstick_p50_ms,
                        "redis_benchmark_p99_ms": s.yardstick_p99_ms,
                    })
                })
                .collect();
            json!({ "request": load.name, "connections": connections, "rounds": samples })
        })
        .collect();
    json!({ "rows": rows, "memory_kib_after_requests": memory })
}

/// Puts a text between its marks in a document.
fn put(document: &str, name: &str, text: &str) -> Result<()> {
    let file = at(document);
    let old = fs::read_to_string(&file)?;
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let (before, rest) = old.split_once(&begin).with_context(|| format!("no mark {name}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("no end of {name}"))?;
    fs::write(&file, format!("{before}{begin}\n{text}\n{end}{after}"))?;
    Ok(())
}

/// The lowest, the median and the highest.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
    [at(0), at(values.len() / 2), at(values.len().saturating_sub(1))]
}

pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// User and system time of a process, in microseconds. Linux counts it in hundredths of a second.
fn cpu_us(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(") ").context("/proc/stat")?.1;
    let ticks: Vec<f64> =
        fields.split(' ').skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    Ok(ticks.iter().sum::<f64>() * 10_000.0)
}

fn resident_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.trim().trim_end_matches(" kB").parse().context("VmRSS")
}

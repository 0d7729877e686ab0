//! Measures the auth service: refreshes, logins and tokens of clients a second, on either database,
//! directly at its port.

use super::measure::{cpu_us, output, put, spread};
use crate::process::{self, Server, write_private};
use crate::stack::{self, loopback, random_text};
use crate::tasks::step;
use crate::tools::{self, Extent};
use crate::{at, postgres};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const CONNECTIONS: u32 = 16;
const PASSWORD: &str = "correct horse battery";

/// One measurement of a round.
struct Sample {
    refreshes: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_us: f64,
    logins: f64,
    login_cpu_us: f64,
    grants: f64,
    grant_p50_ms: f64,
    grant_p99_ms: f64,
    grant_cpu_us: f64,
}

/// What clients send.
#[derive(Clone, Copy)]
enum Load<'a> {
    Refreshes,
    Logins,
    /// Grants of client credentials, with this form.
    Grants(&'a str),
}

pub fn run(quick: bool, write: bool) -> Result<()> {
    let tools = tools::ensure(Extent::Bench)?;
    tools::ensure(Extent::StackOnPostgres)?;
    let mut cargo = crate::cargo();
    cargo.args(["build", "--release", "-p", "portcullis-redis-gateway", "-p", "portcullis-auth"]);
    step("redis gateway and auth: build", &mut cargo, &at("target/log/bench.log"))?;

    let folder = at("target/bench");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let [redis_port, gateway_port, gateway_admin_port] = xtask_ports::free_ports()?;
    let mut redis = Command::new("redis-server");
    redis.args(["--bind", "127.0.0.1", "--save", "", "--port", &redis_port.to_string()]);
    let mut servers = stack::Servers::default();
    redis.arg("--dir").arg(&folder);
    servers.0.push(Server::start("redis", &mut redis, folder.join("redis.log"))?);
    let token = random_text();
    let mut gateway = Command::new(at("target/release/portcullis-redis-gateway"));
    gateway
        .env("REDIS_URL", format!("redis://127.0.0.1:{redis_port}"))
        .env("GATEWAY_LISTEN", loopback(gateway_port).to_string())
        .env("GATEWAY_ADMIN_LISTEN", loopback(gateway_admin_port).to_string())
        .env("GATEWAY_TOKENS", format!("auth={token}"));
    servers.0.push(Server::start("redis-gateway", &mut gateway, "/dev/null".into())?);
    servers.wait_ready(loopback(gateway_admin_port), "/readyz", |status| status == 200, 20)?;
    let postgres = postgres::folder();
    postgres::start(&postgres, |name| folder.join(format!("{name}.log")), &mut servers)?;

    let (rounds, seconds) = if quick { (1, 3) } else { (5, 8) };
    let mut rows = Vec::new();
    let sqlite = format!("sqlite://{}", folder.join("auth.db").display());
    for (name, url) in [("SQLite", sqlite), ("Postgres", postgres::url(&postgres))] {
        let config = folder.join(format!("{name}.toml"));
        let [port, admin_port] = xtask_ports::free_ports()?;
        let settings = serde_json::json!({
            "server": {
                "listen": loopback(port).to_string(),
                "admin_listen": loopback(admin_port).to_string(),
            },
            "database": { "url": url },
            "tokens": { "issuer": "https://api.example", "audience": "https://api.example" },
            "store": {
                "url": format!("http://{}", loopback(gateway_port)), "token_file": "store-token",
            },
            "record_encryption": { "key_file": "record-encryption-key" },
            "signing": { "master_key_file": format!("{name}-master-key") },
            "login": { "attempts_per_username": 0, "attempts_per_address": 0 },
        });
        let key = stack::record_encryption_key;
        write_private(&folder.join("store-token"), &token)?;
        write_private(&folder.join("record-encryption-key"), &key())?;
        write_private(&folder.join(format!("{name}-master-key")), &key())?;
        write_private(&config, &toml::to_string(&settings)?)?;
        command(&config, &["migrate"], "")?;
        command(&config, &["user", "add", "--username", "bench", "--scope", "api:read"], PASSWORD)?;
        let client = ["client", "create", "--name", "bench", "--scope", "api:read"];
        let form = grant_form(&command(&config, &client, "")?)?;
        let mut auth = program(&config);
        let mut auth = Server::start("auth", auth.arg("serve"), "/dev/null".into())?;
        let within = Duration::from_secs(20);
        auth.wait_ready(loopback(admin_port), "/readyz", |status| status == 200, within)?;
        let mut samples = Vec::new();
        for _ in 0..rounds {
            process::check_stop()?;
            let server = (port, auth.pid());
            samples.push(sample(&tools, &folder, server, seconds, &form)?);
        }
        eprintln!("{name}: done");
        rows.push((name, samples));
    }
    drop(servers);
    let _ = fs::remove_dir_all(&postgres);
    let text = report(&rows, rounds, seconds);
    println!("\n{text}");
    if write {
        put("docs/performance.md", "auth", &text)?;
    }
    Ok(())
}

fn program(config: &Path) -> Command {
    let mut auth = Command::new(at("target/release/portcullis-auth"));
    auth.arg("--config").arg(config);
    auth
}

/// Runs a command of the auth service, and returns its output.
fn command(config: &Path, arguments: &[&str], input: &str) -> Result<String> {
    let mut command = program(config);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(output.status.success(), "{text}");
    Ok(text)
}

/// Returns the form by which a client asks for a token, from the output of the command that created
/// it.
fn grant_form(created: &str) -> Result<String> {
    let created: serde_json::Value = serde_json::from_str(created.trim())?;
    let text = |name: &str| created.get(name).and_then(serde_json::Value::as_str);
    let (id, secret) = text("client_id").zip(text("client_secret")).context("no client")?;
    Ok(format!("grant_type=client_credentials&client_id={id}&client_secret={secret}"))
}

fn sample(
    tools: &tools::Tools,
    folder: &Path,
    (port, pid): (u16, u32),
    seconds: u32,
    form: &str,
) -> Result<Sample> {
    let measure = |kind: Load<'_>| -> Result<([f64; 4], f64)> {
        let before = cpu_us(pid)?;
        let measured = load(tools, folder, port, seconds, kind)?;
        let [count, ..] = measured;
        Ok((measured, (cpu_us(pid)? - before) / count))
    };
    let ([_, refreshes, p50_ms, p99_ms], cpu_us) = measure(Load::Refreshes)?;
    let ([_, logins, ..], login_cpu_us) = measure(Load::Logins)?;
    let ([_, grants, grant_p50_ms, grant_p99_ms], grant_cpu_us) = measure(Load::Grants(form))?;
    Ok(Sample {
        refreshes,
        p50_ms,
        p99_ms,
        cpu_us,
        logins,
        login_cpu_us,
        grants,
        grant_p50_ms,
        grant_p99_ms,
        grant_cpu_us,
    })
}

/// Runs wrk. Each of its threads is one client with one connection. A client logs in and then
/// refreshes with its latest token, or logs in again each time. Or it gets one token after the
/// other for itself.
fn load(
    tools: &tools::Tools,
    folder: &Path,
    port: u16,
    seconds: u32,
    kind: Load<'_>,
) -> Result<[f64; 4]> {
    let script = folder.join("auth.lua");
    let refreshes = matches!(kind, Load::Refreshes);
    let grant = match kind {
        Load::Grants(form) => format!("'{form}'"),
        Load::Refreshes | Load::Logins => "nil".to_owned(),
    };
    let whole = format!(
        "local threads = {{}}\n\
         function setup(thread) table.insert(threads, thread) end\n\
         wrong = 0\n\
         local token\n\
         local fields = {{ ['Content-Type'] = 'application/json' }}\n\
         local grant = {grant}\n\
         local form = {{ ['Content-Type'] = 'application/x-www-form-urlencoded' }}\n\
         function request()\n\
           if grant then\n\
             return wrk.format('POST', '/oauth/token', form, grant)\n\
           end\n\
           if token and {refreshes} then\n\
             return wrk.format('POST', '/auth/refresh', fields, '{{\"refresh_token\":\"' .. token .. '\"}}')\n\
           end\n\
           return wrk.format('POST', '/auth/login', fields, '{{\"username\":\"bench\",\"password\":\"{PASSWORD}\"}}')\n\
         end\n\
         function response(status, headers, body)\n\
           if status ~= 200 then wrong = wrong + 1 else token = body:match('\"refresh_token\":\"([^\"]+)\"') end\n\
         end\n\
         function done(summary, latency)\n\
           local bad = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout\n\
           for _, thread in ipairs(threads) do bad = bad + thread:get('wrong') end\n\
           io.write(string.format('RESULT %d %d %d %d %d\\n', summary.requests, summary.duration,\n\
             latency:percentile(50), latency:percentile(99), bad))\n\
         end\n"
    );
    write_private(&script, &whole)?;
    let connections = CONNECTIONS.to_string();
    let text = output(
        tools
            .command("wrk")
            .args(["-t", &connections, "-c", &connections, "-d", &format!("{seconds}s"), "-s"])
            .arg(&script)
            .arg(format!("http://{}", loopback(port))),
    )?;
    let line =
        text.lines().find_map(|line| line.strip_prefix("RESULT ")).context("wrk: no result")?;
    let numbers: Vec<f64> = line.split(' ').filter_map(|number| number.parse().ok()).collect();
    match numbers.as_slice() {
        [.., bad] if *bad > 0.0 => bail!("{bad} answers were wrong"),
        [count, micros, p50, p99, _] => Ok([*count, count / micros * 1e6, p50 / 1e3, p99 / 1e3]),
        _ => bail!("wrk: {text}"),
    }
}

fn report(rows: &[(&str, Vec<Sample>)], rounds: u32, seconds: u32) -> String {
    let mut text = format!(
        "{CONNECTIONS} clients, medians of {rounds} rounds of {seconds} s each, with the lowest and the highest.\n\n\
         | database | refreshes/s | p50 ms | p99 ms | CPU of the auth service a refresh | logins/s | CPU of the auth service a login |\n\
         |---|---|---|---|---|---|---|\n"
    );
    for (name, samples) in rows {
        let of = |f: fn(&Sample) -> f64| spread(samples.iter().map(f).collect());
        let (refreshes, logins) = (of(|s| s.refreshes), of(|s| s.logins));
        text.push_str(&format!(
            "| {name} | {:.0} ({:.0} to {:.0}) | {:.1} | {:.1} | {:.0} µs | {:.0} ({:.0} to {:.0}) | {:.1} ms |\n",
            refreshes[1], refreshes[0], refreshes[2],
            of(|s| s.p50_ms)[1],
            of(|s| s.p99_ms)[1],
            of(|s| s.cpu_us)[1],
            logins[1], logins[0], logins[2],
            of(|s| s.login_cpu_us)[1] / 1e3,
        ));
    }
    text.push_str(
        "\n| database | client_credentials grants/s | p50 ms | p99 ms | CPU of the auth service a grant |\n\
         |---|---|---|---|---|\n",
    );
    for (name, samples) in rows {
        let of = |f: fn(&Sample) -> f64| spread(samples.iter().map(f).collect());
        let grants = of(|s| s.grants);
        text.push_str(&format!(
            "| {name} | {:.0} ({:.0} to {:.0}) | {:.1} | {:.1} | {:.0} µs |\n",
            grants[1],
            grants[0],
            grants[2],
            of(|s| s.grant_p50_ms)[1],
            of(|s| s.grant_p99_ms)[1],
            of(|s| s.grant_cpu_us)[1],
        ));
    }
    text
}

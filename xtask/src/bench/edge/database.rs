//! Counts the queries of the database during requests, in the whole system with an auth service on
//! Postgres that logs each statement.

use super::load::{Order, Traffic, Wrk};
use crate::bench::measure::output;
use crate::process::{self, http_post};
use crate::stack::{self, Database, Plan, USERNAME, loopback};
use crate::tools::{self, Extent};
use crate::{at, postgres};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Returns the number of requests, the statements of the database meanwhile, and those of one
/// refresh. Each user has one token, which lives 15 minutes.
pub fn measure(users: u32, requests: u32) -> Result<(u64, u64, f64)> {
    let tools = tools::ensure(Extent::StackOnPostgres)?;
    stack::build(&tools)?;
    let folder = at("target/bench/database");
    fs::create_dir_all(&folder)?;
    let plan = Plan::new(folder, xtask_ports::free_ports()?, Database::Postgres);
    let servers = stack::start(&plan, &tools);
    let outcome = servers.and_then(|_running| count(&plan, &tools, users, requests));
    let _ = fs::remove_dir_all(postgres::folder());
    outcome
}

fn count(plan: &Plan, tools: &tools::Tools, users: u32, requests: u32) -> Result<(u64, u64, f64)> {
    let copies = format!(
        "INSERT INTO users (id, username, password_hash, scope, created_at) SELECT 'u' || n, 'user' || n, password_hash, \
         scope, created_at FROM users, generate_series(1, {users}) n WHERE username = '{USERNAME}'"
    );
    sql(&copies)?;
    let (mut tokens, mut refreshes) = (String::new(), Vec::new());
    for user in 1..=users {
        process::check_stop()?;
        let body = json!({ "username": format!("user{user}"), "password": plan.password });
        let (status, answer) = http_post(loopback(plan.ports.auth), "/auth/login", "", &body)?;
        ensure!(status == 200, "login: {status} {answer}");
        let answer: Value = serde_json::from_str(&answer)?;
        let part = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        tokens.push_str(&part("access_token").context("no access token")?);
        tokens.push('\n');
        refreshes.push(part("refresh_token").context("no refresh token")?);
    }
    fs::write(plan.folder.join("tokens.txt"), tokens)?;
    sql("ALTER SYSTEM SET log_statement = 'all'")?;
    sql("SELECT pg_reload_conf()")?;
    // Waits until Postgres has reloaded its settings, and the auth service has delivered its
    // outbox.
    std::thread::sleep(Duration::from_secs(5));

    let wrk = Wrk {
        tools,
        folder: &plan.folder,
        connections: 16,
        traffic: Traffic::Good,
        tokens: users,
        skip: 0,
        order: Order::InTurn,
        pause_ms: 0,
    };
    let before = statements(&plan.log("postgres"))?;
    let mut sent = 0;
    while sent < u64::from(requests) {
        process::check_stop()?;
        sent += wrk.send(plan.ports.edge, 5)?.count as u64;
    }
    let between = statements(&plan.log("postgres"))?;
    let few: Vec<&String> = refreshes.iter().take(20).collect();
    for token in &few {
        let body = json!({ "refresh_token": token });
        let (status, answer) = http_post(loopback(plan.ports.auth), "/auth/refresh", "", &body)?;
        ensure!(status == 200, "refresh: {status} {answer}");
    }
    let after = statements(&plan.log("postgres"))?;
    Ok((sent, between - before, (after - between) as f64 / few.len() as f64))
}

fn sql(text: &str) -> Result<String> {
    let psql = tools::postgres_bin().context("PostgreSQL is not installed")?.join("psql");
    let mut psql = Command::new(psql);
    psql.arg(postgres::url(&postgres::folder())).args(["-v", "ON_ERROR_STOP=1", "-c", text]);
    output(&mut psql)
}

/// Returns the number of queries so far, without the statements that begin and end transactions.
fn statements(log: &Path) -> Result<u64> {
    let text = fs::read_to_string(log)?;
    let is_query = |line: &&str| {
        let said = line.split_once("LOG:  execute").or_else(|| line.split_once("LOG:  statement:"));
        said.is_some_and(|(_, said)| !["BEGIN", "COMMIT", "ROLLBACK"].contains(&said.trim()))
    };
    let statements = text.lines().filter(is_query);
    Ok(statements.count() as u64)
}

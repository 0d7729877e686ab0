//! End-to-end tests that run for longer: tables of faults, a soak, and a storm of clients.

use super::measure::{output, put};
use super::pictures;
use crate::at;
use crate::process::{self, write_atomically};
use crate::tools::{self, Extent};
use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

/// Runs the end-to-end tests of faults for longer, or one of them. Their output is the tables.
pub fn faults(quick: bool, write: bool, table: Option<&str>) -> Result<()> {
    let tools = tools::ensure(Extent::Stack)?;
    crate::stack::build(&tools)?;
    let seconds = if quick { 2 } else { 20 };
    let mut tables = Vec::new();
    let subjects = [
        (
            "store-faults",
            "resilience::faults::store::routes_follow_their_outage_policy_under_store_faults",
        ),
        (
            "auth-faults",
            "resilience::faults::auth_service::validation_is_unaffected_by_auth_service_faults",
        ),
        ("upstream-faults", "resilience::faults::upstream::upstream_faults_become_gateway_errors"),
        ("limit-race", "edge::limit_script::concurrent_connections_do_not_exceed_the_quota"),
        ("leases", "edge::limits::leases::steady_caller_does_not_wait_for_a_distant_store"),
        ("lease-race", "edge::limits::leases::no_interval_exceeds_the_quota_over_four_isolates"),
        (
            "store-losses",
            "edge::limits::failover::store_that_loses_data_admits_what_it_lost_once_more_at_most",
        ),
    ];
    let names = subjects.map(|(name, _)| name);
    if table.is_some_and(|table| !names.contains(&table)) {
        bail!("--table: must be one of {}", names.join(", "));
    }
    for (name, test) in
        subjects.into_iter().filter(|(name, _)| table.is_none_or(|one| one == *name))
    {
        process::check_stop()?;
        eprintln!("{name}");
        let mut cargo = tests(&["--exact", test])?;
        let text = output(cargo.env("PORTCULLIS_FAULT_SECONDS", seconds.to_string()))?;
        let lines = text.lines().filter(|line| line.starts_with('|') || line.starts_with("leased"));
        let table: Vec<&str> = lines.collect();
        if table.is_empty() {
            bail!("{name} said nothing:\n{text}");
        }
        println!("\n{}", table.join("\n"));
        tables.push((name, table.join("\n")));
    }
    if write {
        for (name, table) in tables {
            put("docs/reliability.md", name, &table)?;
        }
    }
    Ok(())
}

/// The end-to-end tests whose measurements are pictures: each prints its name and a line of JSON.
pub fn outage(quick: bool, write: bool) -> Result<()> {
    let tools = tools::ensure(Extent::Stack)?;
    crate::stack::build(&tools)?;
    let subjects = [
        ("outage", "resilience::faults::timeline::statuses_follow_the_store_over_time"),
        ("burst", "edge::limit_script::burst_is_admitted_as_each_algorithm_says"),
    ];
    let mut measured = Map::new();
    for (name, test) in subjects {
        process::check_stop()?;
        eprintln!("{name}");
        let mut cargo = tests(&["--exact", test])?;
        cargo.env("PORTCULLIS_FAULT_SECONDS", if quick { "2" } else { "10" });
        let text = output(&mut cargo)?;
        let mark = format!("{name} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&mark));
        let line = line.with_context(|| format!("{name} said nothing:\n{text}"))?;
        println!("{name} {line}");
        measured.insert(name.to_owned(), serde_json::from_str(line)?);
    }
    if write {
        let text = format!("{}\n", Value::Object(measured));
        write_atomically(&at(pictures::RELIABILITY), &text)?;
        pictures::draw()?;
    }
    Ok(())
}

/// The end-to-end test of the whole system under load and faults.
pub const SOAK: &str = "resilience::soak::whole_stack_keeps_its_promises_under_load_and_faults";

/// Runs the soak for some minutes, and prints its output as it arrives. Returns an error if a
/// promise is broken, but writes the tables in any case.
pub fn soak(minutes: u64, seed: Option<u64>, write: bool) -> Result<()> {
    let tools = tools::ensure(Extent::Stack)?;
    crate::stack::build(&tools)?;
    let mut cargo = tests(&["--exact", SOAK])?;
    cargo.env("PORTCULLIS_SOAK_SECONDS", (minutes * 60).to_string());
    if let Some(seed) = seed {
        cargo.env("PORTCULLIS_SOAK_SEED", seed.to_string());
    }
    process::die_with_parent(&mut cargo);
    let mut child = cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut text = String::new();
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let line = line?;
        println!("{line}");
        text.push_str(&line);
        text.push('\n');
    }
    let status = child.wait()?;
    let tables = text
        .split_once("<!-- soak -->\n")
        .and_then(|(_, rest)| rest.split_once("<!-- end of soak -->"))
        .map(|(tables, _)| tables.trim_end());
    if let (true, Some(tables)) = (write, tables) {
        put("docs/reliability.md", "soak", tables)?;
    }
    if !status.success() || tables.is_none() {
        bail!("the soak failed ({status})");
    }
    Ok(())
}

/// Runs the end-to-end test of random clients for longer.
pub fn storm(quick: bool) -> Result<()> {
    let tools = tools::ensure(Extent::StackOnPostgres)?;
    crate::stack::build(&tools)?;
    let mut cargo = tests(&["--test-threads", "1", "resilience::storm::"])?;
    let text = output(cargo.env("PORTCULLIS_STORM_SECONDS", if quick { "15" } else { "60" }))?;
    for line in text.lines().filter(|line| line.contains("storm of")) {
        println!("{line}");
    }
    Ok(())
}

/// Returns the command that runs end-to-end tests and shows their output.
fn tests(arguments: &[&str]) -> Result<Command> {
    let mut cargo = crate::cargo();
    cargo.args(["test", "-p", "portcullis-e2e", "--test", "it", "--", "--nocapture"]);
    cargo.args(arguments).env("PORTCULLIS_XTASK", std::env::current_exe()?);
    Ok(cargo)
}

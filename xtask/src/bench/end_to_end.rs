//! End-to-end tests that run for longer: tables of faults, and a storm of clients.

use super::measure::{output, put};
use crate::process;
use crate::tools::{self, Extent};
use anyhow::{Result, bail};

/// The end-to-end tests that do harm, for longer; what they print is the tables.
pub fn faults(quick: bool, write: bool) -> Result<()> {
    let tools = tools::ensure(Extent::Stack)?;
    crate::stack::build(&tools)?;
    let seconds = if quick { 2 } else { 20 };
    let mut tables = Vec::new();
    let subjects = [
        ("faults", "the_store_does_harm"),
        ("faults", "the_origin_does_harm"),
        ("faults", "the_upstream_does_harm"),
        ("limit_script", "sixty_four_connections_get_no_more_than_the_quota"),
        ("limits", "what_is_counted_late_lets_through_what_arrives_within_one_trip"),
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
    if write {
        for (name, table) in tables {
            put("docs/reliability.md", name, &table)?;
        }
    }
    Ok(())
}

/// The end-to-end test that does everything at random, for longer.
pub fn storm(quick: bool) -> Result<()> {
    let tools = tools::ensure(Extent::StackOnPostgres)?;
    crate::stack::build(&tools)?;
    let mut cargo = crate::cargo();
    cargo.args(["test", "-p", "portcullis-e2e", "--test", "it", "--"]);
    cargo.args(["--nocapture", "--test-threads", "1", "storm::"]);
    cargo.env("PORTCULLIS_XTASK", std::env::current_exe()?);
    let text = output(cargo.env("PORTCULLIS_STORM_SECONDS", if quick { "15" } else { "60" }))?;
    for line in text.lines().filter(|line| line.contains("storm of")) {
        println!("{line}");
    }
    Ok(())
}

//! The parts of a test run, each a list of commands.

use super::effort::Effort;
use super::previous;
use super::report::Report;
use super::rust_example;
use crate::bench::{SOAK, instructions};
use crate::images::{self, Size};
use crate::programs::{self, Profile};
use crate::tools::Tools;
use crate::{at, costs, package, postgres, stack, worker};
use anyhow::Result;
use std::fs;
use std::process::Command;

/// Checks format, lints and documentation.
pub fn lint(tools: &Tools, report: &mut Report) -> Result<()> {
    report.check("format", cargo(&["fmt", "--all", "--check"]))?;
    let targets = ["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"];
    report.check("format of the fuzz targets", cargo(&targets))?;
    let example = ["fmt", "--manifest-path", "examples/rust-api/Cargo.toml", "--check"];
    report.check("format of the example in Rust", cargo(&example))?;
    report.check(
        "clippy",
        cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    )?;
    let mut clippy = tools.wasm_command("cargo");
    clippy.args(["clippy", "--target", "wasm32-unknown-unknown", "--lib"]);
    clippy.args([
        "-p",
        "portcullis-edge",
        "-p",
        "portcullis-core",
        "-p",
        "portcullis-redis-rest",
        "-p",
        "portcullis-memcached",
        "-p",
        "portcullis-setting-names",
        "--",
        "-D",
        "warnings",
    ]);
    report.check("clippy on wasm32", clippy)?;
    let mut doc = cargo(&["doc", "--workspace", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    report.check("documentation", doc)?;
    report.check(
        "imports, layers, lengths, names, links and prose",
        cargo(&["run", "-p", "portcullis-lint"]),
    )?;
    javascript(tools, report)?;
    docs(tools, report)
}

/// Builds the documentation's site, which fails for a dead link, and checks its generated table.
fn docs(tools: &Tools, report: &mut Report) -> Result<()> {
    let mut vitepress = tools.command("node");
    vitepress.current_dir(at("docs")).args(["node_modules/vitepress/bin/vitepress.js", "build"]);
    report.check("docs site", vitepress)?;
    let outcome = costs::check();
    let detail = outcome.as_ref().map_or_else(ToString::to_string, |()| "current".to_owned());
    report.note("table of costs", outcome.is_ok(), &detail);
    Ok(())
}

/// Checks the types of the edge's JavaScript, its wire format against the golden file, and its
/// deadlines.
fn javascript(tools: &Tools, report: &mut Report) -> Result<()> {
    // The types of the glue are generated together with the Worker.
    worker::build(tools)?;
    let mut tsc = Command::new(at("tests/e2e/clients/node_modules/.bin/tsc"));
    tsc.current_dir(at("src/js")).args(["--project", "tsconfig.json"]);
    report.check("types of the edge's JavaScript", tsc)?;
    let mut node = tools.command("node");
    node.args(["--test", "--test-reporter=tap"]);
    node.args(["protocol", "timer"].map(|name| format!("tests/edge-js/{name}.test.mjs")));
    report.check("wire format and deadlines in JavaScript", node)
}

/// Runs the unit tests. The auth service's tests also run on a Postgres.
pub fn unit(report: &mut Report) -> Result<()> {
    let (mut servers, folder) = (stack::Servers::default(), postgres::folder());
    let log = |name: &str| at("target/log").join(format!("{name}.log"));
    let outcome = postgres::start(&folder, log, &mut servers).and_then(|()| {
        let mut test =
            cargo(&["test", "--workspace", "--exclude", "portcullis-e2e", "--no-fail-fast"]);
        test.env("PORTCULLIS_TEST_POSTGRES", postgres::url(&folder));
        report.check("unit tests", test)
    });
    drop(servers);
    let _ = fs::remove_dir_all(&folder);
    outcome
}

/// Runs the unit tests of core and of the protocols on wasm32.
pub fn wasm(tools: &Tools, report: &mut Report) -> Result<()> {
    report.check("runner of the tests on wasm32", cargo(&["build", "-p", "xtask-wasm-test"]))?;
    let mut cargo = tools.wasm_command("cargo");
    cargo.args(["test", "--target", "wasm32-unknown-unknown", "--lib"]);
    for package in [
        "portcullis-redis-rest",
        "portcullis-memcached",
        "portcullis-core",
        "portcullis-setting-names",
    ] {
        cargo.args(["-p", package]);
    }
    let runner = at("target/debug/xtask-wasm-test");
    cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", runner);
    report.check("unit tests on wasm32", cargo)
}

/// Builds the Worker, tries its deployment, and compares its size with the limit.
pub fn bundle(tools: &Tools, report: &mut Report) -> Result<()> {
    worker::build(tools)?;
    let mut deploy = tools.command("wrangler");
    deploy
        .args(["deploy", "--dry-run", "--outdir"])
        .arg(at("target/deploy"))
        .env("WRANGLER_SEND_METRICS", "false")
        .env("WRANGLER_LOG_PATH", at("target/log/wrangler"));
    report.check("a dry run of the deployment", deploy)?;
    let bytes = worker::gzip_bytes()?;
    let detail = format!("{bytes} bytes gzipped, {WORKER_GZIP_BYTES_MAX} allowed");
    report.note("the Worker's size", bytes <= WORKER_GZIP_BYTES_MAX, &detail);
    Ok(())
}

/// Counts the instructions of core's hot functions.
pub fn instructions(report: &mut Report) -> Result<()> {
    let comparable = instructions::is_comparable()?;
    for count in instructions::measure()? {
        let detail = format!("{} instructions, {} committed", count.now, count.committed);
        // The counts of another compiler show nothing about the change.
        let good = !comparable || !count.is_worse();
        report.note(&format!("instructions of {}", count.name), good, &detail);
    }
    Ok(())
}

/// Runs the end-to-end tests. Then repeats those that do not depend on Redis on memcached.
pub fn e2e(tools: &Tools, effort: Effort, only: Option<&str>, report: &mut Report) -> Result<()> {
    // The stack's own programs are built last, so that the tests find these where Cargo puts both.
    let programs = programs::build(Profile::Debug)?;
    stack::build(tools)?;
    package::build_for_tests(tools)?;
    for Size { name, bytes, bytes_max } in images::build_for_tests(&programs)? {
        let detail = format!("{bytes} bytes, {bytes_max} allowed");
        report.note(&format!("the image {name}"), bytes <= bytes_max, &detail);
    }
    if effort.is_long {
        rust_example::build(tools)?;
    }
    let xtask = std::env::current_exe()?;
    let tests = |names: &[&str], store: &str| {
        let mut test = cargo(&["test", "-p", "portcullis-e2e", "--test", "it", "--"]);
        test.args(names).env("PORTCULLIS_XTASK", &xtask).env("PORTCULLIS_STORE", store);
        test.env("PORTCULLIS_STORM_SECONDS", effort.storm_seconds.to_string());
        test.env("PORTCULLIS_CRASH_ROUNDS", effort.crash_rounds.to_string());
        test.env("PORTCULLIS_CRASH_STRIDE", effort.crash_stride.to_string());
        test.env("PORTCULLIS_EXPLAINED_POLICIES", effort.explained_policies.to_string());
        test.env("PORTCULLIS_SOAK_SECONDS", effort.soak_seconds.to_string());
        test.env("PORTCULLIS_SOAK_PER_SECOND", effort.soak_per_second.to_string());
        test.env("RUST_TEST_THREADS", threads().to_string());
        test
    };
    if effort.is_long && only.is_none() {
        match previous::build()? {
            None => report.note("the previous version", true, "no version is tagged yet"),
            Some(folder) => {
                let mut test = tests(&["--ignored", "--exact", WITH_PREVIOUS], "redis");
                test.env("PORTCULLIS_PREVIOUS", folder);
                report.check("the previous version", test)?;
            }
        }
    }
    let others = vec!["--skip", SOAK, "--skip", FAULTS, "--skip", CONSOLE];
    let mut wanted = only.map_or(others, |only| vec![only]);
    if only.is_none() && !effort.is_long {
        wanted.extend(["--skip", WAITS_A_MINUTE, "--skip", COMPILES_TWO_MINUTES]);
    }
    report.check_timed("end to end", |names| {
        tests(if names.is_empty() { &wanted } else { names }, "redis")
    })?;
    if only.is_some() {
        return Ok(());
    }
    // These measure times and count failures, so each has the machine for itself.
    let alone = |names: &[&str], store: &str| {
        let mut test = tests(names, store);
        test.env("RUST_TEST_THREADS", "1");
        test
    };
    report.begin("e2e, one at a time");
    for (store, wanted) in [("redis", FAULTS), ("memcached", FAULTS_OF_STORE)] {
        let wanted = [wanted];
        report.check_timed(&format!("faults, {store}"), |names| {
            alone(if names.is_empty() { &wanted } else { names }, store)
        })?;
    }
    report.check_timed("console", |names| {
        alone(if names.is_empty() { &[CONSOLE] } else { names }, "redis")
    })?;
    report.check("soak", alone(&["--nocapture", "--exact", SOAK], "redis"))?;
    report.begin("e2e on memcached");
    let mut wanted = ON_MEMCACHED.to_vec();
    if effort.is_long {
        wanted.extend(ON_MEMCACHED_TOO);
    }
    report.check_timed("end to end on memcached", |names| {
        tests(if names.is_empty() { &wanted } else { names }, "memcached")
    })
}

/// Returns the number of end-to-end tests to run at once: two more than the cores, because most of
/// their time is waiting for deadlines.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from) + 2
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = crate::cargo();
    cargo.args(arguments);
    cargo
}

/// A test that waits until a marker would have been written for the last time.
const WAITS_A_MINUTE: &str = "resilience::eviction::evicted_marker_is_restored";

/// The tests that compare what clients see under each fault with what the documentation says.
const FAULTS: &str = "resilience::faults::";
const FAULTS_OF_STORE: &str = "resilience::faults::store::";

/// The test that measures how soon the console responds in a browser.
const CONSOLE: &str = "console::console_responds_in_time_";

/// The test that runs programs of the version before this one next to its own.
const WITH_PREVIOUS: &str = "resilience::neighbours::previous_version_works_with_this_one";
/// A test of the example of a Worker in Rust, which only long runs compile.
const COMPILES_TWO_MINUTES: &str = "clients::rust_worker::";

/// The end-to-end tests that also run on memcached: sessions, tokens, limits of fixed windows,
/// and breakers. They need no scripts and do not read from Redis or the redis gateway.
const ON_MEMCACHED: [&str; 14] = [
    "auth::sessions::",
    "auth::third_party::",
    "edge::forwarding::",
    "edge::introspection::",
    "edge::limits::counting::exceeding_",
    "edge::limits::counting::requests_",
    "edge::limits::outages::routes_and_limits_",
    "edge::revocation::",
    "edge::timeouts::",
    "resilience::breakers::aborted_",
    "resilience::breakers::breaker_",
    "resilience::breakers::new_isolate_",
    "resilience::breakers::unknown_",
    "security::refusals::",
];

/// The tests that run on memcached only in long runs, because most of what they test is decided
/// before the store is queried.
const ON_MEMCACHED_TOO: [&str; 6] = [
    "edge::browsers::",
    "edge::http_semantics::",
    "edge::key_sets::",
    "edge::paths::",
    "security::algorithms::",
    "security::hostile::",
];

/// The size of the Worker when this was set, and 1%.
const WORKER_GZIP_BYTES_MAX: usize = 281_000;

//! The tests, in the order of what they cost; one line of counts at the end.

use crate::bench::instructions;
use crate::tools::{self, Extent, Tools};
use crate::{at, postgres, stack, worker};
use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Options of `cargo xtask test`.
#[derive(Args)]
pub struct Options {
    /// The part to run; all of them if none is named.
    part: Option<Part>,
    /// Names of the end-to-end tests to run; all of them if none is given.
    #[arg(long)]
    only: Option<String>,
    /// How long each fuzz target runs, in seconds.
    #[arg(long, default_value = "5")]
    fuzz_seconds: u32,
}

#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
enum Part {
    /// The bundle: a dry run of its deployment, and its size.
    Bundle,
    /// The whole system, as its users have it.
    E2e,
    /// Each fuzz target, for a moment.
    Fuzz,
    /// Instructions of core's hot functions, beside those that are committed.
    Instructions,
    /// Format, lints and documentation.
    Lint,
    /// Unit and property tests.
    Unit,
    /// The same tests of core and protocol on wasm32.
    Wasm,
}

pub fn run(options: &Options) -> Result<()> {
    let begun = Instant::now();
    let tools = tools::ensure(Extent::Everything)?;
    let mut tally = Tally::default();
    let parts = [
        Part::Lint,
        Part::Unit,
        Part::Wasm,
        Part::Fuzz,
        Part::Bundle,
        Part::Instructions,
        Part::E2e,
    ];
    for part in parts.into_iter().filter(|part| options.part.is_none_or(|wanted| wanted == *part)) {
        match part {
            Part::Lint => lint(&tools, &mut tally)?,
            Part::Unit => unit(&mut tally)?,
            Part::Instructions => instructions(&mut tally)?,
            Part::Wasm => wasm(&tools, &mut tally)?,
            Part::Fuzz => fuzz(&tools, options.fuzz_seconds, &mut tally)?,
            Part::Bundle => bundle(&tools, &mut tally)?,
            Part::E2e => e2e(&tools, options.only.as_deref(), &mut tally)?,
        }
    }
    println!("all of it took {} s", begun.elapsed().as_secs());
    for name in &tally.unsteady {
        println!("UNSTEADY: {name}: failed beside the others, and passed alone");
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed > 0 {
        bail!("failed: {}", tally.failures.join(", "));
    }
    Ok(())
}

/// What has passed and what has not: each test, and each check that is none.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    failures: Vec<String>,
    /// Those that passed the second time.
    unsteady: Vec<String>,
}

impl Tally {
    /// Runs a command and passes its output on. Tests that it reports are counted each; a command
    /// without any counts as one.
    fn check(&mut self, name: &str, command: Command) -> Result<()> {
        let outcome = watch(name, command)?;
        self.add(name, &outcome);
        Ok(())
    }

    /// The same for tests against clocks, sockets and browsers, several at once: a few that fail are run again, one by one
    /// on a quiet machine. What only fails beside others is told, and fails nothing.
    fn check_timed(&mut self, name: &str, command: impl Fn(&[&str]) -> Command) -> Result<()> {
        let mut outcome = watch(name, command(&[]))?;
        // Not where the run was cut off in the middle.
        let whole = outcome.summed == outcome.failed.len() as u64;
        if whole && (1..=UNSTEADY_MAX).contains(&outcome.failed.len()) {
            for test in std::mem::take(&mut outcome.failed) {
                let again = watch(&format!("{test}, once more"), command(&["--exact", &test]))?;
                if again.good && again.passed == 1 {
                    outcome.passed += 1;
                    self.unsteady.push(test);
                } else {
                    outcome.failed.push(test);
                }
            }
            outcome.good = outcome.failed.is_empty();
        }
        self.add(name, &outcome);
        Ok(())
    }

    fn add(&mut self, name: &str, outcome: &Outcome) {
        let failed = outcome.failed.len() as u64;
        self.passed += if outcome.good { u64::max(outcome.passed, 1) } else { outcome.passed };
        self.failed += if outcome.good { failed } else { u64::max(failed, 1) };
        if !outcome.good || failed > 0 {
            self.failures.push(name.to_owned());
        }
    }

    fn note(&mut self, name: &str, good: bool, detail: &str) {
        println!("-- {name}: {} ({detail})", if good { "good" } else { "FAILED" });
        if good {
            self.passed += 1;
        } else {
            self.failed += 1;
            self.failures.push(name.to_owned());
        }
    }
}

/// What came of a command: the tests that it reports, and itself.
struct Outcome {
    passed: u64,
    /// By name.
    failed: Vec<String>,
    /// How many failed, by the summaries.
    summed: u64,
    good: bool,
}

fn watch(name: &str, mut command: Command) -> Result<Outcome> {
    println!("\n== {name}");
    let begun = Instant::now();
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("{name}: {command:?}"))?;
    let (mut passed, mut summed, mut failed) = (0, 0, Vec::new());
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let line = line?;
        if let Some((_, counts)) = line.split_once("test result: ") {
            passed += count(counts, " passed");
            summed += count(counts, " failed");
        }
        let test = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"));
        failed.extend(test.map(str::to_owned));
        println!("{line}");
    }
    let tests = command.get_args().any(|argument| argument == "test");
    let good = child.wait()?.success() && !(tests && passed == 0 && failed.is_empty());
    let verdict = if good { "good" } else { "FAILED" };
    println!("-- {name}: {verdict} in {} s", begun.elapsed().as_secs());
    Ok(Outcome { passed, failed, summed, good })
}

/// The number before `word` in cargo's line of counts.
fn count(counts: &str, word: &str) -> u64 {
    let before = counts.split_once(word).map_or("", |(before, _)| before);
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn lint(tools: &Tools, tally: &mut Tally) -> Result<()> {
    tally.check("format", cargo(&["fmt", "--all", "--check"]))?;
    let targets = ["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"];
    tally.check("format of the fuzz targets", cargo(&targets))?;
    tally.check(
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
        "redis-rest",
        "-p",
        "memcached",
        "--",
        "-D",
        "warnings",
    ]);
    tally.check("clippy on wasm32", clippy)?;
    let mut doc = cargo(&["doc", "--workspace", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    tally.check("documentation", doc)
}

/// The auth service's tests have a Postgres, too.
fn unit(tally: &mut Tally) -> Result<()> {
    let (mut servers, folder) = (stack::Servers::default(), postgres::folder());
    let log = |name: &str| at("target/log").join(format!("{name}.log"));
    let outcome = postgres::start(&folder, log, &mut servers).and_then(|()| {
        let mut test = cargo(&["test", "--workspace", "--exclude", "portcullis-e2e"]);
        test.env("PORTCULLIS_TEST_POSTGRES", postgres::url(&folder));
        tally.check("unit tests", test)
    });
    drop(servers);
    let _ = fs::remove_dir_all(&folder);
    outcome
}

fn wasm(tools: &Tools, tally: &mut Tally) -> Result<()> {
    for folder in ["crates/redis-rest", "crates/memcached", "crates/core"] {
        let mut wasm_pack = tools.wasm_command("wasm-pack");
        wasm_pack.args(["test", "--node", "--mode", "no-install", folder, "--lib"]);
        tally.check(&format!("{folder} on wasm32"), wasm_pack)?;
    }
    Ok(())
}

/// Without a sanitizer, which stable Rust has not: the code under test holds no `unsafe`.
fn fuzz(tools: &Tools, seconds: u32, tally: &mut Tally) -> Result<()> {
    let cargo_fuzz = |action: &str| {
        let mut command = tools.command("cargo-fuzz");
        command.args(["fuzz", action, "--sanitizer", "none"]);
        command.env("CARGO_TARGET_DIR", at("target/fuzz"));
        command
    };
    let built = tally.failures.len();
    tally.check("fuzz targets", cargo_fuzz("build"))?;
    if tally.failures.len() > built {
        return Ok(());
    }
    let mut targets: Vec<_> = fs::read_dir(at("fuzz/seeds"))?.flatten().collect();
    targets.sort_by_key(fs::DirEntry::file_name);
    for target in targets {
        let name = target.file_name().to_string_lossy().into_owned();
        let corpus = at("target/fuzz/corpus").join(&name);
        fs::create_dir_all(&corpus)?;
        let mut run = cargo_fuzz("run");
        run.arg(&name).arg(&corpus).arg(target.path()).arg("--");
        run.arg(format!("-max_total_time={seconds}"));
        run.args(["-seed=1", "-max_len=8192", "-timeout=5", "-rss_limit_mb=2048", "-verbosity=0"]);
        tally.check(&format!("fuzz {name} for {seconds} s"), run)?;
    }
    Ok(())
}

fn bundle(tools: &Tools, tally: &mut Tally) -> Result<()> {
    worker::build(tools)?;
    let mut deploy = tools.command("wrangler");
    deploy
        .args(["deploy", "--dry-run", "--outdir"])
        .arg(at("target/deploy"))
        .env("WRANGLER_SEND_METRICS", "false")
        .env("WRANGLER_LOG_PATH", at("target/log/wrangler"));
    tally.check("a dry run of the deployment", deploy)?;
    let bytes = worker::gzip_bytes()?;
    let detail = format!("{bytes} bytes gzipped, {WORKER_GZIP_BYTES_MAX} allowed");
    tally.note("the Worker's size", bytes <= WORKER_GZIP_BYTES_MAX, &detail);
    Ok(())
}

fn instructions(tally: &mut Tally) -> Result<()> {
    let comparable = instructions::is_comparable()?;
    for count in instructions::measure()? {
        let detail = format!("{} instructions, {} committed", count.now, count.committed);
        // Another compiler makes others, which says nothing of the change.
        let good = !comparable || !count.is_worse();
        tally.note(&format!("instructions of {}", count.name), good, &detail);
    }
    Ok(())
}

fn e2e(tools: &Tools, only: Option<&str>, tally: &mut Tally) -> Result<()> {
    stack::build(tools)?;
    let xtask = std::env::current_exe()?;
    let tests = |names: &[&str], store: &str| {
        let mut test = cargo(&["test", "-p", "portcullis-e2e", "--test", "it", "--"]);
        test.args(names).env("PORTCULLIS_XTASK", &xtask).env("PORTCULLIS_STORE", store);
        test
    };
    let wanted: Vec<&str> = only.into_iter().collect();
    tally.check_timed("end to end", |names| {
        tests(if names.is_empty() { &wanted } else { names }, "redis")
    })?;
    if only.is_some() {
        return Ok(());
    }
    // What does not look into Redis, again on the other store.
    tally.check_timed("end to end on memcached", |names| {
        tests(if names.is_empty() { &ON_MEMCACHED } else { names }, "memcached")
    })
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = crate::cargo();
    cargo.args(arguments);
    cargo
}

/// The end-to-end tests that run on a memcached as well: those that ask of sessions, tokens and routes, and neither
/// need scripts nor look into Redis or the redis gateway.
const ON_MEMCACHED: [&str; 10] = [
    "algorithms::",
    "browsers::",
    "forwarding::",
    "hostile::",
    "keys::",
    "opaque::",
    "refusals::",
    "revocation::",
    "sessions::",
    "third_party::",
];

/// More than so many are no accident.
const UNSTEADY_MAX: usize = 3;

/// What the Worker weighs, and 5%.
const WORKER_GZIP_BYTES_MAX: usize = 210_000;

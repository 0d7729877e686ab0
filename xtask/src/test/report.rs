//! Results and durations of a test run.

use crate::process;
use anyhow::{Context as _, Result, anyhow};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The results of a run: every test, and every check that is not a test.
#[derive(Default)]
pub struct Report {
    passed: u64,
    failed: u64,
    failures: Vec<String>,
    /// Tests that failed in parallel with others and passed alone.
    unsteady: Vec<String>,
    parts: Vec<PartTime>,
}

struct PartTime {
    name: &'static str,
    begun: Instant,
    took: Option<Duration>,
}

impl Report {
    /// Starts the clock of a part, and stops that of the part before it.
    pub fn begin(&mut self, name: &'static str) {
        self.end_part();
        self.parts.push(PartTime { name, begun: Instant::now(), took: None });
    }

    fn end_part(&mut self) {
        if let Some(last) = self.parts.last_mut() {
            last.took.get_or_insert(last.begun.elapsed());
        }
    }

    /// Runs a command and prints its output. Counts each test that the output reports; a command
    /// without tests counts as one.
    pub fn check(&mut self, name: &str, command: Command) -> Result<()> {
        let outcome = watch(name, command)?;
        self.add(name, &outcome);
        Ok(())
    }

    /// Runs commands like [`Self::check`], as many at once as there are cores.
    pub fn check_at_once(&mut self, commands: Vec<(String, Command)>) -> Result<()> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let waiting = Mutex::new(commands.into_iter());
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
        let run = || {
            let mut outcomes = Vec::new();
            while let Some((name, command)) = next() {
                let outcome = watch(&name, command);
                outcomes.push((name, outcome));
            }
            outcomes
        };
        // Without its results, a thread that panicked would count as success.
        let outcomes = thread::scope(|scope| {
            let runs: Vec<_> = (0..cores).map(|_| scope.spawn(run)).collect();
            runs.into_iter().map(thread::ScopedJoinHandle::join).collect::<Result<Vec<_>, _>>()
        });
        let outcomes = outcomes.map_err(|_| anyhow!("a thread that runs checks panicked"))?;
        for (name, outcome) in outcomes.into_iter().flatten() {
            self.add(&name, &outcome?);
        }
        Ok(())
    }

    /// Runs tests that depend on clocks, sockets and browsers. Up to [`UNSTEADY_MAX`] failed tests
    /// are repeated one by one on the idle machine. A test that then passes is reported as unsteady
    /// instead of failed.
    pub fn check_timed(&mut self, name: &str, command: impl Fn(&[&str]) -> Command) -> Result<()> {
        let mut outcome = watch(name, command(&[]))?;
        // An interrupted run is not repeated.
        let complete = outcome.summed == outcome.failed.len() as u64;
        if complete && (1..=UNSTEADY_MAX).contains(&outcome.failed.len()) {
            for test in std::mem::take(&mut outcome.failed) {
                let again = watch(&format!("{test}, again"), command(&["--exact", &test]))?;
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

    /// Adds the result of a check that is not a command.
    pub fn note(&mut self, name: &str, good: bool, detail: &str) {
        println!("-- {name}: {} ({detail})", if good { "good" } else { "FAILED" });
        if good {
            self.passed += 1;
        } else {
            self.failed += 1;
            self.failures.push(name.to_owned());
        }
    }

    /// Returns the names of the checks that failed.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Prints the seconds of each part, and the counts as the last line.
    pub fn print(&mut self, total: Duration) {
        self.end_part();
        println!("\n| part | seconds |\n|---|---|");
        for part in &self.parts {
            println!("| {} | {} |", part.name, part.took.unwrap_or_default().as_secs());
        }
        println!("| total, with set-up | {} |\n", total.as_secs());
        for name in &self.unsteady {
            println!("UNSTEADY: {name}: failed next to others, and passed alone");
        }
        println!("{} passed, {} failed", self.passed, self.failed);
    }

    fn add(&mut self, name: &str, outcome: &Outcome) {
        let failed = outcome.failed.len() as u64;
        self.passed += if outcome.good { u64::max(outcome.passed, 1) } else { outcome.passed };
        self.failed += if outcome.good { failed } else { u64::max(failed, 1) };
        if !outcome.good || failed > 0 {
            self.failures.push(name.to_owned());
        }
    }
}

/// The result of a command, and of the tests that it reports.
struct Outcome {
    passed: u64,
    /// By name.
    failed: Vec<String>,
    /// The number of failed tests in the summary lines. It exceeds that of `failed` if a name is
    /// missing.
    summed: u64,
    good: bool,
}

fn watch(name: &str, mut command: Command) -> Result<Outcome> {
    process::check_stop()?;
    println!("\n== {name}");
    let begun = Instant::now();
    // The command leads its own process group, so that its tests end with it.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    process::die_with_parent(&mut command);
    let mut child = command.spawn().with_context(|| format!("{name}: {command:?}"))?;
    let output = child.stdout.take().context("no output")?;
    let ended = AtomicBool::new(false);
    let read = thread::scope(|scope| {
        scope.spawn(|| end_when_stopped(&child, &ended));
        let read = read(BufReader::new(output));
        ended.store(true, Ordering::SeqCst);
        read
    });
    let Read { passed, summed, failed } = read?;
    let tests = command.get_args().any(|argument| argument == "test");
    let status = child.wait()?;
    process::check_stop()?;
    let good = status.success() && !(tests && passed == 0 && failed.is_empty());
    let verdict = if good { "good" } else { "FAILED" };
    println!("-- {name}: {verdict} in {} s", begun.elapsed().as_secs());
    Ok(Outcome { passed, failed, summed, good })
}

/// The results of the tests, as read from a command's output.
struct Read {
    passed: u64,
    summed: u64,
    failed: Vec<String>,
}

/// Prints each line of the output, and counts the tests in it.
fn read(output: impl BufRead) -> Result<Read> {
    let (mut passed, mut summed, mut failed) = (0, 0, Vec::new());
    for line in output.lines() {
        let line = line?;
        if let Some((_, counts)) = line.split_once("test result: ") {
            passed += count(counts, " passed");
            summed += count(counts, " failed");
        }
        let test = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"));
        failed.extend(test.map(str::to_owned));
        println!("{line}");
    }
    Ok(Read { passed, summed, failed })
}

/// Ends a command and its process group when a stop is requested.
fn end_when_stopped(child: &Child, ended: &AtomicBool) {
    while !ended.load(Ordering::SeqCst) {
        if process::is_stopping() {
            process::signal_group(child, Signal::SIGTERM);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Returns the number before `word` in cargo's summary line.
fn count(counts: &str, word: &str) -> u64 {
    let before = counts.split_once(word).map_or("", |(before, _)| before);
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The number of failures above which the machine is not the cause.
const UNSTEADY_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_that_runs_with_others_is_counted() {
        let command = |name: &str| (name.to_owned(), Command::new(name));
        let mut report = Report::default();
        let commands = ["true", "false", "true", "false", "true"].map(command);
        report.check_at_once(commands.into()).unwrap();
        assert_eq!((report.passed, report.failed), (3, 2));
        assert_eq!(report.failures(), ["false", "false"]);
    }
}

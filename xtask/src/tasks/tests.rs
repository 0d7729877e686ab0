use super::{Tasks, step};
use crate::workspace::at;
use anyhow::bail;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn tasks_run_after_those_that_they_name() {
    let order = Mutex::new(Vec::new());
    let mut tasks = Tasks::default();
    let note = |name| order.lock().unwrap().push(name);
    let slow = tasks.add("slow", &[], |_| {
        std::thread::sleep(Duration::from_millis(50));
        note("slow");
        Ok(())
    });
    let quick = tasks.add("quick", &[], |_| {
        note("quick");
        Ok(())
    });
    tasks.add("last", &[slow, quick], |_| {
        note("last");
        Ok(())
    });
    tasks.run().unwrap();
    assert_eq!(*order.lock().unwrap(), ["quick", "slow", "last"]);
}

#[test]
fn first_failure_ends_running_commands_and_begins_no_others() {
    let begun = Instant::now();
    let log = at("target/log/tasks-test-sleep.log");
    let mut tasks = Tasks::default();
    // The shell's child must end, too.
    tasks.add("sleep", &[], |runner| runner.run(&mut shell("sleep 60; true"), &log));
    let failed = tasks.add("fails", &[], |_| bail!("for a reason"));
    tasks.add("never", &[failed], |_| panic!("begun after a failure"));
    let error = tasks.run().unwrap_err();
    assert_eq!(format!("{error:#}"), "fails: for a reason");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn failed_command_reports_its_log_and_the_log_s_last_lines() {
    let log = at("target/log/tasks-test-failure.log");
    let error = step("step", &mut shell("seq 1 40; exit 3"), &log).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.starts_with("step: failed (exit status: 3); the end of "), "{text}");
    assert!(text.contains("tasks-test-failure.log:\n  | 16\n"), "{text}");
    assert!(text.ends_with("  | 40\n"), "{text}");
}

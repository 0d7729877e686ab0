//! Commands that run to their end.

use super::files::{end_of_log, open_log};
use super::signals::{check_stop, is_stopping};
use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Runs a command and returns its standard output. A failure's error is its standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command with its output in a log. Ends it early when `cancelled` is set, when a stop is
/// requested, or after `patience`. A failure's error is the end of the log.
pub fn run(
    command: &mut Command,
    log: &Path,
    cancelled: &AtomicBool,
    patience: Option<Duration>,
) -> Result<()> {
    let begun = Instant::now();
    let output = open_log(log)?;
    // The command leads its own process group, so that its children end with it.
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
    die_with_parent(command);
    let mut child = command.spawn().with_context(|| format!("can't start {command:?}"))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let late = patience.is_some_and(|patience| begun.elapsed() > patience);
        if late || is_stopping() || cancelled.load(Ordering::SeqCst) {
            signal_group(&child, Signal::SIGTERM);
            child.wait()?;
            check_stop()?;
            if late {
                bail!("timed out; {}", end_of_log(log));
            }
            bail!("cancelled");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    if !status.success() {
        bail!("failed ({status}); {}", end_of_log(log));
    }
    Ok(())
}

/// Signals the process group that a child leads.
pub fn signal_group(child: &Child, signal: Signal) {
    let _ = killpg(Pid::from_raw(child.id().cast_signed()), signal);
}

/// Has the system end a child when the thread that started it ends, even if that thread is killed.
#[cfg(target_os = "linux")]
pub fn die_with_parent(command: &mut Command) {
    let die = || nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(Into::into);
    #[expect(unsafe_code, reason = "one system call, which is safe to make between fork and exec")]
    // SAFETY: the closure only calls prctl, which is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(die);
    }
}

#[cfg(not(target_os = "linux"))]
pub fn die_with_parent(_: &mut Command) {}

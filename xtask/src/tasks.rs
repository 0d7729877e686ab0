//! Tasks with dependencies. Each runs as soon as the tasks before it are done; the first failure
//! stops all.

mod progress;

use crate::process::{self, check_stop, is_stopping};
use anyhow::{Context as _, Result, anyhow, ensure};
use progress::Progress;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Tasks to run, with their order.
#[derive(Default)]
pub struct Tasks<'a>(Vec<Task<'a>>);

/// The position of a task in the list.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct TaskId(usize);

struct Task<'a> {
    id: TaskId,
    name: String,
    after: Vec<TaskId>,
    work: Work<'a>,
}

type Work<'a> = Box<dyn FnOnce(&Runner) -> Result<()> + Send + 'a>;

/// Runs the commands of a task, and ends them when another task fails.
pub struct Runner {
    cancelled: Arc<AtomicBool>,
}

impl Runner {
    /// Returns an error if the task must end early.
    pub fn check(&self) -> Result<()> {
        check_stop()?;
        ensure!(!self.cancelled.load(Ordering::SeqCst), "cancelled");
        Ok(())
    }

    /// Runs a command to its end, with its output in a log.
    pub fn run(&self, command: &mut Command, log: &Path) -> Result<()> {
        self.check()?;
        process::run(command, log, &self.cancelled, None)
    }

    /// Runs a command like [`Self::run`]. It fails if it takes longer than `patience`.
    pub fn run_within(&self, patience: Duration, command: &mut Command, log: &Path) -> Result<()> {
        self.check()?;
        process::run(command, log, &self.cancelled, Some(patience))
    }
}

impl<'a> Tasks<'a> {
    /// Adds a task that begins when those in `after` are done.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        after: &[TaskId],
        work: impl FnOnce(&Runner) -> Result<()> + Send + 'a,
    ) -> TaskId {
        let id = TaskId(self.0.len());
        let (name, after, work) = (name.into(), after.to_vec(), Box::new(work));
        self.0.push(Task { id, name, after, work });
        id
    }

    /// Runs all tasks and shows their progress. Returns the first error, once all tasks have
    /// stopped.
    pub fn run(self) -> Result<()> {
        let mut progress = Progress::new(self.0.iter().map(|task| task.name.clone()).collect());
        let cancelled = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = channel();
        let mut waiting = self.0;
        let (mut done, mut running) = (Vec::new(), 0);
        let mut failure = None;
        thread::scope(|scope| {
            loop {
                let halted = failure.is_some() || is_stopping();
                let is_ready = |task: &Task| task.after.iter().all(|id| done.contains(id));
                let ready = waiting.extract_if(.., |task| !halted && is_ready(task));
                for Task { id, name, work, .. } in ready {
                    progress.begin(id.0);
                    running += 1;
                    let (sender, runner) =
                        (sender.clone(), Runner { cancelled: cancelled.clone() });
                    scope.spawn(move || {
                        // If a task panicked without an outcome, this loop would wait for ever.
                        let outcome = catch_unwind(AssertUnwindSafe(|| work(&runner)))
                            .unwrap_or_else(|_| Err(anyhow!("panicked")))
                            .context(name);
                        // The receiver outlives every sender.
                        let _ = sender.send((id, outcome));
                    });
                }
                if running == 0 {
                    break;
                }
                match receiver.recv_timeout(Duration::from_millis(200)) {
                    Ok((id, Ok(()))) => {
                        running -= 1;
                        done.push(id);
                        progress.end(id.0);
                    }
                    Ok((_, Err(error))) => {
                        running -= 1;
                        cancelled.store(true, Ordering::SeqCst);
                        // Cancelled tasks fail, too, but later.
                        failure = failure.take().or(Some(error));
                    }
                    Err(RecvTimeoutError::Timeout) => progress.show(),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        });
        progress.finish();
        check_stop()?;
        failure.map_or(Ok(()), Err)
    }
}

/// Runs one command as the only task.
pub fn step(name: &str, command: &mut Command, log: &Path) -> Result<()> {
    let mut tasks = Tasks::default();
    tasks.add(name, &[], |runner| runner.run(command, log));
    tasks.run()
}

#[cfg(test)]
mod tests;

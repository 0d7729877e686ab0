//! The progress of tasks: one line that is rewritten on a terminal, otherwise one line for each
//! finished task.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// The state of all tasks.
pub struct Progress {
    tasks: Vec<Shown>,
    begun: Instant,
    is_terminal: bool,
    /// When the last line was written, without a terminal.
    written: Instant,
}

struct Shown {
    name: String,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Waiting,
    Running(Instant),
    Done,
}

impl Progress {
    /// Starts the clock of all tasks.
    pub fn new(names: Vec<String>) -> Self {
        let tasks = names.into_iter().map(|name| Shown { name, state: State::Waiting }).collect();
        let is_terminal = std::io::stderr().is_terminal();
        Self { tasks, begun: Instant::now(), is_terminal, written: Instant::now() }
    }

    /// Starts the clock of one task.
    pub fn begin(&mut self, place: usize) {
        if let Some(task) = self.tasks.get_mut(place) {
            task.state = State::Running(Instant::now());
        }
        self.show();
    }

    /// Records that a task is done.
    pub fn end(&mut self, place: usize) {
        let all = self.tasks.len();
        if let Some(task) = self.tasks.get_mut(place)
            && let State::Running(begun) = std::mem::replace(&mut task.state, State::Done)
        {
            let line = format!("{}: done in {:.1} s", task.name, begun.elapsed().as_secs_f32());
            if !self.is_terminal {
                eprintln!("[{}/{all}] {line}", self.done());
                self.written = Instant::now();
            }
        }
        self.show();
    }

    /// Rewrites the line on a terminal; elsewhere, prints one only after a long silence.
    pub fn show(&mut self) {
        if !self.is_terminal && self.written.elapsed() > SILENCE_MAX {
            self.written = Instant::now();
            eprintln!("{}", self.line());
        }
        if self.is_terminal {
            let mut line = self.line();
            if let Some((end, _)) = line.char_indices().nth(COLUMNS) {
                line.truncate(end);
            }
            eprint!("\r\x1b[K{line}");
            let _ = std::io::stderr().flush();
        }
    }

    /// Replaces the line by a last one, on a terminal.
    pub fn finish(&self) {
        if self.is_terminal && !self.tasks.is_empty() {
            let seconds = self.begun.elapsed().as_secs_f32();
            let names = match self.tasks.as_slice() {
                [task] => task.name.clone(),
                _ => "done".to_owned(),
            };
            eprintln!("\r\x1b[K[{}/{}] {names}: {seconds:.1} s", self.done(), self.tasks.len());
        }
    }

    fn done(&self) -> usize {
        self.tasks.iter().filter(|task| matches!(task.state, State::Done)).count()
    }

    /// Formats the names of the running tasks with their times, and then those of the waiting
    /// tasks.
    fn line(&self) -> String {
        let elapsed = |since: Instant| Duration::as_secs(&since.elapsed());
        let (mut running, mut waiting) = (Vec::new(), Vec::new());
        for task in &self.tasks {
            match task.state {
                State::Running(begun) => {
                    running.push(format!("{} {} s", task.name, elapsed(begun)));
                }
                State::Waiting => waiting.push(task.name.as_str()),
                State::Done => {}
            }
        }
        let (done, all) = (self.done(), self.tasks.len());
        let mut line = format!("[{done}/{all}] {} s: {}", elapsed(self.begun), running.join(", "));
        if !waiting.is_empty() {
            line.push_str(&format!("; then {}", waiting.join(", ")));
        }
        line
    }
}

/// The width that fits on any terminal. A longer line would wrap, and could not be overwritten.
const COLUMNS: usize = 79;

/// Some CI systems end a job that prints nothing for minutes.
const SILENCE_MAX: Duration = Duration::from_secs(60);

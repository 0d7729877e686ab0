//! The log's way out: lines are gathered, and written by a thread of their own a few times a second. To
//! wake it for each line would cost more than the line, and a reader that is slow must hold up no request.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

/// Takes lines; what does not fit is lost, and counted.
#[derive(Clone, Default)]
pub struct Log(Arc<Lines>);

#[derive(Default)]
struct Lines {
    waiting: Mutex<Vec<u8>>,
    /// Held while lines are being written, so that none are on their way when the last are flushed.
    writing: Mutex<()>,
    lost: AtomicU64,
}

impl Log {
    /// Begins to write to standard output.
    pub fn start() -> Self {
        let log = Self::default();
        let writer = log.clone();
        thread::spawn(move || {
            loop {
                thread::sleep(PAUSE);
                writer.flush_to(&mut io::stdout());
            }
        });
        log
    }

    /// Writes what waits, before the process ends: unless nobody takes it.
    pub fn finish(&self) {
        let (done, finished) = mpsc::channel();
        let log = self.clone();
        thread::spawn(move || {
            log.flush_to(&mut io::stdout());
            let _ = done.send(());
        });
        let _ = finished.recv_timeout(FINISH_MAX);
    }

    /// How many lines were lost.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    fn flush_to(&self, out: &mut impl Write) {
        let _writing = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let lines =
            std::mem::take(&mut *self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if !lines.is_empty() {
            // If nobody can be told, nobody is.
            let _ = out.write_all(&lines).and_then(|()| out.flush());
        }
    }
}

impl Write for &Log {
    /// A line, whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() + line.len() <= BYTES_MAX {
            waiting.extend_from_slice(line);
        } else {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

const BYTES_MAX: usize = 16 << 20;
const FINISH_MAX: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_within_bounds() {
        let log = Log::default();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            (&log).write_all(&line).unwrap();
        }
        assert_eq!(log.lost(), 4);
        let mut out = Vec::new();
        log.flush_to(&mut out);
        assert_eq!(out.len(), 16 << 20);
        (&log).write_all(b"next\n").unwrap();
        let mut out = Vec::new();
        log.flush_to(&mut out);
        assert_eq!(out, b"next\n");
    }
}

//! Writes the log to standard output from a thread of its own, in batches.
//!
//! Waking that thread for each line would cost more than the line itself. A slow reader of the log
//! must not delay requests.

use crate::log_format::{LineFormat, MemberFormat};
use crate::telemetry::SpanLayer;
use std::io::{self, Write};
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tracing::{Level, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// A buffer of log lines. Lines that do not fit are dropped and counted.
#[derive(Clone, Default)]
pub struct Log(Arc<Lines>);

#[derive(Default)]
struct Lines {
    buffered: Mutex<Vec<u8>>,
    /// Held during a write, so that the last flush waits for a write in progress.
    writing: Mutex<()>,
    dropped: AtomicU64,
    /// Makes the spans of telemetry, once that was started.
    spans: SpanLayer<Registry>,
}

/// Logs the place of each panic, without its message, which may quote a secret.
fn log_panics() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |panic_info| {
        let place = panic_info.location().map(ToString::to_string);
        tracing::error!(event = "panicked", place, advice = "it is a defect: report it");
        default(panic_info);
    }));
}

impl Log {
    /// Starts the log of a program: the events of level info and above go to standard output.
    pub fn start(program: &'static str) -> Self {
        let log = Self::start_writer();
        log.subscriber(program).init();
        log_panics();
        log
    }

    /// Returns the subscriber that writes to the log, and makes the spans of telemetry.
    pub(crate) fn subscriber(&self, program: &'static str) -> impl Subscriber + use<> {
        let spans = self.0.spans.clone();
        let wanted = filter_fn({
            let spans = spans.clone();
            move |metadata| *metadata.level() <= Level::INFO && spans.wants(metadata)
        });
        let lines = tracing_subscriber::fmt::layer()
            .event_format(LineFormat { program })
            .fmt_fields(MemberFormat)
            .with_writer(self.clone());
        Registry::default().with(spans).with(wanted.with_max_level_hint(Level::INFO)).with(lines)
    }

    pub(crate) fn spans(&self) -> &SpanLayer<Registry> {
        &self.0.spans
    }

    fn start_writer() -> Self {
        let log = Self::default();
        let writer = log.clone();
        thread::spawn(move || {
            loop {
                thread::sleep(WRITE_INTERVAL);
                writer.flush_to(&mut io::stdout());
            }
        });
        log
    }

    /// Writes the buffered lines before the process ends. Gives up after 2 s if no reader takes
    /// them.
    pub fn finish(&self) {
        let (sender, finished) = mpsc::channel();
        let log = self.clone();
        thread::spawn(move || {
            log.flush_to(&mut io::stdout());
            let _ = sender.send(());
        });
        let _ = finished.recv_timeout(FINISH_TIMEOUT);
    }

    /// Returns how many lines were dropped.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Returns the lines that are not written yet.
    #[cfg(test)]
    pub(crate) fn buffered(&self) -> String {
        let buffered = self.0.buffered.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&buffered).into_owned()
    }

    fn flush_to(&self, out: &mut impl Write) {
        let _writing = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let lines =
            std::mem::take(&mut *self.0.buffered.lock().unwrap_or_else(PoisonError::into_inner));
        if !lines.is_empty() {
            // There is no other place to report an error.
            let _ = out.write_all(&lines).and_then(|()| out.flush());
        }
    }
}

impl Write for &Log {
    /// Buffers one complete line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut buffered = self.0.buffered.lock().unwrap_or_else(PoisonError::into_inner);
        if buffered.len() + line.len() <= BUFFER_BYTES_MAX {
            buffered.extend_from_slice(line);
        } else {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
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

/// Returns the milliseconds since a moment, to the microsecond, as log lines have them.
pub fn elapsed_ms(since: Instant) -> f64 {
    let micros = u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX);
    f64::from(micros) / 1000.0
}

const BUFFER_BYTES_MAX: usize = 16 << 20;
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);
const WRITE_INTERVAL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_writes_a_line_without_its_message() {
        let log = Log::default();
        log_panics();
        tracing::subscriber::with_default(log.subscriber("test"), || {
            panic::catch_unwind(|| panic!("hidden")).unwrap_err();
        });
        let mut out = Vec::new();
        log.flush_to(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("\"event\":\"panicked\"") && text.contains("log.rs:"), "{text}");
        assert!(!text.contains("hidden"), "{text}");
    }

    #[test]
    fn buffered_lines_are_bounded() {
        let log = Log::default();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            (&log).write_all(&line).unwrap();
        }
        assert_eq!(log.dropped(), 4);
        let mut out = Vec::new();
        log.flush_to(&mut out);
        assert_eq!(out.len(), 16 << 20);
        (&log).write_all(b"next\n").unwrap();
        let mut out = Vec::new();
        log.flush_to(&mut out);
        assert_eq!(out, b"next\n");
    }
}

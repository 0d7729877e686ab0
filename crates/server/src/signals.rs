//! The signals to a server.

use std::io;
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::sync::watch;

/// The signals to a server, from their registration on.
pub struct Signals {
    hangup: unix::Signal,
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    /// Registers for the signals.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Calls `reload` on SIGHUP, and sets `stop` on SIGTERM and SIGINT.
    pub async fn serve(mut self, stop: watch::Sender<bool>, reload: impl Fn()) -> ! {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    reload();
                    continue;
                }
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            tracing::info!(event = "draining");
            stop.send_replace(true);
        }
    }
}

//! The request to stop, by a signal or by the end of standard input.

use anyhow::{Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(false)));

/// Turns SIGINT, SIGTERM and SIGHUP into requests to stop. This process can then end its children
/// before it ends itself.
pub fn listen() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&STOP))?;
    }
    Ok(())
}

/// Requests a stop, like a signal.
pub fn stop() {
    STOP.store(true, Ordering::SeqCst);
}

/// Returns whether a stop was requested.
pub fn is_stopping() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// Returns an error if a stop was requested.
pub fn check_stop() -> Result<()> {
    if is_stopping() { bail!("stopped") } else { Ok(()) }
}
